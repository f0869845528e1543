//! What a run says of itself before it begins.

use anyhow::Result;

use super::outputs::Outputs;
use super::{Options, limits};
use crate::console::Console;
use crate::distributed::Ranks;
use crate::model::{Generation, Rwkv};
use crate::ops::linear::Weights;
use crate::ops::{Compute, device};
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
    let Compute {
        device,
        product,
        weights,
    } = model.compute();
    if let Some(gpu) = device::gpu_name(device)? {
        console.line(&format!("device {gpu}, in {product}"));
    }
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

/// Says what becomes of a state that is there already.
pub fn old_state(options: &Options, outputs: &Outputs, replaces: bool, console: &Console) {
    if replaces {
        let save = options.save.display();
        let kept = match outputs.resumes(options) {
            true => String::new(),
            false => format!("; it is kept as {}", outputs.old_state.named().display()),
        };
        console.line(&format!(
            "note   {save} is there already and will be replaced{kept}"
        ));
    }
}

/// Says how many steps there will be, for so many examples.
pub fn steps(options: &Options, examples: usize, console: &Console) {
    console.line(&format!(
        "train  {} steps of {} examples",
        limits::steps(options.max_epochs, examples, options.batch_size),
        options.batch_size
    ));
}
