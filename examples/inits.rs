//! Which start learns best? Tunes a model from every `--init`, at several learning rates and seeds, and prints the
//! loss on held-out examples. `docs/LEARNING.md` keeps what it printed.
//!
//! ```text
//! cargo run --release --example inits -- model.pth train.jsonl eval.jsonl EPOCHS
//! ```

use std::path::Path;

use anyhow::{Context, Result, bail};
use state_tune::data::template::Template;
use state_tune::data::{Batch, Example, Formats, Walk, Walker, example};
use state_tune::model::{Checkpoint, Intermediates, Rwkv5, State};
use state_tune::ops::linear::Product;
use state_tune::train::plan::Plan;
use state_tune::train::{Init, Learner, Tune, stop};

const BATCH_SIZE: usize = 8;
const SEEDS: [u64; 3] = [1, 2, 3];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, train, eval, epochs] = arguments.as_slice() else {
        bail!("usage: inits MODEL TRAIN EVAL EPOCHS");
    };
    let epochs: f64 = epochs.parse().context("EPOCHS is no number")?;
    let formats = Formats {
        system: Template::parse("system: {system}\n\n")?,
        prompt: Template::parse("user: {input}\n\nassistant:")?,
        response: Template::parse(" {output}")?,
        end: String::new(),
        prompt_cutoff: None,
        completion_cutoff: None,
    };
    let model = Rwkv5::load(&Checkpoint::open(Path::new(model))?, Product::F32)?;
    let (train, eval) = (
        example::read(Path::new(train), &formats)?,
        example::read(Path::new(eval), &formats)?,
    );
    println!(
        "untuned: {:.4}\n",
        mean_loss(&model, &eval, &State::zeros(model.config())?)?
    );
    println!(
        "| init | learning rate | held-out loss, seeds {SEEDS:?} | mean |\n| --- | --- | --- | --- |"
    );
    for (init, name) in [
        (Init::Zeros, "zeros"),
        (Init::Ones, "ones"),
        (Init::Random, "random"),
    ] {
        for rate in [0.01, 0.03, 0.1, 0.3] {
            let mut losses = Vec::new();
            for seed in SEEDS {
                losses.push(mean_loss(
                    &model,
                    &eval,
                    &tune(&model, &train, init, rate, epochs, seed)?,
                )?);
            }
            let each: Vec<String> = losses.iter().map(|loss| format!("{loss:.4}")).collect();
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            println!("| {name} | {rate} | {} | {mean:.4} |", each.join(", "));
        }
    }
    Ok(())
}

fn tune(
    model: &Rwkv5,
    train: &[Example],
    init: Init,
    rate: f64,
    epochs: f64,
    seed: u64,
) -> Result<State> {
    let tune = Tune {
        softprompt: true,
        shift: true,
        wkv: true,
    };
    let plan = Plan {
        intermediates: Intermediates::Keep,
        most_rows: usize::MAX,
    };
    let mut learner = Learner::new(model.config(), tune, init, rate, seed)?;
    let mut walker = Walker::new(Walk::Shuffled, train.len(), seed);
    for _ in 0..stop::steps(epochs, train.len(), BATCH_SIZE) {
        let batch: Vec<&Example> = walker
            .batch(BATCH_SIZE)
            .into_iter()
            .map(|i| &train[i])
            .collect();
        let (_, gradient) = learner.gradient(model, &batch, &plan)?;
        learner.update(&gradient)?;
    }
    learner.snapshot()
}

fn mean_loss(model: &Rwkv5, examples: &[Example], state: &State) -> Result<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for part in examples.chunks(BATCH_SIZE) {
        let batch = Batch::pack(part, state.soft_prompt.is_some());
        sum += model
            .loss_and_gradient(&batch, state, Intermediates::Recompute, 1.0)?
            .0;
        count += batch.targets.len();
    }
    Ok(sum / count as f64)
}
