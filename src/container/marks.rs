//! Watches quotation marks on their way to the reader of CSV, which lets pass what is no CSV: text
//! behind a closing mark, as where marks inside a value are written `\"`, or where tabs delimit
//! values whose marks mean nothing. It would change such values without a word.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

/// Passes bytes on, and notes where a value goes on behind its closing mark.
pub struct Marks<R> {
    inner: R,
    delimiter: u8,
    at: u64,
    place: Place,
    strays: Strays,
}

/// Where the next byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// First in a value.
    Start,
    /// In a value without marks.
    Bare,
    /// Between marks.
    Quoted,
    /// Behind a mark, which closes the value unless another mark follows.
    Closed,
}

/// Offsets of bytes that follow a closing mark and should not, in order.
#[derive(Clone, Default)]
pub struct Strays(Rc<RefCell<VecDeque<u64>>>);

impl Strays {
    /// Whether there is one before `offset`. It and all before it are forgotten.
    pub fn take_before(&self, offset: u64) -> bool {
        let mut offsets = self.0.borrow_mut();
        let count = offsets.partition_point(|&at| at < offset);
        offsets.drain(..count);
        count > 0
    }
}

impl<R: Read> Marks<R> {
    /// Watches what `inner` reads.
    pub fn new(inner: R, delimiter: u8) -> (Self, Strays) {
        let strays = Strays::default();
        let marks = Self {
            inner,
            delimiter,
            at: 0,
            place: Place::Start,
            strays: strays.clone(),
        };
        (marks, strays)
    }

    fn next_place(&self, byte: u8) -> Place {
        let ends_value = byte == self.delimiter || byte == b'\n' || byte == b'\r';
        match (self.place, byte) {
            (Place::Start, b'"') | (Place::Closed, b'"') => Place::Quoted,
            (Place::Quoted, b'"') => Place::Closed,
            (Place::Quoted, _) => Place::Quoted,
            (Place::Start | Place::Bare | Place::Closed, _) if ends_value => Place::Start,
            (Place::Start | Place::Bare, _) => Place::Bare,
            (Place::Closed, _) => {
                self.strays.0.borrow_mut().push_back(self.at);
                Place::Bare
            }
        }
    }
}

impl<R: Read> Read for Marks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        for &byte in &buffer[..read] {
            self.place = self.next_place(byte);
            self.at += 1;
        }
        Ok(read)
    }
}
