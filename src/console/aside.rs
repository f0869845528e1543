//! Standard output and standard error, written by threads of their own once a stop may be asked for:
//! a terminal that Ctrl-S halted, or a pipe that nobody reads, holds up whoever writes to it, and
//! must not hold up the saving of a state.
//!
//! Whoever writes still waits for the thread, so nothing is lost and errors come back as ever. But
//! after [`hurry`] all of them together wait [`PATIENCE`] and no longer; what is not shown by then is
//! shown if somebody reads before the program ends.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

/// How long what is shown may hold up a stop, in all.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one that waits does not look whether a stop was asked for; and how long each waits after
/// [`PATIENCE`], for a reader that reads again.
const MOMENT: Duration = Duration::from_millis(20);

/// Where a text goes.
#[derive(Clone, Copy, Debug)]
pub enum Stream {
    Output,
    Error,
}

/// A text for a thread to write, and to whom it tells how that went.
type Piece = (Vec<u8>, Sender<io::Result<()>>);

static THREADS: OnceLock<[Sender<Piece>; 2]> = OnceLock::new();
static HURRY: Hurry = Hurry::new();
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Has threads write from here on, for as long as the process lives: for work that a signal asks to
/// stop and that then calls [`hurry`].
pub fn write_aside() -> io::Result<()> {
    if THREADS.get().is_none() {
        let threads = [
            thread_for("output", io::stdout())?,
            thread_for("errors", io::stderr())?,
        ];
        // Another may have been quicker; then these end at once.
        let _ = THREADS.set(threads);
    }
    Ok(())
}

/// Standard output was closed when the program began: what goes there from here on is an error.
pub fn output_is_closed() {
    IS_CLOSED.store(true, Ordering::Relaxed);
}

/// A stop was asked for: from here on readers that do not read hold up nothing.
pub fn hurry() {
    HURRY.asked.store(true, Ordering::SeqCst);
}

/// Waits a moment for a reader. `false` once a stop was asked for and there is no more time.
pub fn wait_a_moment() -> bool {
    thread::sleep(MOMENT);
    HURRY.has_time(MOMENT)
}

/// Writes a text and flushes it.
pub(super) fn write(stream: Stream, text: &str) -> io::Result<()> {
    if matches!(stream, Stream::Output) && IS_CLOSED.load(Ordering::Relaxed) {
        return Err(io::Error::other("it was closed when the program began"));
    }
    match (THREADS.get(), stream) {
        (Some([output, _]), Stream::Output) => hand_over(output, text, &HURRY),
        (Some([_, errors]), Stream::Error) => hand_over(errors, text, &HURRY),
        (None, Stream::Output) => write_to(&mut io::stdout(), text.as_bytes()),
        (None, Stream::Error) => write_to(&mut io::stderr(), text.as_bytes()),
    }
}

/// Whether a stop was asked for, and how many microseconds were waited since.
struct Hurry {
    asked: AtomicBool,
    waited: AtomicU64,
}

impl Hurry {
    const fn new() -> Self {
        Self {
            asked: AtomicBool::new(false),
            waited: AtomicU64::new(0),
        }
    }

    /// Whether one that has just waited for so long may wait on.
    fn has_time(&self, waited: Duration) -> bool {
        if !self.asked.load(Ordering::SeqCst) {
            return true;
        }
        let waited = waited.as_micros() as u64;
        let before = self.waited.fetch_add(waited, Ordering::SeqCst);
        u128::from(before + waited) < PATIENCE.as_micros()
    }
}

/// A thread that writes what it is handed, in turn.
fn thread_for(name: &str, mut to: impl Write + Send + 'static) -> io::Result<Sender<Piece>> {
    let (pieces, to_write) = mpsc::channel::<Piece>();
    let thread = thread::Builder::new().name(name.to_string());
    thread.spawn(move || {
        for (text, done) in to_write {
            // Whoever handed it over may wait no longer.
            let _ = done.send(write_to(&mut to, &text));
        }
    })?;
    Ok(pieces)
}

fn write_to(to: &mut dyn Write, text: &[u8]) -> io::Result<()> {
    to.write_all(text)?;
    to.flush()
}

/// Has a thread write a text, and waits for that as long as there is time.
fn hand_over(thread: &Sender<Piece>, text: &str, hurry: &Hurry) -> io::Result<()> {
    let (done, written) = mpsc::channel();
    let gone = || io::Error::other("the thread that writes has ended");
    thread
        .send((text.as_bytes().to_vec(), done))
        .map_err(|_| gone())?;
    loop {
        let begun = Instant::now();
        match written.recv_timeout(MOMENT) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            Err(RecvTimeoutError::Timeout) if hurry.has_time(begun.elapsed()) => {}
            Err(RecvTimeoutError::Timeout) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A reader that reads once it is allowed to.
    struct Blocked {
        allowed: mpsc::Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.allowed.recv();
            self.read.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_holds_up_a_stop_for_a_second_in_all() {
        let (allow, allowed) = mpsc::channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let blocked = Blocked {
            allowed,
            read: Arc::clone(&read),
        };
        let to = thread_for("test", blocked).unwrap();
        let hurry = Hurry::new();
        thread::scope(|scope| {
            let first = scope.spawn(|| hand_over(&to, "one ", &hurry));
            thread::sleep(10 * MOMENT);
            assert!(!first.is_finished(), "without a stop it waits");
            hurry.asked.store(true, Ordering::SeqCst);
            let begun = Instant::now();
            first.join().unwrap().unwrap();
            for text in ["two ", "three "] {
                hand_over(&to, text, &hurry).unwrap();
            }
            let took = begun.elapsed();
            assert!((PATIENCE / 2..PATIENCE * 5).contains(&took), "{took:?}");
        });
        // Nothing is lost if somebody reads in time.
        drop(allow);
        hand_over(&to, "four", &Hurry::new()).unwrap();
        assert_eq!(*read.lock().unwrap(), b"one two three four");
    }

    #[test]
    fn errors_come_back() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let to = thread_for("test", Full).unwrap();
        let error = hand_over(&to, "text", &Hurry::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
