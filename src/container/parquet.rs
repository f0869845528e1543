//! Parquet: each row as a JSON object with all of its columns.
//!
//! The reader trusts what a file says of itself, and some files are hostile: so its
//! [`description`], what its [`pages`] unpack to, over how many of them a row goes on ([`levels`]) and
//! how many lengths they hold ([`deltas`]) are looked at before it begins, and its panics are errors.

mod deltas;
mod description;
mod levels;
mod pages;
mod row;
mod thrift;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::schema::types::TypePtr;

use super::Take;
use super::bounded::LONGEST_ROW;
use super::error::ContainerError;
use crate::system::quiet::catch_quietly;

/// Rows held in memory at once.
const BATCH: usize = 32;

/// The longest description, in bytes: 16 MiB. Each may come to some fifty in memory.
const LONGEST: u32 = 16 << 20;

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

/// What the file says of itself, once that is looked at: schemas are read, and dropped, by recursion.
fn metadata(mut file: &File) -> Result<ParquetMetaData, ContainerError> {
    let mut end = [0; 8];
    let all = file.metadata()?.len();
    if all < end.len() as u64 {
        return Err(ContainerError::DamagedParquet);
    }
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut end)?;
    let [a, b, c, d, ..] = end;
    let len = u32::from_le_bytes([a, b, c, d]);
    if u64::from(len) > all - 8 {
        return Err(ContainerError::DamagedParquet);
    }
    if len > LONGEST {
        let what = format!(
            "description takes {} MiB, where at most {} are read; write the file again with larger \
             row groups",
            len >> 20,
            LONGEST >> 20
        );
        return Err(ContainerError::HostileParquet { what });
    }
    let mut bytes = vec![0; len as usize];
    file.seek(SeekFrom::End(-8 - i64::from(len)))?;
    file.read_exact(&mut bytes)?;
    description::check(&bytes)?;
    Ok(ParquetMetaDataReader::new().parse_and_finish(file)?)
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
