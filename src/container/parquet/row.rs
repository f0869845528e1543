//! A row of a Parquet file as a JSON object.
//!
//! The reader gives values without saying of a time whether it is UTC, nor that a number counts
//! nanoseconds; so the schema is walked beside the row.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, NaiveDate, NaiveTime, SecondsFormat, Utc};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as PhysicalType};
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde::Serialize;

/// Appends `row` to `json` as an object with all of its columns.
///
/// Floats of 16 and 32 bits are written as Python reads them, as 64 bits: 0.1 of 32 bits is
/// 0.10000000149011612. Dates and times are written as RFC 3339 has them, without an offset where
/// the file has none; impossible ones are null. Bytes of any length that are UTF-8 are text, which
/// not every writer marks as such; others are an object with their hexadecimal digits under `bytes`,
/// and digits alone where all are as long.
pub fn write(json: &mut Vec<u8>, row: &Row, schema: Option<&Type>) {
    json.push(b'{');
    for (number, (name, value)) in row.get_column_iter().enumerate() {
        if number > 0 {
            json.push(b',');
        }
        scalar(json, name);
        json.push(b':');
        let kind = schema.and_then(|schema| children(schema).get(number));
        field(json, value, kind.map(Arc::as_ref));
    }
    json.push(b'}');
}

/// `kind` is the value's place in the schema, where that is known.
fn field(json: &mut Vec<u8>, value: &Field, kind: Option<&Type>) {
    match value {
        Field::Null => scalar(json, &()),
        Field::Bool(value) => scalar(json, value),
        Field::Byte(value) => scalar(json, value),
        Field::Short(value) => scalar(json, value),
        Field::Int(value) => scalar(json, value),
        Field::Long(value) => long(json, *value, kind),
        Field::UByte(value) => scalar(json, value),
        Field::UShort(value) => scalar(json, value),
        Field::UInt(value) => scalar(json, value),
        Field::ULong(value) => scalar(json, value),
        Field::Float16(value) => scalar(json, &value.to_f64()),
        Field::Float(value) => scalar(json, &f64::from(*value)),
        Field::Double(value) => scalar(json, value),
        // With all of its digits, which a number would not keep.
        Field::Decimal(_) => scalar(json, value.to_string().trim_end_matches('.')),
        Field::Str(value) => scalar(json, value),
        Field::Bytes(value) if let Some(text) = text(value.data(), kind) => scalar(json, text),
        Field::Bytes(value) => {
            let digits = value.data().iter().map(|byte| format!("{byte:02x}"));
            let digits = digits.collect::<String>();
            match is_of_one_length(kind) {
                true => scalar(json, &digits),
                // No text, where one is needed.
                false => scalar(json, &BTreeMap::from([("bytes", digits)])),
            }
        }
        Field::Date(days) => {
            let first = NaiveDate::default(); // of 1970
            let date =
                Duration::try_days(i64::from(*days)).and_then(|d| first.checked_add_signed(d));
            scalar(json, &date.map(|date| format!("{date:?}")));
        }
        Field::TimeMillis(time) => time_of_day(json, i64::from(*time), 1_000_000),
        Field::TimeMicros(time) => time_of_day(json, *time, 1_000),
        Field::TimestampMillis(time) => moment(json, DateTime::from_timestamp_millis(*time), kind),
        Field::TimestampMicros(time) => moment(json, DateTime::from_timestamp_micros(*time), kind),
        Field::Group(row) => write(json, row, kind),
        Field::ListInternal(list) => {
            let kind = kind.and_then(element);
            json.push(b'[');
            for (number, value) in list.elements().iter().enumerate() {
                if number > 0 {
                    json.push(b',');
                }
                field(json, value, kind);
            }
            json.push(b']');
        }
        Field::MapInternal(map) => {
            let entry = kind.and_then(|kind| children(kind).first());
            let [of_key, kind] = [0, 1].map(|at| entry.and_then(|entry| children(entry).get(at)));
            json.push(b'{');
            for (number, (key, value)) in map.entries().iter().enumerate() {
                if number > 0 {
                    json.push(b',');
                }
                match key {
                    Field::Str(key) => scalar(json, key),
                    Field::Bytes(key)
                        if let Some(key) = text(key.data(), of_key.map(Arc::as_ref)) =>
                    {
                        scalar(json, key)
                    }
                    key => scalar(json, &key.to_string()),
                }
                json.push(b':');
                field(json, value, kind.map(Arc::as_ref));
            }
            json.push(b'}');
        }
    }
}

/// Bytes that are text, though nothing says so.
fn text<'a>(bytes: &'a [u8], kind: Option<&Type>) -> Option<&'a str> {
    let text = std::str::from_utf8(bytes).ok();
    text.filter(|_| !is_of_one_length(kind))
}

/// Whether all of a column's bytes are as long, as those of numbers are.
fn is_of_one_length(kind: Option<&Type>) -> bool {
    kind.is_some_and(|kind| {
        kind.is_primitive() && kind.get_physical_type() == PhysicalType::FIXED_LEN_BYTE_ARRAY
    })
}

fn scalar(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("memory takes all that is written");
}

/// A number, or nanoseconds that the schema calls a time.
fn long(json: &mut Vec<u8>, value: i64, kind: Option<&Type>) {
    match kind.and_then(|kind| kind.get_basic_info().logical_type_ref()) {
        Some(LogicalType::Timestamp(time)) if time.unit == TimeUnit::NANOS => {
            moment(json, Some(DateTime::from_timestamp_nanos(value)), kind);
        }
        Some(LogicalType::Time(time)) if time.unit == TimeUnit::NANOS => {
            time_of_day(json, value, 1)
        }
        _ => scalar(json, &value),
    }
}

/// A date and time. The older kind of annotation means UTC by its definition.
fn moment(json: &mut Vec<u8>, moment: Option<DateTime<Utc>>, kind: Option<&Type>) {
    let is_utc = kind.is_some_and(|kind| match kind.get_basic_info().logical_type_ref() {
        Some(LogicalType::Timestamp(time)) => time.is_adjusted_to_u_t_c,
        _ => kind.get_basic_info().converted_type() != ConvertedType::NONE,
    });
    let text = moment.map(|moment| match is_utc {
        true => moment.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        false => format!("{:?}", moment.naive_utc()),
    });
    scalar(json, &text);
}

/// A time of day, in units of so many nanoseconds since midnight.
fn time_of_day(json: &mut Vec<u8>, units: i64, nanoseconds: i64) {
    const SECOND: i64 = 1_000_000_000;
    let time = units.checked_mul(nanoseconds).and_then(|time| {
        let seconds = u32::try_from(time.div_euclid(SECOND)).ok()?;
        NaiveTime::from_num_seconds_from_midnight_opt(seconds, time.rem_euclid(SECOND) as u32)
    });
    scalar(json, &time.map(|time| format!("{time:?}")));
}

fn children(kind: &Type) -> &[TypePtr] {
    match kind.is_group() {
        true => kind.get_fields(),
        false => &[],
    }
}

/// What the elements of a list are. Of the ways to write one, the elements are, by how many levels
/// it takes: the field itself, which is repeated; the repeated field in it; or what that holds.
fn element(list: &Type) -> Option<&Type> {
    let is_list = list.get_basic_info().converted_type() == ConvertedType::LIST;
    let repeated = match children(list) {
        [repeated] if is_list => repeated.as_ref(),
        _ => return Some(list),
    };
    match children(repeated) {
        [one] if !["array", &format!("{}_tuple", list.name())].contains(&repeated.name()) => {
            Some(one)
        }
        _ => Some(repeated),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use crate::container::{Container, ContainerError};

    /// As pyarrow has them, by Python's `f"{value:f}"`.
    #[test]
    fn decimals_keep_their_digits() {
        let file = include_bytes!("../../../tests/data/decimals.parquet");
        let mut rows = Vec::new();
        Container::from_reader(Cursor::new(file))
            .unwrap()
            .each(|_, row| -> Result<(), ContainerError> {
                rows.push(String::from_utf8_lossy(row?).into_owned());
                Ok(())
            })
            .unwrap();
        let wanted = [
            r#"{"d9":"1.50","d18":"-1.000001","d38":"12345678901234567890123456789012345678","d20":"0.00000000000000000001"}"#,
            r#"{"d9":"-0.05","d18":"0.100000","d38":"-7","d20":"-0.50000000000000000000"}"#,
            r#"{"d9":"100.00","d18":"123456789012.000000","d38":"0","d20":"0.12345678901234567890"}"#,
            r#"{"d9":"0.00","d18":"-0.000001","d38":"1","d20":"0.00000000000000000000"}"#,
            r#"{"d9":null,"d18":null,"d38":null,"d20":null}"#,
        ];
        assert_eq!(rows, wanted);
    }
}
