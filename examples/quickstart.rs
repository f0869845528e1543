//! The whole tool on a model small enough to ship: tunes a state on `examples/tiny`, then asks the
//! model questions it has not seen, first without and then with that state. No network, well under
//! a minute.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```
//!
//! `train::run` below is what `state-tune` runs; everything else here is asking.

use std::path::Path;

use anyhow::Result;
use state_tune::console::Console;
use state_tune::data::dataset;
use state_tune::model::{ModelFile, Rwkv, State};
use state_tune::ops::Compute;
use state_tune::ops::cpu::Processor;
use state_tune::ops::linear::ProductType;
use state_tune::tokenizer::Tokenizer;
use state_tune::train::Options;
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
    Processor::default().run(quickstart)
}

fn quickstart() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // From the repository itself, paths are short.
    let root = root.strip_prefix(std::env::current_dir()?).unwrap_or(root);
    let tiny = root.join("examples/tiny");
    let out = root.join("target/quickstart");
    std::fs::create_dir_all(&out)?;
    let mut options = Options {
        model: tiny.join("model.pth"),
        data: tiny.join("train.jsonl"),
        save: out.join("state.pth"),
        // The untuned model's loss is 0.2 already: it knows the answers, and only the manner is to
        // be learnt.
        exit_loss: 0.0,
        max_epochs: 3.0,
        seed: 3,
        product: Some(ProductType::F32),
        ..Options::default()
    };
    options.schedule.learning_rate = 0.1;

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

    let unseen = dataset::read(&tiny.join("eval.jsonl"), &options.formats)?.examples;
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
