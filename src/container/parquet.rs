//! Parquet: each row as a JSON object with all of its columns.
//!
//! The reader trusts what a file says of itself, and some files are hostile: so how deep a schema
//! is, and what its [`pages`] unpack to, is looked at before it begins, and its panics are errors.

mod pages;
mod row;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::{Type, TypePtr};

use super::Take;
use super::bounded::LONGEST_ROW;
use super::error::ContainerError;
use crate::system::quiet::catch_quietly;

/// Rows held in memory at once.
const BATCH: usize = 32;

/// The deepest schema. A list in a structure is three levels; each costs some kilobytes of stack.
const DEEPEST: usize = 100;

/// Gives each row to `take`, as JSON.
pub fn each<E: From<ContainerError>>(file: File, take: Take<'_, E>) -> Result<(), E> {
    let (mut rows, schema) = guarded(|| open(&file))?;
    let mut json = Vec::new();
    for count in 1.. {
        json.clear();
        let next = || -> Result<bool, ContainerError> {
            let Some(row) = rows.next().transpose()? else {
                return Ok(false);
            };
            row::write(&mut json, &row, Some(&schema));
            Ok(true)
        };
        if !guarded(next)? {
            break;
        }
        if json.len() > LONGEST_ROW {
            return Err(ContainerError::TooLong { row: count }.into());
        }
        take(count, Ok(&json))?;
    }
    Ok(())
}

/// Looks at what the file says of itself, and begins to read.
fn open(file: &File) -> Result<(RowIter<'static>, TypePtr), ContainerError> {
    let metadata = metadata(file)?;
    pages::check(file, &metadata)?;
    let schema = metadata.file_metadata().schema_descr().root_schema_ptr();
    let reader = SerializedFileReader::new(file.try_clone()?)?;
    let rows = RowIter::from_file_into(Box::new(reader)).with_batch_size(BATCH);
    Ok((rows, schema))
}

/// What the file says of itself, if its schema is not too deep.
///
/// Schemas are read, and dropped, by recursion. A level takes five bytes of the file's end or more
/// and less than two kilobytes of stack, so this happens on a thread whose stack suffices. It is left
/// to itself if it does not come to an end.
fn metadata(mut file: &File) -> Result<ParquetMetaData, ContainerError> {
    let mut end = [0; 8];
    let all = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    if all < end.len() {
        return Err(ContainerError::DamagedParquet);
    }
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut end)?;
    let [a, b, c, d, ..] = end;
    let len = all.min(u32::from_le_bytes([a, b, c, d]) as usize);
    let file = file.try_clone()?;
    let read = move || -> Result<ParquetMetaData, ContainerError> {
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file)?;
        let depth = depth(metadata.file_metadata().schema());
        match depth > DEEPEST {
            true => {
                let what = format!("schema is {depth} levels deep; at most {DEEPEST} are read");
                Err(ContainerError::HostileParquet { what })
            }
            false => Ok(metadata),
        }
    };
    let stack = (8 << 20) + len.saturating_mul(400);
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().stack_size(stack).spawn(move || {
        // Nobody listens any more where it took too long.
        let _ = sender.send(guarded(read));
    })?;
    // A list of a billion elements takes no bytes where each of them is nothing, and the reader
    // counts them one by one.
    let patience = Duration::from_secs(5 + (len >> 20) as u64);
    receiver.recv_timeout(patience).unwrap_or_else(|error| {
        Err(match error {
            RecvTimeoutError::Disconnected => ContainerError::DamagedParquet,
            RecvTimeoutError::Timeout => ContainerError::HostileParquet {
                what: format!("description of {len} bytes takes longer than {patience:?} to read; is it damaged?"),
            },
        })
    })
}

fn depth(schema: &Type) -> usize {
    let inner = match schema.is_group() {
        true => schema.get_fields().iter().map(|field| depth(field)).max(),
        false => None,
    };
    1 + inner.unwrap_or(0)
}

/// Does `work` with the Parquet reader, which panics on some damaged files: that is an error here.
fn guarded<T>(work: impl FnOnce() -> Result<T, ContainerError>) -> Result<T, ContainerError> {
    catch_quietly(work).unwrap_or(Err(ContainerError::DamagedParquet))
}

impl From<ParquetError> for ContainerError {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_reader_is_an_error() {
        let error = guarded::<()>(|| panic!("as the reader does")).unwrap_err();
        assert_eq!(error.to_string(), "the Parquet file is damaged");
    }
}
