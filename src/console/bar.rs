//! Progress bars that are drawn by the thread for standard error, so that a halted terminal does not
//! hold up a stop.

use std::io;
use std::sync::{Mutex, PoisonError};

use ::console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, TermLike};

use super::aside::{self, Stream};

/// How often a bar is drawn at most, in times a second.
const HERTZ: u8 = 20;
/// Characters that stand beside a bar.
const BESIDE: usize = 72;

/// How many characters wide a bar is, so that what stands beside it has room in its line.
pub fn width() -> usize {
    let (_, columns) = Term::stderr().size();
    usize::from(columns).saturating_sub(BESIDE).clamp(4, 24)
}

/// A bar of so many steps, if that is known.
pub fn new(steps: Option<u64>) -> ProgressBar {
    let terminal = Terminal {
        term: Term::stderr(),
        drawn: Mutex::default(),
    };
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(terminal), HERTZ);
    ProgressBar::with_draw_target(steps, target)
}

/// The terminal behind standard error.
#[derive(Debug)]
struct Terminal {
    /// Knows its size.
    term: Term,
    /// What was not flushed yet.
    drawn: Mutex<String>,
}

impl Terminal {
    fn draw(&self, text: &str) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        drawn.push_str(text);
        Ok(())
    }

    /// Moves the cursor; 0 would count as 1.
    fn move_cursor(&self, count: usize, direction: char) -> io::Result<()> {
        match count {
            0 => Ok(()),
            _ => self.draw(&format!("\x1b[{count}{direction}")),
        }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.move_cursor(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(text)?;
        self.draw("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::mem::take(&mut *drawn);
        drop(drawn);
        aside::write(Stream::Error, &text)
    }
}
