//! Test mode beyond one prompt: drawn answers, a file of prompts, a talk, and the text that ends an
//! answer.

mod common;

use std::io::Write;
use std::process::{Output, Stdio};

use common::{Dir, GENERATIONS, Generation, golden, tiny};
use serde_json::Value;
use state_tune::generate::{self, FinishReason, Settings, Talk};
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::linear::ProductType;
use state_tune::state_file;
use state_tune::tokenizer::Tokenizer;

/// A pirate's state, which PyTorch wrote.
fn tuned_flag() -> String {
    format!("--save_filename={}", golden("tiny_state.pth").display())
}

/// The model of a generation, and the state tuned on it.
fn flags_of(generation: Generation) -> [String; 2] {
    [
        format!("--model_location={}", generation.model().display()),
        format!("--save_filename={}", generation.state().display()),
    ]
}

fn loaded(generation: Generation) -> (Rwkv, State) {
    let checkpoint = ModelFile::open(&generation.model()).unwrap();
    let model = Rwkv::load(&checkpoint, ProductType::F32).unwrap();
    let tuned = state_file::read(&generation.state(), model.config()).unwrap();
    (model, tuned)
}

fn json(lines: &str) -> Vec<Value> {
    let lines = lines.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The program with `typed` on its standard input.
fn talk(flags: &[&str], typed: &[u8]) -> Output {
    let (dir, tuned) = (Dir::new(), tuned_flag());
    let mut run = dir
        .command(&[&["--interactive", &tuned], flags].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    run.stdin.take().unwrap().write_all(typed).unwrap();
    run.wait_with_output().unwrap()
}

/// What it says to a talk in which nothing is wrong.
#[track_caller]
fn talks(flags: &[&str], typed: &str) -> String {
    let run = talk(flags, typed.as_bytes());
    let error = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success() && error.is_empty(), "{error}");
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn a_file_of_prompts_is_answered_as_the_reference_does() {
    for generation in GENERATIONS {
        prompts_are_answered_as_the_reference_does(generation);
    }
}

fn prompts_are_answered_as_the_reference_does(generation: Generation) {
    let dir = Dir::new();
    let cases = generation.answers();
    let strings: Vec<String> = cases
        .iter()
        .map(|case| case["prompt"].to_string())
        .collect();
    // A byte order mark, a blank line, and an object as data have it.
    let file = format!(
        "\u{feff}{}\r\n\n{{\"input\": \"Is a cat smaller than a lion?\", \"output\": 1}}\n",
        strings.join("\n")
    );
    dir.write("prompts.jsonl", file);
    let [model, tuned] = flags_of(generation);
    let said = dir.succeeds(&["--prompts=prompts.jsonl", &model, &tuned]);
    assert!(
        said.starts_with("{\"line\":1,\"prompt\":\"user: "),
        "{said}"
    );
    let answers = json(&said);
    assert_eq!(answers.len(), cases.len() + 1);
    for (i, (answer, case)) in answers.iter().zip(&cases).enumerate() {
        assert_eq!(answer["line"], i + 1);
        for key in ["prompt", "base", "tuned"] {
            assert_eq!(answer[key], case[key]);
        }
        assert_eq!(answer["base_end"], "blank_line");
        assert_eq!(answer["tuned_end"], "blank_line");
    }
    let last = &answers[cases.len()];
    assert_eq!(last["line"], cases.len() + 2);
    let same = cases.iter().find(|case| case["prompt"] == last["prompt"]);
    assert_eq!(last["tuned"], same.unwrap()["tuned"]);
}

#[test]
fn an_answer_that_is_cut_short_says_so_and_the_data_file_will_do() {
    let (dir, eval) = (Dir::new(), tiny("eval.jsonl").display().to_string());
    let flags = ["--prompts", &eval, "--max_tokens=1", &tuned_flag()];
    let answers = json(&dir.succeeds(&flags));
    assert_eq!(answers.len(), 100);
    for answer in answers {
        assert_eq!(
            (&answer["tuned"], &answer["tuned_end"]),
            (&" Arr".into(), &"limit".into())
        );
    }
}

#[test]
fn faults_in_a_file_of_prompts_are_told_before_the_model_is_loaded() {
    let (dir, tuned) = (Dir::new(), tuned_flag());
    let flags = ["--prompts=p.jsonl", "--model_location=none.pth", &tuned];
    dir.refuses(&flags, 1, &["--prompts p.jsonl", "cannot be read"]);
    for (file, words) in [
        ("\"a\"\n\"b\n", ["line 2", "not JSON"]),
        ("\n{\"text\": 1}", ["line 2", "`input`"]),
        ("\"a\"\n\n12", ["line 3", "a number"]),
        ("\"a\"\n\"\"", ["line 2", "empty"]),
        ("\"\\ud800\"", ["line 1", "not JSON"]),
        ("\n", ["no examples", "p.jsonl"]),
    ] {
        dir.write("p.jsonl", file);
        dir.refuses(
            &flags,
            1,
            &[&["--prompts p.jsonl"], words.as_slice()].concat(),
        );
    }
    dir.write("p.jsonl", b"\"\xff\"");
    dir.refuses(&flags, 1, &["line 1", "UTF-8"]);
}

#[test]
fn what_fetching_says_is_not_among_the_answers() {
    let dir = Dir::new();
    dir.write("p.jsonl", "\"user: hi\\n\\nassistant:\"");
    let url = format!("--model_url=file://{}", tiny("model.pth").display());
    let run = dir.run(&[
        "--prompts=p.jsonl",
        "--model_location=m.pth",
        &url,
        &tuned_flag(),
    ]);
    assert!(run.status.success());
    assert_eq!(json(&String::from_utf8(run.stdout).unwrap()).len(), 1);
    assert!(String::from_utf8(run.stderr).unwrap().starts_with("fetch"));
}

#[test]
fn drawn_answers_are_repeatable_and_both_start_alike() {
    let dir = Dir::new();
    // A state that is the untuned model's.
    dir.succeeds(&[
        "--tune=wkv",
        "--init=zeros",
        "--learningrate=1e-30",
        "--max_epochs=0.01",
    ]);
    dir.write("p.jsonl", "\"user: How are you?\\n\\nassistant:\"");
    let run = |seed: &str, more: &[&str]| {
        let flags = ["--prompts=p.jsonl", "--temperature=3", "--seed", seed];
        let answer = &json(&dir.succeeds(&[&flags, more].concat()))[0];
        assert_eq!(answer["base"], answer["tuned"]);
        answer["base"].as_str().unwrap().to_string()
    };
    let greedy = run("1", &["--temperature=0"]);
    assert_eq!(run("1", &[]), run("1", &[]));
    assert_ne!(run("1", &[]), run("2", &[]));
    assert_ne!(run("1", &[]), greedy);
    assert_eq!(run("1", &["--top_p=1e-6"]), greedy);
}

#[test]
fn a_talk_reads_on_as_if_all_had_been_said_at_once() {
    for generation in GENERATIONS {
        a_talk_reads_on(generation);
    }
}

fn a_talk_reads_on(generation: Generation) {
    let (model, tuned) = loaded(generation);
    let base = State::zeros(model.config()).unwrap();
    let lines = [
        "What is eight plus eight?",
        "Is a cat smaller than a lion?",
        "How are you?",
    ];
    // By answers that end at a blank line and by answers that are cut short.
    for max_tokens in [50, 3] {
        let greedy = Settings::greedy(max_tokens);
        let answers = |state| {
            let (mut whole, mut said) = (String::new(), String::new());
            for line in lines {
                whole += &format!("user: {line}\n\nassistant:");
                let (answer, end) =
                    generate::answer(&model, &Tokenizer::world().encode(&whole), state, &greedy)
                        .unwrap();
                whole += &format!("{answer}\n\n");
                said += &format!("{answer}\n");
                if end == FinishReason::Limit {
                    said += &format!("[stopped at --max_tokens {max_tokens}]\n");
                }
            }
            said
        };
        let (by_tuned, by_base) = (answers(&tuned), answers(&base));
        assert_ne!(by_tuned, by_base);
        let flag = format!("--max_tokens={max_tokens}");
        let typed = lines.join("\n");
        let [model, tuned] = flags_of(generation);
        let flags = [flag.as_str(), &model, &tuned];
        assert_eq!(talks(&flags, &typed), by_tuned);
        assert_eq!(
            talks(&flags, &format!("/base\n{typed}\n/quit\nmore")),
            by_base
        );
        // An empty line is no turn, and each of these starts over.
        let twice = format!("{typed}\n\n/reset\r\n{typed}\n/base\n{typed}\n/tuned\n{typed}\n");
        let wanted = [&by_tuned, &by_tuned, &by_base, &by_tuned].map(String::as_str);
        assert_eq!(talks(&flags, &twice), wanted.concat());
    }
}

#[test]
fn a_talk_goes_on_after_lines_that_are_none() {
    let question = "What is eight plus eight?\n";
    let long = "x".repeat(100_000);
    let typed = [
        b"\xff\n".as_slice(),
        long.as_bytes(),
        b"\n/rest\n",
        question.as_bytes(),
    ]
    .concat();
    let run = talk(&[], &typed);
    let said = String::from_utf8(run.stdout).unwrap();
    assert_eq!((run.status.code(), said), (Some(0), talks(&[], question)));
    let error = String::from_utf8(run.stderr).unwrap();
    let lines: Vec<&str> = error.lines().collect();
    for (line, words) in lines.iter().zip([
        ["line 1", "not UTF-8"],
        ["line 2", "too long"],
        ["line 3", "/reset"],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "{line}");
    }
    assert_eq!(lines.len(), 3, "{error}");
    assert_eq!(talks(&[], ""), "");
}

#[test]
fn ways_of_asking_exclude_one_another() {
    let dir = Dir::new();
    for flags in [
        ["--prompt=x", "--prompts=y"],
        ["--prompts=y", "--interactive"],
        ["--interactive", "--prompt=x"],
        ["--interactive", "--dry_run"],
        ["--interactive", "--prompt_formatter={q} {r}"],
    ] {
        let words = flags.map(|flag| flag.split('=').next().unwrap());
        dir.refuses(&flags, 2, &words);
    }
}

#[test]
fn readers_that_leave_end_it_quietly() {
    let (dir, tuned) = (Dir::new(), tuned_flag());
    let eval = tiny("eval.jsonl").display().to_string();
    for flags in [
        ["--prompts", &eval, &tuned].as_slice(),
        &["--interactive", &tuned],
    ] {
        let mut run = dir
            .command(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(run.stdout.take());
        // Its standard input stays open, so that only the missing reader can end it.
        let mut typed = run.stdin.take().unwrap();
        let _ = typed.write_all(b"How are you?\n");
        let error = std::io::read_to_string(run.stderr.take().unwrap()).unwrap();
        assert!(run.wait().unwrap().success() && error.is_empty(), "{error}");
        drop(typed);
    }
}

#[test]
fn a_text_ends_an_answer_wherever_tokens_are_cut() {
    let [five, _] = GENERATIONS;
    let (model, tuned) = loaded(five);
    let case = &five.answers()[0];
    let (prompt, whole) = (
        case["prompt"].as_str().unwrap(),
        case["tuned"].as_str().unwrap(),
    );
    assert_eq!(whole, " Arr, that be seventeen, matey!");
    for (stop, wanted, end) in [
        // It begins and ends inside of tokens.
        ("at be sev", " Arr, th", FinishReason::Stop),
        (" Arr", "", FinishReason::Stop),
        ("matey!", " Arr, that be seventeen, ", FinishReason::Stop),
        // Its beginning comes, and the rest does not; two newlines are then no end.
        ("matey!!", whole, FinishReason::Limit),
        ("\n\n", whole, FinishReason::Stop),
    ] {
        let length = Tokenizer::world().encode(whole).len();
        let settings = Settings {
            stop: Some(stop.into()),
            ..Settings::greedy(length + usize::from(end == FinishReason::Stop))
        };
        let answered = generate::answer(
            &model,
            &Tokenizer::world().encode(prompt),
            &tuned,
            &settings,
        )
        .unwrap();
        assert_eq!(answered, (wanted.to_string(), end), "{stop:?}");
    }
}

#[test]
fn an_ended_answer_has_been_read_with_the_text_that_ended_it() {
    let [five, _] = GENERATIONS;
    let (model, tuned) = loaded(five);
    let case = &five.answers()[0];
    let prompt = case["prompt"].as_str().unwrap();
    let settings = Settings {
        stop: Some(" be".into()),
        ..Settings::greedy(40)
    };
    let mut talk = Talk::new(&model, &tuned, &settings).unwrap();
    let mut said = Vec::new();
    let mut say = |text: &str| {
        said.push(text.to_string());
        Ok(())
    };
    let tokens = Tokenizer::world().encode(prompt);
    assert_eq!(talk.answer(&tokens, &mut say).unwrap(), FinishReason::Stop);
    let more = Tokenizer::world().encode(" an");
    talk.answer(&more, &mut say).unwrap();
    let (first, greedy) = (" Arr, that", Settings::greedy(40));
    let whole = format!("{prompt}{first} be an");
    let (wanted, _) =
        generate::answer(&model, &Tokenizer::world().encode(&whole), &tuned, &greedy).unwrap();
    // It goes on beyond the two newlines that end the other.
    assert!(said.concat().starts_with(&format!("{first}{wanted}\n\n")));
}

#[test]
fn what_of_a_prompt_is_not_used_is_told_beside_the_answers() {
    let dir = Dir::new();
    let row = r#"{"input": "What is the colour of snow?", "output": "white", "hint": "cold"}"#;
    dir.write("p.jsonl", [row, "\n\"as it stands\"\n", row].concat());
    let run = dir.run(&["--prompts=p.jsonl", &tuned_flag(), "--max_tokens=1"]);
    assert!(run.status.success());
    assert_eq!(run.stdout.iter().filter(|&&byte| byte == b'\n').count(), 3);
    // The answer of a held-out row is not what is asked.
    assert_eq!(
        String::from_utf8(run.stderr).unwrap(),
        "note   not used: `hint` in 2 rows\n"
    );
}

#[test]
fn a_conversation_is_answered_and_an_end_of_ones_own_stops_answers() {
    let dir = Dir::new();
    let messages = r#"{"messages": [
        {"role": "user", "content": "What is the colour of snow?"},
        {"role": "assistant", "content": "Arr, that be white, matey!"},
        {"role": "user", "content": "What is the colour of wood?"}]}"#;
    dir.write("p.jsonl", messages.replace('\n', "") + "\n");
    let said = dir.succeeds(&["--prompts=p.jsonl", &tuned_flag(), "--response_end=, that"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        said["prompt"],
        "user: What is the colour of snow?\n\nassistant: Arr, that be white, matey!, thatuser: What is the colour of \
         wood?\n\nassistant:"
    );
    let said = dir.succeeds(&["--prompts=p.jsonl", &tuned_flag()]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let tuned = said["tuned"].as_str().unwrap();
    assert!(tuned.starts_with(" Arr, that be"), "{tuned}");

    let flags = [
        "--prompt=user: What is the colour of snow?\\n\\nassistant:",
        &tuned_flag(),
        "--response_end= be",
    ];
    let said = dir.succeeds(&flags);
    let end = "== tuned state ==\n Arr, that\n[ended at --response_end]\n";
    assert!(said.ends_with(end), "{said}");
}
