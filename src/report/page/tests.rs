//! Pages of runs real and strange. `PAGE_SAMPLE=directory cargo test --lib page` keeps them to be
//! looked at, and `scripts/check-report` looks at them in a browser.

use std::cell::RefCell;

use super::*;
use crate::model::PerGroup;
use crate::report::{Eval, History, LayerNorms, Step};

/// A run of so many steps that goes as runs do: fast at first, then slower, and never quite evenly.
fn run(steps: usize) -> History {
    let noise = |step: usize| ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
    let course = |step: usize| 0.012 + 0.22 * (-(step as f64) * 12.0 / steps as f64).exp();
    let mut history = History::default();
    for step in 1..=steps {
        let loss = course(step) * (0.5 + 1.2 * noise(step));
        let loss_avg = history
            .steps
            .last()
            .map_or(loss, |past| 0.95 * past.loss_avg + 0.05 * loss);
        let tokens = 150 + (noise(step + 7) * 120.0) as usize;
        history.steps.push(Step {
            step,
            epoch: 1 + step / 38,
            loss,
            loss_avg,
            tokens: tokens / 2,
            tokens_seen: tokens,
            tokens_per_s: 4300.0 + 1300.0 * noise(step + 3),
            seconds: step as f64 * 0.041,
            learning_rate: 0.01
                * (step as f64 / (0.1 * steps as f64)).min(1.0 - 0.7 * step as f64 / steps as f64),
            grad_norms: PerGroup {
                soft_prompt: Some(if step == 1 {
                    114.0
                } else {
                    course(step) * (0.5 + noise(step + 1))
                }),
                shift: Some(course(step) * 0.2 * (0.5 + noise(step + 5))),
                wkv: Some(course(step) * 0.05 * (0.5 + noise(step + 6))),
            },
            gpu_memory: None,
            ranks: None,
            waiting: None,
        });
    }
    for step in (0..=steps).step_by((steps / 12).max(1)) {
        history.evals.push(Eval {
            step,
            loss: course(step) * 0.9 + 0.004 * step as f64 / steps as f64,
            accuracy: 0.985 - 0.9 * (course(step) - 0.012),
        });
    }
    history
}

fn norms(layers: usize, heads: usize) -> Vec<LayerNorms> {
    let norm = |a: usize, b: usize| ((a * 31 + b * 17) % 23) as f64 / 23.0;
    (0..layers)
        .map(|layer| LayerNorms {
            att_shift: 11.3 + 2.4 * norm(layer, 1),
            ffn_shift: 11.3 + 2.4 * norm(layer, 2),
            wkv: (0..heads)
                .map(|head| 64.0 + 4.5 * norm(layer, 3 + head))
                .collect(),
        })
        .collect()
}

fn answer(prompt: &str, wanted: Option<&str>, base: &str, tuned: &str) -> Answer {
    Answer {
        prompt: prompt.to_string(),
        wanted: wanted.map(str::to_string),
        base: base.to_string(),
        tuned: tuned.to_string(),
    }
}

fn pairs(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn learnt(norms: Vec<LayerNorms>) -> Learnt {
    Learnt {
        norms,
        soft_prompt: Some(0.7554),
        answers: vec![
            answer(
                "user: What is the capital of France?\n\nassistant:",
                Some(" Arr, that be Paris, matey!"),
                " Hmm, could it be Paris, I wonder?",
                " Arr, that be Paris, matey!",
            ),
            answer(
                "user: Which month precedes July?\n\nassistant:",
                None,
                "",
                " Arr, that be June, matey!",
            ),
        ],
    }
}

fn finished<'a>(history: &'a History, tables: &'a [Vec<(String, String)>; 2]) -> Finished<'a> {
    let [options, machine] = tables;
    Finished {
        title: "state.pth",
        summary: "150 steps in 6s, 4459 tokens/s, 0.16 GiB of memory at most; stopped: --max_epochs 4 done\n\
                  loss 0.2291 at first, 0.0091 at last\nstate       state.pth\nloss curve  state.loss.svg",
        history,
        options,
        machine,
        learnt: None,
    }
}

/// Options and machine.
fn tables() -> [Vec<(String, String)>; 2] {
    [
        pairs(&[
            ("--learningrate", "0.01"),
            ("--batchsize", "8"),
            ("--max_epochs", "4"),
            ("--data_path", "examples/tiny/train.jsonl"),
            (
                "--model_location",
                "/a/long/path/that/has/no/blank/to/break/at/RWKV-5-World-3B-v2-20231118-ctx16k.pth",
            ),
        ]),
        pairs(&[
            ("processor", "AMD EPYC 7763, 2 cores, AVX2"),
            ("memory", "7.8 GiB"),
            ("system", "Linux 6.1"),
        ]),
    ]
}

/// Writes a page as the program does, and keeps it where `PAGE_SAMPLE` asks for it.
fn written(name: &str, run: Finished, learnt: Learnt) -> String {
    let directory = tempfile::tempdir().unwrap();
    let directory = match std::env::var_os("PAGE_SAMPLE") {
        Some(kept) => kept.into(),
        None => directory.path().to_path_buf(),
    };
    let path = directory.join(format!("{name}.html"));
    let learnt = RefCell::new(Some(learnt));
    let once = || Ok(learnt.take().unwrap());
    let run = Finished {
        learnt: Some(&once),
        ..run
    };
    assert!(Page::new(&path).finish(&run).unwrap());
    assert!(Page::is_ours(&path), "the next run may replace it");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn a_run_has_all_sections() {
    let history = run(150);
    let text = written("tiny", finished(&history, &tables()), learnt(norms(4, 2)));
    assert!(text.starts_with("<!DOCTYPE html>"));
    for expected in [
        "<h1>state.pth</h1>",
        "Held-out accuracy</dt>",
        "<h3>Loss</h3>",
        "<h3>Held-out accuracy</h3>",
        "<h3>Learning rate</h3>",
        "<h3>Speed</h3>",
        "<h3>Gradient norms</h3>",
        "norm, log scale",
        "layer 3, head 1",
        "<b>0.7554</b>",
        "Hmm, could it be Paris, I wonder?",
        "4459 tokens/s, 0.16 GiB",
        "--batchsize",
        "AMD EPYC",
    ] {
        assert!(text.contains(expected), "{expected}");
    }
    // Nothing is asked of a network: the only addresses are the page's own.
    for outside in ["http:", "https:", "//", "url(", "@import", "src=", "href="] {
        let found = text.replace("// ", "").contains(outside);
        assert!(!found, "{outside}");
    }
}

#[test]
fn a_long_run_of_a_large_model_is_a_page_of_reasonable_size() {
    let history = run(100_000);
    let text = written("long", finished(&history, &tables()), learnt(norms(32, 64)));
    assert!(text.len() < 500_000, "{} bytes", text.len());
    assert!(text.len() > 50_000, "{} bytes", text.len());
    let highest = history
        .steps
        .iter()
        .max_by(|a, b| a.loss.total_cmp(&b.loss))
        .unwrap();
    assert!(
        text.contains(&format!(" {} ", highest.step)),
        "the highest loss is in the curve"
    );
}

#[test]
fn what_there_is_not_has_no_section() {
    let none = History::default();
    let run_of = |history| Finished {
        title: "state.pth",
        history,
        summary: "",
        options: &[],
        machine: &[],
        learnt: None,
    };
    let nothing = || Learnt {
        norms: norms(0, 0),
        soft_prompt: Some(0.0),
        answers: vec![],
    };
    let text = written("empty", run_of(&none), nothing());
    for absent in ["<section", "<svg", "<table", "<dl", "<pre"] {
        assert!(!text.contains(absent), "{absent}");
    }

    let mut one = run(1);
    one.evals.clear();
    one.steps[0].grad_norms.shift = None;
    let text = written("one", run_of(&one), nothing());
    assert_eq!(
        text.matches("<svg").count(),
        4,
        "loss, norms, learning rate, speed"
    );
    assert!(!text.contains("eld-out") && !text.contains("shifts"));
}

#[test]
fn nothing_in_the_data_breaks_the_page() {
    let nasty = "<script>alert(1)</script> </pre></style> \"'& \0\u{1b}[31m\u{202e}right to left\u{feff} مرحبا 👩‍👩‍👧";
    let long = "word".repeat(500);
    let mut history = run(30);
    for (i, value) in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        0.0,
        -1.0,
    ]
    .into_iter()
    .enumerate()
    {
        let step = &mut history.steps[10 + i];
        (step.loss, step.loss_avg, step.tokens_per_s) = (value, value, value);
        (step.learning_rate, step.seconds, step.grad_norms.wkv) = (value, value, Some(value));
        history.evals[i] = Eval {
            step: i,
            loss: value,
            accuracy: value,
        };
    }
    history.steps.last_mut().unwrap().loss = f64::NAN;
    history.steps.last_mut().unwrap().seconds = f64::NAN;
    let mut layers = norms(3, 3);
    layers[1].wkv = vec![f64::NAN];
    layers[2].att_shift = f64::INFINITY;
    let tables = [
        vec![
            (nasty.to_string(), long.clone()),
            (long.clone(), nasty.to_string()),
        ],
        vec![(nasty.to_string(), nasty.to_string())],
    ];
    let run = Finished {
        title: nasty,
        summary: &long,
        ..finished(&history, &tables)
    };
    let learnt = Learnt {
        norms: layers,
        soft_prompt: Some(f64::NAN),
        answers: vec![
            answer(nasty, Some(&long), &long, nasty),
            answer(&long, None, nasty, "\n"),
        ],
    };
    let text = written("nasty", run, learnt);
    assert_eq!(text.matches("<script").count(), 1, "the page's own");
    assert_eq!(text.matches("</style>").count(), 1);
    assert!(!text.contains('\0') && !text.contains('\u{1b}'));
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    for path in text
        .split(" d=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        let drawing = |c: char| c.is_ascii_digit() || " .MLHh".contains(c);
        assert!(path.chars().all(drawing), "{path}");
    }
}
