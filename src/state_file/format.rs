//! What the program knows of a format: its name, what it keeps, how it is recognised, read and
//! written. Each format is a constant in a file of its own.

use std::fmt;
use std::path::Path;

use super::candidate::Candidate;
use super::error::Error;
use super::raw::RawState;
use crate::model::{Generation, Group, State};
use crate::tensors::{Content, Element};

/// A way in which programs keep a state in a file.
#[derive(Clone, Copy)]
pub struct Format(pub(super) &'static Layout);

/// All that a format is.
pub struct Layout {
    /// What it is called in options, tags and messages.
    pub name: &'static str,
    /// What of a state it has a place for.
    pub keeps: &'static [Group],
    pub orientation: Orientation,
    /// Whether it is a safetensors file; a `.pth` otherwise.
    pub is_safetensors: bool,
    /// Whether a file may be of this format.
    pub recognise: fn(&Candidate) -> Likeness,
    /// The tensors of a file that was recognised.
    pub read: fn(Candidate) -> Result<RawState, Error>,
    /// What a file holds for a state whose matrices stand as the file's do. The element is the type
    /// of the soft prompt and the shifts, for formats that have none of their own.
    pub write: fn(&State, Element) -> Result<Content, Error>,
}

/// How a matrix stands in a file. In memory it is \[key, value\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Orientation {
    KeyValue,
    ValueKey,
    /// As the model's own running state does: \[key, value\] for RWKV-5, \[value, key\] for RWKV-7.
    OfGeneration,
}

/// Which index of a matrix comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in memory.
    KeyValue,
    /// The other way round.
    ValueKey,
}

impl Order {
    /// The other of the two.
    pub fn other(self) -> Self {
        match self {
            Self::KeyValue => Self::ValueKey,
            Self::ValueKey => Self::KeyValue,
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyValue => "[key, value]",
            Self::ValueKey => "[value, key]",
        })
    }
}

/// Whether a file is of a format, as far as its content shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Likeness {
    No,
    /// It may also be another: the file's tag or the user must say which.
    Possible,
    /// It is this one, unless the file's tag or the user says that it is a possible other.
    Certain,
}

impl Format {
    /// What it is called.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether it has a place for this part of a state.
    pub fn keeps(self, group: Group) -> bool {
        self.0.keeps.contains(&group)
    }

    /// What of a state a file of this format would lose, in words.
    pub fn loses(self, state: &State) -> candle_core::Result<Vec<&'static str>> {
        let mut lost = Vec::new();
        if state.soft_prompt.is_some() && !self.keeps(Group::SoftPrompt) {
            lost.push("the soft prompt");
        }
        let has_shifts = state.shifts.abs()?.max_all()?.to_scalar::<f32>()? > 0.0;
        if has_shifts && !self.keeps(Group::Shift) {
            lost.push("the token shifts");
        }
        Ok(lost)
    }

    /// What is left of a state in a file of this format, zeros in the place of shifts that are
    /// lost.
    pub fn kept(self, state: &State) -> candle_core::Result<State> {
        let mut kept = state.clone();
        if !self.keeps(Group::SoftPrompt) {
            kept.soft_prompt = None;
        }
        if !self.keeps(Group::Shift) {
            kept.shifts = state.shifts.zeros_like()?;
        }
        Ok(kept)
    }

    /// What to tell where a file of this format has a name that ends as those of the other kind do.
    pub fn belied_by(self, path: &Path) -> Option<String> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        let (kind, others) = match self.0.is_safetensors {
            true => ("a safetensors file", ["pth", "pt", "bin"]),
            false => ("a .pth file", ["safetensors", "st", "sft"]),
        };
        others.contains(&ending.as_str()).then(|| {
            format!(
                "{} is {kind}, as the format {self} is, whatever its name: programs that go by the name \
                 will not read it",
                path.display()
            )
        })
    }

    /// Whether its matrices stand one way for one generation of models and the other for another,
    /// which nothing in a file tells but its tag.
    pub fn depends_on_generation(self) -> bool {
        self.0.orientation == Orientation::OfGeneration
    }

    /// What a file of this format holds for a state, whose model is of this generation.
    pub(super) fn content(
        self,
        state: &State,
        element: Element,
        generation: Option<Generation>,
    ) -> Result<Content, Error> {
        (self.0.write)(&self.turned(state, generation)?, element)
    }

    /// A state whose matrices stand as they do in the file, from one as it is in memory; or back.
    /// An unknown generation is taken for RWKV-5.
    pub(super) fn turned(
        self,
        state: &State,
        generation: Option<Generation>,
    ) -> candle_core::Result<State> {
        match self.order(generation) {
            Order::KeyValue => Ok(state.clone()),
            Order::ValueKey => state.transposed(),
        }
    }

    /// How its matrices stand in a state of this generation's models; an unknown one is taken for
    /// RWKV-5.
    pub(super) fn order(self, generation: Option<Generation>) -> Order {
        match (self.0.orientation, generation) {
            (Orientation::ValueKey, _) => Order::ValueKey,
            (Orientation::OfGeneration, Some(Generation::Seven)) => Order::ValueKey,
            (Orientation::KeyValue | Orientation::OfGeneration, _) => Order::KeyValue,
        }
    }
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Format {}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
