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
use state_tune::console::Console;
use state_tune::data::template::Template;
use state_tune::data::{Formats, Walk, example};
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::device::Choice;
use state_tune::ops::linear::{Product, Weights};
use state_tune::ops::{self, Compute};
use state_tune::tokenizer::Tokenizer;
use state_tune::train::schedule::Shape;
use state_tune::train::{
    Adam, Evaluation, HeldOut, Init, Keep, Options, Recompute, Schedule, Tune,
};
use state_tune::{evaluate, generate, state_file, train};

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUESTIONS: [&str; 3] = [
    "What is the capital of France?",
    "How much is seven plus five?",
    "What is the colour of snow?",
];

fn main() -> Result<()> {
    ops::cpu::buffers::keep();
    ops::cpu::threads::with_threads(None, quickstart)?
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
    train::run(&options, &Console::standard())?;

    let opened = Compute::fastest(options.device, options.product, options.weights)?;
    let model = Rwkv::load(&ModelFile::open(&options.model)?, opened.compute)?;
    let device = &model.compute().device;
    let tuned = state_file::read(&options.save, model.config())?.to_device(device)?;
    let base = State::zeros(model.config())?.to_device(device)?;
    let greedy = generate::Settings::greedy(40);
    println!();
    for question in QUESTIONS {
        let prompt = Tokenizer::world().encode(&format!("user: {question}\n\nassistant:"));
        println!("{question}");
        println!(
            "  base model  {}",
            generate::answer(&model, &prompt, &base, &greedy)?.0
        );
        println!(
            "  tuned state {}",
            generate::answer(&model, &prompt, &tuned, &greedy)?.0
        );
    }

    let unseen = example::read(&tiny.join("eval.jsonl"), &options.formats)?;
    let loss = |state: &State| evaluate::score(&model, &unseen, state).map(|score| score.loss());
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
        report: None,
        tensorboard: None,
        resume: false,
        save_every: 300.0,
        evaluation: Evaluation {
            examples: HeldOut::None,
            every: 0,
            keep: Keep::Last,
            patience: 0,
        },
        schedule: Schedule {
            shape: Shape::Constant,
            learning_rate: 0.1,
            last: 0.1,
            warmup: 0,
        },
        adam: Adam {
            beta1: 0.9,
            beta2: 0.999,
            weight_decay: 0.0,
        },
        grad_clip: 0.0,
        batch_size: 8,
        walk: Walk::Shuffled,
        seed: 3,
        init: Init::Ones,
        tune: Tune {
            soft_prompt: true,
            shift: true,
            wkv: true,
        },
        // The untuned model's loss is 0.2 already: it knows the answers, and only the manner is to be learnt.
        exit_loss: 0.0,
        max_epochs: 3.0,
        max_time: 600.0,
        device: Choice::Auto,
        product: Some(Product::F32),
        weights: Weights::File,
        recompute: Recompute::Auto,
        micro_batch: None,
        flags: Vec::new(),
    })
}
