//! What a run leaves: its history, the log file, TensorBoard's files, the loss curve, the page, and
//! the summary of its end.
//!
//! The training loop tells each step and each evaluation to its [`Records`], and the end to each
//! [`Record`]. A further kind of record is one more file here and one line where a run opens them.

mod chart;
mod charts;
mod curve;
mod history;
mod learnt;
mod log;
mod page;
mod record;
mod summary;
mod tensorboard;

pub use curve::Curve;
pub use history::{Eval, History, Step};
pub use learnt::{Answer, LayerNorms, Learnt};
pub use log::Log;
pub use page::Page;
pub use record::{Finished, Record, Records};
pub use summary::Summary;
pub use tensorboard::TensorBoard;
