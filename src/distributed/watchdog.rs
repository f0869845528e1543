//! Whoever waits for the other ranks in vain says so after a while and ends at last: where a network is
//! cut, MPI itself waits for ever.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::low_level;

use super::PATIENCE;
use crate::console::Console;
use crate::setting::RESUME;

/// How long a rank waits within a step, where all have as much to do, before it gives up.
pub const LIMIT: Duration = Duration::from_secs(600);

/// The part of that after which it says so.
const NOTE: u32 = 10;

/// How many times as long it waits for work of which some ranks have more.
const WORK: u32 = 12;

/// What a rank waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The others' shares of a step, which are as large as this one's.
    Share,
    /// What may take others longer: a download, an answer, the files at the end of a run.
    Work,
}

/// A thread that looks how long this rank has been waiting.
pub struct Watchdog {
    state: Arc<State>,
}

struct State {
    begun: Instant,
    limit: Duration,
    /// Milliseconds from `begun` until it is noted, and until the end; 0 while nothing is waited for.
    noted_at: AtomicU64,
    ends_at: AtomicU64,
}

impl Watchdog {
    /// Gives up after `limit`, for a step's parts, and notes a tenth of it on `console`.
    pub fn start(limit: Duration, console: Console) -> Self {
        let state = Arc::new(State {
            begun: Instant::now(),
            limit,
            noted_at: AtomicU64::new(0),
            ends_at: AtomicU64::new(0),
        });
        let watched = Arc::downgrade(&state);
        // Without the thread, a rank waits as long as MPI lets it.
        let thread = thread::Builder::new().name("watchdog".to_string());
        let _ = thread.spawn(move || watch(&watched, &console));
        Self { state }
    }

    /// Does `work`, in which this rank waits for the others.
    pub fn during<T>(&self, wait: Wait, work: impl FnOnce() -> T) -> T {
        let state = &*self.state;
        let limit = match wait {
            Wait::Share => state.limit,
            Wait::Work => state.limit.saturating_mul(WORK),
        };
        state.wait_until(
            state.begun.elapsed().saturating_add(state.limit / NOTE),
            &state.noted_at,
        );
        state.wait_until(state.begun.elapsed().saturating_add(limit), &state.ends_at);
        let done = work();
        state.noted_at.store(0, Ordering::Relaxed);
        state.ends_at.store(0, Ordering::Relaxed);
        done
    }
}

impl State {
    fn wait_until(&self, time: Duration, at: &AtomicU64) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        at.store(time, Ordering::Relaxed);
    }

    fn is_over(&self, at: &AtomicU64) -> bool {
        let at = at.load(Ordering::Relaxed);
        at > 0 && self.begun.elapsed().as_millis() as u64 > at
    }
}

fn watch(state: &Weak<State>, console: &Console) {
    // When the wait that was noted last was due to be; each is noted once.
    let mut noted = 0;
    while let Some(state) = state.upgrade() {
        if state.is_over(&state.ends_at) {
            console.error(&format!(
                "error: the other ranks have not answered for so long that this one gives up; look \
                 for a network that is cut, or give slow ranks and downloads more time by {PATIENCE}, and \
                 start again with {RESUME}"
            ));
            low_level::exit(1);
        }
        let due = state.noted_at.load(Ordering::Relaxed);
        if state.is_over(&state.noted_at) && due != noted {
            noted = due;
            let seconds = (state.limit / NOTE).as_secs_f64();
            console.line(&format!(
                "note   the other ranks have not answered for {seconds} s"
            ));
        }
        let often = state.limit / 100;
        drop(state);
        thread::sleep(often.clamp(Duration::from_millis(10), Duration::from_secs(1)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::tests::Shared;

    #[test]
    fn each_long_wait_is_noted_once() {
        let written = Shared::default();
        let console = Console::to(written.clone());
        let watchdog = Watchdog::start(Duration::from_secs(5), console);
        for wait in [Wait::Share, Wait::Work] {
            watchdog.during(wait, || thread::sleep(Duration::from_millis(1500)));
            watchdog.during(wait, || thread::sleep(Duration::from_millis(1)));
        }
        let note = "note   the other ranks have not answered for 0.5 s\n";
        assert_eq!(written.text(), note.repeat(2));
    }
}
