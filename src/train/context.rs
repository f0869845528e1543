//! What the parts of a run share: what it learns and from what, and what is watched meanwhile.

use super::Options;
use super::model_files::ModelFiles;
use super::prepare::TrainingData;
use super::signals::Signals;
use crate::console::Console;
use crate::distributed::Ranks;
use crate::model::Rwkv;

/// What all steps of a run share.
pub struct RunContext<'a> {
    pub options: &'a Options,
    pub model: &'a Rwkv,
    pub data: &'a TrainingData,
    /// Steps of the whole run.
    pub steps: usize,
    /// Who computes it.
    pub ranks: &'a Ranks,
}

/// What is watched while a run computes, and where it is told.
pub struct Watch<'a> {
    pub signals: &'a Signals,
    pub files: &'a ModelFiles<'a>,
    /// For what all ranks do alike.
    pub console: &'a Console,
}
