//! Writing a state to a file of its own.

use std::path::Path;

use super::error::Error;
use super::format::Format;
use super::tag::{self, Origin, Tag};
use crate::model::{Generation, State};
use crate::tensors::{self, Element};

/// Writes a state, atomically, with a tag that says what it is and which model it was tuned on: the
/// one with the fingerprint `model`. `element` is the type of the soft prompt and the shifts in a
/// [`Format::STATE`]; the other formats have types of their own. What a format has no place for is
/// left out ([`Format::loses`] tells). A model is written by
/// [`write_into_model`](super::write_into_model).
pub fn write(
    path: &Path,
    state: &State,
    element: Element,
    format: Format,
    model: Option<&str>,
) -> Result<(), Error> {
    let texts = None;
    write_with_origin(path, state, element, format, Origin { model, texts })
}

/// As [`write`], with all that is known of where the state comes from.
pub fn write_with_origin(
    path: &Path,
    state: &State,
    element: Element,
    format: Format,
    origin: Origin,
) -> Result<(), Error> {
    let generation = origin.model.map(Generation::of_fingerprint);
    let content = format.content(state, element, generation)?;
    let tag = Tag::new(format, origin).text();
    Ok(tensors::write(path, &content, (tag::NAME, &tag))?)
}
