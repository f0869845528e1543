//! The log file: one JSON object a line for each step and each evaluation, written at once so that
//! it can be followed.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::json;

use super::{Eval, Record, Step};
use crate::console;
use crate::files::Target;
use crate::setting::LOG_FILE;

/// An open log.
pub struct Log {
    target: Target,
    file: File,
}

impl Log {
    /// Opens a log and keeps what is in it: the lines of another run follow, from step 1 again. A
    /// pipe that nobody reads is an error, and not waited for.
    pub fn open(path: &Path) -> Result<Self> {
        let is_torn = ends_inside_a_line(path);
        let mut file = open(path).with_context(|| cannot_write(path))?;
        if is_torn {
            file.write_all(b"\n").with_context(|| cannot_write(path))?;
        }
        Ok(Self {
            file,
            target: Target::new(path),
        })
    }

    fn line(&mut self, what: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(what)?;
        line.push('\n');
        let written = write_all(&mut self.file, line.as_bytes());
        written.with_context(|| cannot_write(&self.path()))
    }
}

impl Record for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn path(&self) -> PathBuf {
        self.target.path()
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        self.line(step)
    }

    fn eval(&mut self, eval: &Eval) -> Result<()> {
        let Eval {
            step,
            loss,
            accuracy,
        } = eval;
        self.line(&json!({ "step": step, "eval_loss": loss, "eval_accuracy": accuracy }))
    }
}

/// Opens the file so that a pipe or a terminal says when it takes no more.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use rustix::{fs::OFlags, io::Errno};
        use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
        let no_reader = Some(Errno::NXIO.raw_os_error());
        options.custom_flags(OFlags::NONBLOCK.bits() as i32);
        options.open(path).map_err(|error| {
            let is_pipe = path
                .metadata()
                .is_ok_and(|found| found.file_type().is_fifo());
            match is_pipe && error.raw_os_error() == no_reader {
                true => io::Error::other("nobody reads this pipe; start its reader first"),
                false => error,
            }
        })
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Writes all, and waits for a slow reader: until a stop is asked for, which must not wait.
fn write_all(file: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !console::wait_a_moment() {
                    return Err(io::Error::other("its reader does not read"));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether a run that was killed left a part of a line. A pipe is not opened for reading: with its
/// own writer as a reader, it would never tell that nobody else reads it.
fn ends_inside_a_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut last = [0];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    path.is_file() && last().is_ok_and(|last| last != b'\n')
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {LOG_FILE} {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_that_nobody_reads_is_refused_and_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = format!("{:#}", Log::open(&path).err().unwrap());
        assert!(
            error.ends_with("nobody reads this pipe; start its reader first"),
            "{error}"
        );
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let eval = Eval {
            step: 1,
            loss: 0.5,
            accuracy: 1.0,
        };
        for (before, lines) in [("", 1), ("{}\n", 2), ("{}\n{\"st", 3)] {
            std::fs::write(&path, before).unwrap();
            Log::open(&path).unwrap().eval(&eval).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(text.starts_with(before) && text.ends_with("}\n"), "{text}");
        }
    }
}
