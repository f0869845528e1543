//! The threads that ops share their work among.

use anyhow::Context;

use crate::setting::THREADS;

/// Does `work` on so many threads, `None` meaning one for each core. The work itself runs on one of
/// them: called from outside, every op would wait for the threads to wake up and then be woken
/// itself, thousands of times a step.
pub fn with_threads<R: Send>(
    threads: Option<usize>,
    work: impl FnOnce() -> R + Send,
) -> anyhow::Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .build()
        .with_context(|| match threads {
            Some(threads) => format!("{THREADS} {threads}: cannot start them"),
            None => "cannot start threads to compute with".to_string(),
        })?;
    Ok(pool.install(work))
}
