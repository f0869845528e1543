//! One run on several ranks: processes on one machine or many, each with the whole model and a share of
//! every batch. What is learnt is small, so a step needs one sum of its gradient over all ranks.
//!
//! [`Ranks`] is what the rest of the program sees; a run alone is one of one rank. An [`Engine`]
//! connects them: nothing at all for [one](engine::One), [`threads`] in tests, and [`mpi`], which
//! opens the library that belongs to the [`launcher`]; [`abi`] holds what differs between libraries.
//!
//! Ranks that do not agree wait for each other for ever. So they speak in one way, [`Ranks::exchange`]:
//! every rank tells where it is, a few numbers, and whether it failed; and all go on with the same
//! answers. A rank that fails anywhere goes to the next exchange and tells there why, so that one
//! rank's error is every rank's. Where nobody can tell any more, [`watchdog`] ends the wait.

mod abi;
mod engine;
mod exchange;
mod launcher;
#[cfg(unix)]
mod mpi;
mod threads;
mod watchdog;

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use self::engine::Engine;
pub use self::exchange::{Failure, Row, Stage};
pub use self::launcher::LIBRARY;
pub use self::threads::threads;

use self::engine::One;
use self::launcher::Launcher;
use self::watchdog::{LIMIT, Wait, Watchdog};
use crate::console::Console;
use crate::setting::Setting;
use crate::system;

/// Seconds that a rank waits for others in a step before it gives up.
pub const PATIENCE: &str = "STATE_TUNE_MPI_PATIENCE";

/// What a rank has to do beside its share of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To print and to save for all.
    First,
    /// Nothing.
    Other,
}

/// The ranks of a run, as one of them sees them.
pub struct Ranks {
    engine: Box<dyn Engine>,
    /// The machine of each rank.
    hosts: Vec<String>,
    /// The cores of its machine that each rank may use.
    cores: Vec<String>,
    /// What connects them, in words.
    library: String,
    /// Nanoseconds that this rank has waited for the others since this was last asked for.
    waited: AtomicU64,
    patience: Duration,
    console: Console,
    watchdog: OnceLock<Watchdog>,
}

/// The ranks that a launcher started, by its variables; without one, and for a single rank, nothing is
/// opened.
///
/// Notes of a long wait go to `console`.
pub fn join(variable: impl Fn(&str) -> Option<OsString>, console: &Console) -> Result<Ranks> {
    let Some(launcher) = Launcher::of(&variable)? else {
        return Ok(Ranks::one());
    };
    let patience = match variable(PATIENCE).filter(|seconds| !seconds.is_empty()) {
        None => LIMIT,
        Some(seconds) => {
            let text = seconds.to_string_lossy();
            let seconds = text
                .parse()
                .ok()
                .and_then(|s| Duration::try_from_secs_f64(s).ok());
            seconds
                .filter(|seconds| !seconds.is_zero())
                .with_context(|| format!("{PATIENCE} is {text:?}, which is no number of seconds"))?
        }
    };
    #[cfg(not(unix))]
    anyhow::bail!(
        "{} says that there are {} ranks, and this program joins them on Unix alone",
        launcher.variable,
        launcher.size
    );
    #[cfg(unix)]
    {
        // Ranks may start long after each other, and one may never come. This watchdog ends with the
        // wait: which rank this is, is known only then.
        let watchdog = Watchdog::start(patience, console.clone());
        let mut ranks = watchdog.during(Wait::Work, || -> Result<Ranks> {
            let (engine, library) = mpi::join(&launcher)?;
            let mut ranks = Ranks::new(engine, &system::host());
            ranks.library = library;
            Ok(ranks)
        })?;
        ranks.console = ranks.own(console);
        ranks.patience = patience;
        Ok(ranks)
    }
}

/// The console of a process before it joins others, and whether it speaks for all: one that a launcher
/// started after the first names itself.
pub fn console_of(
    variable: impl Fn(&str) -> Option<OsString>,
    console: &Console,
) -> (Console, Role) {
    match Launcher::of(variable) {
        Ok(Some(Launcher {
            rank: Some(rank), ..
        })) if rank > 0 => {
            let label = format!("{}: ", name(rank, &system::host()));
            (console.labelled(&label), Role::Other)
        }
        // That the variables say nonsense is told by `join`.
        _ => (console.clone(), Role::First),
    }
}

/// A rank as messages name it.
fn name(rank: usize, host: &str) -> String {
    format!("rank {rank} (host {host})")
}

impl Ranks {
    /// A run alone.
    pub fn one() -> Self {
        Self::new(Box::new(One), "")
    }

    /// The ranks that an engine connects, of which this one is on the machine `host`. Waits until all
    /// ranks are here.
    pub fn new(engine: Box<dyn Engine>, host: &str) -> Self {
        Self {
            hosts: exchange::names(&*engine, host),
            cores: exchange::names(&*engine, &system::core_set().unwrap_or_default()),
            engine,
            library: "threads".to_string(),
            waited: AtomicU64::new(0),
            patience: LIMIT,
            console: Console::silent(),
            watchdog: OnceLock::new(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.engine.size()
    }

    /// This one, from 0.
    pub fn rank(&self) -> usize {
        self.engine.rank()
    }

    /// What this one has to do beside its share.
    pub fn role(&self) -> Role {
        match self.rank() {
            0 => Role::First,
            _ => Role::Other,
        }
    }

    /// How many ranks before this one are on its machine.
    pub fn local_rank(&self) -> usize {
        self.here(..self.rank())
    }

    /// How many ranks are on this one's machine.
    pub fn local_count(&self) -> usize {
        self.here(..self.count())
    }

    fn here(&self, ranks: std::ops::RangeTo<usize>) -> usize {
        let host = &self.hosts[self.rank()];
        self.hosts[ranks]
            .iter()
            .filter(|other| *other == host)
            .count()
    }

    /// How many threads compute, if `asked` does not say: a rank's part of the cores that it shares with
    /// others. `None` is one for each core.
    pub fn threads(&self, asked: Option<usize>) -> Option<usize> {
        let places = self.hosts.iter().zip(&self.cores);
        let own = (&self.hosts[self.rank()], &self.cores[self.rank()]);
        let sharing = places.filter(|place| *place == own).count();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let part = (sharing > 1).then_some((cores / sharing).max(1));
        asked.or(part)
    }

    /// A rank as messages name it: `rank 3 (host b)`.
    pub fn name(&self, rank: usize) -> String {
        name(rank, &self.hosts[rank])
    }

    /// The ranks in words: `4 ranks on 2 hosts, by Open MPI v4.1.4`.
    pub fn describe(&self) -> String {
        let mut hosts: Vec<&String> = self.hosts.iter().collect();
        hosts.sort();
        hosts.dedup();
        let hosts = match hosts.len() {
            1 => "one host".to_string(),
            count => format!("{count} hosts"),
        };
        format!("{} ranks on {hosts}, by {}", self.count(), self.library)
    }

    /// The console for what is the same on all ranks: the first one's.
    pub fn shared(&self, console: &Console) -> Console {
        match self.role() {
            Role::First => console.clone(),
            Role::Other => Console::silent(),
        }
    }

    /// The console for what is this rank's own, which names it unless it is the first.
    pub fn own(&self, console: &Console) -> Console {
        match self.role() {
            Role::First => console.clone(),
            Role::Other => console.labelled(&format!("{}: ", self.name(self.rank()))),
        }
    }

    /// Errors when a file of rows is standard input, which a launcher gives to the first rank alone.
    pub fn check_rows(&self, named_by: Setting, path: &Path) -> Result<()> {
        ensure!(
            self.count() == 1 || path != Path::new("/dev/stdin"),
            "{named_by} - is standard input, which the first rank alone has; write it to a file and name \
             that"
        );
        Ok(())
    }

    /// Has the first rank of each machine fetch what is not there; then the others of that machine,
    /// which find it there, unless their files have other names.
    pub fn fetch_once(&self, fetch: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.local_rank() == 0 {
            return self.agree(fetch());
        }
        self.agree(Ok(()))?;
        fetch()
    }

    /// Puts the sum over all ranks in the place of each number. Between an exchange that nobody failed
    /// in and the next.
    pub fn sum(&self, numbers: &mut [f32]) {
        self.wait(Wait::Share, |engine| engine.sum_f32(numbers));
    }

    /// Seconds that this rank has waited for the others since this was last asked for.
    pub fn waited(&self) -> f64 {
        self.waited.swap(0, Ordering::Relaxed) as f64 / 1e9
    }

    /// Does `work`. `None` when it panicked, which the panic hook tells; then all ranks end with it.
    pub fn unless_panicked<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let done = panic::catch_unwind(AssertUnwindSafe(work)).ok();
        if done.is_none() && self.count() > 1 {
            self.abort(1);
        }
        done
    }

    /// Leaves the job, once nothing is left to do. Waits until all do.
    pub fn finish(&self) {
        match self.watchdog.get() {
            Some(watchdog) => watchdog.during(Wait::Work, || self.engine.finish()),
            // Nothing was shared out: the others wait here for as long as the first one works.
            None => self.engine.finish(),
        }
    }

    /// Ends all ranks at once, which no exchange could tell any more.
    pub fn abort(&self, code: i32) {
        self.engine.abort(code);
    }

    fn wait<T>(&self, wait: Wait, call: impl FnOnce(&dyn Engine) -> T) -> T {
        if self.count() == 1 {
            return call(&*self.engine);
        }
        let begun = Instant::now();
        // Not before there is something to wait for: the allocator is set up before there are threads.
        let start = || Watchdog::start(self.patience, self.console.clone());
        let done = self
            .watchdog
            .get_or_init(start)
            .during(wait, || call(&*self.engine));
        self.waited
            .fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }
}
