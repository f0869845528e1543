//! Tables that are broken, and what each kind becomes. `tests/fetch` compares whole files with what
//! pyarrow says.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

fn lines(format: TableFormat, content: &[u8]) -> Result<String> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut out = Vec::new();
    let count = to_lines(format, file, &mut out)?;
    let text = String::from_utf8(out).unwrap();
    assert_eq!(count, text.lines().count() as u64);
    Ok(text)
}

#[test]
fn json_lines_pass_as_they_are() {
    let content =
        "\u{FEFF}{\"a\": 1.0}\r\n\n  {\"b\": [1e400, {\"c\": null}]}  \n{\"d\": \"\\u00e9\"}";
    let wanted = "{\"a\": 1.0}\n{\"b\": [1e400, {\"c\": null}]}\n{\"d\": \"\\u00e9\"}\n";
    assert_eq!(
        lines(TableFormat::Json, content.as_bytes()).unwrap(),
        wanted
    );
    for (content, word) in [
        ("{\"a\": 1}\n[1]\n", "line 2 is no JSON object"),
        ("{\"a\": 1}\n{\"a\"}\n", "line 2"),
        ("[1]", "no JSON object"),
        ("[{}, {]", "key must be"),
        ("[{}] x", "trailing"),
    ] {
        let error = format!(
            "{:#}",
            lines(TableFormat::Json, content.as_bytes()).unwrap_err()
        );
        assert!(error.contains(word), "{content}: {error}");
    }
    assert_eq!(lines(TableFormat::Json, b"").unwrap(), "");
}

#[test]
fn csv_columns_are_numbers_only_if_all_are() {
    let table = "a,b,c,d\n1,1.5,True,2024-01-01 10:00:00\n2,x,False,\n,NaN,,n/a\n";
    let wanted = "{\"a\":1,\"b\":\"1.5\",\"c\":true,\"d\":\"2024-01-01 10:00:00\"}\n\
                  {\"a\":2,\"b\":\"x\",\"c\":false,\"d\":null}\n\
                  {\"a\":null,\"b\":null,\"c\":null,\"d\":null}\n";
    assert_eq!(lines(TableFormat::Csv, table.as_bytes()).unwrap(), wanted);
    let error = lines(TableFormat::Csv, b"a,b\n1,2\n1,2,3\n").unwrap_err();
    assert!(
        error.to_string().contains("line 3") || error.to_string().contains("record"),
        "{error}"
    );
}

#[test]
fn formats_by_name() {
    assert_eq!(TableFormat::of("a/b.PARQUET"), Some(TableFormat::Parquet));
    assert_eq!(TableFormat::of("a.b/c"), None);
    assert_eq!(TableFormat::of("a.jsonl"), Some(TableFormat::Json));
    assert_eq!(TableFormat::of("a.tsv"), Some(TableFormat::Csv));
    assert_eq!(TableFormat::of("a.jsonl.gz"), None);
}

const PARQUET: &[u8] = include_bytes!("../../tests/data/pyarrow.parquet");

#[test]
fn a_panic_of_the_reader_is_an_error() {
    let error = guarded::<()>(|| panic!("as the reader does")).unwrap_err();
    assert_eq!(error.to_string(), "the Parquet file is damaged");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is wrong with a file, it is an error and no panic.
    #[test]
    fn damaged_parquet_is_an_error_or_a_table(
        place in 0..PARQUET.len(),
        byte: u8,
        len in 0..=PARQUET.len(),
        cut: bool,
    ) {
        let mut content = PARQUET.to_vec();
        content[place] = byte;
        if cut {
            content.truncate(len);
        }
        let _ = lines(TableFormat::Parquet, &content);
    }
}
