//! A reader that bounds how much is read for one row: a line without end, or an array that never
//! closes, is an error before it fills the memory.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

/// The most bytes of a row, 16 MiB: some four million tokens, far more than a sequence may have.
pub const LONGEST_ROW: usize = 16 << 20;

/// The most columns of a table, each of which costs more than its comma.
pub const MOST_COLUMNS: usize = 10_000;

/// Fails once more than [`LONGEST_ROW`] bytes were read since the last row.
pub struct Bounded {
    inner: Box<dyn Read>,
    budget: Budget,
}

/// What is left to be read for a row.
#[derive(Clone)]
pub struct Budget(Rc<Cell<usize>>);

impl Budget {
    /// A row has come; the next one may be as long again.
    pub fn renew(&self) {
        self.0.set(LONGEST_ROW);
    }
}

impl Bounded {
    /// Buffered, and with its budget.
    pub fn new(inner: Box<dyn Read>) -> (BufReader<Self>, Budget) {
        let budget = Budget(Rc::new(Cell::new(LONGEST_ROW)));
        let bounded = Self {
            inner,
            budget: budget.clone(),
        };
        (BufReader::with_capacity(1 << 16, bounded), budget)
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.0.get();
        if left == 0 {
            return Err(io::Error::other(TooLong));
        }
        let most = buffer.len().min(left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.budget.0.set(left - read);
        Ok(read)
    }
}

/// The error of a row that is too long, inside an [`io::Error`].
#[derive(Debug)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row is longer than {} MiB", LONGEST_ROW >> 20)
    }
}

impl std::error::Error for TooLong {}
