//! TensorBoard's event files: the numbers of a run as they come, to be watched beside those of
//! other runs.
//!
//! Written by hand: the crates for it (`tensorboard-rs`, `tfrecord`, `tboard`) have not changed
//! since 2022 to 2024 and bring old protobuf or image libraries, for a format that is small. A file
//! is a sequence of records, each of them a length and a protobuf message with a checksum after
//! either; a message here is a time, a step and some named numbers.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use crc::{CRC_32_ISCSI, Crc};

use super::{Eval, Record, Step};
use crate::files::Target;
use crate::setting::TENSORBOARD;

/// An open event file; each run has its own.
pub struct TensorBoard {
    directory: Target,
    file: File,
}

impl TensorBoard {
    /// Opens a new event file in the directory, which is made if need be. A run that resumes after
    /// `done` steps opens one beside those before it, which tells TensorBoard to forget what they
    /// hold of later steps.
    pub fn open(directory: &Path, done: usize) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut board = Self {
            directory: Target::new(directory),
            file: create(directory)?,
        };
        board.record(&[text(3, b"brain.Event:2")])?; // file_version, before all else
        if done > 0 {
            let start = text(7, &number(1, 1)); // session_log { status: START }
            board.record(&[number(2, done as u64 + 1), start])?;
        }
        Ok(board)
    }

    fn scalars(&mut self, step: usize, numbers: &[(impl AsRef<str>, Option<f64>)]) -> Result<()> {
        let written = self.record(&scalars(step, numbers));
        written.with_context(|| format!("cannot write {TENSORBOARD}"))
    }

    /// Writes an event of these fields, stamped with the time.
    fn record(&mut self, fields: &[Vec<u8>]) -> io::Result<()> {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = time.map_or(0.0, |time| time.as_secs_f64());
        self.file.write_all(&framed(&event(seconds, fields)))
    }
}

impl Record for TensorBoard {
    fn name(&self) -> &'static str {
        "tensorboard"
    }

    fn path(&self) -> PathBuf {
        self.directory.path()
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let mut numbers = [
            ("train/loss", Some(step.loss)),
            ("train/loss_avg", Some(step.loss_avg)),
            ("train/lr", Some(step.learning_rate)),
            ("train/tokens_per_s", Some(step.tokens_per_s)),
        ]
        .map(|(tag, number)| (tag.to_string(), number))
        .to_vec();
        let norms = step.grad_norms.iter();
        numbers.extend(norms.map(|(group, norm)| (format!("train/grad_norm_{group}"), *norm)));
        self.scalars(step.step, &numbers)
    }

    fn eval(&mut self, eval: &Eval) -> Result<()> {
        let numbers = [
            ("eval/loss", Some(eval.loss)),
            ("eval/accuracy", Some(eval.accuracy)),
        ];
        self.scalars(eval.step, &numbers)
    }
}

/// A new file. TensorBoard wants the word and the time in its name; the rest tells files apart that
/// begin in the same second.
fn create(directory: &Path) -> io::Result<File> {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = time.map_or(0, |time| time.as_secs());
    let process = std::process::id();
    let mut count = 0;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.{process}.{count}");
        match File::create_new(directory.join(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => count += 1,
            opened => return opened,
        }
    }
}

/// The fields of an event that tells some numbers: `step` and `summary`, with a `value { tag,
/// simple_value }` for each.
fn scalars(step: usize, numbers: &[(impl AsRef<str>, Option<f64>)]) -> [Vec<u8>; 2] {
    let mut values = Vec::new();
    for (tag, number) in numbers {
        if let Some(number) = number {
            let mut value = text(1, tag.as_ref().as_bytes());
            value.push(2 << 3 | 5); // a float
            value.extend((*number as f32).to_le_bytes());
            values.extend(text(1, &value));
        }
    }
    [number(2, step as u64), text(5, &values)]
}

/// An event: its `wall_time`, a double, and the other fields.
fn event(seconds: f64, fields: &[Vec<u8>]) -> Vec<u8> {
    [&[1 << 3 | 1], &seconds.to_le_bytes()[..], &fields.concat()].concat()
}

/// A field that holds bytes: text, or another message.
fn text(field: u8, bytes: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2], &varint(bytes.len() as u64)[..], bytes].concat()
}

/// A field that holds a whole number.
fn number(field: u8, value: u64) -> Vec<u8> {
    [&[field << 3], &varint(value)[..]].concat()
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push(value as u8 | 128);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A record around a message.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    [&length, &checksum(&length)[..], message, &checksum(message)].concat()
}

/// CRC-32C, turned and moved as the format wants it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    let crc = CRC.checksum(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What TensorBoard's own writer wrote: `tests/oracle/make_tensorboard.py`.
    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/tensorboard.events");

    #[test]
    fn records_are_those_of_tensorboard_to_the_byte() {
        let told = |loss, lr| {
            [
                ("train/loss", Some(loss)),
                ("train/none", None),
                ("train/lr", Some(lr)),
            ]
        };
        let events = [
            vec![text(3, b"brain.Event:2")],
            vec![number(2, 300), text(7, &number(1, 1))],
            scalars(1, &told(0.5, 0.01)).to_vec(),
            scalars(300, &told(0.25, f64::NAN)).to_vec(),
            scalars(3_000_000_000, &told(-1.5, f64::INFINITY)).to_vec(),
        ];
        let bytes: Vec<u8> = events
            .iter()
            .flat_map(|fields| framed(&event(1_700_000_000.5, fields)))
            .collect();
        assert_eq!(bytes, GOLDEN);
    }

    #[test]
    fn each_run_has_a_file_and_each_line_is_there_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("runs/one");
        let mut first = TensorBoard::open(&inside, 0).unwrap();
        let _second = TensorBoard::open(&inside, 10).unwrap();
        let mut names: Vec<_> = fs::read_dir(&inside)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        names.sort();
        assert_eq!(names.len(), 2);
        let before = fs::metadata(&names[0]).unwrap().len();
        let eval = Eval {
            step: 1,
            loss: 0.5,
            accuracy: 0.75,
        };
        first.eval(&eval).unwrap();
        assert!(fs::metadata(&names[0]).unwrap().len() > before);
    }
}
