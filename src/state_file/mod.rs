//! The learnt state on disk, in the formats that programs of this field read and write.
//!
//! Each format has a file of its own, which says what it looks like, and a line in [`FORMATS`]. A
//! file is recognised by what it holds; where two formats look alike, by its tag ([`Tag`]), or by
//! what the user says it is, and otherwise not at all.

mod candidate;
mod error;
mod file;
mod format;
mod raw;
mod tag;

mod model;
mod original;
mod rwkv_live;
mod state;
mod time_state;
mod web_rwkv;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use self::error::Error;
pub use self::file::{OtherModel, StateFile, open, open_for, read};
pub use self::format::Format;
pub use self::model::write_into_model;
pub use self::tag::Tag;
use crate::model::State;
use crate::tensors::{self, Element};

/// All formats, in the order in which they are tried and listed.
pub const FORMATS: [Format; 6] = [
    Format::STATE,
    Format::ORIGINAL,
    Format::TIME_STATE,
    Format::WEB_RWKV,
    Format::RWKV_LIVE,
    Format::MODEL,
];

/// Writes a state, atomically, with a tag that says what it is and which model it was tuned on.
/// `element` is the type of the soft prompt and the shifts in a [`Format::STATE`]; the other
/// formats have types of their own. What a format has no place for is left out ([`Format::loses`]
/// tells). A model is written by [`write_into_model`].
pub fn write(
    path: &Path,
    state: &State,
    element: Element,
    format: Format,
    model: Option<&str>,
) -> Result<(), Error> {
    let content = format.content(state, element)?;
    let tag = Tag::new(format, model).text();
    Ok(tensors::write(path, &content, (tag::NAME, &tag))?)
}

/// Errors as [`write`] would when a number is not finite, or not once it has the type of a
/// [`Format::STATE`].
pub fn check(state: &State, element: Element) -> Result<(), Error> {
    Format::STATE.content(state, element).map(drop)
}
