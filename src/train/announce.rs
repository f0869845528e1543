//! What a run says of itself before it begins.

use anyhow::Result;

use super::outputs::Outputs;
use super::schedule::{Schedule, Shape};
use super::{Options, Stop};
use crate::console::Console;
use crate::distributed::Ranks;
use crate::model::{Generation, Rwkv};
use crate::ops::linear::Weights;
use crate::ops::{Compute, device};
use crate::setting::{LR_FINAL, LR_SCHEDULE, WARMUP_STEPS};
use crate::state_file::Format;
use crate::system;

/// Says who computes, if several do; and on each machine whether its ranks have fewer cores than they
/// could.
pub fn ranks(ranks: &Ranks, console: &Console, own: &Console) {
    if ranks.count() == 1 {
        return;
    }
    console.line(&format!("ranks  {}", ranks.describe()));
    let here = ranks.local_count();
    if let (Some(allowed), Some(cores)) = (system::allowed_cores(), system::cores())
        && allowed < cores / here
        && ranks.local_rank() == 0
    {
        own.line(&format!(
            "note   this rank may use {allowed} of {cores} cores, and {here} ranks are on this machine; \
             if the launcher binds it, `mpirun --bind-to none` of Open MPI and `srun --cpus-per-task` \
             of Slurm give it more"
        ));
    }
}

/// Says what is trained on which device.
pub fn model(options: &Options, model: &Rwkv, console: &Console) -> Result<()> {
    console.line(&format!(
        "model  {} ({})",
        options.model.display(),
        model.config()
    ));
    console.line(&format!("device {}", device::describe(model.compute())?));
    let Compute { weights, .. } = model.compute();
    if *weights != Weights::File {
        let rest = match model.config().version.generation() {
            Generation::Five => "the embedding stays as the file has it",
            Generation::Seven => {
                "the embedding and the matrices of low rank stay as the file has them"
            }
        };
        console.line(&format!(
            "note   weights are held as {weights}, {:.2} GiB; {rest}",
            model.bytes_multiplied() as f64 / (1u64 << 30) as f64
        ));
    }
    for note in model.notes() {
        console.line(&format!("note   {note}"));
    }
    Ok(())
}

/// Says what becomes of a state that is there already, and whether the new one's name fits it.
pub fn save(options: &Options, outputs: &Outputs, replaces: bool, console: &Console) {
    if let Some(belied) = Format::STATE.belied_by(&options.save) {
        console.line(&format!("note   {belied}"));
    }
    if replaces {
        let save = options.save.display();
        let kept = match outputs.resumes(options) {
            true => String::new(),
            false => {
                let old = outputs.old_state.named();
                let instead = match old.exists() {
                    true => ", in place of the one there",
                    false => "",
                };
                format!("; it is kept as {}{instead}", old.display())
            }
        };
        console.line(&format!(
            "note   {save} is there already and will be replaced{kept}"
        ));
    }
}

/// Says how many steps there will be, and what of the learning rate's settings has no effect in so
/// many.
pub fn steps(options: &Options, steps: usize, console: &Console) {
    console.line(&format!(
        "train  {steps} steps of {} examples",
        options.batch_size
    ));
    let Schedule {
        shape,
        learning_rate,
        last,
        warmup,
    } = options.schedule;
    if let (Shape::Constant, Some(last)) = (shape, last) {
        console.line(&format!(
            "note   {LR_FINAL} {last} has no effect: the learning rate stays at {learning_rate}; \
             {LR_SCHEDULE} cosine, linear or exponential leads there"
        ));
    }
    if warmup > steps {
        console.line(&format!(
            "note   {WARMUP_STEPS} {warmup} is longer than the run: the learning rate ends at {}",
            options.schedule.at(steps, steps)
        ));
    }
}

/// Says it where a run that goes on has nothing left to do.
pub fn end(stop: Option<Stop>, console: &Console) {
    if let Some(stop) = stop {
        console.line(&format!(
            "note   the run is at its end: {stop}; {}",
            stop.way_on()
        ));
    }
}
