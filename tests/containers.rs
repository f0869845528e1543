//! Files of rows that other programs wrote (Python's `json` and `csv`, `gzip`, `zstd`, `jq`'s
//! layout), as data, held-out data and prompts, from a file and through a pipe: all of them hold
//! the rows of `data.jsonl`.

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use state_tune::data::{Example, Formats, dataset};

use common::{Dir, tiny};

/// Each file, and what it is read as.
const FILES: [(&str, &str); 11] = [
    ("oneline.json", "a JSON array"),
    ("pretty.json", "a JSON array"),
    ("object.json", "the array \"data\" of a JSON object"),
    ("documents.json", "JSON objects over several lines"),
    ("data.csv", "CSV"),
    ("tabs.tsv", "CSV with tabs"),
    ("excel.csv", "CSV with semicolons"),
    ("data.jsonl.gz", "gzip of JSON lines"),
    ("members.jsonl.gz", "gzip of JSON lines"),
    ("array.json.gz", "gzip of a JSON array"),
    ("table.csv.zst", "zstd of CSV"),
];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/rows")
        .join(name)
}

/// What a dry run says of the examples.
fn survey(said: &str) -> Vec<&str> {
    let is_of_examples = |line: &&str| {
        ["tokens", "cut", "first", "eval"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    said.lines().filter(is_of_examples).collect()
}

#[test]
fn every_file_holds_the_same_examples() {
    let tokens = |name: &str| -> Vec<(Vec<u32>, usize)> {
        let read = dataset::read(&file(name), &Formats::default()).unwrap();
        read.examples
            .into_iter()
            .map(|Example { tokens, line, .. }| (tokens, line))
            .collect()
    };
    let wanted = tokens("data.jsonl");
    assert_eq!(wanted.len(), 3);
    for (name, _) in FILES {
        assert_eq!(tokens(name), wanted, "{name}");
    }
    assert_eq!(tokens("frames.jsonl.zst"), wanted);
}

#[test]
fn a_file_of_another_kind_is_said_whatever_its_name() {
    let dir = Dir::new();
    let plain = file("data.jsonl").display().to_string();
    let said = dir.succeeds(&["--dry_run", "--data_path", &plain]);
    assert!(!said.contains("note "), "{said}");
    let wanted = survey(&said);
    assert_eq!(wanted.len(), 3, "{said}");
    for (name, kind) in FILES {
        fs::copy(file(name), dir.path("data")).unwrap();
        let said = dir.succeeds(&["--dry_run", "--data_path=data"]);
        assert_eq!(survey(&said), wanted, "{name}");
        assert!(
            said.contains(&format!("note   data is read as {kind}")),
            "{name}: {said}"
        );
    }
    fs::copy(file("object.json"), dir.path("data")).unwrap();
    let said = dir.succeeds(&["--dry_run", "--data_path=data"]);
    assert!(
        said.contains("`version` beside its rows, which is not used"),
        "{said}"
    );
}

#[test]
fn what_is_fetched_is_of_any_kind_too() {
    let dir = Dir::new();
    let url = format!("--data_url=file://{}", file("data.jsonl.gz").display());
    let said = dir.succeeds(&["--dry_run", "--data_path=d.jsonl", &url]);
    assert!(
        said.contains("note   d.jsonl is read as gzip of JSON lines"),
        "{said}"
    );
    assert!(said.contains("of 3 examples"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_read_once() {
    let dir = Dir::new();
    let plain = file("data.jsonl").display().to_string();
    let said = dir.succeeds(&["--dry_run", "--data_path", &plain]);
    let wanted = survey(&said);
    for name in [
        "data.jsonl",
        "pretty.json",
        "tabs.tsv",
        "data.jsonl.gz",
        "table.csv.zst",
    ] {
        for path in ["-", "/dev/stdin"] {
            let mut child = dir.command(&["--dry_run", "--data_path", path]);
            child.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = child.spawn().unwrap();
            let mut pipe = child.stdin.take().unwrap();
            std::io::copy(&mut File::open(file(name)).unwrap(), &mut pipe).unwrap();
            drop(pipe);
            let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
            assert_eq!(survey(&said), wanted, "{name}");
        }
    }
    // Parquet is read from its end, so a pipe of it is copied first.
    let parquet = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pyarrow.parquet");
    let formats = [
        "--prompt_formatter={text}",
        "--response_formatter=x{text}",
        "--skip_bad",
        "--dry_run",
    ];
    let wanted = dir.succeeds(&[&formats[..], &["--data_path", parquet]].concat());
    let mut child = dir.command(&[&formats[..], &["--data_path=-"]].concat());
    let said = child
        .stdin(File::open(parquet).unwrap())
        .output()
        .unwrap()
        .stdout;
    assert_eq!(survey(&String::from_utf8(said).unwrap()), survey(&wanted));
}

#[test]
fn held_out_data_and_prompts_are_of_any_kind_too() {
    let dir = Dir::new();
    let flags = |name: &str| format!("--eval_path={}", file(name).display());
    let said = dir.succeeds(&["--dry_run", &flags("table.csv.zst")]);
    assert!(said.contains("eval   3 examples of "), "{said}");
    assert!(said.contains("is read as zstd of CSV"), "{said}");

    let data = format!("--data_path={}", tiny("train.jsonl").display());
    dir.succeeds(&[&data, "--max_epochs=0.01", "--batchsize=1"]);
    let answers = |name: &str| -> Vec<Value> {
        let prompts = format!("--prompts={}", file(name).display());
        let run = dir.run(&[&prompts, "--max_tokens=4"]);
        assert!(run.status.success());
        // What is said of the file stands beside the answers.
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(said.contains("is read as"), name != "data.jsonl", "{said}");
        let lines = String::from_utf8(run.stdout).unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let wanted = answers("data.jsonl");
    assert_eq!(wanted.len(), 3);
    assert_eq!(answers("tabs.tsv"), wanted);
    dir.write("prompts.json", "[\"user: a\", \"user: b\"]");
    let out = dir
        .run(&["--prompts=prompts.json", "--max_tokens=1"])
        .stdout;
    assert_eq!(String::from_utf8(out).unwrap().lines().count(), 2);
}

#[test]
fn what_is_wrong_is_said_with_the_kind_and_the_row() {
    let dir = Dir::new();
    let refuses = |content: &[u8], words: &[&str]| {
        dir.write("data", content);
        let words = [&["data", "cannot use the data"], words].concat();
        dir.refuses(&["--data_path=data"], 1, &words);
        dir.refuses(&["--eval_path=data", "--dry_run"], 1, &words);
    };
    let whole = fs::read(file("data.jsonl.gz")).unwrap();
    refuses(&whole[..whole.len() - 20], &["gzip", "end too early"]);
    refuses(&[&whole[..], b"garbage"].concat(), &["gzip", "follow"]);
    let table = b"input,output\na,b\nc\n";
    refuses(table, &["read as CSV", "line 2 (near line", "1 where"]);
    // Every bad row of a table is told in one go, or left out.
    let table = b"input,output\na,b\nc\nd,e\nf,g,h\ni,\xe9\n";
    let all = &[
        "3 rows cannot be used",
        "line 2 (",
        "line 4 (",
        "line 5 (",
        "not UTF-8",
    ];
    refuses(table, all);
    let said = dir.succeeds(&["--data_path=data", "--dry_run", "--skip_bad"]);
    assert!(said.contains("3 rows left out"), "{said}");
    // The rows' own errors call a row a line.
    let missing = &[
        "read as a JSON array",
        "a line in messages means one of its rows",
        "line 2",
        "`output`",
    ];
    refuses(
        b"[{\"input\": \"a\", \"output\": \"b\"},\n\n\n{\"input\": \"c\"}]",
        missing,
    );
    refuses(b"\xff\xfe{\0\"\0", &["UTF-16"]);
    refuses(b"PK\x03\x04....", &["zip"]);
    refuses(
        b"{\"input\": \"a\", \"output\": \"b\"}\n{\"input\": \"\xe9\"}\n",
        &["line 2", "not UTF-8"],
    );
    let zero = dir.run(&["--data_path=/dev/zero"]);
    let error = String::from_utf8(zero.stderr).unwrap();
    assert!(
        error.contains("binary") && error.lines().count() == 1,
        "{error}"
    );
}
