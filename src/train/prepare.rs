//! What a run needs before its first step: a device, data, and a plan.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::memory_plan::Plan;
use super::{HeldOut, Options};
use crate::console::Console;
use crate::data::{Dataset, Example, Survey, dataset, held_out};
use crate::fetch::{self, RetryPolicy, Wanted};
use crate::model::{Config, FirstRow, Rwkv, Sequence};
use crate::ops::Compute;
use crate::ops::device::{self, Opened};
use crate::setting::{DATA_PATH, DATA_URL, EVAL_PATH, EVAL_SPLIT, TUNE};
use crate::system;

/// Free memory to plan with where the system does not tell: 4 GiB.
const ASSUMED_FREE: u64 = 4 << 30;

/// The examples of a run.
pub struct TrainingData {
    /// To learn from.
    pub examples: Vec<Example>,
    /// Evaluated and not learnt from; may be empty.
    pub held_out: Vec<Example>,
}

/// Opens the device, and says on `console` when a GPU is there that cannot be used.
pub fn device(options: &Options, console: &Console) -> Result<Compute> {
    let &Options {
        device,
        product,
        weights,
        ..
    } = options;
    let Opened { compute, note } = Compute::fastest(device, product, weights)?;
    if let Some(note) = note {
        console.line(&format!("note   {note}"));
    }
    Ok(compute)
}

/// Reads the data, fetched before if need be, and says on `console` where it is from and what it is
/// like.
pub fn survey(options: &Options, console: &Console) -> Result<TrainingData> {
    obtain(options, console)?;
    let data = dataset::read(&options.data, &options.formats)?;
    console.line(&data.notes.to_string());
    if let Some(survey) = Survey::of(&data, &options.formats.end) {
        console.line(&survey.to_string());
    }
    hold_out(data, options, console)
}

/// Fetches the data if it is not there.
fn obtain(options: &Options, console: &Console) -> Result<()> {
    let data = options.data.display();
    match (fs::metadata(&options.data), &options.data_remote) {
        (Err(_), Some(remote)) => console.line(&format!("data   {data}, from {remote}")),
        (Err(_), None) => {}
        (Ok(there), _) if there.is_file() => {
            console.line(&format!("data   {data}, the file that is there"));
        }
        (Ok(there), _) if there.is_dir() => {
            bail!("{DATA_PATH} {data} is a directory; name a file in it")
        }
        (Ok(_), _) => console.line(&format!("data   {data}, read to its end")),
    }
    fetch::obtain(
        &Wanted {
            path: &options.data,
            named_by: DATA_PATH,
            url: DATA_URL,
            remote: options.data_remote.as_ref(),
        },
        &RetryPolicy::default(),
        console,
    )
}

/// The examples to learn from and those to evaluate on. Says on `console` where the latter are from.
fn hold_out(data: Dataset, options: &Options, console: &Console) -> Result<TrainingData> {
    let examples = data.examples;
    let (examples, held_out) = match &options.evaluation.examples {
        HeldOut::None => (examples, Vec::new()),
        HeldOut::File(path) => {
            let shown = path.display();
            ensure!(
                !path.is_dir(),
                "{EVAL_PATH} {shown} is a directory; name a file in it"
            );
            let held_out = dataset::read(path, &options.formats).context(EVAL_PATH)?;
            let count = held_out.examples.len();
            console.line(&format!("eval   {count} examples of {}", path.display()));
            if held_out.notes != data.notes {
                console.line(&held_out.notes.to_string());
            }
            (examples, held_out.examples)
        }
        HeldOut::Share(share) => {
            let all = examples.len();
            let (examples, held_out) = held_out::put_aside(examples, *share).with_context(|| {
                format!("{EVAL_SPLIT} {share} of {all} examples leaves none to learn from; give a smaller share or more data")
            })?;
            let count = held_out.len();
            console.line(&format!(
                "eval   {count} of the examples, which are not learnt from"
            ));
            (examples, held_out)
        }
    };
    Ok(TrainingData { examples, held_out })
}

/// How much is computed at once: as much as the largest batch needs and memory holds.
pub fn plan(options: &Options, model: &Rwkv, data: &TrainingData) -> Result<Plan> {
    let free = match device::gpu_memory(&model.compute().device)? {
        Some(gpu) => gpu.free,
        None => system::free().unwrap_or(ASSUMED_FREE),
    };
    let first_row = options.first_row();
    let rows = data
        .examples
        .iter()
        .map(|example| Sequence::from(example).rows(first_row));
    let plan = Plan::new(
        model,
        options.recompute,
        rows.max().unwrap_or(0).saturating_mul(options.batch_size),
        free,
    );
    Ok(Plan {
        most_rows: options.micro_batch.unwrap_or(plan.most_rows),
        ..plan
    })
}

/// Errors that only data and model together show.
pub fn check_examples(data: &TrainingData, options: &Options, config: &Config) -> Result<()> {
    let held_out_in = match &options.evaluation.examples {
        HeldOut::File(path) => path,
        HeldOut::None | HeldOut::Share(_) => &options.data,
    };
    let first_row = options.first_row();
    check_each(&data.examples, &options.data, first_row, config)?;
    check_each(&data.held_out, held_out_in, first_row, config)
}

fn check_each(
    examples: &[Example],
    path: &Path,
    first_row: FirstRow,
    config: &Config,
) -> Result<()> {
    for example in examples {
        let at = || {
            format!(
                "cannot use the data in {}: line {}",
                path.display(),
                example.line
            )
        };
        if let Some(id) = example
            .tokens
            .iter()
            .find(|&&id| id as usize >= config.vocab_size)
        {
            bail!(
                "{}: token {id} is not among the model's {} tokens",
                at(),
                config.vocab_size
            );
        }
        if Sequence::from(example).targets(first_row) == 0 {
            bail!(
                "{}: the prompt is empty and the completion a single token, which nothing \
                 predicts without a soft \
                 prompt; add softprompt to {TUNE} or remove the line",
                at()
            );
        }
    }
    Ok(())
}
