//! Steps of training on threads against the float64 reference, and against one rank.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use state_tune::data::Example;
use state_tune::distributed::{self, Ranks, Row, Stage};
use state_tune::model::{Intermediates, ModelFile, Rwkv, Sequence};
use state_tune::ops::cpu::level::Level;
use state_tune::ops::cpu::threads::with_threads;
use state_tune::ops::linear::ProductType;
use state_tune::train::memory_plan::Plan;
use state_tune::train::share::{Flat, share_out};
use state_tune::train::{Adam, Init, Learner, Tune};

use crate::common::golden;
use crate::runs::close;
use crate::threads::{ALL, on};

/// The golden batches of a model: its examples, and the float64 reference's losses in twenty steps of
/// three of them.
fn reference(name: &str) -> (Vec<Example>, Vec<f64>) {
    let path = golden(&format!("golden_{name}.safetensors"));
    let numbers: HashMap<String, Tensor> =
        candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let ids = |name: &str| -> Vec<usize> {
        let ids = numbers[name].to_vec1::<i64>().unwrap();
        ids.into_iter().map(|id| id as usize).collect()
    };
    let mut tokens = ids("batch_ids").into_iter().map(|id| id as u32);
    let lengths = ids("batch_prompt_lengths")
        .into_iter()
        .zip(ids("batch_completion_lengths"));
    let example = |(prompt, completion): (usize, usize)| Example {
        tokens: tokens.by_ref().take(prompt + completion).collect(),
        learnt: vec![Range {
            start: prompt,
            end: prompt + completion,
        }],
        line: 1,
        cut: (0, 0),
    };
    let examples = lengths.map(example).collect();
    (examples, numbers["train_ones_losses"].to_vec1().unwrap())
}

/// What a step's loss may be off a run's on one rank.
const OF_RANKS: f64 = 1e-6;

/// What a step's loss may be off float64, beside that. The model `7` magnifies rounding: relative
/// errors of 1e-7 that are put into the float64 reference move its losses by up to 2.2e-6, those of
/// `7_extremes` by 4e-7. Of three parts in bf16, products of RWKV-7 are less exact.
fn of_f32(name: &str) -> f64 {
    match (name, Level::current()) {
        ("5.2", _) => OF_RANKS,
        (_, Level::Amx) => 5e-6,
        ("7", _) => 3e-6,
        _ => OF_RANKS,
    }
}

#[test]
fn any_number_of_ranks_meets_the_reference_with_the_same_states_after_each_step() {
    let without_prompt = Tune {
        soft_prompt: false,
        ..ALL
    };
    let wkv = Tune {
        wkv: true,
        ..Tune::default()
    };
    let plan = Plan {
        intermediates: Intermediates::Keep,
        most_rows: usize::MAX,
    };
    let adam = Adam {
        beta1: 0.9,
        beta2: 0.999,
        weight_decay: 0.0,
    };
    for name in ["5.2", "7", "7_extremes"] {
        let file = golden(&format!("model_{name}.pth"));
        let model = Rwkv::load(&ModelFile::open(&file).unwrap(), ProductType::F32).unwrap();
        let (examples, wanted) = reference(name);
        // As the reference has it; fewer examples than ranks, one of a single row; more; one group.
        for (tune, batch_size) in [
            (ALL, 3),
            (ALL, 2),
            (without_prompt, 2),
            (without_prompt, 5),
            (wkv, 4),
        ] {
            let train = |ranks: &Ranks| -> Result<Vec<(f64, Vec<u32>)>> {
                let start = Init::Ones.state(model.config(), tune, 0)?;
                let mut learner = Learner::new(&start, tune)?;
                let mut steps = Vec::new();
                for step in 0..wanted.len() {
                    let drawn = (0..batch_size).map(|i| step * batch_size + i);
                    let batch: Vec<Sequence> = drawn
                        .map(|i| (&examples[i % examples.len()]).into())
                        .collect();
                    let first_row = learner.first_row();
                    let rows: Vec<usize> = batch.iter().map(|s| s.rows(first_row)).collect();
                    let targets = batch.iter().map(|s| s.targets(first_row)).sum();
                    let share = share_out(&rows, ranks.count()).swap_remove(ranks.rank());
                    let share: Vec<Sequence> = share.into_iter().map(|i| batch[i]).collect();
                    let (loss, own) = learner.accumulate_share(&model, &share, targets, &plan)?;
                    let mut row = Row::default();
                    row[0] = loss;
                    let (rows, ()) = ranks.exchange(Stage::Step, Ok((row, ())))?;
                    let gradient = Flat::of(&own, tune)?.sum(ranks, &own, tune)?;
                    learner.update(&gradient, &adam, 0.01)?;
                    let mut bits = Vec::new();
                    for (_, tensor) in learner.state().groups() {
                        let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
                        bits.extend(numbers.into_iter().map(f32::to_bits));
                    }
                    steps.push((rows.iter().map(|row| row[0]).sum(), bits));
                }
                Ok(steps)
            };
            let losses = |steps: &[(f64, Vec<u32>)]| -> Vec<f64> {
                steps.iter().map(|(loss, _)| *loss).collect()
            };
            // More threads than a share has heads share the recurrence's columns, which is another order
            // of sums: with four, 7_extremes is up to 1.1e-6 off.
            let train = |ranks: &Ranks| with_threads(Some(2), || train(ranks).unwrap()).unwrap();
            let alone = losses(&train(&Ranks::one()));
            for count in [1, 2, 3, 5] {
                let mut trained = on(distributed::threads(count), train);
                let first = trained.swap_remove(0);
                for other in trained {
                    assert!(
                        other == first,
                        "{name}: another state on one of {count} ranks"
                    );
                }
                close(&losses(&first), &alone, OF_RANKS);
                if batch_size == 3 {
                    close(&losses(&first), &wanted, of_f32(name));
                }
            }
        }
    }
}
