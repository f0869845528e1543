//! What a person sees while the program runs: lines, progress bars, answers, and messages of what
//! went wrong.
//!
//! Nothing prints by itself: a function that has something to say is handed a [`Console`]. The
//! program hands in the [standard one](Console::standard); who uses the library hands in
//! [`Console::silent`] or a writer of their own.
//!
//! On a terminal, texts of files and of models are shown without control codes and direction marks;
//! a pipe or a file gets their bytes.
//!
//! Progress goes to the terminal as a bar and elsewhere as plain lines. Nothing shown is worth a
//! lost run: when nobody reads standard output any more, training goes on and the state is saved, and
//! a reader that is slow or halted does not hold up a stop ([`hurry`]).

mod aside;
mod bar;
mod harmless;
mod progress;
mod transfer;

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use indicatif::ProgressBar;

use self::aside::Stream;
use self::harmless::harmless_lines;

pub use aside::{hurry, output_is_closed, wait_a_moment, write_aside};
pub use harmless::harmless;
pub use indicatif::DecimalBytes;
pub use progress::Progress;
pub use transfer::Transfer;

/// Where lines, answers and messages go. A clone goes to the same place, from any thread.
#[derive(Clone)]
pub struct Console {
    destination: Destination,
    /// What stands before each line and message.
    label: Arc<str>,
    /// The first line that could not be written, of all clones.
    failure: Arc<OnceLock<io::Error>>,
}

#[derive(Clone)]
enum Destination {
    /// Lines and answers on standard output, errors on standard error.
    Output,
    /// Lines and errors on standard error, answers on standard output.
    BesideOutput,
    /// Lines above a progress bar, answers on standard output, errors on standard error.
    AboveBar(ProgressBar),
    /// All of it in a writer of the caller's.
    Writer(Arc<Mutex<dyn Write + Send>>),
}

impl Console {
    /// Standard output and standard error.
    pub fn standard() -> Self {
        Self::of(Destination::Output)
    }

    fn of(destination: Destination) -> Self {
        Self {
            destination,
            label: Arc::default(),
            failure: Arc::default(),
        }
    }

    /// This console with lines at another place.
    fn at(&self, destination: Destination) -> Self {
        Self {
            destination,
            label: Arc::clone(&self.label),
            failure: Arc::clone(&self.failure),
        }
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Self::to(io::sink())
    }

    /// Writes everything to `writer`, as plain lines.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self::of(Destination::Writer(Arc::new(Mutex::new(writer))))
    }

    /// The same console for a time when standard output holds data for another program: lines go
    /// to standard error instead. A writer of the caller's stays the place for both.
    pub fn beside_output(&self) -> Self {
        match &self.destination {
            Destination::Output => self.at(Destination::BesideOutput),
            _ => self.clone(),
        }
    }

    /// The same console for one of several processes that share it: `label` stands before each line
    /// and message, and lines go beside standard output, which holds the results of all.
    pub fn labelled(&self, label: &str) -> Self {
        Self {
            label: label.into(),
            ..self.beside_output()
        }
    }

    /// Shows a line of what is going on.
    pub fn line(&self, line: &str) {
        let line = &self.with_label(line);
        let written = match &self.destination {
            Destination::Output => write_line(Stream::Output, &shown(line, &io::stdout())),
            Destination::BesideOutput => write_line(Stream::Error, &shown(line, &io::stderr())),
            Destination::AboveBar(bar) => {
                bar.println(harmless_lines(line));
                Ok(())
            }
            Destination::Writer(writer) => writeln!(locked(writer), "{line}"),
        };
        match written {
            // A reader that went away has read as much as it wanted.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                // The first reason is enough.
                let _ = self.failure.set(error);
            }
            _ => {}
        }
    }

    /// Why a line could not be written, if one could not. No reason to stop at once: what is shown
    /// is not worth a lost run.
    pub fn failure(&self) -> Option<&io::Error> {
        self.failure.get()
    }

    /// Shows a piece of an answer as it comes, without a line's end. Errors when nobody reads any
    /// more.
    pub fn stream(&self, text: &str) -> io::Result<()> {
        match &self.destination {
            Destination::Writer(writer) => {
                let mut writer = locked(writer);
                writer.write_all(text.as_bytes())?;
                writer.flush()
            }
            _ => aside::write(Stream::Output, &shown(text, &io::stdout())),
        }
    }

    /// Shows a text to a person who types at a terminal; a pipe or a writer does not get it.
    pub fn prompt(&self, text: &str) -> io::Result<()> {
        let is_typed = io::stdin().is_terminal() && io::stdout().is_terminal();
        match &self.destination {
            Destination::Writer(_) => Ok(()),
            _ if is_typed => self.stream(text),
            _ => Ok(()),
        }
    }

    /// Shows a line of what went wrong. Such lines quote files, which may hold anything: what would
    /// break the line or speak to the terminal is escaped, and a page is enough.
    pub fn error(&self, line: &str) {
        let line = harmless(&self.with_label(line));
        let _ = match &self.destination {
            Destination::Writer(writer) => writeln!(locked(writer), "{line}"),
            _ => write_line(Stream::Error, &line),
        };
    }

    /// Has every panic from now on told here, in a line.
    pub fn tell_panics(&self) {
        let console = self.clone();
        panic::set_hook(Box::new(move |info| console.error(&panic_line(info))));
    }

    fn with_label<'a>(&self, line: &'a str) -> Cow<'a, str> {
        match &*self.label {
            "" => line.into(),
            label => format!("{label}{line}").into(),
        }
    }

    /// Whether a bar can be shown that redraws itself.
    fn has_bars(&self) -> bool {
        let is_standard = matches!(
            self.destination,
            Destination::Output | Destination::BesideOutput
        );
        is_standard && io::stdout().is_terminal() && io::stderr().is_terminal()
    }
}

fn write_line(stream: Stream, line: &str) -> io::Result<()> {
    aside::write(stream, &format!("{line}\n"))
}

/// A text as it is shown there.
fn shown<'a>(text: &'a str, there: &impl IsTerminal) -> Cow<'a, str> {
    match there.is_terminal() {
        true => harmless_lines(text),
        false => text.into(),
    }
}

/// A writer in which a panic left half a line is still a writer.
fn locked(writer: &Mutex<dyn Write + Send>) -> MutexGuard<'_, dyn Write + Send + 'static> {
    writer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds as a person reads them: `42s`, `3m05s`, `2h07m`.
pub fn duration(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s / 60 % 60),
    }
}

/// What a panic said, and where.
fn panic_line(info: &PanicHookInfo) -> String {
    let what = info.payload_as_str().unwrap_or("it does not say why");
    let place = info
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    format!(
        "error: a fault of the program{place}: {what}; please report it with what you asked for"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A writer whose text can be looked at while a console writes to it.
    #[derive(Clone, Default)]
    pub struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_gets_everything_but_prompts() {
        let shared = Shared::default();
        let console = Console::to(shared.clone());
        console.line("a line");
        console.prompt("> ").unwrap();
        console.stream("an ").unwrap();
        console.stream("answer\n").unwrap();
        console.beside_output().line("beside");
        console.error("an\nerror");
        let labelled = console.labelled("rank 1: ");
        labelled.line("of one");
        labelled.error("alone");
        let mut progress = Progress::new(&console, 2, 0);
        progress.console().line("during");
        progress.step(2, "done");
        let wanted = "a line\nan answer\nbeside\nan\\nerror\nrank 1: of one\nrank 1: alone\nduring\nstep 2/2  done\n";
        assert_eq!(shared.text(), wanted);
    }

    #[test]
    fn durations() {
        let texts = [0.4, 59.4, 60.0, 125.0, 3600.0, 7_635.0].map(duration);
        assert_eq!(texts, ["0s", "59s", "1m00s", "2m05s", "1h00m", "2h07m"]);
    }
}
