//! From a file of prompts and answers to token ids, and in which order they are learnt.
//!
//! [`jsonl`] reads rows, `members` and `json` their keys and values; [`format`] knows the shapes that
//! rows have, with the conversations in them ([`chat`]); [`formats`] makes prompts and completions of
//! a row (`turns`), by [`template`]s, with [`line_ends`] of one kind ([`rendered`], `remarks`), and [`example`]
//! tokenises them; [`typed`] has what to tell of the templates themselves.
//! [`dataset`] does all that for a file, and keeps what there is to say of it ([`notes`],
//! [`bad_rows`]); [`survey`] tells what the examples are like, [`held_out`] puts some aside, and
//! [`walk`] chooses which come next. [`error`] is what can be wrong with a row, `advice` what to do
//! then.

mod advice;
pub mod bad_rows;
pub mod chat;
pub mod dataset;
pub mod error;
pub mod example;
pub mod format;
pub mod formats;
pub mod held_out;
mod json;
pub mod jsonl;
pub mod line_ends;
mod members;
pub mod notes;
mod remarks;
pub mod rendered;
pub mod survey;
pub mod template;
mod turns;
pub mod typed;
pub mod walk;
pub mod words;

pub use dataset::Dataset;
pub use example::Example;
pub use formats::Formats;
pub use survey::Survey;
pub use walk::{Walk, Walker};
