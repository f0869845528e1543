//! From a file of prompts and answers to token ids, and in which order they are learnt.
//!
//! [`jsonl`] reads lines, `json` their values and [`chat`] the conversations in them, [`template`]
//! makes prompts and completions of each, [`example`] tokenises them, [`survey`] tells what they
//! are like, [`held_out`] puts some aside, and [`walk`] chooses which come next. [`error`] is what
//! can be wrong with a file.

pub mod chat;
pub mod error;
pub mod example;
pub mod held_out;
mod json;
pub mod jsonl;
pub mod survey;
pub mod template;
pub mod walk;

pub use example::{Example, Formats};
pub use survey::Survey;
pub use walk::{Walk, Walker};
