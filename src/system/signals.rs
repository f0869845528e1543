//! Signals that ask the program to stop: Ctrl-C, Ctrl-\, SIGTERM, a terminal that goes away, SIGUSR1
//! and SIGUSR2 (which launchers send before they stop a job), a power supply that fails, and limits
//! on processor time and on the size of files.
//!
//! One stop often comes as several signals: GNU `timeout` signals its child and then its group, a
//! closed terminal is told by the shell and by the kernel, systemd may send SIGTERM and SIGHUP. So
//! what comes within a second of the first belongs to the same request, and only a later signal
//! ends the program at once.
//!
//! Work that has something to save listens ([`Listener`]). While nobody listens, a signal ends the
//! program as if it were not caught, and does so as process 1 of a container too, where the system
//! would ignore it.

use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::{flag, iterator, low_level};

use super::ignores;

/// Signals that come this soon after the first belong to the same request.
const TOGETHER: Duration = Duration::from_secs(1);

/// Signals that someone sends, and may send again out of impatience. The others come from the
/// system: SIGXCPU each second once the time is over.
const SENT: [i32; 6] = [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT];

/// The signal of a power supply that fails, where there is one.
#[cfg(target_os = "linux")]
pub const POWER: Option<i32> = Some(libc::SIGPWR);
/// The signal of a power supply that fails, where there is one.
#[cfg(not(target_os = "linux"))]
pub const POWER: Option<i32> = None;

/// What the whole process shares, since signals come to the process.
struct Process {
    /// Whether nobody listens, so that a signal has its usual effect.
    is_usual: Arc<AtomicBool>,
    listeners: Mutex<Vec<Arc<Heard>>>,
    /// To the thread that gives notice.
    answers: Sender<Arc<Heard>>,
}

/// What one listener has heard.
struct Heard {
    /// The first signal; 0 is none.
    signal: AtomicI32,
    /// When it came.
    since: OnceLock<Instant>,
    /// Whether its listener is gone: what comes still belongs to the first signal.
    is_over: AtomicBool,
    notice: Box<dyn Fn(i32) + Send + Sync>,
    later: Later,
}

/// What a signal does that comes later than the first.
pub enum Later {
    /// It ends the program, after this.
    Ends(Box<dyn Fn() + Send + Sync>),
    /// Nothing.
    Ignored,
}

static PROCESS: Mutex<Option<Arc<Process>>> = Mutex::new(None);

/// Catches signals from here on, for as long as the process lives. A signal that is ignored when
/// the program starts, as `nohup` or a shell's `&` has it, stays ignored.
pub fn catch() -> io::Result<()> {
    Process::get().map(drop)
}

impl Process {
    fn get() -> io::Result<Arc<Self>> {
        let mut process = locked(&PROCESS);
        if let Some(process) = &*process {
            return Ok(Arc::clone(process));
        }
        let new = Self::new()?;
        *process = Some(Arc::clone(&new));
        Ok(new)
    }

    fn new() -> io::Result<Arc<Self>> {
        let (answers, to_answer) = mpsc::channel::<Arc<Heard>>();
        let process = Arc::new(Self {
            is_usual: Arc::new(AtomicBool::new(true)),
            listeners: Mutex::default(),
            answers,
        });
        let caught: Vec<i32> = SENT
            .into_iter()
            .chain(POWER)
            .chain([SIGXCPU, SIGXFSZ])
            .filter(|&signal| !ignores(signal))
            .collect();
        if caught.contains(&SIGXCPU) {
            keep_time_to_save();
        }
        // These handlers run before those of the iterator, which are registered later.
        for &signal in &caught {
            let is_usual = Arc::clone(&process.is_usual);
            match signal {
                // Whoever writes past the limit on the size of files gets an error.
                SIGXFSZ => {}
                // The usual effect would be none, or is not known.
                _ if process::id() == 1 || low_level::signal_name(signal).is_none() => {
                    flag::register_conditional_shutdown(signal, 128 + signal, is_usual)?;
                }
                _ => {
                    flag::register_conditional_default(signal, is_usual)?;
                }
            }
        }
        let mut arriving = iterator::Signals::new(caught)?;
        let of_thread = Arc::clone(&process);
        let thread = |name: &str| thread::Builder::new().name(name.to_string());
        thread("signals").spawn(move || {
            for signal in arriving.forever() {
                of_thread.tell(signal);
            }
        })?;
        // Whoever reads the notices may let them wait; signals must not.
        thread("notices").spawn(move || {
            for heard in to_answer {
                (heard.notice)(heard.signal.load(Ordering::SeqCst));
            }
        })?;
        Ok(process)
    }

    /// Tells a signal to the listeners, or ends the program by it.
    fn tell(&self, signal: i32) {
        for heard in locked(&self.listeners).iter() {
            match heard.since.get() {
                None => {
                    let _ = heard.since.set(Instant::now());
                    heard.signal.store(signal, Ordering::SeqCst);
                    // The thread that answers lives as long as this one.
                    let _ = self.answers.send(Arc::clone(heard));
                }
                Some(since) if SENT.contains(&signal) && since.elapsed() > TOGETHER => {
                    if let Later::Ends(at_once) = &heard.later {
                        at_once();
                        low_level::exit(128 + signal);
                    }
                }
                Some(_) => {}
            }
        }
    }
}

/// Hears the first signal that comes while it lives, and keeps the program from ending by it.
pub struct Listener {
    process: Arc<Process>,
    heard: Arc<Heard>,
}

impl Listener {
    /// `notice` is called with the signal as soon as it comes, and `later` says what another does;
    /// each on another thread.
    pub fn new(notice: impl Fn(i32) + Send + Sync + 'static, later: Later) -> io::Result<Self> {
        let process = Process::get()?;
        let heard = Arc::new(Heard {
            signal: AtomicI32::new(0),
            since: OnceLock::new(),
            is_over: AtomicBool::new(false),
            notice: Box::new(notice),
            later,
        });
        let mut listeners = locked(&process.listeners);
        listeners.retain(|other| !other.is_over.load(Ordering::SeqCst));
        listeners.push(Arc::clone(&heard));
        process.is_usual.store(false, Ordering::SeqCst);
        drop(listeners);
        Ok(Self { process, heard })
    }

    /// The first signal that came, if one did.
    pub fn caught(&self) -> Option<i32> {
        match self.heard.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = locked(&self.process.listeners);
        // The rest of a request that was heard must not end the program otherwise than it ends by
        // then, so only the next listener takes its place.
        if self.caught().is_some() {
            self.heard.is_over.store(true, Ordering::SeqCst);
            return;
        }
        listeners.retain(|other| !Arc::ptr_eq(other, &self.heard));
        if listeners.is_empty() {
            self.process.is_usual.store(true, Ordering::SeqCst);
        }
    }
}

/// Where the limit on processor time is final, as `ulimit -t` has it, the system ends the program at
/// it without a signal that could be caught. A lower limit of our own sends SIGXCPU before.
fn keep_time_to_save() {
    let Rlimit { current, maximum } = getrlimit(Resource::Cpu);
    if let Some(limit) = maximum
        && let Some(earlier) = earlier(limit)
        && current.is_none_or(|current| current > earlier)
    {
        // Where it cannot be had, the limit ends the program as before.
        let _ = setrlimit(
            Resource::Cpu,
            Rlimit {
                current: Some(earlier),
                maximum,
            },
        );
    }
}

/// When to stop, in seconds of processor time, so that a step can end and its state be saved: a third
/// before the limit, but not more than ten seconds of each core and at least one. `None` where the
/// limit is too near.
fn earlier(limit: u64) -> Option<u64> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let margin = (limit / 3).min(10 * cores).max(1);
    limit.checked_sub(margin).filter(|&earlier| earlier > 0)
}

/// Nothing here panics while it holds a lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_time_before_a_final_limit_is_left_to_save() {
        assert_eq!([1, 2, 3, 6].map(earlier), [None, Some(1), Some(2), Some(4)]);
        let day = earlier(86_400).unwrap();
        assert!((57_600..86_391).contains(&day), "{day}");
    }

    #[test]
    fn what_belongs_to_a_request_is_heard_until_the_next_listener() {
        let listen = || Listener::new(|_| {}, Later::Ignored).unwrap();
        let process = Process::get().unwrap();
        let count = || locked(&process.listeners).len();
        drop(listen());
        assert!(count() == 0 && process.is_usual.load(Ordering::SeqCst));
        let first = listen();
        process.tell(SIGHUP);
        assert_eq!(first.caught(), Some(SIGHUP));
        drop(first);
        assert!(count() == 1 && !process.is_usual.load(Ordering::SeqCst));
        // Nothing comes of it.
        process.tell(SIGTERM);
        let next = listen();
        assert_eq!((count(), next.caught()), (1, None));
        drop(next);
        assert!(count() == 0 && process.is_usual.load(Ordering::SeqCst));
    }
}
