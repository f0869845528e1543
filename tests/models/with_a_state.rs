//! A model with a state merged in starts from it: training, base answers, and folding.

use super::*;

/// The reference's losses of [`DATA`], and of [`OF_SEVEN`] by the RWKV-7 model, from
/// [`time_states`].
const FROM_STATE: f64 = 5.725814759887927;
const FROM_STATE_OF_SEVEN: f64 = 5.37034674862871;
const OF_SEVEN: &str = "{\"input\": \"\\u0001\\u0002\\u0003\", \"output\": \"\\u0004\\u0005\"}\n\
                        {\"input\": \"\\u0005\\u0004\", \"output\": \"\\u0001\\u0001\\u0001\"}\n";

const TAKES: &str = "init   the model's own state (time_state)";

fn merged(model: &str) -> Tensors {
    let layers = if model.contains('7') { 3 } else { 2 };
    let mut all = tensors(model);
    all.extend(time_states(layers, 2, 32));
    all
}

#[test]
fn training_starts_from_it_and_says_so() {
    let dir = Dir::new();
    write_pth(&dir.path("m.pth"), merged("model_5.2.pth"));
    let (loss, said) = trained(&dir, &dir.path("m.pth"), &[]);
    assert!(
        (loss - FROM_STATE).abs() < 2e-6 && said.contains(TAKES),
        "{loss} {said}"
    );
    // With WKV alone there is nothing else that could start.
    assert!(said.contains(&format!("{TAKES}\n")), "{said}");
    let more = ["--tune=shift,wkv", "--save_filename=more.pth"];
    let (_, said) = trained(&dir, &dir.path("m.pth"), &more);
    let shifts = format!("{TAKES}; token shifts start as zeros\n");
    assert!(said.contains(&shifts), "{said}");
    let (loss, said) = trained(&dir, &dir.path("m.pth"), &["--init=model"]);
    assert!(
        (loss - FROM_STATE).abs() < 2e-6 && said.contains(TAKES),
        "{loss} {said}"
    );
    let (loss, said) = trained(&dir, &dir.path("m.pth"), &["--init=zeros"]);
    let is_told = said.contains("whose place --init zeros takes");
    assert!((loss - LOSS).abs() < 1e-6 && is_told, "{loss} {said}");

    write_pth(&dir.path("7.pth"), merged("model_7.pth"));
    let seven = dir.path("7.pth");
    dir.write("seven.jsonl", OF_SEVEN);
    let (loss, _) = trained(
        &dir,
        &seven,
        &["--data_path=seven.jsonl", "--save_filename=7"],
    );
    assert!((loss - FROM_STATE_OF_SEVEN).abs() < 2e-6, "{loss}");

    let plain = golden("model_5.2.pth").display().to_string();
    let flags = [
        "--model_location",
        &plain,
        "--init=model",
        "--save_filename=o.pth",
        "--data_path=data.jsonl",
    ];
    let plain = [
        "--prompt_formatter={input}",
        "--response_formatter={output}",
    ];
    dir.refuses(
        &[&flags[..], &plain].concat(),
        1,
        &["--init model", "no state of its own"],
    );
}

/// web-rwkv's converter transposes it with the rest of RWKV-7's; of RWKV-5's its older versions do
/// not, and nothing in the file tells.
#[test]
fn a_converted_models_state_stands_as_the_rest_of_it_or_is_refused() {
    let dir = Dir::new();
    let low_rank = ["w1", "w2", "a1", "a2", "g1", "g2", "v1", "v2"];
    write_pth(&dir.path("m.pth"), merged("model_7.pth"));
    let converted = merged("model_7.pth").into_iter().map(|(name, tensor)| {
        let mut tensor = half(&tensor);
        if low_rank.iter().any(|end| name.ends_with(end)) {
            tensor = transposed(&tensor);
        }
        if name.ends_with("time_state") {
            tensor = turned(&tensor);
        }
        (name, tensor)
    });
    write_safetensors(&dir.path("m.st"), converted.collect());
    let [pth, st] = ["m.pth", "m.st"].map(|file| open(&dir.path(file)).start().unwrap());
    let flat = |state: State| state.wkv.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (pth, st) = (flat(pth), flat(st));
    assert!(pth == st && pth.iter().any(|&number| number != 0.0));

    for does_turn in [true, false] {
        let converted = merged("model_5.2.pth").into_iter().map(|(name, tensor)| {
            let mut tensor = half(&tensor);
            if does_turn && name.ends_with("time_state") {
                tensor = turned(&tensor);
            }
            (name.replace("time_faaaa", "time_first"), tensor)
        });
        write_safetensors(&dir.path("5.st"), converted.collect());
        let words = ["blocks.0.att.time_state", "convert_safetensors", ".pth"];
        refused(&dir.path("5.st"), &words);
    }
    // By RWKV's own names it is no converter's, whatever its type.
    let own = merged("model_5.2.pth").into_iter();
    let own = own.map(|(name, tensor)| (name, half(&tensor)));
    write_safetensors(&dir.path("own.st"), own.collect());
    write_pth(&dir.path("own.pth"), merged("model_5.2.pth"));
    let [pth, st] = ["own.pth", "own.st"].map(|file| open(&dir.path(file)).start().unwrap());
    assert!(flat(pth) == flat(st));
}

/// Each head's matrix the other way round.
fn turned(tensor: &Stored) -> Stored {
    let numbers = Element::F16.decode(&tensor.bytes);
    let turned = (0..numbers.len()).map(|at| {
        let (head, row, column) = (at / 1024, at / 32 % 32, at % 32);
        numbers[head * 1024 + column * 32 + row]
    });
    let turned: Vec<f32> = turned.collect();
    Stored::new(Element::F16, tensor.shape.clone(), &turned)
}

#[test]
fn inspect_says_that_the_rwkv_package_ignores_it_in_rwkv7() {
    let dir = Dir::new();
    for (model, ignored) in [("model_5.2.pth", false), ("model_7.pth", true)] {
        write_pth(&dir.path("m.pth"), merged(model));
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
            .current_dir(dir.path(""))
            .args(["inspect", "m.pth"])
            .output()
            .unwrap();
        let said = String::from_utf8(run.stdout).unwrap();
        assert_eq!(said.contains("ignores the state"), ignored, "{said}");
        assert!(said.contains("state        model"), "{said}");
    }
}

#[test]
fn base_answers_start_from_it() {
    let dir = Dir::new();
    write_pth(&dir.path("m.pth"), merged("model_5.2.pth"));
    write_pth(&dir.path("state.pth"), time_states(2, 2, 32));
    let flags = ["--prompt=\u{2}\u{1}", "--max_tokens=8", "--model_location"];
    let answers = |model: &str| -> Vec<String> {
        let said = dir.succeeds(&[&flags[..], &[model]].concat());
        let is_told = said.contains("from which its base answers start");
        assert_eq!(is_told, model == "m.pth", "{said}");
        let after = said.split("== base model ==\n").nth(1).unwrap();
        after
            .split("\n== tuned state ==\n")
            .map(|answer| answer.trim_end().to_string())
            .collect()
    };
    let with = answers("m.pth");
    assert_eq!(with[0], with[1]);
    let without = answers(&golden("model_5.2.pth").display().to_string());
    assert_eq!(without[1], with[1]);
    assert_ne!(without[0], with[0]);
}

/// A state takes the place of the one in the model, so it serves the model with it and without.
#[test]
fn a_state_is_for_the_model_with_another_and_without() {
    let dir = Dir::new();
    write_pth(&dir.path("m.pth"), merged("model_5.2.pth"));
    let (own, with) = (open(&golden("model_5.2.pth")), open(&dir.path("m.pth")));
    assert_ne!(own.fingerprint(), with.fingerprint());
    let plain = golden("model_5.2.pth").display().to_string();
    for (tuned_on, other) in [("m.pth", plain.as_str()), (plain.as_str(), "m.pth")] {
        let _ = std::fs::remove_file(dir.path("state.pth.ckpt"));
        trained(&dir, Path::new(tuned_on), &[]);
        dir.succeeds(&[
            "--prompt=\u{2}\u{1}",
            "--max_tokens=1",
            "--model_location",
            other,
        ]);
    }
}

#[test]
fn what_folding_runs_over_starts_from_it() {
    let dir = Dir::new();
    write_pth(&dir.path("m.pth"), merged("model_5.2.pth"));
    trained(&dir, &dir.path("m.pth"), &["--tune=softprompt"]);
    let model = open(&dir.path("m.pth"));
    let state = state_tune::state_file::read(&dir.path("state.pth"), model.config()).unwrap();
    let apart = (&state.wkv - &model.start().unwrap().wkv)
        .unwrap()
        .abs()
        .unwrap();
    assert_eq!(apart.max_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_state-tune"))
        .current_dir(dir.path(""))
        .args([
            "convert",
            "state.pth",
            "live",
            "--to=rwkv-live",
            "--fold",
            "--model=m.pth",
        ])
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let said = String::from_utf8(run.stdout).unwrap();
    assert!(
        said.contains("a state of its own (time_state), whose place this one takes"),
        "{said}"
    );
}

#[test]
fn half_a_state_is_refused() {
    let dir = Dir::new();
    let without = |name: &'static str| {
        merged("model_5.2.pth")
            .into_iter()
            .filter(move |(found, _)| found != name)
    };
    write_pth(
        &dir.path("m.pth"),
        without("blocks.1.att.time_state").collect(),
    );
    refused(&dir.path("m.pth"), &["no blocks.1.att.time_state"]);
    let mut other = merged("model_5.2.pth");
    let (_, last) = other.last_mut().unwrap();
    last.shape = vec![4, 16, 32];
    write_pth(&dir.path("m.pth"), other);
    refused(
        &dir.path("m.pth"),
        &["blocks.1.att.time_state is [4, 16, 32]"],
    );
}
