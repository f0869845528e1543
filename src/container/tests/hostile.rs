//! Files that are no rows, damaged, or made to do harm; and Parquet, which most of the latter are.

use super::*;

const NESTED: &[u8] = include_bytes!("../../../tests/data/nested.parquet");
const DICTIONARY: &[u8] = include_bytes!("../../../tests/data/dictionary_bomb.parquet");

#[test]
fn what_is_no_file_of_rows_is_named() {
    let mut tar = vec![b' '; 600];
    tar[..9].copy_from_slice(b"data.json");
    tar[9] = 0;
    tar[257..262].copy_from_slice(b"ustar");
    let utf16: Vec<u8> = "{\"a\": \"ü\"}\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let cases: [(&[u8], &[&str]); 10] = [
        (b"PK\x03\x04zip", &["zip", "CSV"]),
        (b"\xfd7zXZ\0\0", &["xz", "gzip or zstd"]),
        (b"\xff\xfe{\0", &["UTF-16", "UTF-8"]),
        (&utf16, &["UTF-16", "UTF-8"]),
        (b"\xff\xfe\0\0{\0\0\0", &["UTF-32", "UTF-8"]),
        (b"\n <!DOCTYPE html>", &["HTML"]),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            &["git lfs pull"],
        ),
        (&tar, &["tar archive"]),
        (b"{\"a\": \0}", &["binary"]),
        (&[0; 5000], &["binary"]),
    ];
    for (content, words) in cases {
        refuses(content, words);
        refuses(gzip(content), words);
    }
}

#[test]
fn a_row_without_end_is_refused_in_bounded_memory() {
    let endless = |start: &'static str, byte| start.as_bytes().chain(io::repeat(byte));
    for (start, byte, row) in [
        ("", b'x', 1),
        ("{}\n", b'x', 2),
        ("{}\n\n{\"a\": \"", b'\x1f', 3),
        ("[{}, \"", b'x', 2),
        ("[{}", b' ', 2),
        ("{\"a\": [{\"b\": \"", b'x', 1),
        ("{\n\"a\": 1,", b' ', 1),
        ("a,b\n1,2\n\"", b'x', 2),
    ] {
        let file = Container::from_reader(endless(start, byte)).unwrap();
        let error = read_all(file).unwrap_err();
        assert!(
            matches!(error, ContainerError::TooLong { row: found } if found == row),
            "{start}: {error}"
        );
    }
    let file = Container::from_reader(endless("{\"a\": [{}], \"b\": \"", b'x')).unwrap();
    assert!(matches!(read_all(file), Err(ContainerError::LongValue { key }) if key == "b"));
    assert!(Container::from_reader(io::repeat(0)).is_err());
    // Nor is one hidden in a small file.
    let bomb = gzip(format!("{{\"a\": \"{}\"}}\n", " ".repeat(LONGEST_ROW)));
    assert!(bomb.len() < 100_000);
    refuses(bomb, &["row 1 is longer than 16 MiB"]);
}

#[test]
fn parquet_is_read_from_a_pipe_too() {
    let wanted = include_str!("../../../tests/data/pyarrow.jsonl");
    let values = |lines: &str| -> Vec<serde_json::Value> {
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    for (content, kind) in [
        (PARQUET.to_vec(), "Parquet"),
        (zstd(PARQUET), "zstd of Parquet"),
    ] {
        let (found, rows) = read(&content).unwrap();
        assert_eq!(found, kind);
        assert!(rows.iter().map(|(number, _)| *number).eq(1..=rows.len()));
        let lines: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
        assert_eq!(values(&lines.join("\n")), values(wanted));
    }
}

#[test]
fn hostile_parquet_is_refused() {
    refuses(NESTED, &["schema is", "levels deep"]);
    refuses(DICTIONARY, &["dictionary of"]);
    refuses(&PARQUET[..PARQUET.len() / 2], &["Parquet"]);
    refuses(b"PAR1", &["Parquet"]);
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
        let _ = read(&content);
    }

    #[test]
    fn any_json_in_an_array_comes_back(rows in prop::collection::vec(any::<String>(), 0..6), pretty: bool) {
        let rows: Vec<_> = rows.iter().map(|text| serde_json::json!({"k": text, "l": [text]})).collect();
        let json = match pretty {
            true => serde_json::to_string_pretty(&rows).unwrap(),
            false => serde_json::to_string(&rows).unwrap(),
        };
        let found = read(json.as_bytes()).unwrap().1;
        let found: Vec<serde_json::Value> =
            found.iter().map(|(_, row)| serde_json::from_str(row).unwrap()).collect();
        prop_assert_eq!(found, rows);
    }

    #[test]
    fn any_text_in_a_table_comes_back(rows in prop::collection::vec(("[a\",;\t\r\né]{1,6}", any::<String>()), 1..5)) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut table = "a,b\n".to_string();
        for (a, b) in &rows {
            table += &format!("{},{}\n", quoted(a), quoted(b));
        }
        prop_assume!(!table.contains('\0'));
        let found = read(table.as_bytes()).unwrap().1;
        let wanted: Vec<_> = rows.iter().map(|(a, b)| serde_json::json!({"a": a, "b": b})).collect();
        let found: Vec<serde_json::Value> =
            found.iter().map(|(_, row)| serde_json::from_str(row).unwrap()).collect();
        prop_assert_eq!(found, wanted);
    }
}

/// The file whose last column says of its first page that it is unpacked to two GiB.
fn swollen() -> Vec<u8> {
    use ::parquet::file::reader::{FileReader, SerializedFileReader};

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(PARQUET).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let group = reader.metadata().row_groups().last().unwrap();
    let at = group.columns().last().unwrap().byte_range().0 as usize;
    // A field's kind, the kind of page, a field's kind, and the size in groups of seven bits.
    assert_eq!((PARQUET[at], PARQUET[at + 2]), (0x15, 0x15));
    let size = PARQUET[at + 3..].iter().position(|byte| byte & 0x80 == 0);
    let behind = at + 3 + size.unwrap() + 1;
    let most = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    [&PARQUET[..at + 3], &most, &PARQUET[behind..]].concat()
}

#[test]
fn a_page_that_would_fill_the_memory_is_refused_before_it_is_unpacked() {
    refuses(swollen(), &["write the file again"]);
}

#[test]
fn a_description_that_claims_more_than_it_has_is_refused() {
    for (content, words) in [
        // A list of two billion elements of no bytes, a minute's work.
        (
            &include_bytes!("../../../tests/data/endless.parquet")[..],
            "damaged",
        ),
        // An element of the schema with a hundred million children, for which no memory suffices.
        (
            include_bytes!("../../../tests/data/claimed_children.parquet"),
            "damaged",
        ),
    ] {
        let begun = std::time::Instant::now();
        refuses(content, &[words]);
        assert!(begun.elapsed().as_secs() < 2);
    }
}

const DELTAS: [&[u8]; 2] = [
    include_bytes!("../../../tests/data/deltas_1.parquet"),
    include_bytes!("../../../tests/data/deltas_2.parquet"),
];

#[test]
fn lengths_that_are_written_as_differences_are_read_and_counted_first() {
    for content in DELTAS {
        let rows = read(content).unwrap().1;
        assert_eq!(rows.len(), 200);
        let wanted = r#"{"input":"question 002","output":"answer 002","tags":["t0","t1"]}"#;
        assert_eq!(rows[2].1, wanted);
        assert!(
            rows[7]
                .1
                .starts_with(r#"{"input":null,"output":"answer 007""#)
        );
        // Blocks of 128 lengths in four parts: then comes how many lengths there are, in two bytes.
        let starts = [0x80, 1, 4];
        let places = content.windows(3).enumerate();
        let places: Vec<usize> = places
            .filter(|(_, w)| *w == starts)
            .map(|(at, _)| at)
            .collect();
        assert_eq!(places.len(), 4);
        for at in places {
            let most = [0xff, 0x7f];
            refuses(
                [&content[..at + 3], &most, &content[at + 5..]].concat(),
                &["the Parquet file is damaged"],
            );
        }
    }
}

#[test]
fn columns_that_lie_on_each_other_are_refused() {
    // The size of the first column in the description: a field's kind, and the size.
    let content = DELTAS[0];
    let size = |number: u64| {
        [
            0x16_u8,
            0x80 | (number << 1 & 0x7f) as u8,
            (number >> 6) as u8,
        ]
    };
    let own = {
        use ::parquet::file::metadata::ParquetMetaDataReader;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        let read = ParquetMetaDataReader::new()
            .parse_and_finish(&file)
            .unwrap();
        size(read.row_group(0).column(1).byte_range().1)
    };
    let at = content
        .windows(3)
        .rposition(|window| window == own)
        .unwrap();
    let most = size(8191);
    refuses(
        [&content[..at], &most, &content[at + 3..]].concat(),
        &["take more bytes than the file has"],
    );
}
