//! What a person sees while the program runs: lines, progress bars, and messages of what went wrong.
//!
//! Progress goes to the terminal as a bar and to a pipe as plain lines. Nothing shown is worth a lost run: when nobody
//! reads standard output any more, training goes on and the state is saved.

mod progress;
mod transfer;

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

pub use indicatif::DecimalBytes;
pub use progress::Progress;
pub use transfer::Transfer;

static OUTPUT_IS_DATA: AtomicBool = AtomicBool::new(false);

/// From here on standard output is for another program, and [`print`] writes to standard error.
pub fn leave_output_to_data() {
    OUTPUT_IS_DATA.store(true, Ordering::Relaxed);
}

/// A line on standard output.
pub fn print(line: &str) {
    // A reader that went away is no reason to stop.
    let _ = if OUTPUT_IS_DATA.load(Ordering::Relaxed) {
        writeln!(io::stderr(), "{line}")
    } else {
        writeln!(io::stdout(), "{line}")
    };
}

/// Text for a person who types at a terminal; a pipe does not get it.
pub fn prompt(text: &str) -> io::Result<()> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        stream(text)?;
    }
    Ok(())
}

/// Text on standard output as it comes, without a line's end. Errors when nobody reads any more.
pub fn stream(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// A line on standard error. Messages quote files, which may hold anything: what would break the line or speak to the
/// terminal is escaped, and a page is enough.
pub fn error(line: &str) {
    let _ = writeln!(io::stderr(), "{}", harmless(line));
}

fn harmless(line: &str) -> String {
    const MOST: usize = 2000;
    let mut text = String::new();
    for c in line.chars().take(MOST) {
        match c {
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    if line.chars().nth(MOST).is_some() {
        text.push_str("...");
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_and_short() {
        assert_eq!(harmless("a\nb \u{1b}[31m é"), "a\\nb \\u{1b}[31m é");
        assert_eq!(harmless(&"x".repeat(5000)).len(), 2003);
    }

    #[test]
    fn durations() {
        let texts = [0.4, 59.4, 60.0, 125.0, 3600.0, 7_635.0].map(duration);
        assert_eq!(texts, ["0s", "59s", "1m00s", "2m05s", "1h00m", "2h07m"]);
    }
}
