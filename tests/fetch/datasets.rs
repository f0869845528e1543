//! Datasets of the hub become JSON lines.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use state_tune::console::Console;
use state_tune::fetch::{self, Remote, RetryPolicy, Wanted};
use state_tune::setting::{DATA_PATH, DATA_URL};
use state_tune::system;

use crate::common::Dir;
use crate::hub::{COMMIT, LINE, Shelf, command, run};
use crate::server::{Answer, Server};

const OTHER: &str = "{\"input\": \"b\", \"output\": \"B\"}\n";

/// Looks at a dataset, and gives back what was said and the lines it became.
fn look(server: &Server, name: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let dir = Dir::new();
    let dataset = format!("--huggingface_dataset={name}");
    let flags = [&["--dry_run", "--data_path=d.jsonl", &dataset], flags].concat();
    let (code, said) = run(&mut command(&dir, server, &flags));
    let lines = fs::read_to_string(dir.path("d.jsonl")).unwrap_or_default();
    let names = dir.names();
    let whole = if code == Some(0) {
        vec!["d.jsonl"]
    } else {
        Vec::new()
    };
    assert_eq!(names, whole, "{said}");
    (code, said, lines)
}

#[track_caller]
fn becomes(server: &Server, name: &str, flags: &[&str], wanted: &str) {
    let (code, said, lines) = look(server, name, flags);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(rows(&lines), rows(wanted), "{said}");
}

/// Lines as values: 1e16 and 1e+16 are one number, and space between values is none of ours.
fn rows(lines: &str) -> Vec<Value> {
    lines
        .split_terminator('\n')
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
fn refuses(server: &Server, name: &str, flags: &[&str], words: &[&str]) {
    let (code, said, _) = look(server, name, flags);
    assert_eq!(code, Some(1), "{said}");
    let error = said.lines().last().unwrap();
    assert!(words.iter().all(|word| error.contains(word)), "{said}");
}

/// A Parquet file that pyarrow wrote, and what pyarrow and Python's json say it holds.
const PARQUET: &[u8] = include_bytes!("../data/pyarrow.parquet");
const PARQUET_LINES: &str = include_str!("../data/pyarrow.jsonl");

#[test]
fn parquet_comes_first_then_the_hubs_conversion_then_other_tables() {
    let shelf = Shelf::default()
        .file("datasets/me/mine/README.md", "about")
        .file("datasets/me/mine/data/train-00000-of-00001.jsonl", LINE);
    becomes(&shelf.clone().serve(), "me/mine", &[], LINE);
    let converted = shelf.file(
        "datasets/me/mine@refs/convert/parquet/default/train/0000.parquet",
        PARQUET,
    );
    let templates = [
        "--prompt_formatter={text}",
        "--response_formatter=x{text}",
        "--skip_bad", // one text is empty
    ];
    becomes(
        &converted.clone().serve(),
        "me/mine",
        &templates,
        PARQUET_LINES,
    );
    // Of another revision there is no conversion.
    becomes(
        &converted.clone().serve(),
        &format!("me/mine@{COMMIT}"),
        &[],
        LINE,
    );
    let own = converted.file(
        "datasets/me/mine/data/validation-00000-of-00001.parquet",
        PARQUET,
    );
    let flags = [&templates[..], &["--dataset_split=validation"]].concat();
    becomes(&own.serve(), "me/mine", &flags, PARQUET_LINES);
}

#[test]
fn shards_come_in_order_and_splits_by_name() {
    let server = Shelf::default()
        .file("datasets/me/mine/train-00001-of-00002.jsonl", OTHER)
        .file("datasets/me/mine/train-00000-of-00002.jsonl", LINE)
        .file("datasets/me/mine/dev.jsonl", OTHER)
        .file("datasets/me/mine/dataset_infos.json", "{}")
        .serve();
    becomes(&server, "me/mine", &[], &format!("{LINE}{OTHER}"));
    becomes(&server, "me/mine", &["--dataset_split=validation"], OTHER);
    let wanted = ["no split \"test\"", "it has train, validation"];
    refuses(&server, "me/mine", &["--dataset_split=test"], &wanted);
}

#[test]
fn configurations_are_those_of_the_card() {
    let card = json!({"configs": [
        {"config_name": "one", "data_files": "one/*.jsonl"},
        {"config_name": "two", "data_files": [
            {"split": "train", "path": ["two/a.jsonl", "two/b*.jsonl"]},
            {"split": "held_out", "path": "two/c.jsonl"},
        ]},
    ]});
    let shelf = Shelf::default()
        .file("datasets/me/mine/one/x.jsonl", LINE)
        .file("datasets/me/mine/two/a.jsonl", OTHER)
        .file("datasets/me/mine/two/b1.jsonl", LINE)
        .file("datasets/me/mine/two/c.jsonl", OTHER);
    let server = shelf.clone().card("me/mine", card.clone()).serve();
    becomes(&server, "me/mine:one", &[], LINE);
    becomes(&server, "me/mine:two", &[], &format!("{OTHER}{LINE}"));
    becomes(&server, "me/mine:two", &["--dataset_split=held_out"], OTHER);
    refuses(
        &server,
        "me/mine",
        &[],
        &["name one as me/mine:NAME", "one, two"],
    );
    refuses(
        &server,
        "me/mine:three",
        &[],
        &["no configuration \"three\"", "one, two"],
    );
    let mut card = card;
    card["configs"][0]["default"] = json!(true);
    becomes(&shelf.card("me/mine", card).serve(), "me/mine", &[], LINE);
}

#[test]
fn arrays_and_tables_become_lines() {
    let array = "\u{FEFF}[\n  {\"input\": \"a\\nb\",\n   \"output\": \"ü\", \"deep\": {\"x\": [1, null]}},\n  {\"input\": \"c\", \"output\": \"d\"}\n]\n";
    let server = Shelf::default()
        .file("datasets/me/mine/train.json", array)
        .serve();
    let (code, said, lines) = look(&server, "me/mine", &[]);
    assert_eq!(code, Some(0), "{said}");
    let wanted: Vec<Value> = serde_json::from_str(array.trim_start_matches('\u{FEFF}')).unwrap();
    assert_eq!(rows(&lines), wanted);

    let table = "\u{FEFF}input,output,n,x,day\n\"a, \"\"b\"\"\nc\",ü,1,0.5,2024-01-01\nNA,d,2,,x\n";
    let server = Shelf::default()
        .file("datasets/me/mine/train.csv", table)
        .serve();
    let flags = ["--prompt_formatter={n}", "--response_formatter={output}"];
    // Values are the texts they are.
    let wanted = "{\"input\":\"a, \\\"b\\\"\\nc\",\"output\":\"ü\",\"n\":\"1\",\"x\":\"0.5\",\"day\":\"2024-01-01\"}\n\
                  {\"input\":\"NA\",\"output\":\"d\",\"n\":\"2\",\"x\":\"\",\"day\":\"x\"}\n";
    becomes(&server, "me/mine", &flags, wanted);
    let server = Shelf::default()
        .file("datasets/me/mine/train.tsv", "input\toutput\na,b\tc\n")
        .serve();
    becomes(
        &server,
        "me/mine",
        &[],
        "{\"input\":\"a,b\",\"output\":\"c\"}\n",
    );
    // As many large datasets are.
    let server = Shelf::default()
        .file(
            "datasets/me/mine/train.jsonl.gz",
            include_bytes!("../data/rows/data.jsonl.gz"),
        )
        .serve();
    let lines = include_str!("../data/rows/data.jsonl");
    becomes(&server, "me/mine", &[], lines);
}

#[test]
fn hostile_parquet_is_refused() {
    for (parquet, word) in [
        (&include_bytes!("../data/nested.parquet")[..], "levels deep"),
        (
            include_bytes!("../data/dictionary_bomb.parquet"),
            "dictionary",
        ),
    ] {
        let server = Shelf::default()
            .file("datasets/me/mine/train.parquet", parquet)
            .serve();
        refuses(&server, "me/mine", &[], &["train.parquet of me/mine", word]);
    }
}

#[test]
fn what_is_missing_or_broken_is_said() {
    let server = Shelf::default()
        .file("datasets/me/mine/README.md", "about")
        .file("datasets/me/mine/data.zip", "zip")
        .file(
            "datasets/me/broken/train.jsonl",
            format!("{LINE}{{\"input\": \n"),
        )
        .file(
            "datasets/me/torn/train.parquet",
            &PARQUET[..PARQUET.len() / 2],
        )
        .file("datasets/me/empty/train.csv", "input,output\n")
        .file("datasets/me/blank/train.jsonl", "\n")
        .serve();
    refuses(
        &server,
        "me/mine",
        &[],
        &["nothing that can be read as a table", "README.md, data.zip"],
    );
    refuses(
        &server,
        "me/none",
        &[],
        &["knows no dataset me/none", "HF_TOKEN"],
    );
    refuses(&server, "me/mine@v2", &[], &["no branch, tag or commit v2"]);
    refuses(
        &server,
        "me/broken",
        &[],
        &["train.jsonl of me/broken", "line 2"],
    );
    refuses(&server, "me/torn", &[], &["train.parquet of me/torn"]);
    refuses(&server, "me/empty", &[], &["has no rows"]);
    refuses(&server, "me/blank", &[], &["is blank at its source"]);
}

/// Row `i` of a dataset of any size, as Python's `datasets` would print it.
fn row(i: i64) -> Value {
    let turns: Vec<Value> = (0..i % 3)
        .map(|turn| json!({"role": if turn == 0 { "user" } else { "assistant" }, "content": format!("ü{turn} of {i}")}))
        .collect();
    let note = (i % 5 != 0).then(|| format!("\"note\"\t{i} 漢字 🙂"));
    json!({
        "id": i,
        "input": format!("what is {i}?"),
        "output": "Arr, ".repeat((i % 40) as usize + 1),
        "note": note,
        // Halves, which 32 bits hold exactly.
        "score": i as f32 / 2.0,
        "turns": turns,
    })
}

const SCHEMA: &str = "message row {
    optional int64 id;
    optional binary input (UTF8);
    optional binary output (UTF8);
    optional binary note (UTF8);
    optional float score;
    optional group turns (LIST) {
        repeated group list {
            optional group element {
                optional binary role (UTF8);
                optional binary content (UTF8);
            }
        }
    }
}";

/// The first `count` of those rows as Parquet, compressed, in row groups of 10,000.
fn parquet(count: i64) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for start in (0..count).step_by(10_000) {
        let ids: Vec<i64> = (start..count.min(start + 10_000)).collect();
        let rows: Vec<Value> = ids.iter().map(|&i| row(i)).collect();
        let mut group = writer.next_row_group().unwrap();
        let all = vec![1; rows.len()];
        write_column::<Int64Type>(&mut group, &ids, &all, None);
        for key in ["input", "output", "note"] {
            let texts: Vec<_> = rows.iter().map(|row| row[key].as_str()).collect();
            let levels: Vec<i16> = texts.iter().map(|text| text.is_some().into()).collect();
            let texts: Vec<ByteArray> = texts.into_iter().flatten().map(ByteArray::from).collect();
            write_column::<ByteArrayType>(&mut group, &texts, &levels, None);
        }
        let scores: Vec<f32> = ids.iter().map(|&i| i as f32 / 2.0).collect();
        write_column::<FloatType>(&mut group, &scores, &all, None);
        for key in ["role", "content"] {
            let (mut texts, mut definition, mut repetition) = (Vec::new(), Vec::new(), Vec::new());
            for row in &rows {
                let turns = row["turns"].as_array().unwrap();
                if turns.is_empty() {
                    definition.push(1); // a list without elements
                    repetition.push(0);
                }
                for (number, turn) in turns.iter().enumerate() {
                    texts.push(ByteArray::from(turn[key].as_str().unwrap()));
                    definition.push(4);
                    repetition.push((number > 0).into());
                }
            }
            write_column::<ByteArrayType>(&mut group, &texts, &definition, Some(&repetition));
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<Vec<u8>>,
    values: &[T::T],
    definition: &[i16],
    repetition: Option<&[i16]>,
) {
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<T>();
    typed
        .write_batch(values, Some(definition), repetition)
        .unwrap();
    column.close().unwrap();
}

const CHILD: &str = "FETCH_TEST_CHILD";

/// Run by the test below in a process of its own, whose peak of memory is then that of fetching
/// alone.
#[test]
#[ignore = "needs the test below, which runs it in a process of its own"]
fn child_that_fetches_and_tells_its_peak() {
    let target = std::env::var_os(CHILD).expect("the test below says where to");
    let remote = Remote::Dataset {
        dataset: "me/mine".parse().unwrap(),
        split: "train".to_string(),
    };
    let target = std::path::Path::new(&target);
    let wanted = Wanted {
        path: target,
        named_by: DATA_PATH,
        url: DATA_URL,
        remote: Some(&remote),
    };
    let (policy, console) = (RetryPolicy::default(), Console::silent());
    fetch::obtain(&wanted, &policy, &console).unwrap();
    println!("peak={}", system::peak().unwrap());
}

/// Fetches so many rows, and gives back the lines and the peak of memory.
fn fetched(count: i64) -> (String, u64) {
    let server = Shelf::default()
        .file("datasets/me/mine/train.parquet", parquet(count))
        .serve();
    let dir = Dir::new();
    let target = dir.path("d.jsonl");
    // `command` knows which settings the hub must not see; the program is this one.
    let settings = command(&dir, &server, &[]);
    let mut child = Command::new(std::env::current_exe().unwrap());
    for (name, value) in settings.get_envs() {
        match value {
            Some(value) => child.env(name, value),
            None => child.env_remove(name),
        };
    }
    child.args([
        "--ignored",
        "--exact",
        "datasets::child_that_fetches_and_tells_its_peak",
        "--nocapture",
    ]);
    let (code, said) = run(child.env(CHILD, &target));
    assert_eq!(code, Some(0), "{said}");
    let peak = said
        .split("peak=")
        .nth(1)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    (fs::read_to_string(target).unwrap(), peak.parse().unwrap())
}

#[test]
fn two_hundred_thousand_rows_become_lines_in_the_memory_of_twenty_thousand() {
    const ROWS: i64 = 200_000;
    let (lines, peak) = fetched(ROWS);
    let mut count = 0;
    for (i, line) in (0..).zip(lines.split_terminator('\n')) {
        let found: Value = serde_json::from_str(line).unwrap();
        assert_eq!(found, row(i));
        count += 1;
    }
    assert_eq!(count, ROWS);
    let (_, small) = fetched(ROWS / 10);
    let (megabytes, more) = (lines.len() >> 20, peak.saturating_sub(small) >> 20);
    println!(
        "{megabytes} MiB of lines; peaks {} and {} MiB",
        small >> 20,
        peak >> 20
    );
    assert!(
        more < 16 && megabytes > 40,
        "{more} MiB more for {megabytes} MiB of lines"
    );
}

#[test]
#[ignore = "needs ORACLE_PYTHON, a Python with pyarrow"]
fn pyarrow_in_python_says_the_same_of_many_rows() {
    let python = std::env::var_os("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
    let dir = Dir::new();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/parquet.py");
    let written = Command::new(python)
        .arg(script)
        .args([dir.path("p"), dir.path("l")])
        .arg("200000")
        .status()
        .unwrap();
    assert!(written.success());
    let parquet = fs::read(dir.path("p")).unwrap();
    let server = Shelf::default()
        .file("datasets/me/mine/train.parquet", parquet)
        .serve();
    let wanted = fs::read_to_string(dir.path("l")).unwrap();
    let flags = [
        "--prompt_formatter={i64}",
        "--response_formatter=x{text}",
        "--skip_bad",
    ];
    becomes(&server, "me/mine", &flags, &wanted);
}

#[test]
fn a_strangers_paths_and_commits_lead_nowhere() {
    let dir = Dir::new();
    dir.write("secret.jsonl", LINE);
    let secret = dir.path("secret.jsonl").display().to_string();
    for (path, commit) in [
        (secret.as_str(), COMMIT),
        ("a/../../../secret.jsonl", COMMIT),
        ("a.jsonl", "../../secret"),
        ("a.jsonl", "main?x"),
    ] {
        let info =
            json!({"_id": "1", "id": "me/mine", "sha": commit, "siblings": [{"rfilename": path}]});
        let server = Server::start(move |asked| match asked.path.as_str() {
            "/api/datasets/me/mine" => Answer::new(200, info.to_string()),
            _ => Answer::new(404, ""),
        });
        let flags = [
            "--dry_run",
            "--data_path=d.jsonl",
            "--huggingface_dataset=me/mine",
        ];
        let (code, said) = run(&mut command(&dir, &server, &flags));
        assert_eq!(code, Some(1), "{path} {commit}: {said}");
        let words = [
            "no path that is fetched",
            "a commit that is none",
            "no table",
            "there is no such file",
            "holds nothing that can be read",
        ];
        assert!(
            words.iter().any(|word| said.contains(word)),
            "{path} {commit}: {said}"
        );
        assert!(!dir.path("d.jsonl").exists());
    }
}

#[test]
fn a_part_of_a_conversion_is_not_the_split() {
    let server = Shelf::default()
        .file("datasets/me/mine/a.jsonl", LINE)
        .file(
            "datasets/me/mine@refs/convert/parquet/default/partial-train/0000.parquet",
            PARQUET,
        )
        .serve();
    becomes(&server, "me/mine", &[], LINE);
}

#[test]
fn what_lies_among_the_shards_is_not_taken_away() {
    let server = Shelf::default()
        .file("datasets/me/mine/train.jsonl", LINE)
        .serve();
    let dir = Dir::new();
    fs::create_dir(dir.path("d.jsonl.shards")).unwrap();
    dir.write("d.jsonl.shards/notes.txt", "mine");
    let flags = [
        "--dry_run",
        "--data_path=d.jsonl",
        "--huggingface_dataset=me/mine",
    ];
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_dir(dir.path("d.jsonl.shards")).unwrap().count(), 1);
}

#[test]
fn a_hub_that_wants_fewer_requests_is_asked_again_when_it_says() {
    let shelf = Shelf::default().file("datasets/me/mine/train.jsonl", LINE);
    let server = Server::start(move |asked| match asked.before {
        0..2 => Answer::new(429, "").with("retry-after", "1"),
        _ => shelf.answer(asked),
    });
    becomes(&server, "me/mine", &[], LINE);
}

#[test]
fn two_at_once_make_one_file() {
    let shelf = Shelf::default().file("datasets/me/mine/train.jsonl", LINE.repeat(2000));
    let server = Server::start(move |asked| shelf.answer(asked).slow(2000));
    let dir = Dir::new();
    let start = || {
        let flags = [
            "--dry_run",
            "--data_path=d.jsonl",
            "--huggingface_dataset=me/mine",
        ];
        let mut command = command(&dir, &server, &flags);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let runs: Vec<_> = (0..3).map(|_| start()).collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    assert_eq!(
        fs::read_to_string(dir.path("d.jsonl")).unwrap(),
        LINE.repeat(2000)
    );
    let files = server
        .asked()
        .iter()
        .filter(|asked| asked.path.starts_with("/cdn/"))
        .count();
    assert_eq!((files, dir.names()), (1, vec!["d.jsonl".to_string()]));
}
