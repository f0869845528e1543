//! `--weights`: a model in fewer bits predicts nearly as well, learns, and answers.

mod common;

use common::{Dir, golden, tiny};
use state_tune::data::{Example, Formats, dataset};
use state_tune::evaluate;
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::Compute;
use state_tune::ops::linear::{ProductType, Weights};
use state_tune::state_file;
use state_tune::tensors::pth::{self, Value};

/// How far the loss of the untuned tiny model may go from that of its own weights, as a share.
const INT8: f64 = 0.01;
const NF4: f64 = 0.03;

fn held_out() -> Vec<Example> {
    let data = dataset::read(&tiny("eval.jsonl"), &Formats::default()).unwrap();
    data.examples
}

fn losses(weights: Weights) -> [f64; 2] {
    let checkpoint = ModelFile::open(&tiny("model.pth")).unwrap();
    let compute = Compute {
        weights,
        ..ProductType::F32.into()
    };
    let model = Rwkv::load(&checkpoint, compute).unwrap();
    let untuned = State::zeros(model.config()).unwrap();
    let tuned = state_file::read(&golden("tiny_state.pth"), model.config()).unwrap();
    [untuned, tuned].map(|state| evaluate::score(&model, &held_out(), &state).unwrap().loss())
}

#[test]
fn the_loss_stays_close_to_that_of_the_files_weights() {
    let [untuned, tuned] = losses(Weights::File);
    // The tiny model is bf16 already.
    assert_eq!(losses(Weights::Bf16), [untuned, tuned]);
    for (weights, bound) in [(Weights::Int8, INT8), (Weights::Nf4, NF4)] {
        let [got, got_tuned] = losses(weights);
        let off = (got - untuned).abs() / untuned;
        assert!(off <= bound, "{weights}: {got} for {untuned}");
        // From a state that was tuned on the file's weights there is so little loss left that a
        // share says little.
        let off = (got_tuned - tuned).abs() / untuned;
        assert!(off <= bound, "{weights}: {got_tuned} for {tuned}");
    }
}

#[test]
fn a_state_is_learnt_on_nf4_and_answers_on_it() {
    let dir = Dir::new();
    let eval = format!("--eval_path={}", tiny("eval.jsonl").display());
    let learnt = dir.succeeds(&[
        "--weights=nf4",
        "--learningrate=0.1",
        "--max_epochs=1",
        "--eval_every=0",
        "--log_file=log",
        "--save_filename=state.pth",
        &eval,
    ]);
    assert!(
        learnt.contains("weights are held as nf4, 0.01 GiB"),
        "{learnt}"
    );
    let log = std::fs::read_to_string(dir.path("log")).unwrap();
    let evaluations: Vec<f64> = log
        .lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["eval_loss"].as_f64()
        })
        .collect();
    assert_eq!(evaluations.len(), 2);
    assert!(evaluations[1] < evaluations[0] / 4.0, "{evaluations:?}");

    let question = "user: What is the capital of France?\n\nassistant:";
    let said = dir.succeeds(&["--weights=nf4", "--prompt", question]);
    assert!(said.contains("Arr, that be Paris, matey!"), "{said}");

    let resumed = dir.succeeds(&[
        "--weights=int8",
        "--learningrate=0.1",
        "--max_epochs=1.1",
        "--eval_every=0",
        "--resume",
        &eval,
    ]);
    assert!(
        resumed.contains("--weights is \"int8\" now; it was \"nf4\""),
        "{resumed}"
    );
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let dir = Dir::new();
    let Value::Dict(mut entries) = pth::read(&golden("model_5.2.pth")).unwrap() else {
        panic!("a model is a dictionary")
    };
    for (name, value) in &mut entries {
        if let (Value::Str(name), Value::Tensor(tensor)) = (name, value)
            && name == "blocks.1.ffn.value.weight"
        {
            let mut bytes = tensor.bytes.to_vec();
            // The first row's last number; all bits set is NaN in every type.
            let row = bytes.len() / tensor.shape[0];
            bytes[row - 2..row].fill(0xff);
            tensor.bytes = bytes.into();
        }
    }
    pth::write(&dir.path("model.pth"), &Value::Dict(entries)).unwrap();
    for weights in ["int8", "nf4"] {
        dir.refuses(
            &["--model_location=model.pth", "--weights", weights],
            1,
            &[
                "model.pth",
                "blocks.1.ffn.value.weight",
                "row 0",
                "NaN",
                weights,
            ],
        );
    }
}
