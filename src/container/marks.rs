//! Watches quotation marks on their way to the reader of CSV, which lets pass what is no CSV: text
//! behind a closing mark, as where marks inside a value are written `\"`, or where tabs delimit
//! values whose marks mean nothing. It would change such values without a word.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::rc::Rc;

use memchr::memchr;

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

    /// Looks at the bytes that come next. Most are passed over: only marks, and what stands beside
    /// them, matter.
    fn watch(&mut self, bytes: &[u8]) {
        let ends_value = |byte: u8| byte == self.delimiter || byte == b'\n' || byte == b'\r';
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.place == Place::Closed {
                self.place = match byte {
                    b'"' => Place::Quoted,
                    byte if ends_value(byte) => Place::Start,
                    _ => {
                        let offset = self.at + at as u64;
                        self.strays.0.borrow_mut().push_back(offset);
                        Place::Bare
                    }
                };
                at += 1;
                continue;
            }
            let rest = &bytes[at..];
            let mark = memchr(b'"', rest);
            let before = &rest[..mark.unwrap_or(rest.len())];
            if self.place != Place::Quoted
                && let Some(&last) = before.last()
            {
                self.place = match ends_value(last) {
                    true => Place::Start,
                    false => Place::Bare,
                };
            }
            at += before.len();
            if mark.is_some() {
                self.place = match self.place {
                    Place::Start => Place::Quoted,
                    Place::Quoted => Place::Closed,
                    // A mark inside a value without marks is one of its characters.
                    Place::Bare | Place::Closed => Place::Bare,
                };
                at += 1;
            }
        }
        self.at += bytes.len() as u64;
    }
}

impl<R: Read> Read for Marks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.watch(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same, byte by byte: what follows a closing mark and should not.
    fn strays_of(text: &[u8]) -> Vec<u64> {
        let (mut place, mut found) = (Place::Start, Vec::new());
        for (at, &byte) in (0..).zip(text) {
            place = match (place, byte) {
                (Place::Start | Place::Closed, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::Closed,
                (Place::Quoted, _) => Place::Quoted,
                (_, b',' | b'\n' | b'\r') => Place::Start,
                (Place::Start | Place::Bare, _) => Place::Bare,
                (Place::Closed, _) => {
                    found.push(at);
                    Place::Bare
                }
            };
        }
        found
    }

    #[test]
    fn strays_are_found_however_the_bytes_come() {
        // All texts of seven of these bytes.
        let signs = b"\"a,\n";
        for number in 0..signs.len().pow(7) {
            let digit = |place: u32| signs[number / signs.len().pow(place) % signs.len()];
            let text: Vec<u8> = (0..7).map(digit).collect();
            for size in [1, 2, 7] {
                let (mut marks, strays) = Marks::new(&text[..], b',');
                let mut buffer = vec![0; size];
                while marks.read(&mut buffer).unwrap() > 0 {}
                assert_eq!(*strays.0.borrow(), strays_of(&text), "{text:?}");
            }
        }
    }
}
