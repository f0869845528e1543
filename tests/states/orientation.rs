//! Which way round a state's matrices stand, as `inspect` tells it by the loss of examples.

use std::collections::HashMap;

use super::*;

/// Unseen examples, as many as are enough.
fn some_data(dir: &Dir) -> &'static str {
    let all = fs::read_to_string(tiny("eval.jsonl")).unwrap();
    let some: Vec<&str> = all.lines().take(12).collect();
    dir.write("few.jsonl", some.join("\n"));
    "few.jsonl"
}

/// What `inspect` says of a state, held against a generation's model and unseen examples.
fn inspected(dir: &Dir, state: &str, generation: Generation) -> String {
    let [_, model] = files_of(generation);
    let data = some_data(dir);
    does(
        dir,
        &["inspect", state, "--model", &model, "--data_path", data],
    )
}

/// The losses of the model alone, of the state as it is, and of the state turned round.
fn losses(said: &str) -> Vec<f64> {
    let losses = said
        .lines()
        .filter_map(|line| line.strip_prefix("loss         "));
    losses
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// Writes the state of a file with its matrices turned round, as if they stood right.
fn turn(dir: &Dir, from: &str, to: &str, format: Format) {
    let turned = state_file::open(Path::new(from), None)
        .unwrap()
        .state
        .transposed()
        .unwrap();
    state_file::write(&dir.path(to), &turned, Element::F32, format, None).unwrap();
}

#[test]
fn a_state_that_stands_right_is_called_right_and_one_that_does_not_is_set_right() {
    for generation in GENERATIONS {
        let dir = Dir::new();
        let [tuned, model] = files_of(generation);
        let said = inspected(&dir, &tuned, generation);
        let right = "orientation  right: [value, key], as state has them\n";
        assert!(said.contains(right), "{said}");
        let [alone, as_it_is, turned_round] = losses(&said)[..] else {
            panic!("three losses: {said}")
        };
        assert!(as_it_is < alone && as_it_is < turned_round, "{said}");

        turn(&dir, &tuned, "wrong.pth", Format::STATE);
        let said = inspected(&dir, "wrong.pth", generation);
        assert_eq!(losses(&said), [alone, turned_round, as_it_is]);
        let advice = said.lines().last().unwrap();
        assert!(
            advice.starts_with("orientation  wrong: [key, value], where state has [value, key]"),
            "{said}"
        );
        // What it says to do does it.
        let command = advice.split('`').nth(1).unwrap();
        assert_eq!(
            command,
            format!("state-tune convert wrong.pth OUT --to state --transpose --model {model}")
        );
        does(&dir, &command.split(' ').skip(1).collect::<Vec<_>>());
        let said = inspected(&dir, "OUT", generation);
        assert!(said.contains(right), "{said}");
        assert_eq!(losses(&said), [alone, as_it_is, turned_round]);
    }
}

#[test]
fn every_format_stands_right_and_says_how() {
    for generation in GENERATIONS {
        let dir = Dir::new();
        let [tuned, model] = files_of(generation);
        for format in FORMATS {
            let name = format.name();
            let to = ["convert", &tuned, name, "--to", name, "--model", &model];
            does(&dir, &[&to[..], &["--fold"]].concat());
            let said = inspected(&dir, name, generation);
            let order = match (name, generation.name) {
                ("original" | "web-rwkv", _) | ("rwkv-live", "5") => "[key, value]",
                _ => "[value, key]",
            };
            let right = format!("orientation  right: {order}, as {name} has them\n");
            assert!(said.contains(&right), "{said}");
        }
    }
}

/// A file that could be time_state as safetensors or web-rwkv's, as far as it shows.
#[test]
fn a_file_that_does_not_show_its_format_is_told_by_the_losses() {
    for generation in GENERATIONS {
        let dir = Dir::new();
        let [tuned, model] = files_of(generation);
        let state = state_file::open(Path::new(&tuned), None).unwrap().state;
        for (file, state, format, order) in [
            ("key_value", state.clone(), "web-rwkv", "[key, value]"),
            (
                "value_key",
                state.transposed().unwrap(),
                "time_state",
                "[value, key]",
            ),
        ] {
            let layers: HashMap<String, Tensor> = (0..state.wkv.dim(0).unwrap())
                .map(|i| {
                    let name = format!("blocks.{i}.att.time_state");
                    (name, state.wkv.get(i).unwrap())
                })
                .collect();
            candle_core::safetensors::save(&layers, dir.path(file)).unwrap();
            let unclear = ["--from web-rwkv", "`state-tune inspect` with --model"];
            refuses(&dir, &["inspect", file], &unclear);
            let said = inspected(&dir, file, generation);
            let told = format!(
                "orientation  {order}, as {format} has them; convert it by `state-tune convert \
                 {file} OUT --to state --from {format}`\n"
            );
            assert!(said.contains(&told), "{said}");
            let out = format!("{file}.pth");
            let from = format!("--from={format}");
            does(&dir, &["convert", file, &out, "--to=state", &from]);
            let said = inspected(&dir, &out, generation);
            assert!(said.contains("orientation  right"), "{model}: {said}");
        }
    }
}

/// A model that brings its state is held against itself without it.
#[test]
fn a_merged_model_is_inspected_by_itself() {
    for generation in GENERATIONS {
        let dir = Dir::new();
        let [tuned, model] = files_of(generation);
        let to = [
            "convert",
            &tuned,
            "merged.pth",
            "--to",
            "model",
            "--model",
            &model,
        ];
        does(&dir, &[&to[..], &["--fold"]].concat());
        let data = some_data(&dir);
        let inspect = [
            "inspect",
            "merged.pth",
            "--model",
            "merged.pth",
            "--data_path",
            data,
        ];
        let said = does(&dir, &inspect);
        assert!(said.contains("orientation  right"), "{said}");
        let [alone, as_it_is, turned_round] = losses(&said)[..] else {
            panic!("three losses: {said}")
        };
        assert!(as_it_is < alone && as_it_is < turned_round, "{said}");
    }
}

#[test]
fn what_the_losses_do_not_tell_is_not_claimed() {
    let [five, _] = GENERATIONS;
    let (dir, model) = (Dir::new(), model());
    let zeros = State::zeros(model.config()).unwrap();
    let tuned = state_file::open(&five.state(), None).unwrap().state;
    let drowned = tuned.scaled(100.0).unwrap();
    for (name, state, words) in [
        ("zeros", zeros, "either: the matrices are the same"),
        ("drowned", drowned, "not told: neither way is better"),
    ] {
        state_file::write(&dir.path(name), &state, Element::F32, Format::STATE, None).unwrap();
        let said = inspected(&dir, name, five);
        assert!(
            said.contains(&format!("orientation  {words}")),
            "{name}: {said}"
        );
    }
}

#[test]
fn a_model_alone_is_held_against_a_state() {
    for generation in GENERATIONS {
        let dir = Dir::new();
        let [tuned, model] = files_of(generation);
        let said = does(&dir, &["inspect", &tuned, "--model", &model]);
        assert!(
            said.contains(&format!("\nfits         {model} (RWKV-")),
            "{said}"
        );
        assert!(said.contains("--data_path tells which way round"), "{said}");
    }
}

#[test]
fn what_a_state_cannot_be_held_against_is_refused() {
    let [five, seven] = GENERATIONS;
    let dir = Dir::new();
    let ([tuned, model], [_, other]) = (files_of(five), files_of(seven));
    let eval = some_data(&dir);
    let tag = model_of(five).fingerprint().to_string();
    let state = state_file::open(Path::new(&tuned), None).unwrap().state;
    let path = dir.path("tagged");
    state_file::write(&path, &state, Element::F32, Format::STATE, Some(&tag)).unwrap();
    dir.write("bare.jsonl", "{\"input\": \"a\"}\n");
    dir.write("leadless.jsonl", "{\"input\": \"\", \"output\": \"b\"}\n");
    let small = common::golden("model_5.2.pth").display().to_string();
    for (arguments, words) in [
        (
            &["tagged", "--model", &other, "--data_path", eval][..],
            &[
                "tuned on an RWKV-5 model, and this is an RWKV-7 model",
                "--force",
            ][..],
        ),
        (
            &["tagged", "--model", &small],
            &["cannot use the state tagged", "does not fit the model"],
        ),
        (&[&tuned, "--model", &small], &["does not fit the model"]),
        (&[&tuned, "--model=none.pth"], &["none.pth"]),
        (
            &[&tuned, "--model", &model, "--data_path=none.jsonl"],
            &["cannot use the data in none.jsonl"],
        ),
        (
            &[&tuned, "--model", &model, "--data_path=bare.jsonl"],
            &["bare.jsonl", "line 1", "`output`"],
        ),
        (
            &[
                &tuned,
                "--model",
                &model,
                "--data_path=leadless.jsonl",
                "--prompt_formatter={input}",
            ],
            &["--data_path leadless.jsonl", "no example with a prompt"],
        ),
        (
            &[&model, "--model", &model],
            &["a model without a state", "--model"],
        ),
    ] {
        refuses(&dir, &[&["inspect"], arguments].concat(), words);
    }
    let forced = ["inspect", "tagged", "--force", "--model", &other];
    does(&dir, &[&forced[..], &["--data_path", eval]].concat());
}
