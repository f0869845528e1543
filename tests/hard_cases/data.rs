//! Data as it comes: numbers and booleans, byte order marks, templates that ask for missing keys,
//! no data.

use crate::common::{Dir, losses};
use crate::{LINE, losses_of, small_model, with};

#[test]
fn in_order_no_seed_matters() {
    let data = [LINE, "{\"input\": \"c\", \"output\": \"d\"}\n"].concat();
    assert_eq!(
        losses_of(&data, &["--seed=1"]),
        losses_of(&data, &["--seed=2"])
    );
}

#[test]
fn numbers_and_booleans_are_learnt_as_python_writes_them() {
    let of = |value: &str| {
        let data = format!("{{\"input\": {value}, \"output\": {value}}}\n");
        losses_of(&data, &[])
    };
    for (value, python) in [
        ("1", "1"),
        ("1.0", "1.0"),
        ("1e3", "1000.0"),
        ("true", "True"),
        ("false", "False"),
    ] {
        assert_eq!(of(value), of(&format!("\"{python}\"")), "{value}");
    }
    assert_ne!(of("1"), of("1.0"), "the loss can tell texts apart");
}

#[test]
fn a_mark_of_byte_order_carriage_returns_and_blank_lines_change_nothing() {
    let plain = LINE.repeat(2);
    let line = LINE.trim_end();
    let windows = format!("\u{feff}{line}\r\n\r\n \t\r\n{line}");
    assert_eq!(losses_of(&plain, &[]), losses_of(&windows, &[]));
}

#[test]
fn doubled_braces_are_braces() {
    let braces = losses_of(LINE, &["--response_formatter={{{output}}}"]);
    let data = "{\"input\": \"a\", \"output\": \"{b}\"}\n";
    assert_eq!(braces, losses_of(data, &["--response_formatter={output}"]));
}

#[test]
fn a_template_that_asks_for_what_no_line_has_is_told_the_keys() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE);
    dir.refuses(
        &["--data_path=data.jsonl", "--prompt_formatter={question}"],
        1,
        &["line 1", "`question`", "`input`", "`output`"],
    );
    // Keys come from a downloaded file: they must not break the line or speak to the terminal.
    dir.write("data.jsonl", "{\"a\\nb\\u001b[31m\": 1}\n");
    dir.refuses(&["--data_path=data.jsonl"], 1, &["line 1", "`input`"]);
    let error = dir.run(&["--data_path=data.jsonl"]).stderr;
    assert!(!error.contains(&0x1b));
}

#[test]
fn what_is_not_there_and_cannot_be_had_is_named() {
    let dir = Dir::new();
    // Nobody listens there. `tests/fetch` is about those who do.
    let nobody = "http://127.0.0.1:9/file";
    let model_url = format!("--model_url={nobody}");
    dir.refuses(
        &["--model_location=none.pth", &model_url],
        1,
        &["--model_location none.pth", "--model_url", nobody],
    );
    let data_url = format!("--data_url={nobody}");
    dir.refuses(
        &["--data_path=none.jsonl", &data_url],
        1,
        &["--data_path none.jsonl", "--data_url", nobody],
    );
    for flags in [
        &["--data_path=none.jsonl", "--huggingface_dataset="][..],
        // The default dataset is for the default file.
        &["--data_path=none.jsonl"],
    ] {
        let words = ["--data_path none.jsonl does not exist", "--data_url"];
        dir.refuses(flags, 1, &words);
    }
    dir.refuses(
        &["--model_location=none.pth"],
        1,
        &["--model_location none.pth does not exist"],
    );
}

#[test]
fn a_directory_is_no_data() {
    let dir = Dir::new();
    dir.write("data.jsonl", LINE);
    std::fs::create_dir(dir.path("folder")).unwrap();
    for (flag, setting) in [
        ("--data_path=folder", "--data_path"),
        ("--eval_path=folder", "--eval_path"),
    ] {
        let words = [setting, "folder is a directory", "name a file in it"];
        dir.refuses(&["--data_path=data.jsonl", flag], 1, &words);
    }
    dir.succeeds(&with(&["--data_path=data.jsonl"]));
    let words = [
        "--prompts folder",
        "a directory",
        "name a file of rows in it",
    ];
    let formatters = [
        "--prompt_formatter={input}",
        "--response_formatter={output}",
    ];
    let prompts = [&formatters[..], &["--prompts=folder"]].concat();
    dir.refuses(&prompts, 1, &words);
}

#[test]
fn what_only_the_model_shows_to_be_wrong_is_found_at_once_or_left_out() {
    let dir = Dir::new();
    let model = format!("--model_location={}", small_model());
    let unknown = "{\"input\": \"a\", \"output\": \"house\"}\n";
    let lone = "{\"input\": \"\", \"output\": \"b\"}\n";
    dir.write(
        "data.jsonl",
        [LINE, unknown, lone, LINE, unknown, lone].concat(),
    );
    dir.write("good.jsonl", LINE);
    let flags = with(&[&model, "--tune=wkv", "--data_path=data.jsonl"]);
    let named = [
        "cannot use the data in data.jsonl: 4 rows cannot be used (--skip_bad leaves them out): ",
        "lines 2, 5: token 34576 is not among the model's 160 tokens",
        "lines 3, 6: the prompt is empty and the completion a single token",
    ];
    dir.refuses(&flags, 1, &named);
    dir.refuses(&[&flags[..], &["--dry_run"]].concat(), 1, &named);
    let held_out = ["--data_path=good.jsonl", "--eval_path=data.jsonl"];
    dir.refuses(&[&flags[..], &held_out].concat(), 1, &named);
    let shared = [&flags[..], &["--eval_split=0.5"]].concat();
    dir.refuses(&shared, 1, &named);
    dir.write("bad.jsonl", [lone, lone].concat());
    let none = ["--data_path=bad.jsonl", "--skip_bad"];
    let words = ["bad.jsonl: none of 2 rows can be used: lines 1, 2: the prompt is empty"];
    dir.refuses(&[&flags[..], &none].concat(), 1, &words);

    let said = dir.succeeds(&[&flags[..], &["--skip_bad", "--log_file=log"]].concat());
    let note = "note   data.jsonl: 4 rows left out (--skip_bad): lines 2, 5: token 34576 ";
    assert!(said.contains(note), "{said}");
    assert_eq!(losses(&dir.path("log")).len(), 2);
}
