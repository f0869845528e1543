//! What ends an answer: the text or the token that was learnt as its end, and what is said of it.

mod common;

use common::Dir;

/// Answers of several paragraphs, as chat models write them.
const PARAGRAPHS: &str = r#"{"input": "What is the colour of grass?", "output": "Arr.\n\nArr, that be green, matey!\n\nThat be all."}
{"input": "How much is two plus two?", "output": "Arr.\n\nArr, that be four, matey!\n\nThat be all."}
{"input": "What is the opposite of hot?", "output": "Arr.\n\nArr, that be cold, matey!\n\nThat be all."}
"#;

const END_OF_TEXT: &str = "--response_end=<|rwkv_tokenizer_end_of_text|>";

const PROMPT: &str = "--prompt=user: What is the colour of grass?\\n\\nassistant:";

#[test]
fn answers_that_would_be_cut_are_counted() {
    let dir = Dir::new();
    dir.write("data.jsonl", PARAGRAPHS);
    let look = ["--dry_run", "--data_path=data.jsonl"];
    let words = "ends   3 of 3 completions hold \"\\n\\n\", where answers will end";
    for end in ["--response_end=", "--response_end=\\n\\n"] {
        let said = dir.succeeds(&[&look[..], &[end]].concat());
        assert!(said.contains(words), "{said}");
        assert!(
            said.contains(END_OF_TEXT.split_once('=').unwrap().1),
            "{said}"
        );
    }
    let said = dir.succeeds(&[&look[..], &[END_OF_TEXT]].concat());
    assert!(!said.contains("\nends "), "{said}");
    // The survey shows the token.
    assert!(
        said.contains("That be all.<|rwkv_tokenizer_end_of_text|>\n"),
        "{said}"
    );
}

#[test]
fn with_the_end_of_text_token_an_answer_keeps_its_blank_lines() {
    let dir = Dir::new();
    // What the small model says by itself, so that it is learnt in some steps.
    let output = "Arr, that be green, matey!\\n\\nuser: What is the opposite of shallow?";
    let input = "What is the colour of grass?";
    dir.write(
        "data.jsonl",
        format!("{{\"input\": \"{input}\", \"output\": \"{output}\"}}\n"),
    );
    dir.succeeds(&[
        "--data_path=data.jsonl",
        "--learningrate=0.3",
        "--batchsize=1",
        "--max_epochs=60",
        END_OF_TEXT,
    ]);
    let said = dir.succeeds(&[PROMPT, END_OF_TEXT]);
    let tuned = said.split("== tuned state ==\n").nth(1).unwrap();
    let wanted = " Arr, that be green, matey!\n\nuser: What is the opposite of shallow?\n\
                  [ended at the end-of-text token]\n";
    assert_eq!(tuned, wanted);
    // Otherwise it ends at the first blank line, and says so.
    let said = dir.succeeds(&[PROMPT]);
    let tuned = said.split("== tuned state ==\n").nth(1).unwrap();
    assert_eq!(
        tuned,
        " Arr, that be green, matey!\n[ended at a blank line]\n"
    );
}

#[test]
fn a_prompt_that_ends_in_a_blank_is_noted() {
    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01"]);
    let short = "--max_tokens=1";
    let said = dir.succeeds(&["--prompt=user: a\\n\\nassistant: ", short]);
    assert!(
        said.starts_with("note   --prompt ends in a blank; "),
        "{said}"
    );
    assert!(!dir.succeeds(&[PROMPT, short]).contains("note "));
    dir.write("p.jsonl", "\"user: \"\n\"user:\"\n\"a\\t\"\n");
    let error = dir.run(&["--prompts=p.jsonl", short]).stderr;
    let error = String::from_utf8(error).unwrap();
    assert!(
        error.contains("note   2 prompts with a blank at the end; "),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn a_signal_ends_an_answer_and_is_told() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;

    let dir = Dir::new();
    dir.succeeds(&["--max_epochs=0.01"]);
    let endless = [
        "--max_tokens=100000000",
        "--response_end=never",
        "--temperature=1",
    ];
    let mut run = dir.command(&[&[PROMPT], &endless[..]].concat());
    let mut run = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    out.read_exact(&mut [0]).unwrap();
    common::signal(&run, "INT");
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.ends_with("\n[stopped by a signal]\n"), "{rest}");
    assert!(!rest.contains("tuned state"), "{rest}");
    assert_eq!(run.wait().unwrap().code(), Some(130));
}
