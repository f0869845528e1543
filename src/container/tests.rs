//! Every kind of file by its content, and files that are broken or hostile. `tests/containers` runs
//! the program on files that other programs wrote.

mod hostile;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

const PARQUET: &[u8] = include_bytes!("../../tests/data/pyarrow.parquet");

/// What the file is, and its rows.
fn read(content: &[u8]) -> Result<(String, Vec<(usize, String)>), ContainerError> {
    read_all(Container::from_reader(Cursor::new(content.to_vec()))?)
}

fn read_all(file: Container) -> Result<(String, Vec<(usize, String)>), ContainerError> {
    let (kind, mut rows) = (file.to_string(), Vec::new());
    file.each(|number, row| {
        rows.push((number, String::from_utf8(row?.to_vec()).unwrap()));
        Ok::<(), ContainerError>(())
    })?;
    Ok((kind, rows))
}

#[track_caller]
fn becomes(content: impl AsRef<[u8]>, kind: &str, rows: &[(usize, &str)]) {
    let (found_kind, found) = read(content.as_ref()).unwrap();
    let found: Vec<(usize, &str)> = found.iter().map(|(n, row)| (*n, row.as_str())).collect();
    assert_eq!((found_kind.as_str(), found.as_slice()), (kind, rows));
}

#[track_caller]
fn refuses(content: impl AsRef<[u8]>, words: &[&str]) {
    let error = read(content.as_ref()).unwrap_err();
    // The chain in one line, as the program shows it.
    let error = format!("{:#}", anyhow::Error::from(error));
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(content.as_ref(), 3).unwrap()
}

#[test]
fn json_lines_pass_as_they_are() {
    let content =
        "\u{FEFF}{\"a\": 1.0}\r\n\n  {\"b\": [1e400, {\"c\": null}]}  \n{\"d\": \"\\u00e9\"}";
    let rows = [
        (1, "{\"a\": 1.0}"),
        (3, "  {\"b\": [1e400, {\"c\": null}]}"),
        (4, "{\"d\": \"\\u00e9\"}"),
    ];
    becomes(content, "JSON lines", &rows);
    // What is no JSON is for whoever reads the row, with its line.
    for content in [
        "{\"a\": 1}\n{\"a\"}\n",
        "INFO: a, b\n{\"a\": 1}\n",
        "\"a\": 1}, x\n\n{\"a\": 1}\n",
        "{\"a\": 1,\n{\"a\": 2}\nx",
        "\"a\"\n\"b\"",
        "{\"a\": \"b\n{\"a\": 1}",
        "{'a': 1}\n{'a': 2}",
        "{\"messages\": [{\"role\": \"user\"}]}",
        "{\"a\": 1} {\"a\": 2}\n",
        "hello",
        "hello\nworld",
        "Hello world\nit is prose",
        "",
        "\n \n",
        "1\n2",
    ] {
        let lines = content.lines().map(str::trim_end).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty());
        let lines: Vec<_> = lines.map(|(at, line)| (at + 1, line)).collect();
        becomes(content, "JSON lines", &lines);
    }
}

#[test]
fn arrays_give_their_elements() {
    let rows = [
        (1, "{\"a\": 1}"),
        (2, "{\"b\":   [\"x\\n]\", null]}"),
        (3, "\"c\""),
    ];
    for content in [
        "[{\"a\": 1}, {\"b\":   [\"x\\n]\", null]}, \"c\"]",
        "\u{FEFF}\n[\n{\"a\": 1},{\"b\": \n [\"x\\n]\",\rnull]},\n\"c\"]\n\n",
    ] {
        becomes(content, "a JSON array", &rows);
    }
    becomes("[]", "a JSON array", &[]);
    // Arrays one after another are rows, whatever they hold.
    becomes("[1]\n[2]", "JSON lines", &[(1, "[1]"), (2, "[2]")]);
    let talk = "[{\"role\": \"a\", \"content\": \"b\"}]";
    becomes(talk, "JSON lines", &[(1, talk)]);
    becomes(format!("[{talk}]"), "a JSON array", &[(1, talk)]);
    becomes(
        talk.replace("{", "{\n"),
        "JSON objects over several lines",
        &[(1, "[{ \"role\": \"a\", \"content\": \"b\"}]")],
    );
    refuses("[{}, {]", &["row 2", "key must be", "line 1, column 7"]);
    refuses("[{}] x", &["row 2", "trailing"]);
    refuses("\n[1", &["row 2", "EOF while parsing a list", "line 2"]);
    refuses(b"[\"\xff\"]", &["row 1", "invalid unicode"]);
}

#[test]
fn an_object_around_the_rows_is_seen_through() {
    let rows = [(1, "{\"a\": 1}"), (2, "{\"a\": 2}")];
    for content in [
        "{\"data\": [{\"a\": 1}, {\"a\": 2}]}",
        "{\"version\": \"[{\", \"data\": [{\"a\": 1}, {\"a\": 2}], \"tags\": [\"x\"], \"x\": {}}\n",
        "{\n  \"data\": [\n{\"a\": 1},\n{\"a\": 2}\n]\n}",
    ] {
        becomes(content, "the array \"data\" of a JSON object", &rows);
    }
    let text = "{\"license\": \"MIT\", \"data\": [{}], \"n\": 1}";
    let file = Container::from_reader(text.as_bytes()).unwrap();
    let beside = file.each(|_, _| Ok::<(), ContainerError>(())).unwrap();
    assert_eq!(beside.keys, ["license", "n"]);
    refuses(
        "{\"train\": [{}], \"n\": [], \"test\": [{\"a\": 1}]}",
        &["more than one array", "\"train\" and \"test\""],
    );
}

#[test]
fn objects_over_several_lines_are_rows() {
    // As `jq .` and `json.dumps(row, indent=2)` write them.
    let content = "{\n  \"a\": 1\n}\n{\n  \"messages\": [\n    {\"role\": \"user\"}\n  ]\n}\n";
    let rows = [
        (1, "{   \"a\": 1 }"),
        (2, "{   \"messages\": [     {\"role\": \"user\"}   ] }"),
    ];
    becomes(content, "JSON objects over several lines", &rows);
    becomes(
        &content[..13],
        "JSON objects over several lines",
        &rows[..1],
    );
    let broken = content.replace("\n    {\"r", "\n    {r");
    refuses(
        broken,
        &["row 2", "key must be a string", "line 6, column 6"],
    );
    refuses(&content[..content.len() - 3], &["row 2", "EOF"]);
}

#[test]
fn csv_values_stay_the_texts_they_are() {
    let rows = [
        (1, r#"{"a":"1","b c":"1.50","d":"True"}"#),
        (2, r#"{"a":"None","b c":"x, \"y\"\nz","d":""}"#),
        (3, r#"{"a":"é","b c":" 007","d":"NaN"}"#),
    ];
    let table = "a,\"b c\", d\n1,1.50,True\nNone,\"x, \"\"y\"\"\nz\",\n\né, 007,NaN";
    becomes(table, "CSV", &rows);
    becomes(format!("\u{FEFF}{table}\n\n"), "CSV", &rows);
    for (sign, kind) in [("\t", "CSV with tabs"), (";", "CSV with semicolons")] {
        let table = table
            .replace("x,", "x;;")
            .replace(',', sign)
            .replace("x;;", "x,");
        becomes(table, kind, &rows);
    }
    let crlf = [(1, r#"{"a":"1","b":"x\r\ny"}"#)];
    becomes("a,b\r\n1,\"x\r\ny\"\r\n", "CSV", &crlf);
    becomes(
        "prompt\nWhat?\n\"a, b\"\n",
        "CSV",
        &[(1, r#"{"prompt":"What?"}"#), (2, r#"{"prompt":"a, b"}"#)],
    );
    // pandas' index has no name.
    becomes(
        ",a,\n0,x,\n",
        "CSV",
        &[(1, r#"{"column 1":"0","a":"x","column 3":""}"#)],
    );
    becomes("a,b\n", "CSV", &[]);
    // Excel's line that names the delimiter.
    for (table, kind) in [
        ("sep=;\r\na;b\r\n1,5;2\r\n", "CSV with semicolons"),
        ("sep=\t\na\tb\n1,5\t2", "CSV with tabs"),
        ("sep=|\na|b\n1,5|2\n", "CSV with delimiters"),
    ] {
        becomes(table, kind, &[(1, r#"{"a":"1,5","b":"2"}"#)]);
    }
    refuses("sep=,\na,b\n1,2,3\n", &["row 1 (near line 3", "commas"]);
}

#[test]
fn csv_that_loses_something_is_refused() {
    let cases: [(&[u8], &[&str]); 10] = [
        (
            b"a,b\n1,2\n\n1,2,3\n",
            &["row 2 (near line", "3 where", "2 columns", "commas"],
        ),
        (b"a\tb\nx\n", &["row 1 (near line", "1 where", "tabs"]),
        (
            b"a,b\n1,\"2\n3,4\n",
            &["inside a value in quotation marks, in row 1"],
        ),
        (
            b"a,b\n1,2\n\"He said \\\"hi\\\"\",b\n",
            &["row 2 (near line 3", "behind its closing quotation mark"],
        ),
        (
            b"a\tb\n\"Hi\" he said\tx\n",
            &["row 1 (near line 2", "twice"],
        ),
        (
            b"a\tb\n\"Hi\tx\ny\t\"z\" w\n",
            &["row 1 (near line 2", "twice"],
        ),
        (b"a,\"b\n1,2\n", &["in row 0"]),
        (b"a,b,a\n1,2,3\n", &["column \"a\" twice"]),
        (b"a,b\n1,caf\xe9\n", &["row 1 (near line", "not UTF-8"]),
        (b"a,caf\xe9\n1,2\n", &["row 0 (near line", "not UTF-8"]),
    ];
    for (table, words) in cases {
        refuses(table, words);
    }
    refuses(
        ",".repeat(1 << 20),
        &["names 1048577 columns", "at most 10000"],
    );
    refuses(
        "text\n\u{1}end of the table\u{1}\nb\n",
        &["control characters"],
    );
}

#[test]
fn a_short_mark_of_another_kind_does_not_make_a_table_one() {
    for name in ["ORCA", "BZhelp", "Rar!", "ARROW1", "<s>"] {
        becomes(
            format!("{name},b\n1,2"),
            "CSV",
            &[(1, &format!(r#"{{"{name}":"1","b":"2"}}"#))],
        );
    }
    for level in b'1'..=b'9' {
        refuses(
            [b"BZh", &[level][..], b"\x17\x72\x45\x38\x50\x90"].concat(),
            &["bzip2"],
        );
    }
    refuses("  <Html lang=\"en\">a, b", &["HTML"]);
    refuses("<script>\n", &["HTML"]);
    refuses(
        [0xff, 0xff, 0xff, 0xff, 8, 1],
        &["an Arrow stream", "to_parquet"],
    );
    refuses(
        "\u{1e}{\"a\": 1}\n\u{1e}{\"a\": 2}\n",
        &["a JSON text sequence"],
    );
}

#[test]
fn what_is_compressed_is_unpacked() {
    let rows = [(1, "{\"a\": 1}"), (2, "{\"a\": 2}")];
    let lines = "{\"a\": 1}\n{\"a\": 2}\n";
    becomes(gzip(lines), "gzip of JSON lines", &rows);
    becomes(zstd(lines), "zstd of JSON lines", &rows);
    becomes(
        gzip("\u{FEFF}[{\"a\": 1}, {\"a\": 2}]"),
        "gzip of a JSON array",
        &rows,
    );
    becomes(
        zstd("a;b\n1;2"),
        "zstd of CSV with semicolons",
        &[(1, r#"{"a":"1","b":"2"}"#)],
    );
    // Members and frames one after another, of which one ends inside a line.
    for pack in [|text: &str| gzip(text), |text: &str| zstd(text)] {
        let (kind, found) =
            read(&[pack(&lines[..13]), pack(""), pack(&lines[13..])].concat()).unwrap();
        assert!(kind.ends_with(" of JSON lines"));
        assert_eq!(
            found,
            [(1, rows[0].1.to_string()), (2, rows[1].1.to_string())]
        );
    }
    // A frame to be skipped, with which pzstd begins.
    let skipped = [
        &[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 7, 7],
        &zstd(lines)[..],
    ]
    .concat();
    becomes(skipped, "zstd of JSON lines", &rows);
}

#[test]
fn compressed_data_that_are_not_whole_are_refused() {
    let lines = "{\"a\": 1}\n".repeat(300_000);
    for (name, packed) in [("gzip", gzip(&lines)), ("zstd", zstd(&lines))] {
        for len in [packed.len() - 1, packed.len() - 9, packed.len() / 2, 20] {
            refuses(&packed[..len], &[name, "end too early"]);
        }
        refuses([&packed[..], b"garbage"].concat(), &[name, "follow"]);
        let mut damaged = packed.clone();
        damaged[packed.len() - 6] ^= 1;
        refuses(damaged, &[name, "damaged"]);
        let word = format!("gzip of {name}");
        refuses(gzip(&packed), &[&word, "unpack it once"]);
    }
}

/// Many writers do not mark text as such; what pyarrow writes of `bytes` is not marked either.
#[test]
fn bytes_that_are_utf_8_are_text() {
    becomes(
        include_bytes!("../../tests/data/bytes.parquet"),
        "Parquet",
        &[
            (
                1,
                r#"{"input":"Say hello","output":"Arr","raw":{"bytes":"ff01"},"id":"6162","map":{"a":"b"}}"#,
            ),
            (
                2,
                r#"{"input":"ü","output":"","raw":null,"id":"6364","map":{}}"#,
            ),
        ],
    );
}
