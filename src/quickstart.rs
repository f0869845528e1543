//! The whole tool on a model small enough to be part of the program: tunes a state, then asks the
//! model what it has not seen, first without and then with that state. Needs no network, and takes
//! well under a minute.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::console::Console;
use crate::data::dataset;
use crate::model::{Generation, ModelFile, Rwkv, State};
use crate::ops::Compute;
use crate::ops::linear::ProductType;
use crate::tokenizer::Tokenizer;
use crate::train::{self, Stop};
use crate::{evaluate, files, generate, state_file};

const TRAIN: &[u8] = include_bytes!("../examples/tiny/train.jsonl");
const EVAL: &[u8] = include_bytes!("../examples/tiny/eval.jsonl");

const QUESTIONS: [&str; 3] = [
    "What is the capital of France?",
    "How much is seven plus five?",
    "What is the colour of snow?",
];

/// Where to, and of which generation the model is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that the model, the data and what is learnt go to.
    pub folder: PathBuf,
    /// RWKV-5 or RWKV-7.
    pub generation: Generation,
}

/// Writes the model and the data, trains, and shows what changed. Gives back why the training
/// stopped. Errors when the folder holds other files by these names.
pub fn run(options: &Options, console: &Console) -> Result<Stop> {
    let Options { folder, generation } = options;
    // The rates at which each learns best (docs/TUNING.md).
    let (bytes, learning_rate): (&[u8], _) = match generation {
        Generation::Five => (include_bytes!("../examples/tiny/model.pth"), 0.1),
        Generation::Seven => (include_bytes!("../examples/tiny/model_7.pth"), 0.03),
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut training = train::Options {
        model: provide(folder, "model.pth", bytes)?,
        data: provide(folder, "train.jsonl", TRAIN)?,
        save: folder.join("state.pth"),
        // The untuned model's loss is low already: it knows the answers, and only the manner is to
        // be learnt.
        exit_loss: 0.0,
        max_epochs: 3.0,
        seed: 3,
        product: Some(ProductType::F32),
        ..Default::default()
    };
    training.schedule.learning_rate = learning_rate;
    let unseen = provide(folder, "eval.jsonl", EVAL)?;
    console.line(&format!(
        "Teaching a small {generation} model to answer like a pirate, by its starting state \
         alone.\n"
    ));
    let stop = train::run(&training, console)?;
    if matches!(stop, Stop::Signal(_)) {
        return Ok(stop);
    }

    let opened = Compute::fastest(training.device, training.product, training.weights)?;
    let model = Rwkv::load(&ModelFile::open(&training.model)?, opened.compute)?;
    let device = &model.compute().device;
    let tuned = state_file::read(&training.save, model.config())?.to_device(device)?;
    let base = State::zeros(model.config())?.to_device(device)?;
    let greedy = generate::Settings::greedy(40);
    for question in QUESTIONS {
        let prompt = Tokenizer::world().encode(&format!("user: {question}\n\nassistant:"));
        console.line(&format!("\n{question}"));
        for (who, state) in [("base model ", &base), ("tuned state", &tuned)] {
            let answer = generate::answer(&model, &prompt, state, &greedy)?.0;
            console.line(&format!("  {who}{answer}"));
        }
    }
    let unseen = dataset::read(&unseen, &training.formats)?.examples;
    let loss = |state: &State| evaluate::score(&model, &unseen, state).map(|score| score.loss());
    console.line(&format!(
        "\nloss on {} unseen examples: {:.4} before, {:.4} after",
        unseen.len(),
        loss(&base)?,
        loss(&tuned)?
    ));
    Ok(stop)
}

/// Writes a file unless it is there already.
fn provide(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(found) => ensure!(
            found == bytes,
            "{} is there and is another file; name a new folder, or move it away",
            path.display()
        ),
        Err(_) => files::replace(&path, |file| file.write_all(bytes))
            .with_context(|| format!("cannot write {}", path.display()))?,
    }
    Ok(path)
}
