//! What of the processor a run computes with.

use super::level::Level;
use super::{buffers, threads};

/// Limits on what a run uses; `None` is all there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// Threads that compute.
    pub threads: Option<usize>,
    /// The widest vector instructions that are used.
    pub level: Option<Level>,
}

impl Processor {
    /// Does `work` within these limits. Before any other op of the process: the level holds for all
    /// of it, and the allocator is told to keep its memory before there are threads.
    pub fn run<R: Send>(
        self,
        work: impl FnOnce() -> anyhow::Result<R> + Send,
    ) -> anyhow::Result<R> {
        buffers::keep();
        self.level.map_or(Ok(()), Level::limit)?;
        threads::with_threads(self.threads, work)?
    }
}
