//! From a file of prompts and answers to batches of token ids.
//!
//! [`jsonl`] reads lines and [`chat`] the conversations in them, [`template`] makes prompts and completions of each,
//! [`example`] tokenises them, [`survey`] tells what they are like, [`held_out`] puts some aside, [`walk`] chooses which come next, and [`batch`] lays
//! the chosen ones flat for the model.

pub mod batch;
pub mod chat;
pub mod example;
pub mod held_out;
pub mod jsonl;
pub mod survey;
pub mod template;
pub mod walk;

pub use batch::Batch;
pub use example::{Example, Formats};
pub use survey::Survey;
pub use walk::{Walk, Walker};
