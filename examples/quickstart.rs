//! The whole tool on a model small enough to ship: tunes a state on `examples/tiny`, then asks the model questions it
//! has not seen, first without and then with that state. No network, well under a minute.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! `train::run` below is what `state-tune` runs; everything else here is asking.

use std::path::{Path, PathBuf};

use anyhow::Result;
use state_tune::data::template::Template;
use state_tune::data::{Batch, Formats, Walk, example};
use state_tune::model::{Checkpoint, Rwkv5, State};
use state_tune::ops::{self, linear::Product};
use state_tune::train::{Init, Options, Recompute, Tune};
use state_tune::{sample, state_file, train};

const QUESTIONS: [&str; 3] = [
    "What is the capital of France?",
    "How much is seven plus five?",
    "What is the colour of snow?",
];

fn main() -> Result<()> {
    ops::buffers::keep();
    ops::with_threads(None, quickstart)?
}

fn quickstart() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // From the repository itself, paths are short.
    let root = root.strip_prefix(std::env::current_dir()?).unwrap_or(root);
    let tiny = root.join("examples/tiny");
    let out = root.join("target/quickstart");
    std::fs::create_dir_all(&out)?;
    let options = options(&tiny, out.join("state.pth"))?;

    println!(
        "Teaching a small RWKV-5 model to answer like a pirate, by its starting state alone.\n"
    );
    train::run(&options)?;

    let model = Rwkv5::load(&Checkpoint::open(&options.model)?, options.product)?;
    let tuned = state_file::read(&options.save, model.config())?;
    let base = State::zeros(model.config())?;
    println!();
    for question in QUESTIONS {
        let prompt = format!("user: {question}\n\nassistant:");
        println!("{question}");
        println!(
            "  base model  {}",
            sample::answer(&model, &prompt, &base, 40)?.0
        );
        println!(
            "  tuned state {}",
            sample::answer(&model, &prompt, &tuned, 40)?.0
        );
    }

    let unseen = example::read(&tiny.join("eval.jsonl"), &options.formats)?;
    let batch = |state: &State| Batch::pack(&unseen, state.soft_prompt.is_some());
    let loss = |state: &State| -> Result<f64> {
        let batch = batch(state);
        let scale = 1.0 / batch.targets.len() as f64;
        model.loss(&batch, state, scale)
    };
    println!(
        "\nloss on {} unseen examples: {:.4} before, {:.4} after",
        unseen.len(),
        loss(&base)?,
        loss(&tuned)?
    );
    println!("the state is in      {}", options.save.display());
    println!(
        "the loss curve is in {}",
        options.save.with_extension("loss.svg").display()
    );
    Ok(())
}

fn options(tiny: &Path, save: PathBuf) -> Result<Options> {
    Ok(Options {
        model: tiny.join("model.pth"),
        model_remote: None,
        data: tiny.join("train.jsonl"),
        data_remote: None,
        formats: Formats {
            system: Template::parse("system: {system}\n\n")?,
            prompt: Template::parse("user: {input}\n\nassistant:")?,
            response: Template::parse(" {output}")?,
            end: String::new(),
            prompt_cutoff: None,
            completion_cutoff: None,
        },
        save,
        log_file: None,
        learning_rate: 0.1,
        batch_size: 8,
        walk: Walk::Shuffled,
        seed: 3,
        init: Init::Ones,
        tune: Tune {
            softprompt: true,
            shift: true,
            wkv: true,
        },
        // The untuned model's loss is 0.2 already: it knows the answers, and only the manner is to be learnt.
        exit_loss: 0.0,
        max_epochs: 3.0,
        max_time: 600.0,
        product: Product::F32,
        recompute: Recompute::Auto,
    })
}
