//! What a run needs before its first step: a device, data, and a plan.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use super::memory_plan::Plan;
use super::{HeldOut, Options};
use crate::console::Console;
use crate::data::format::TextRows;
use crate::data::typed::AROUND_DATA;
use crate::data::{Dataset, Example, Survey, dataset, held_out};
use crate::distributed::Ranks;
use crate::evaluate;
use crate::fetch::{self, RetryPolicy, Wanted};
use crate::files;
use crate::model::{Config, Rwkv, Sequence, with_way_out};
use crate::ops::Compute;
use crate::ops::device::{self, Opened};
use crate::setting::{DATA_PATH, DATA_URL, EVAL_PATH, EVAL_SPLIT, INIT};
use crate::system;

/// Free memory to plan with where the system does not tell: 4 GiB.
const ASSUMED_FREE: u64 = 4 << 30;

/// The examples of a run.
pub struct TrainingData {
    /// To learn from.
    pub examples: Vec<Example>,
    /// Evaluated and not learnt from; may be empty.
    pub held_out: Vec<Example>,
    /// How many of the rows stood as they are.
    pub text_rows: TextRows,
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

/// Reads the data, and says on `console` what it is like.
pub fn survey(options: &Options, console: &Console) -> Result<TrainingData> {
    let data = dataset::read(&options.data, &options.formats)?;
    for line in options.formats.told(&AROUND_DATA) {
        console.line(&format!("note   {line}"));
    }
    console.line(&data.notes.to_string());
    if let Some(survey) = Survey::of(&data, &options.formats.end) {
        console.line(&survey.to_string());
    }
    hold_out(data, options, console)
}

/// Says where the data is from. Errors when it is a directory.
pub fn place_of_data(options: &Options, console: &Console) -> Result<()> {
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
    Ok(())
}

/// Fetches the data if it is not there.
pub fn obtain(options: &Options, console: &Console) -> Result<()> {
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
    let text_rows = data.notes.text_rows();
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
            if files::is_same(path, &options.data) {
                console.line(&format!(
                    "note   {EVAL_PATH} is {DATA_PATH}: its loss is that of what is learnt, and says nothing of \
                     other texts"
                ));
            }
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
    Ok(TrainingData {
        examples,
        held_out,
        text_rows,
    })
}

/// How much is computed at once: as much as a rank's share of the largest batch needs and memory holds,
/// which in main memory is for all ranks of the machine.
pub fn plan(options: &Options, model: &Rwkv, data: &TrainingData, ranks: &Ranks) -> Result<Plan> {
    let free = match device::gpu_memory(&model.compute().device)? {
        Some(gpu) => gpu.free,
        None => system::free().unwrap_or(ASSUMED_FREE) / ranks.local_count() as u64,
    };
    let first_row = options.first_row();
    let rows = data
        .examples
        .iter()
        .map(|example| Sequence::from(example).rows(first_row));
    let share = options.batch_size.div_ceil(ranks.count());
    let plan = Plan::new(
        model,
        options.recompute,
        rows.max().unwrap_or(0).saturating_mul(share),
        free,
    );
    Ok(Plan {
        most_rows: options.micro_batch.unwrap_or(plan.most_rows),
        ..plan
    })
}

/// Opens the model.
pub fn model(options: &Options, compute: &Compute) -> Result<Rwkv> {
    Rwkv::open(&options.model, compute).map_err(|error| with_way_out(error, INIT))
}

/// The examples that the model can learn from. What only data and model together show to be wrong
/// is an error that names all of it, or left out and said on `console`, as other bad rows are.
pub fn checked(
    data: TrainingData,
    options: &Options,
    config: &Config,
    console: &Console,
) -> Result<TrainingData> {
    let TrainingData {
        mut examples,
        mut held_out,
        text_rows,
    } = data;
    let first_row = options.first_row();
    let fault = |example: &Example| evaluate::fault(example, first_row, config);
    let files = match &options.evaluation.examples {
        HeldOut::File(path) => vec![
            (&options.data, dataset::sift([&mut examples], fault)),
            (path, dataset::sift([&mut held_out], fault)),
        ],
        HeldOut::None | HeldOut::Share(_) => vec![(
            &options.data,
            dataset::sift([&mut examples, &mut held_out], fault),
        )],
    };
    let mut refused = Vec::new();
    for (path, bad) in files {
        let path = path.display();
        if bad.must_refuse(options.formats.on_bad_row) {
            refused.push(format!("cannot use the data in {path}: {bad}"));
        } else if bad.count() > 0 {
            console.line(&format!("note   {path}: {}", bad.left_out()));
        }
    }
    ensure!(refused.is_empty(), refused.join("; "));
    ensure!(
        !examples.is_empty(),
        "{EVAL_SPLIT} leaves none to learn from; give a smaller share or more data"
    );
    Ok(TrainingData {
        examples,
        held_out,
        text_rows,
    })
}
