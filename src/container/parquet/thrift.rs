//! Thrift's compact protocol, as far as Parquet describes itself in it, read before the reader does.
//!
//! The reader takes each field that it knows for what it should be, whatever kind it has in the file;
//! so kinds are looked at here. A list whose elements take no bytes, which can claim any length, is
//! refused.

use std::io::{self, BufRead, Read};

use Kind::{Byte, Bytes, Double, Flag, I16, I32, I64, List, Record};

/// What a field is.
pub enum Kind {
    /// A truth value, which lies in the field's own byte.
    Flag,
    Byte,
    I16,
    I32,
    I64,
    Double,
    Bytes,
    List(&'static Kind),
    Record(Fields),
}

/// The fields of a record that the reader knows, by their numbers. It passes over others.
pub type Fields = &'static [(i32, Kind)];

/// Kinds as they are written.
pub mod wire {
    pub const STOP: u8 = 0;
    pub const TRUE: u8 = 1;
    pub const FALSE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const I16: u8 = 4;
    pub const I32: u8 = 5;
    pub const I64: u8 = 6;
    pub const DOUBLE: u8 = 7;
    pub const BINARY: u8 = 8;
    pub const LIST: u8 = 9;
    pub const SET: u8 = 10;
    pub const STRUCT: u8 = 12;
}

impl Kind {
    /// Whether a field of this kind is written so.
    fn is_written(&self, wire: u8) -> bool {
        let own = match self {
            Flag => return matches!(wire, wire::TRUE | wire::FALSE),
            Byte => wire::BYTE,
            I16 => wire::I16,
            I32 => wire::I32,
            I64 => wire::I64,
            Double => wire::DOUBLE,
            Bytes => wire::BINARY,
            List(_) => wire::LIST,
            Record(_) => wire::STRUCT,
        };
        own == wire
    }
}

/// Bytes in the protocol, as they are read.
pub struct Thrift<R> {
    pub bytes: R,
}

impl<R: BufRead> Thrift<R> {
    /// Passes over a record, and gives its whole numbers to `take` with those of their fields.
    pub fn record(
        &mut self,
        fields: Fields,
        depth: usize,
        take: &mut dyn FnMut(i32, i64),
    ) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(odd)?;
        let mut id = 0;
        while let Some(wire) = self.field(&mut id)? {
            match fields.iter().find(|(known, _)| *known == id) {
                Some((_, I32)) if wire == wire::I32 => take(id, self.zigzag()?),
                _ => self.known(fields, id, wire, depth)?,
            }
        }
        Ok(())
    }

    /// Passes over the value of a field, which must be what the reader takes it for.
    pub fn known(&mut self, fields: Fields, id: i32, wire: u8, depth: usize) -> io::Result<()> {
        match fields.iter().find(|(known, _)| *known == id) {
            Some((_, kind)) if kind.is_written(wire) => self.value(kind, depth),
            Some(_) => Err(odd()),
            None => self.skip(wire, depth),
        }
    }

    fn value(&mut self, kind: &Kind, depth: usize) -> io::Result<()> {
        match kind {
            Flag => Ok(()),
            Byte => self.byte().map(drop),
            I16 | I32 | I64 => self.varint().map(drop),
            Double => self.pass_by(8),
            Bytes => {
                let len = self.varint()?;
                self.pass_by(len)
            }
            List(element) => {
                let depth = depth.checked_sub(1).ok_or_else(odd)?;
                let (count, wire) = self.list()?;
                // Writers give an empty list any kind.
                if count > 0 && !element.is_written(wire) {
                    return Err(odd());
                }
                (0..count).try_for_each(|_| self.value(element, depth))
            }
            Record(fields) => self.record(fields, depth, &mut |_, _| {}),
        }
    }

    /// The kind of the next field, with its number in `id`; `None` at the record's end.
    pub fn field(&mut self, id: &mut i32) -> io::Result<Option<u8>> {
        let byte = self.byte()?;
        let (wire, further) = (byte & 0xf, i32::from(byte >> 4));
        if wire == wire::STOP {
            return Ok(None);
        }
        *id = match further {
            0 => i32::from(i16::try_from(self.zigzag()?).map_err(|_| odd())?),
            further => *id + further,
        };
        Ok(Some(wire))
    }

    /// How many elements a list has, and their kind.
    pub fn list(&mut self) -> io::Result<(u64, u8)> {
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.varint()?,
            few => u64::from(few),
        };
        Ok((count, byte & 0xf))
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.bytes.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// A number in groups of seven bits, of 64 at most.
    pub fn varint(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(odd())
    }

    /// A number whose signs alternate: 0, -1, 1, -2, ...
    pub fn zigzag(&mut self) -> io::Result<i64> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Passes over a value that the reader does not know.
    pub fn skip(&mut self, wire: u8, depth: usize) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(odd)?;
        match wire {
            wire::TRUE | wire::FALSE => Ok(()),
            wire::BYTE => self.byte().map(drop),
            wire::I16 | wire::I32 | wire::I64 => self.varint().map(drop),
            wire::DOUBLE => self.pass_by(8),
            wire::BINARY => {
                let len = self.varint()?;
                self.pass_by(len)
            }
            wire::LIST | wire::SET => {
                let (count, element) = self.list()?;
                // The reader takes no byte for a truth value in a list, and so would count to
                // whatever length is claimed.
                if count > 0 && matches!(element, wire::TRUE | wire::FALSE) {
                    return Err(odd());
                }
                (0..count).try_for_each(|_| self.skip(element, depth))
            }
            wire::STRUCT => {
                let mut id = 0;
                while let Some(wire) = self.field(&mut id)? {
                    self.skip(wire, depth)?;
                }
                Ok(())
            }
            _ => Err(odd()),
        }
    }

    fn pass_by(&mut self, count: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.bytes.by_ref().take(count), &mut io::sink())?;
        match passed == count {
            true => Ok(()),
            false => Err(odd()),
        }
    }
}

/// The error of bytes that are not what they should be.
pub fn odd() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
