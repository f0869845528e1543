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

/// What a state's tag says of its texts: answers end there, unless something else is typed.
#[test]
fn a_state_knows_the_end_that_it_was_tuned_with() {
    let dir = Dir::new();
    let formatter = "--prompt_formatter=user: {input}\\n\\nassistant:\u{1b}";
    let end = "--response_end= be\u{1b}[2J";
    let short = ["--max_epochs=0.1", "--tune=wkv"];
    let others = [
        "--system_formatter={system}\\n",
        "--response_formatter={output}",
    ];
    dir.succeeds(&[&short[..], &[formatter, end], &others].concat());
    let note = "note   as the state was tuned, with --response_end \" be\\u{1b}[2J\"; others that are \
                typed take their place\n";
    let ask = [PROMPT, "--max_tokens=8"];
    let said = dir.succeeds(&ask);
    assert!(said.starts_with(note), "{said}");
    let other = "note   the state was tuned with another --response_end, \" be\\u{1b}[2J\"\n";
    for typed in ["--response_end=", "--response_end= be"] {
        let said = dir.succeeds(&[&ask[..], &[typed]].concat());
        assert!(said.starts_with(other), "{said}");
    }
    let mut of_environment = dir.command(&ask);
    let said = of_environment
        .env("STATE_TUNE_RESPONSE_END", " be")
        .output()
        .unwrap();
    assert!(String::from_utf8(said.stdout).unwrap().starts_with(other));

    // A file of prompts is put through the state's formatters, which is told beside the answers.
    dir.write("p.jsonl", "{\"input\": \"What is the colour of grass?\"}\n");
    let asked = |typed: &[&str]| {
        let run = dir.run(&[&["--prompts=p.jsonl", "--max_tokens=4"], typed].concat());
        assert!(run.status.success());
        let told = String::from_utf8(run.stderr).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        (told, answer["prompt"].as_str().unwrap().to_owned())
    };
    let (told, prompt) = asked(&[]);
    let taken = "note   as the state was tuned, with --prompt_formatter \"user: \
                 {input}\\n\\nassistant:\\u{1b}\", --response_formatter \"{output}\", \
                 --system_formatter \"{system}\\n\" and --response_end \" be\\u{1b}[2J\"; others";
    assert!(told.contains(taken), "{told}");
    let own = "user: What is the colour of grass?\n\nassistant:";
    assert_eq!(prompt, format!("{own}\u{1b}"));
    let (told, prompt) = asked(&["--prompt_formatter=user: {input}\\n\\nassistant:"]);
    let other = "the state was tuned with another --prompt_formatter, \"user: {input}\\n\\nassistant:\\u{1b}\"\n";
    assert!(told.contains(other), "{told}");
    assert_eq!(prompt, own);

    // It stays through a conversion, and is shown without its control codes.
    let tool = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_state-tune");
        let run = std::process::Command::new(program)
            .current_dir(dir.path(""))
            .args(arguments)
            .output();
        String::from_utf8(run.unwrap().stdout).unwrap()
    };
    tool(&["convert", "state.pth", "t.st", "--to=web-rwkv"]);
    tool(&[
        "convert",
        "state.pth",
        "t.st",
        "m.pth",
        "--to=state",
        "--mix=0.5",
    ]);
    for file in ["state.pth", "t.st", "m.pth"] {
        let said = tool(&["inspect", file]);
        let shown = "\ntuned with   --prompt_formatter \"user: {input}\\n\\nassistant:\\u{1b}\"\n";
        assert!(
            said.contains(shown) && !said.contains('\u{1b}'),
            "{file}: {said}"
        );
        assert!(
            said.contains("--response_end \" be\\u{1b}[2J\"\n"),
            "{file}: {said}"
        );
    }
    // Of two that were tuned otherwise there is none to name.
    dir.succeeds(&[&short[..], &["--save_filename=other.pth"]].concat());
    let mixed = [
        "convert",
        "m.pth",
        "other.pth",
        "n.pth",
        "--to=state",
        "--mix=0.5",
    ];
    assert!(tool(&mixed).contains("do not name the same formatters and --response_end"));
    assert!(!tool(&["inspect", "n.pth"]).contains("tuned with"));
    // One that was tuned without an end answers as ever.
    let said = dir.succeeds(&[&ask[..], &["--save_filename=other.pth"]].concat());
    assert!(!said.contains("note "), "{said}");
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
    let said = dir.succeeds(&[PROMPT]);
    let tuned = said.split("== tuned state ==\n").nth(1).unwrap();
    let wanted = " Arr, that be green, matey!\n\nuser: What is the opposite of shallow?\n\
                  [ended at the end-of-text token]\n";
    assert_eq!(tuned, wanted);
    // Told otherwise it ends at the first blank line, and says so.
    let said = dir.succeeds(&[PROMPT, "--response_end="]);
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

#[test]
fn a_state_that_was_tuned_on_texts_names_no_formatters() {
    let dir = Dir::new();
    dir.write(
        "data.jsonl",
        "{\"text\": \"User: Hi.\\n\\nAssistant: Arr!\"}\n",
    );
    dir.write(
        "p.jsonl",
        "{\"input\": \"Hi.\"}\n{\"text\": \"User: Hi.\"}\n",
    );
    let short = ["--data_path=data.jsonl", "--tune=wkv", "--response_end=##"];
    dir.succeeds(&[&short[..], &["--max_epochs=1"]].concat());
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args(["inspect", "state.pth"])
        .output();
    let said = String::from_utf8(run.unwrap().stdout).unwrap();
    let texts = "\ntuned on     texts that stood without formatters (--data_format text)\n\
                 tuned with   --response_end \"##\"\nsizes ";
    assert!(said.contains(texts), "{said}");

    let run = dir.run(&["--prompts=p.jsonl", "--max_tokens=1"]);
    let told = String::from_utf8(run.stderr).unwrap();
    let note = "note   the state was tuned on texts that stood without formatters";
    assert!(run.status.success() && told.contains(note), "{told}");
    // A text that asks is completed by who answers.
    let answers = String::from_utf8(run.stdout).unwrap();
    assert!(
        answers.contains(r#""prompt":"User: Hi.\n\nAssistant:""#),
        "{answers}"
    );

    // A run that starts from it is told what it does otherwise.
    let on = [
        "--init=state.pth",
        "--save_filename=on.pth",
        "--data_path=data.jsonl",
    ];
    let said = dir.succeeds(&[&on[..], &["--dry_run=false", "--max_epochs=1"]].concat());
    let other = "note   the state was tuned with another --response_end, \"##\"\n";
    assert!(said.contains(other) && said.contains(note), "{said}");
    // Where answers start is not where training would.
    let said = dir.succeeds(&[PROMPT, "--init=none.pth", "--max_tokens=1"]);
    assert!(
        said.contains("note   --init none.pth is not used: "),
        "{said}"
    );
}
