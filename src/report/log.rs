//! The log file: one JSON object a line for each step and each evaluation, written at once so that
//! it can be followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::{Eval, Record, Step};
use crate::console;
use crate::files::{self, Target};
use crate::setting::LOG_FILE;

/// The most bytes of a log's first line that are looked at: far more than a step takes.
const LONGEST_LINE: u64 = 1 << 16;
/// How lines of a log begin: a step's, and an evaluation's.
const STARTS: [&[u8]; 2] = [b"{\"step\":", b"{\"eval_"];

/// An open log.
pub struct Log {
    target: Target,
    file: File,
}

impl Log {
    /// Errors when a log could not be written to `path`, or would be written behind something that is
    /// no log. Writes nothing. What is no file, such as a pipe, takes all.
    pub fn check(path: &Path) -> Result<()> {
        let Ok(found) = fs::metadata(path) else {
            return Ok(files::check_writable(path)?);
        };
        ensure!(
            !found.is_dir(),
            "it is a directory; give it a name of its own"
        );
        if found.is_file() {
            // Lines are added to it, so that it need not be possible to replace it.
            ensure!(
                !found.permissions().readonly(),
                "it is write-protected; make it writable or give another name"
            );
            OpenOptions::new().append(true).open(path)?;
            ensure!(
                is_log(path)?,
                "the file there is no log, and nothing is written behind it; move it away or give \
                 another name"
            );
        }
        Ok(())
    }

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

/// Whether a file is empty or begins as a log does: with an object that tells a step, of which a run
/// that was killed may have left a part.
fn is_log(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    let start = File::open(path)?.take(LONGEST_LINE);
    for line in BufReader::new(start).split(b'\n') {
        first = line?;
        if !first.trim_ascii().is_empty() {
            break;
        }
    }
    let first = first.trim_ascii();
    Ok(match serde_json::from_slice::<serde_json::Value>(first) {
        Ok(line) => line.get("step").is_some(),
        Err(_) => first.is_empty() || STARTS.iter().any(|start| first.starts_with(start)),
    })
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

    #[test]
    fn what_is_no_log_gets_no_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        Log::check(&path).unwrap();
        for log in ["", "\n", "{\"step\":1}\n", "\n{\"step\":1}", "{\"eval_a\n"] {
            std::fs::write(&path, log).unwrap();
            Log::check(&path).unwrap();
        }
        for other in [
            "PK\x03\x04",
            "notes",
            "{\"input\":\"a\"}\n",
            "{\n  \"a\": 1\n}",
            "\0",
        ] {
            std::fs::write(&path, other).unwrap();
            let error = Log::check(&path).unwrap_err().to_string();
            assert!(error.contains("is no log"), "{other}: {error}");
        }
        let error = Log::check(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
        std::fs::write(&path, "").unwrap();
        let mut protected = std::fs::metadata(&path).unwrap().permissions();
        protected.set_readonly(true);
        std::fs::set_permissions(&path, protected).unwrap();
        let error = Log::check(&path).unwrap_err().to_string();
        assert!(error.contains("write-protected"), "{error}");
    }
}
