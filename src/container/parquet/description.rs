//! What a Parquet file says of itself at its end, looked at before the reader, which makes place for
//! as many children as an element of the schema claims, and follows them by recursion.

use super::super::bounded::MOST_COLUMNS;
use super::super::error::ContainerError;
use super::thrift::Kind::{self, Byte, Bytes, Double, Flag, I16, I32, I64, List, Record};
use super::thrift::{Fields, Thrift, wire};

/// The deepest schema. A list in a structure is three levels; each costs some kilobytes of stack.
const DEEPEST_SCHEMA: usize = 100;

/// How deep the description may be: its own structures are eight levels.
const DEEPEST: usize = 16;

pub const STATISTICS: Fields = &[
    (1, Bytes),
    (2, Bytes),
    (3, I64),
    (4, I64),
    (5, Bytes),
    (6, Bytes),
    (7, Flag),
    (8, Flag),
    (9, I64),
];

const TIME: Fields = &[(1, Flag), (2, Record(&[]))];

/// What a value means; each meaning without parameters is an empty record.
const LOGICAL_TYPE: Fields = &[
    (1, Record(&[])),
    (2, Record(&[])),
    (3, Record(&[])),
    (4, Record(&[])),
    (5, Record(&[(1, I32), (2, I32)])),
    (6, Record(&[])),
    (7, Record(TIME)),
    (8, Record(TIME)),
    (10, Record(&[(1, Byte), (2, Flag)])),
    (11, Record(&[])),
    (12, Record(&[])),
    (13, Record(&[])),
    (14, Record(&[])),
    (15, Record(&[])),
    (16, Record(&[(1, Byte)])),
    (17, Record(&[(1, Bytes)])),
    (18, Record(&[(1, Bytes), (2, I32)])),
];

const SCHEMA_ELEMENT: Fields = &[
    (1, I32),
    (2, I32),
    (3, I32),
    (4, Bytes),
    (5, I32),
    (6, I32),
    (7, I32),
    (8, I32),
    (9, I32),
    (10, Record(LOGICAL_TYPE)),
];

/// How many children an element of the schema has.
const CHILDREN: i32 = 5;

const KEY_VALUE: Kind = Record(&[(1, Bytes), (2, Bytes)]);

const BOUNDING_BOX: Fields = &[
    (1, Double),
    (2, Double),
    (3, Double),
    (4, Double),
    (5, Double),
    (6, Double),
    (7, Double),
    (8, Double),
];

const COLUMN: Fields = &[
    (1, I32),
    (2, List(&I32)),
    (3, List(&Bytes)),
    (4, I32),
    (5, I64),
    (6, I64),
    (7, I64),
    (8, List(&KEY_VALUE)),
    (9, I64),
    (10, I64),
    (11, I64),
    (12, Record(STATISTICS)),
    (13, List(&Record(&[(1, I32), (2, I32), (3, I32)]))),
    (14, I64),
    (15, I32),
    (16, Record(&[(1, I64), (2, List(&I64)), (3, List(&I64))])),
    (17, Record(&[(1, Record(BOUNDING_BOX)), (2, List(&I32))])),
];

const COLUMN_CHUNK: Fields = &[
    (1, Bytes),
    (2, I64),
    (3, Record(COLUMN)),
    (4, I64),
    (5, I32),
    (6, I64),
    (7, I32),
    (8, Record(&[])),
    (9, Bytes),
];

const ROW_GROUP: Fields = &[
    (1, List(&Record(COLUMN_CHUNK))),
    (2, I64),
    (3, I64),
    (4, List(&Record(&[(1, I32), (2, Flag), (3, Flag)]))),
    (5, I64),
    (6, I64),
    (7, I16),
];

/// What stands at a file's end, but for the schema.
const DESCRIPTION: Fields = &[
    (1, I32),
    (2, List(&Record(SCHEMA_ELEMENT))),
    (3, I64),
    (4, List(&Record(ROW_GROUP))),
    (5, List(&KEY_VALUE)),
    (6, Bytes),
    (
        7,
        List(&Record(&[
            (1, Record(&[])),
            (2, Record(&[])),
            (3, Record(&[])),
        ])),
    ),
];

/// The number of the schema in it.
const SCHEMA: i32 = 2;

/// Looks at the description of a file: that it is what the reader takes it for, and that its schema
/// is a tree of no more levels and columns than are read.
pub fn check(description: &[u8]) -> Result<(), ContainerError> {
    let mut thrift = Thrift { bytes: description };
    let mut id = 0;
    let damaged = |_| ContainerError::DamagedParquet;
    while let Some(wire) = thrift.field(&mut id).map_err(damaged)? {
        match DESCRIPTION.iter().find(|(known, _)| *known == id) {
            Some((SCHEMA, _)) if wire == wire::LIST => {
                let (count, element) = thrift.list().map_err(damaged)?;
                if element != wire::STRUCT {
                    return Err(ContainerError::DamagedParquet);
                }
                schema(&mut thrift, count)?;
            }
            _ => {
                let known = thrift.known(DESCRIPTION, id, wire, DEEPEST);
                known.map_err(damaged)?;
            }
        }
    }
    Ok(())
}

/// Passes over the elements of a schema, each of which is followed by its children.
fn schema(thrift: &mut Thrift<&[u8]>, count: u64) -> Result<(), ContainerError> {
    // How many children are still to come, for each element round the next one.
    let mut open: Vec<u64> = Vec::new();
    let mut columns = 0;
    for number in 0..count {
        let mut children = 0;
        let read = thrift.record(SCHEMA_ELEMENT, DEEPEST, &mut |id, value| {
            if id == CHILDREN {
                children = value;
            }
        });
        read.map_err(|_| ContainerError::DamagedParquet)?;
        while open.last() == Some(&0) {
            open.pop();
        }
        match open.last_mut() {
            Some(left) => *left -= 1,
            None if number > 0 => return Err(ContainerError::DamagedParquet),
            None => {}
        }
        match u64::try_from(children) {
            Ok(0) => columns += 1,
            Ok(children) if children < count - number => open.push(children),
            _ => return Err(ContainerError::DamagedParquet),
        }
        let what = match () {
            () if open.len() >= DEEPEST_SCHEMA => {
                format!("schema is more than {DEEPEST_SCHEMA} levels deep; save the data flatter")
            }
            () if columns > MOST_COLUMNS => format!(
                "schema has more than {MOST_COLUMNS} columns, the most that are read; is it a \
                 table of texts?"
            ),
            () => continue,
        };
        return Err(ContainerError::HostileParquet { what });
    }
    Ok(())
}
