//! From a file of prompts and answers to token ids, and in which order they are learnt.
//!
//! [`jsonl`] reads lines and [`chat`] the conversations in them, [`template`] makes prompts and
//! completions of each, [`example`] tokenises them, [`survey`] tells what they are like,
//! [`held_out`] puts some aside, and [`walk`] chooses which come next.

pub mod chat;
pub mod example;
pub mod held_out;
pub mod jsonl;
pub mod survey;
pub mod template;
pub mod walk;

pub use example::{Example, Formats};
pub use survey::Survey;
pub use walk::{Walk, Walker};
