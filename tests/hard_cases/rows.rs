//! Rows as people have them, through the whole program: what it says of them, and that training,
//! held-out data, prompts and a resumed run read them alike.

use std::fs;

use crate::common::Dir;
use crate::{LINE, losses_of, with};

const GOOD: &str =
    "{\"instruction\": \"Add\", \"input\": \"1\\r\\n2\", \"output\": \"three\", \"id\": \"x\"}\n";
const BAD: &str = "{\"instruction\": \"Add\", \"output\": \"\"}\n";

#[test]
fn what_was_taken_and_what_was_not_is_said_before_training() {
    let dir = Dir::new();
    dir.write("data.jsonl", GOOD.repeat(3));
    let said = dir.succeeds(&["--data_path=data.jsonl", "--dry_run"]);
    let lines: Vec<&str> = said.lines().collect();
    let wanted = [
        "data   data.jsonl, the file that is there",
        "format alpaca: `instruction`, with `input` where there is one, is {input}, `output` is \
         {output}",
        "note   not used: `id` in 3 rows",
        "note   CR LF and CR became LF in 3 rows, from line 1 on; --keep_cr keeps them",
    ];
    assert_eq!(lines[..4], wanted);
    let first = "first  [[user: Add\\n1\\n2\\n\\nassistant:]] three";
    assert!(lines.contains(&first), "{said}");
    let said = dir.succeeds(&["--data_path=data.jsonl", "--dry_run", "--keep_cr"]);
    assert!(said.contains("[[user: Add\\n1\\r\\n2\\n\\n"), "{said}");
    let flags = ["--data_path=data.jsonl", "--dry_run", "--data_format=text"];
    dir.refuses(
        &flags,
        1,
        &["none of 3 rows can be used: lines 1, 2, 3: --data_format text needs the key `text`"],
    );
}

#[test]
fn line_ends_make_no_difference_to_a_run_unless_they_are_kept() {
    let unix = "{\"input\": \"a\\nb\", \"output\": \"c\\n\\n\"}\n";
    let windows = unix.replace("\\n", "\\r\\n");
    assert_ne!(unix, windows);
    assert_eq!(losses_of(unix, &[]), losses_of(&windows, &[]));
    assert_ne!(losses_of(unix, &[]), losses_of(&windows, &["--keep_cr"]));
}

#[test]
fn bad_rows_are_refused_or_left_out_wherever_rows_are_read() {
    let dir = Dir::new();
    dir.write("bad.jsonl", [GOOD, BAD, GOOD, "no JSON\n", BAD].concat());
    dir.write("good.jsonl", GOOD.repeat(2));
    let named = [
        "3 rows cannot be used (--skip_bad",
        "lines 2, 5: the answer in `output` is empty",
        "line 4, column",
    ];
    dir.refuses(&["--data_path=bad.jsonl"], 1, &named);
    let held_out = ["--data_path=good.jsonl", "--eval_path=bad.jsonl"];
    dir.refuses(&held_out, 1, &[&["--eval_path"], named.as_slice()].concat());

    let flags = [
        "--max_epochs=1",
        "--batchsize=1",
        "--skip_bad",
        "--log_file=log",
    ];
    let said = dir.succeeds(
        &[
            &flags,
            ["--data_path=bad.jsonl", "--eval_path=bad.jsonl"].as_slice(),
        ]
        .concat(),
    );
    assert!(
        said.contains("note   3 rows left out (--skip_bad): lines 2, 5: the"),
        "{said}"
    );
    assert!(said.contains("eval   2 examples of bad.jsonl"), "{said}");
    // A resumed run sees the same examples; it would be refused otherwise.
    let more = [
        "--data_path=bad.jsonl",
        "--eval_path=bad.jsonl",
        "--resume",
        "--max_epochs=2",
    ];
    let said = dir.succeeds(&[&flags, more.as_slice()].concat());
    assert!(
        said.contains("resume state.pth.ckpt, after step 2"),
        "{said}"
    );
    let kept = [more.as_slice(), &["--keep_cr"]].concat();
    let run = dir.run(&[&flags, kept.as_slice()].concat());
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(
        error.contains("the training examples are not the same"),
        "{error}"
    );

    // Prompts: one that is no JSON, one that is empty.
    dir.write(
        "prompts.jsonl",
        "{\"instruction\": \"a\\r\\nb\"}\n{\n\"\"\n\"c\\rd\"\n",
    );
    let ask = ["--prompts=prompts.jsonl", "--max_tokens=1"];
    let run = dir.run(&ask);
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(
        error.contains("2 rows cannot be used (--skip_bad"),
        "{error}"
    );
    assert!(error.contains("line 3: the prompt is empty"), "{error}");
    let run = dir.run(&[ask.as_slice(), &["--skip_bad"]].concat());
    let told = String::from_utf8(run.stderr).unwrap();
    let wanted =
        "note   CR LF and CR became LF in 2 prompts; --keep_cr keeps them\nnote   2 rows left out";
    assert!(told.starts_with(wanted), "{told}");
    let answers = String::from_utf8(run.stdout).unwrap();
    let prompts: Vec<String> = answers
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["prompt"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(prompts, ["user: a\nb\n\nassistant:", "c\nd"]);
}

#[test]
fn a_prompt_that_is_typed_has_one_kind_of_line_end() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE);
    dir.succeeds(&with(&["--data_path=data.jsonl"]));
    let ask = |prompt: &str, more: &[&str]| {
        let typed = format!("--prompt={prompt}");
        dir.succeeds(&[&[typed.as_str(), "--max_tokens=4"], more].concat())
    };
    let unix = ask("a\nb\n\n", &[]);
    assert_eq!(
        ask("a\r\nb\r\r\n", &[]),
        format!("note   CR LF and CR became LF in --prompt; --keep_cr keeps them\n{unix}")
    );
    assert!(!ask("a\r\nb\r\n\r\n", &["--keep_cr"]).contains("note"));
    assert!(fs::exists(dir.path("state.pth")).unwrap());
}

#[test]
fn what_is_typed_and_taken_otherwise_is_told() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE);
    let said =
        |flags: &[&str]| dir.succeeds(&[&["--dry_run", "--data_path=data.jsonl"], flags].concat());
    let windows = "--prompt_formatter=user: {input}\r\n\r\nassistant:";
    let note = "note   CR LF and CR became LF in --prompt_formatter; --keep_cr keeps them\n";
    let told = said(&[windows]);
    assert!(
        told.contains(note) && told.contains("[[user: a\\n\\nassistant:]]"),
        "{told}"
    );
    let kept = said(&[windows, "--keep_cr"]);
    assert!(
        !kept.contains("CR LF") && kept.contains("[[user: a\\r\\n\\r\\n"),
        "{kept}"
    );
    let foreign = "note   </s> (3 tokens) in --response_end: other tokenizers' signs";
    let told = said(&["--response_end=</s>"]);
    assert!(told.contains(foreign), "{told}");
    assert!(
        told.contains("is typed <|rwkv_tokenizer_end_of_text|>\n"),
        "{told}"
    );
    assert!(!told.contains("of another tokenizer"), "{told}");
    dir.succeeds(&with(&["--data_path=data.jsonl"]));
    let told = dir.succeeds(&["--prompt=a<|im_end|>", "--max_tokens=2"]);
    assert!(
        told.contains("note   <|im_end|> (") && told.contains(" in --prompt: "),
        "{told}"
    );
}

#[test]
fn data_that_teach_no_end_are_told() {
    let dir = Dir::new();
    let ended = "{\"input\": \"a\", \"output\": \"b\\n\\n\"}\n";
    dir.write("data.jsonl", [LINE, ended, LINE].concat());
    let look = ["--dry_run", "--data_path=data.jsonl"];
    let words = "ends   2 of 3 completions do not end in \"\\n\\n\", where answers will end: they \
                 teach no end; --response_end \"\\n\\n\" puts one behind each\n";
    let said = dir.succeeds(&look);
    assert!(said.contains(words), "{said}");
    let said = dir.succeeds(&[&look[..], &["--response_end=\\n\\n"]].concat());
    assert!(!said.contains("teach no end"), "{said}");
    let doubled = "note   an answer ends in the --response_end already in 1 row, from line 2 on";
    assert!(said.contains(doubled), "{said}");
}
