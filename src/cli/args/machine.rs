//! The flags under "Machine": what computes, and in what.

use clap::Args;

use super::DEFAULTS;
use crate::cli::values::{Auto, count, device, one_of, one_of_or_auto, threads};
use crate::ops::cpu::Processor;
use crate::ops::cpu::level::Level;
use crate::ops::device::DeviceChoice;
use crate::ops::linear::{ProductType, Weights};
use crate::train::{Options, Recompute};

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Machine")]
pub struct MachineArgs {
    /// What computes: cpu, cuda (the first GPU), cuda:N (that one); auto is a GPU if there is one
    /// that can be used
    #[arg(long, default_value_t = DEFAULTS.device, value_parser = device, value_name = "DEVICE")]
    device: DeviceChoice,

    /// What products are computed in: f32 or bf16; auto takes what is fastest here for training,
    /// and f32 for answers
    #[arg(
        long, default_value_t = Auto(DEFAULTS.product),
        value_parser = one_of_or_auto(&ProductType::NAMES), value_name = "DTYPE"
    )]
    dtype: Auto<ProductType>,

    /// What the frozen weights are held as: as the file has them, or bf16, int8 (half as many bits)
    /// or nf4 (a quarter)
    #[arg(
        long, default_value_t = DEFAULTS.weights, value_parser = one_of(&Weights::NAMES),
        value_name = "TYPE"
    )]
    weights: Weights,

    /// Instructions to compute with: plain, avx2, avx512, avx512bf16, amx; auto takes the best that
    /// this machine has
    #[arg(
        long, default_value_t = Auto(DEFAULTS.processor.level),
        value_parser = one_of_or_auto(&Level::NAMES), value_name = "LEVEL"
    )]
    cpu: Auto<Level>,

    /// Compute activations again for the backward pass instead of keeping them; auto goes by the
    /// free memory
    #[arg(
        long, default_value_t = DEFAULTS.recompute, value_parser = one_of(&Recompute::NAMES),
        value_name = "WHEN"
    )]
    recompute: Recompute,

    /// Most tokens computed at once; a larger batch is computed in parts [default: as many as
    /// memory holds]
    #[arg(long, value_parser = count, value_name = "N")]
    micro_batch: Option<usize>,

    /// Threads to compute with [default: one for each core]
    #[arg(long, value_parser = threads, value_name = "N")]
    threads: Option<usize>,
}

impl MachineArgs {
    pub fn put_into(self, options: &mut Options) {
        let Self {
            device,
            dtype: Auto(product),
            weights,
            cpu: Auto(level),
            recompute,
            micro_batch,
            threads,
        } = self;
        options.device = device;
        options.product = product;
        options.weights = weights;
        options.processor = Processor { threads, level };
        options.recompute = recompute;
        options.micro_batch = micro_batch;
    }
}
