//! The three groups of numbers that a state is made of. Each can be learnt or left alone, and each
//! has a gradient norm of its own.

use std::fmt;
use std::ops::{Index, IndexMut};

/// One of the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The vector in the place of a first token's embedding.
    SoftPrompt,
    /// The rows that the first token's row is mixed with, two a layer.
    Shift,
    /// The matrices of the WKV recurrence, one a head.
    Wkv,
}

impl Group {
    /// All groups, in the order in which they are named, saved and drawn at random.
    pub const ALL: [Self; 3] = [Self::SoftPrompt, Self::Shift, Self::Wkv];

    /// The group's name in flags, logs and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftPrompt => "softprompt",
            Self::Shift => "shift",
            Self::Wkv => "wkv",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value for each group: whether it is learnt, the norm of its gradient, its shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerGroup<T> {
    /// Of [`Group::SoftPrompt`].
    pub soft_prompt: T,
    /// Of [`Group::Shift`].
    pub shift: T,
    /// Of [`Group::Wkv`].
    pub wkv: T,
}

impl<T> PerGroup<T> {
    /// Each group and its value, in the order of [`Group::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Group, &T)> {
        Group::ALL.into_iter().map(|group| (group, &self[group]))
    }
}

impl<T> Index<Group> for PerGroup<T> {
    type Output = T;

    fn index(&self, group: Group) -> &T {
        match group {
            Group::SoftPrompt => &self.soft_prompt,
            Group::Shift => &self.shift,
            Group::Wkv => &self.wkv,
        }
    }
}

impl<T> IndexMut<Group> for PerGroup<T> {
    fn index_mut(&mut self, group: Group) -> &mut T {
        match group {
            Group::SoftPrompt => &mut self.soft_prompt,
            Group::Shift => &mut self.shift,
            Group::Wkv => &mut self.wkv,
        }
    }
}
