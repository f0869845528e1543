//! The real program in a fresh directory: what it writes, how it stops, and how it refuses.

mod common;

use std::fs;
use std::process::Stdio;

use common::{Dir, losses, tiny};
#[cfg(unix)]
use common::{first_step, signal as kill};
use state_tune::tensors::pth::{self, Value};
use state_tune::tensors::{Dtype, Stored};

#[test]
fn a_run_writes_a_state_a_curve_and_a_log() {
    let dir = Dir::new();
    let run = dir.run(&["--max-epochs=0.1", "--log_file=log.jsonl"]);
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.contains("3 steps")
            && text.contains("--max_epochs 0.1 done")
            && text.contains("state.pth"),
        "{text}"
    );
    assert_eq!(
        dir.names(),
        ["log.jsonl", "state.loss.svg", "state.pth", "state.pth.ckpt"]
    );
    let log = fs::read_to_string(dir.path("log.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let mut keys: Vec<&str> = first
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    let wanted = "epoch grad_norm_shift grad_norm_softprompt grad_norm_wkv loss loss_avg lr seconds step tokens \
                  tokens_per_s tokens_seen";
    assert_eq!(keys.join(" "), wanted);
}

#[test]
fn the_same_seed_gives_the_same_run_however_memory_is_used() {
    let dir = Dir::new();
    for (seed, recompute, log) in [
        ("1", "never", "a"),
        ("1", "always", "b"),
        ("2", "never", "c"),
    ] {
        let flags = [
            "--max_epochs=0.1",
            "--seed",
            seed,
            "--recompute",
            recompute,
            "--log_file",
            log,
        ];
        assert!(dir.run(&flags).status.success());
    }
    assert_eq!(losses(&dir.path("a")), losses(&dir.path("b")));
    assert_ne!(losses(&dir.path("a")), losses(&dir.path("c")));
}

#[test]
fn what_is_not_tuned_keeps_its_start_and_both_answers_are_shown() {
    let dir = Dir::new();
    assert!(
        dir.run(&["--tune=wkv", "--init=zeros", "--max_epochs=0.1"])
            .status
            .success()
    );
    let Value::List(parts) = pth::read(&dir.path("state.pth")).unwrap() else {
        panic!("a list")
    };
    let [Value::Tensor(soft), Value::Tuple(rest)] = parts.as_slice() else {
        panic!("two parts")
    };
    let [Value::Tensor(shifts), Value::Tensor(wkv)] = rest.as_slice() else {
        panic!("two more")
    };
    assert_eq!(soft.shape, [1, 0, 128]);
    assert!(shifts.bytes.iter().all(|&byte| byte == 0) && wkv.bytes.iter().any(|&byte| byte != 0));

    let run = dir.run(&[
        "--prompt",
        "user: How are you?\\n\\nassistant:",
        "--max_tokens=3",
    ]);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.starts_with("== base model ==\n") && text.contains("\n\n== tuned state ==\n"),
        "{text}"
    );
    assert_eq!(
        text.matches("\n[stopped at --max_tokens 3]\n").count(),
        2,
        "{text}"
    );
}

#[test]
fn limits_stop_a_run() {
    let dir = Dir::new();
    for (flag, why) in [
        ("--exit_loss=9", "below --exit_loss 9"),
        ("--max_time=0.001", "--max_time 0.001 seconds"),
    ] {
        let text = String::from_utf8(dir.run(&[flag]).stdout).unwrap();
        assert!(text.contains("1 steps") && text.contains(why), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn signals_save_what_is_learnt() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let dir = Dir::new();
        let mut run = dir
            .command(&["--log_file=log"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        first_step(&mut run, &dir.path("log"));
        kill(&run, signal);
        assert_eq!(run.wait().unwrap().code(), Some(code));
        assert!(pth::read(&dir.path("state.pth")).is_ok());
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_spares_the_state() {
    let dir = Dir::new();
    assert!(dir.run(&["--max_epochs=0.05"]).status.success());
    let before = fs::read(dir.path("state.pth")).unwrap();
    let run = dir.run(&["--learningrate=1e38"]);
    let error = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(
        error.contains("--learningrate") && error.lines().count() == 1,
        "{error}"
    );
    assert_eq!(fs::read(dir.path("state.pth")).unwrap(), before);
}

#[test]
fn models_that_cannot_be_used() {
    let dir = Dir::new();
    dir.refuses(
        &["--model_location=none.pth"],
        1,
        &["none.pth", "does not exist"],
    );
    let whole = fs::read(tiny("model.pth")).unwrap();
    dir.write("empty.pth", "");
    dir.write("cut.pth", &whole[..whole.len() / 2]);
    dir.write("text.pth", "this is no zip");
    for file in ["empty.pth", "cut.pth", "text.pth"] {
        dir.refuses(&["--model_location", file], 1, &[file]);
    }
    let number = || {
        Value::Tensor(Stored {
            dtype: Dtype::F32,
            shape: vec![1, 1],
            bytes: vec![0; 4].into(),
        })
    };
    for (names, words) in [
        (&["att.time_mix_k"][..], "RWKV-4 model"),
        (&["att.time_maa_x"], "RWKV-6 model"),
        (&["ffn.time_maa_k"], "RWKV-6 model"),
        (
            &["att.r_k", "ffn.s_emb.weight"],
            "RWKV-7a (DeepEmbed) model",
        ),
        (
            &["att.r_k", "ffn.s1", "qkv.k1"],
            "RWKV-7b (Deep Embedding Attention) model",
        ),
        (&["att.r_k", "att.x_z"], "blocks.0.att.x_z"),
        (&["att.w0"], "lacks the tensor blocks.0.att.r_k"),
    ] {
        let names = names.iter().map(|name| format!("blocks.0.{name}"));
        let names = names.chain(["emb.weight".to_string()]);
        let entries = names.map(|name| (Value::Str(name), number())).collect();
        pth::write(&dir.path("other.pth"), &Value::Dict(entries)).unwrap();
        dir.refuses(&["--model_location=other.pth"], 1, &[words]);
    }
}

#[test]
fn data_that_cannot_be_used_is_named_by_its_line() {
    let dir = Dir::new();
    let good = r#"{"input": "a", "output": "b"}"#;
    for (text, word) in [
        (format!("{good}\n{{broken\n"), "line 2"),
        (format!("{good}\n\n{{\"input\": \"a\"}}\n"), "line 3"),
        (
            format!("{good}\n{{\"input\": \"a\", \"output\": null}}\n"),
            "line 2",
        ),
        (String::from("\n"), "no examples"),
    ] {
        dir.write("data.jsonl", text);
        dir.refuses(&["--data_path=data.jsonl"], 1, &["data.jsonl", word]);
    }
    dir.write("data.jsonl", "{\"input\": \"a\", \"output\": \"\"}\n");
    dir.refuses(
        &["--data_path=data.jsonl", "--response_formatter={output}"],
        1,
        &["line 1", "empty"],
    );
    dir.write(
        "data.jsonl",
        format!("\u{feff}{good}\r\n\r\n{{\"input\": 1.0, \"output\": true}}\r\n"),
    );
    assert!(
        dir.run(&["--data_path=data.jsonl", "--max_epochs=1"])
            .status
            .success()
    );
}

#[test]
fn targets_are_found_wanting_before_training() {
    let dir = Dir::new();
    dir.refuses(
        &["--save_filename=none/state.pth"],
        1,
        &["none/state.pth", "no directory"],
    );
    dir.refuses(&["--save_filename=."], 1, &["names no file"]);
    dir.write("notes.txt", "mine");
    dir.refuses(
        &["--save_filename=notes.txt"],
        1,
        &["notes.txt", "not replaced"],
    );
    let model = tiny("model.pth").display().to_string();
    dir.refuses(&["--save_filename", &model], 1, &["also --model_location"]);
    dir.refuses(&["--log_file", &model], 1, &["--model_location"]);
    dir.refuses(&["--prompt=x"], 1, &["state.pth", "does not exist"]);
    dir.refuses(
        &["--data_path=none", "--huggingface_dataset=a/b"],
        1,
        &["a/b"],
    );
}

#[test]
fn wrong_usage_is_told_in_one_line() {
    let dir = Dir::new();
    for (flag, value) in [
        ("--learningrate", "0"),
        ("--batchsize", "0"),
        ("--exit_loss", "nan"),
        ("--max_epochs", "-1"),
        ("--max_time", "0"),
        ("--dataset_walk", "up"),
        ("--prompt_cutoff", "-2"),
        ("--completion_cutoff", "0"),
        ("--prompt_formatter", "{a"),
        ("--response_formatter", "a}"),
        ("--seed", "-1"),
        ("--init", "twos"),
        ("--tune", "head"),
        ("--device", "tpu"),
        ("--dtype", "f8"),
        ("--recompute", "maybe"),
        ("--threads", "0"),
        ("--max_tokens", "0"),
    ] {
        dir.refuses(&[flag, value], 2, &[flag, value]);
    }
    dir.refuses(&["--prompt", ""], 2, &["--prompt"]);
    dir.refuses(&["--device=cuda:99"], 1, &["--device cuda:99"]);
}
