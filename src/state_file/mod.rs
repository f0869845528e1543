//! The learnt state on disk, in the formats that programs of this field read and write.
//!
//! Each format has a file of its own, which says what it looks like, and a line in [`FORMATS`]. A
//! file is recognised by what it holds; where two formats look alike, by its tag ([`Tag`]), or by
//! what the user says it is, and otherwise not at all.

mod candidate;
mod check;
mod error;
mod file;
mod format;
mod raw;
mod table;
mod tag;
mod write;

mod model;
mod original;
mod rwkv_live;
mod state;
mod time_state;
mod web_rwkv;

#[cfg(test)]
mod tests;

pub use self::check::check;
pub use self::error::Error;
pub use self::file::{OtherModel, StateFile, open, open_for, open_of, read, tag_of};
pub use self::format::{Format, Order};
pub use self::model::write_into_model;
pub use self::table::FORMATS;
pub use self::tag::{Origin, Tag, Texts};
pub use self::write::{write, write_with_origin};
