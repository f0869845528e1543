//! Data by which a state is judged are read as those that it was tuned on, unless something else is
//! typed.

use super::*;
use state_tune::data::format::TextRows;
use state_tune::state_file::{Origin, Texts};

const DATA: &str =
    "{\"question\": \"What is the colour of grass?\", \"answer\": \"Arr, green!\"}\n";

/// A state that says how it was tuned.
fn state_with_texts(dir: &Dir, response_end: &str) {
    let texts = Texts {
        prompt_formatter: "Q: {question}\nA:".to_owned(),
        response_formatter: " {answer}".to_owned(),
        system_formatter: "system: {system}\n\n".to_owned(),
        response_end: response_end.to_owned(),
        text_rows: TextRows::None,
    };
    let state = state_file::open(Path::new(&tuned()), None).unwrap().state;
    let origin = Origin {
        model: None,
        texts: Some(&texts),
    };
    let path = dir.path("tagged.pth");
    state_file::write_with_origin(&path, &state, Element::F32, Format::STATE, origin).unwrap();
}

#[test]
fn the_states_formatters_count_unless_others_are_typed() {
    let dir = Dir::new();
    state_with_texts(&dir, "\n\n");
    dir.write("data.jsonl", DATA);
    let model = tiny("model.pth");
    let against = ["--model", &model, "--data_path", "data.jsonl"];
    let inspect = [&["inspect", "tagged.pth"], &against[..]].concat();
    let convert = |out: &'static str, more: &[&'static str]| {
        let tool = ["convert", "tagged.pth", out, "--to", "time_state"];
        [&tool, &against[..], more].concat()
    };
    let taken = "as the state was tuned, with --prompt_formatter \"Q: \
                 {question}\\nA:\", --response_formatter \" {answer}\" and --response_end \"\\n\\n\"; others";
    let said = does(&dir, &inspect);
    assert!(said.contains(taken), "{said}");
    let [alone, state, _] = losses(&said)[..] else {
        panic!("three losses: {said}")
    };
    let of_tuned = does(&dir, &convert("a", &[]));
    assert!(of_tuned.contains(taken), "{of_tuned}");
    assert!(
        of_tuned.contains(&format!("the loss goes from {state:.4} to ")),
        "{of_tuned}"
    );

    // Typed as they stand in the state, they come to the same.
    let own = [
        "--prompt_formatter=Q: {question}\\nA:",
        "--response_formatter= {answer}",
        "--response_end=\\n\\n",
    ];
    let said = does(&dir, &[&inspect[..], &own].concat());
    assert!(
        !said.contains("as the state was tuned") && !said.contains("another"),
        "{said}"
    );
    assert_eq!(losses(&said)[..2], [alone, state]);

    let typed = "--prompt_formatter=user: {question}\\n\\nassistant:";
    let other = "the state was tuned with another --prompt_formatter, \"Q: {question}\\nA:\"";
    let others = "with --response_formatter \" {answer}\" and --response_end";
    for said in [
        does(&dir, &[&inspect[..], &[typed]].concat()),
        does(
            &dir,
            &convert(
                "b",
                &["--prompt_formatter=user: {question}\\n\\nassistant:"],
            ),
        ),
    ] {
        assert!(said.contains(other) && said.contains(others), "{said}");
    }
}

#[test]
fn a_state_without_texts_is_judged_by_what_is_typed() {
    let dir = Dir::new();
    let state = state_file::open(Path::new(&tuned()), None).unwrap().state;
    let path = dir.path("plain.pth");
    state_file::write(&path, &state, Element::F32, Format::STATE, None).unwrap();
    dir.write("data.jsonl", DATA);
    let model = tiny("model.pth");
    let inspect = [
        "inspect",
        "plain.pth",
        "--model",
        &model,
        "--data_path",
        "data.jsonl",
    ];
    refuses(&dir, &inspect, &["the template uses the key `input`"]);
}

#[test]
fn tokens_that_the_model_has_not_are_told_with_their_rows() {
    let dir = Dir::new();
    let model = common::golden("model_5.2.pth").display().to_string();
    let row = |text: &str| format!("{{\"input\": \"{text}\", \"output\": \"a\"}}\n");
    dir.write("data.jsonl", [row("a"), row("house"), row("b")].concat());
    let plain = [
        "--model",
        &model,
        "--data_path=data.jsonl",
        "--prompt_formatter={input}",
        "--response_formatter={output}",
    ];
    dir.write("train.jsonl", row("a"));
    let location = format!("--model_location={model}");
    let train = [&location, "--data_path=train.jsonl", "--max_epochs=1"];
    dir.succeeds(&[&train, &plain[3..]].concat());
    let words = "data.jsonl: line 2: token 34576 is not among the model's 160 tokens; --skip_bad";
    let left_out = "data.jsonl: 1 row left out (--skip_bad): line 2: token 34576 ";
    for (tool, out) in [
        (vec!["inspect", "state.pth"], None),
        (
            vec!["convert", "state.pth", "a", "--to", "time_state"],
            Some("a"),
        ),
    ] {
        let tool = [&tool[..], &plain].concat();
        refuses(&dir, &tool, &[words]);
        let said = does(&dir, &[&tool[..], &["--skip_bad"]].concat());
        assert!(said.contains(left_out), "{said}");
        assert!(out.is_none_or(|out| dir.path(out).exists()));
    }
}

/// The losses that `inspect` tells.
fn losses(said: &str) -> Vec<f64> {
    let losses = said
        .lines()
        .filter_map(|line| line.strip_prefix("loss         "));
    losses
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}
