//! The bytes of a pickle, read from front to back: opcodes, and the numbers, lines and texts that
//! follow them.

use super::error::Error;

/// A pickle, and how far it has been read.
pub struct Code<'p> {
    bytes: &'p [u8],
    /// The next byte to read.
    at: usize,
    /// Where the current instruction began, which is what messages name.
    instruction: usize,
}

impl<'p> Code<'p> {
    pub fn new(bytes: &'p [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            instruction: 0,
        }
    }

    /// Notes that an instruction begins here.
    pub fn begin(&mut self) {
        self.instruction = self.at;
    }

    /// Where the current instruction began.
    pub fn instruction(&self) -> usize {
        self.instruction
    }

    pub fn bytes(&mut self, count: usize) -> Result<&'p [u8], Error> {
        let bytes = self.bytes[self.at..]
            .get(..count)
            .ok_or_else(|| self.cut())?;
        self.at += count;
        Ok(bytes)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        self.array().map(|[byte]| byte)
    }

    /// Text up to a line's end, which is passed over.
    pub fn line(&mut self) -> Result<&'p str, Error> {
        let length = self.bytes[self.at..].iter().position(|&byte| byte == b'\n');
        let line = self.bytes(length.ok_or_else(|| self.cut())?)?;
        self.at += 1;
        self.utf8(line)
    }

    /// Text of so many bytes.
    pub fn text(&mut self, length: u64) -> Result<&'p str, Error> {
        let length = usize::try_from(length).map_err(|_| self.cut())?;
        let text = self.bytes(length)?;
        self.utf8(text)
    }

    /// An integer of as many bytes as the next byte says, little-endian, two's complement.
    pub fn long(&mut self) -> Result<i64, Error> {
        let length = self.byte()?;
        let bytes = self.bytes(length.into())?;
        let negative = bytes.last().is_some_and(|&high| high >= 0x80);
        let mut whole = [if negative { 0xff } else { 0 }; 8];
        let low = whole.get_mut(..bytes.len()).ok_or(Error::Integer {
            at: self.instruction,
        })?;
        low.copy_from_slice(bytes);
        Ok(i64::from_le_bytes(whole))
    }

    fn utf8(&self, bytes: &'p [u8]) -> Result<&'p str, Error> {
        std::str::from_utf8(bytes).map_err(|_| Error::Text {
            at: self.instruction,
        })
    }

    fn cut(&self) -> Error {
        Error::PickleCut {
            at: self.bytes.len(),
        }
    }
}
