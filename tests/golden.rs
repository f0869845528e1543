//! The whole model and its training against the float64 oracle, whose numbers lie in `golden/` with
//! the script that made them in `oracle/`. Nothing here compares this program with itself, but
//! where it says so. What computes is the processor, and in the tests that need one, a GPU.

mod common;

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use common::close::close_by_norm;
use common::{GENERATIONS, Generation, golden};
use state_tune::data::Example;
use state_tune::evaluate;
use state_tune::generate::{self, Settings};
use state_tune::model::{Batch, Intermediates, ModelFile, Rwkv, Sequence, State};
use state_tune::ops::Compute;
use state_tune::ops::device::DeviceChoice;
use state_tune::ops::linear::{ProductType, Weights};
use state_tune::state_file::{self, Format};
use state_tune::tensors::Element;
use state_tune::tokenizer::Tokenizer;
use state_tune::train::memory_plan::Plan;
use state_tune::train::{Adam, Init, Learner, Tune};

/// f32 against float64, forward and gradients, relative by norm.
const F32: f64 = 1e-5;
/// The same after twenty steps of Adam, which magnify rounding.
const F32_TRAINED: f64 = 1e-3;
const F32_TRAINED_LOSS: f64 = 2e-5;
/// Products rounded to bf16.
const BF16: f64 = 2e-2;
/// The same where what products give is stored as bf16 too, as a GPU does it, for models on which
/// others in bf16 are further off than 2e-2 (docs/ACCURACY.md): float64 itself is 2.8e-2 off on the
/// 5.2 model once those numbers are rounded (`oracle/rounding.py`), and PyTorch in bf16 3.1e-2 on the
/// model of RWKV-7 (`oracle/peer.py`).
const BF16_STORED: f64 = 4e-2;
const STORED: [&str; 4] = ["5.2", "5.2_orig_mod", "7", "7_f16"];

const MODELS: [(&str, &str); 7] = [
    ("5.0", "model_5.0.pth"),
    ("5.1", "model_5.1.pth"),
    ("5.2", "model_5.2.pth"),
    ("5.2_orig_mod", "model_5.2_orig_mod.safetensors"),
    ("7", "model_7.pth"),
    ("7_f16", "model_7_f16.safetensors"),
    ("7_extremes", "model_7_extremes.pth"),
];

/// Makes each of these functions a test on the processor and a test on a GPU.
macro_rules! on_each_device {
    ($($test:ident),* $(,)?) => {
        mod on_the_processor {
            $(#[test]
            fn $test() {
                super::$test(super::DeviceChoice::Cpu);
            })*
        }

        mod on_a_gpu {
            $(#[test]
            #[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
            fn $test() {
                super::$test(super::DeviceChoice::Cuda(0));
            })*
        }
    };
}

on_each_device!(
    logits_and_end_state,
    the_recurrent_forward_gives_the_same,
    loss_and_gradients,
    the_share_of_tokens_that_a_greedy_choice_hits,
    twenty_steps_of_training_however_a_batch_is_computed,
);

struct Case {
    name: &'static str,
    model: Rwkv,
    numbers: HashMap<String, Tensor>,
}

impl Case {
    fn load((name, file): (&'static str, &str), compute: &Compute) -> Self {
        let model = Rwkv::load(&ModelFile::open(&golden(file)).unwrap(), compute).unwrap();
        let numbers = candle_core::safetensors::load(
            golden(&format!("golden_{name}.safetensors")),
            &Device::Cpu,
        )
        .unwrap();
        Self {
            name,
            model,
            numbers,
        }
    }

    /// One of each model.
    fn all(device: DeviceChoice, product: ProductType) -> impl Iterator<Item = Self> {
        let opened = Compute::fastest(device, Some(product), Weights::File).unwrap();
        MODELS
            .into_iter()
            .map(move |model| Self::load(model, &opened.compute))
    }

    fn device(&self) -> &Device {
        &self.model.compute().device
    }

    fn number(&self, name: &str) -> f64 {
        self.numbers[name].to_vec1::<f64>().unwrap()[0]
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.numbers[name]
            .to_vec1::<i64>()
            .unwrap()
            .into_iter()
            .map(|id| id as u32)
            .collect()
    }

    fn f32(&self, name: &str) -> Tensor {
        self.numbers[name].to_dtype(DType::F32).unwrap()
    }

    /// What an untuned model starts from.
    fn start(&self) -> State {
        let zeros = State::zeros(self.model.config()).unwrap();
        zeros.to_device(self.device()).unwrap()
    }

    fn state(&self, soft_prompt: bool) -> State {
        let soft_prompt = soft_prompt.then(|| self.f32("soft"));
        let state = State {
            soft_prompt,
            shifts: self.f32("shifts"),
            wkv: self.f32("wkv"),
        };
        state.to_device(self.device()).unwrap()
    }

    fn examples(&self) -> Vec<Example> {
        let (prompts, completions) = (
            self.ids("batch_prompt_lengths"),
            self.ids("batch_completion_lengths"),
        );
        let mut ids = self.ids("batch_ids").into_iter();
        let mut examples = Vec::new();
        for (line, (prompt, completion)) in prompts.into_iter().zip(completions).enumerate() {
            let (prompt, whole) = (prompt as usize, (prompt + completion) as usize);
            examples.push(Example {
                tokens: ids.by_ref().take(whole).collect(),
                learnt: vec![Range {
                    start: prompt,
                    end: whole,
                }],
                line: line + 1,
                cut: (0, 0),
            });
        }
        assert!(ids.next().is_none(), "every token belongs to an example");
        examples
    }

    /// The tolerance on this device.
    fn tolerance(&self, tolerance: f64) -> f64 {
        match self.model.compute().sensitive_activations() {
            DType::BF16 if tolerance == BF16 && STORED.contains(&self.name) => BF16_STORED,
            _ => tolerance,
        }
    }

    #[track_caller]
    fn close(&self, what: &str, got: &Tensor, golden: &str, tolerance: f64) {
        let want = &self.numbers[golden];
        let tolerance = self.tolerance(tolerance);
        close_by_norm(&format!("{}: {what}", self.name), got, want, tolerance);
    }

    #[track_caller]
    fn close_number(&self, what: &str, got: f64, want: f64, tolerance: f64) {
        let difference = (got - want).abs() / want.abs();
        assert!(
            difference <= tolerance,
            "{}: {what} is {got}, not {want}: {difference:.2e} off",
            self.name
        );
    }
}

/// As PyTorch has it.
const ADAM: Adam = Adam {
    beta1: 0.9,
    beta2: 0.999,
    weight_decay: 0.0,
};

fn logits_and_end_state(device: DeviceChoice) {
    for (product, tolerance) in [(ProductType::F32, F32), (ProductType::Bf16, BF16)] {
        for case in Case::all(device, product) {
            let start = case.start();
            let (logits, end) = case.model.logits(&case.ids("ids"), &start).unwrap();
            case.close("logits", &logits, "logits", tolerance);
            case.close("shifts", &end.shifts, "end_shifts", tolerance);
            case.close("wkv", &end.wkv, "end_wkv", tolerance);
        }
    }
}

fn the_recurrent_forward_gives_the_same(device: DeviceChoice) {
    for case in Case::all(device, ProductType::F32) {
        let mut state = case.start();
        let mut rows = Vec::new();
        for id in case.ids("ids") {
            let (logits, next) = case.model.advance(&[id], &state).unwrap();
            rows.push(Tensor::new(logits, &Device::Cpu).unwrap());
            state = next;
        }
        case.close("logits", &Tensor::stack(&rows, 0).unwrap(), "logits", F32);
        case.close("wkv", &state.wkv, "end_wkv", F32);
    }
}

fn loss_and_gradients(device: DeviceChoice) {
    for (product, tolerance) in [(ProductType::F32, F32), (ProductType::Bf16, BF16)] {
        for case in Case::all(device, product) {
            let examples = case.examples();
            for intermediates in [Intermediates::Keep, Intermediates::Recompute] {
                for (soft_prompt, suffix) in [(true, ""), (false, "_no_soft")] {
                    let state = case.state(soft_prompt);
                    let batch = Batch::pack(&examples, state.first_row());
                    let (loss, gradient) = case
                        .model
                        .loss_and_gradient(
                            &batch,
                            &state,
                            intermediates,
                            1.0 / batch.targets.len() as f64,
                        )
                        .unwrap();
                    case.close_number(
                        "loss",
                        loss,
                        case.number(&format!("loss{suffix}")),
                        tolerance,
                    );
                    case.close(
                        "dshifts",
                        &gradient.shifts,
                        &format!("grad_shifts{suffix}"),
                        tolerance,
                    );
                    case.close(
                        "dwkv",
                        &gradient.wkv,
                        &format!("grad_wkv{suffix}"),
                        tolerance,
                    );
                    let score = evaluate::score(&case.model, &examples, &state);
                    case.close_number(
                        "score",
                        score.unwrap().loss(),
                        case.number(&format!("loss{suffix}")),
                        tolerance,
                    );
                    match &gradient.soft_prompt {
                        Some(soft) => case.close("dsoft", soft, "grad_soft", tolerance),
                        None => assert!(!soft_prompt),
                    }
                }
            }
        }
    }
}

/// RWKV-7 carries the first layer's value to all others. The gradient that comes back the same way
/// shows in these two alone: without it all others are right, and these a third off.
#[test]
fn the_gradients_that_come_back_through_the_first_layers_value() {
    for case in
        Case::all(DeviceChoice::Cpu, ProductType::F32).filter(|case| case.name.starts_with('7'))
    {
        let state = case.state(true);
        let batch = Batch::pack(&case.examples(), state.first_row());
        let scale = 1.0 / batch.targets.len() as f64;
        for intermediates in [Intermediates::Keep, Intermediates::Recompute] {
            let gradients = case
                .model
                .loss_and_gradient(&batch, &state, intermediates, scale);
            let (_, gradient) = gradients.unwrap();
            let soft_prompt = gradient.soft_prompt.unwrap();
            case.close("dsoft", &soft_prompt, "grad_soft", F32);
            let att_shift = case.numbers["grad_shifts"].get(0).unwrap();
            let what = format!("{}: the first layer's att shift", case.name);
            close_by_norm(&what, &gradient.shifts.get(0).unwrap(), &att_shift, F32);
        }
    }
}

fn the_share_of_tokens_that_a_greedy_choice_hits(device: DeviceChoice) {
    for case in Case::all(device, ProductType::F32) {
        // A text in which some tokens are what the reference's logits call likeliest, and some are
        // not.
        let ids = case.ids("ids");
        let likeliest: Vec<u32> = case.numbers["logits"].argmax(1).unwrap().to_vec1().unwrap();
        for (end, hits) in [
            (likeliest[ids.len() - 1], 1.0),
            ((likeliest[ids.len() - 1] + 1) % 100, 0.0),
        ] {
            let example = Example {
                tokens: [ids.as_slice(), &[end]].concat(),
                learnt: std::iter::once(ids.len()..ids.len() + 1).collect(),
                line: 1,
                cut: (0, 0),
            };
            let start = case.start();
            let score = evaluate::score(&case.model, &[example], &start).unwrap();
            assert_eq!(score.accuracy(), hits, "{}: {end}", case.name);
        }
    }
}

fn twenty_steps_of_training_however_a_batch_is_computed(device: DeviceChoice) {
    // All at once; with recomputing; and cut into parts of one example each.
    let plans = [
        Plan {
            intermediates: Intermediates::Keep,
            most_rows: usize::MAX,
        },
        Plan {
            intermediates: Intermediates::Recompute,
            most_rows: usize::MAX,
        },
        Plan {
            intermediates: Intermediates::Keep,
            most_rows: 1,
        },
    ];
    for case in Case::all(device, ProductType::F32) {
        let examples = case.examples();
        for (init, name) in [(Init::Zeros, "zeros"), (Init::Ones, "ones")] {
            let losses: Vec<f64> = case.numbers[&format!("train_{name}_losses")]
                .to_vec1()
                .unwrap();
            for plan in &plans {
                let tune = Tune {
                    soft_prompt: true,
                    shift: true,
                    wkv: true,
                };
                let start = init.state(case.model.config(), tune, 0).unwrap();
                let start = start.to_device(case.device()).unwrap();
                let mut learner = Learner::new(&start, tune).unwrap();
                for (step, &want) in losses.iter().enumerate() {
                    let batch: Vec<Sequence> = (0..3)
                        .map(|i| (&examples[(step * 3 + i) % examples.len()]).into())
                        .collect();
                    let (loss, gradient) = learner.accumulate(&case.model, &batch, plan).unwrap();
                    case.close_number(
                        &format!("{name}, loss of step {}", step + 1),
                        loss,
                        want,
                        F32_TRAINED_LOSS,
                    );
                    learner.update(&gradient, &ADAM, 0.01).unwrap();
                }
                let end = learner.state();
                case.close(
                    "soft",
                    &end.soft_prompt.unwrap(),
                    &format!("train_{name}_soft"),
                    F32_TRAINED,
                );
                case.close(
                    "shifts",
                    &end.shifts,
                    &format!("train_{name}_shifts"),
                    F32_TRAINED,
                );
                case.close("wkv", &end.wkv, &format!("train_{name}_wkv"), F32_TRAINED);
            }
        }
    }
}

fn tiny_model(generation: Generation) -> Rwkv {
    let file = ModelFile::open(&generation.model()).unwrap();
    Rwkv::load(&file, ProductType::F32).unwrap()
}

#[test]
fn greedy_answers_from_a_state_that_pytorch_wrote() {
    for generation in GENERATIONS {
        let model = tiny_model(generation);
        let tuned = state_file::read(&generation.state(), model.config()).unwrap();
        let base = State::zeros(model.config()).unwrap();
        let cases = generation.answers();
        assert!(cases.len() >= 8);
        for case in cases {
            assert!(
                case["min_margin"].as_f64().unwrap() > 1e-3,
                "the oracle's own choice should not hang on rounding"
            );
            let prompt = case["prompt"].as_str().unwrap();
            for (state, ids) in [(&base, "base_ids"), (&tuned, "tuned_ids")] {
                let greedy = Settings::greedy(40);
                let (text, _) =
                    generate::answer(&model, &Tokenizer::world().encode(prompt), state, &greedy)
                        .unwrap();
                let ids: Vec<u32> = case[ids]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|id| id.as_u64().unwrap() as u32)
                    .collect();
                assert_eq!(text.as_bytes(), Tokenizer::world().decode(&ids), "{case}");
            }
        }
    }
}

#[test]
fn a_state_pytorch_wrote_comes_back_as_it_was_when_written_again() {
    for generation in GENERATIONS {
        let model = tiny_model(generation);
        let state = state_file::read(&generation.state(), model.config()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        state_file::write(&path, &state, Element::Bf16, Format::STATE, None).unwrap();
        // Tensor for tensor, with types and shapes: the two files say the same.
        assert_eq!(
            state_tune::tensors::pth::read(&path).unwrap(),
            state_tune::tensors::pth::read(&generation.state()).unwrap()
        );
    }
}

#[test]
fn token_ids_are_those_of_the_rwkv_package() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(golden("tokens.json")).unwrap()).unwrap();
    assert!(cases.len() >= 300);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let want: Vec<u64> = case["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap())
            .collect();
        let got: Vec<u64> = Tokenizer::world()
            .encode(text)
            .into_iter()
            .map(u64::from)
            .collect();
        assert_eq!(got, want, "{text:?}");
    }
}
