//! Compressed files: gzip (of any number of members) and zstd (of any number of frames), unpacked
//! as they are read.

use std::io::{self, ErrorKind, Read};

use flate2::read::MultiGzDecoder;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zstd,
}

impl Packing {
    /// By the first bytes; `None` is any other file.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one to be skipped, with which some programs begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// What `bytes` unpack to. Memory is bounded: 32 KiB of window, or 128 MiB for zstd.
    pub fn unpack(self, bytes: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
        let inner: Box<dyn Read> = match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Self::Zstd => Box::new(zstd::Decoder::new(bytes)?),
        };
        Ok(Box::new(Unpacked {
            inner,
            packing: self,
        }))
    }
}

/// Says of what kind the data are that cannot be unpacked.
struct Unpacked {
    inner: Box<dyn Read>,
    packing: Packing,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let name = self.packing.name();
        self.inner.read(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => io::Error::other(format!(
                "the {name} data end too early, or something else follows them; the file is not whole"
            )),
            _ if error.to_string().contains("too much memory") => io::Error::other(format!(
                "the {name} data need more than 128 MiB to be unpacked ({error}); unpack them before, such \
                 as by zstd -d, told of a long window"
            )),
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => {
                io::Error::other(format!(
                    "the {name} data are damaged, or followed by something else ({error})"
                ))
            }
            _ => error,
        })
    }
}
