//! What became of a row: its prompts and completions, and what a person should be told of it.

use std::collections::BTreeSet;

use super::chat::AnswerRole;
use super::format::DataFormat;
use crate::tokenizer::Text;

/// A row as text.
#[derive(Debug)]
pub struct Rendered {
    /// What its keys were taken for.
    pub format: DataFormat,
    /// At least one, of which at least one is learnt.
    pub turns: Vec<RenderedTurn>,
    /// How many messages follow the last answer.
    pub left_out: usize,
    /// Keys of its messages whose values go nowhere.
    pub unused_in_messages: BTreeSet<String>,
    /// Whether its own `system` is the system message.
    pub(super) has_system: bool,
    /// Whether line ends in it were changed.
    pub has_new_line_ends: bool,
    /// Whether a key stands in it more than once, of which the last counts.
    pub has_repeated_keys: bool,
    /// Whether its weight says neither that it is learnt nor that it is not.
    pub has_odd_weight: bool,
}

/// A prompt and its completion.
#[derive(Debug)]
pub struct RenderedTurn {
    /// What is read.
    pub prompt: Text,
    /// What is said.
    pub completion: Text,
    /// Whether the completion is learnt.
    pub role: AnswerRole,
}
