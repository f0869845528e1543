//! Which device computes, opened and told apart from the ones that cannot.

use std::fmt;

use anyhow::Result;
use candle_core::Device;

use super::Compute;
use super::cpu::level::Level;
use super::linear::{Product, Weights};
use crate::setting::DEVICE;

/// What `--device` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A card if this build can use cards and there is one, else the processor.
    Auto,
    /// The processor, even if there is a GPU.
    Cpu,
    /// The card with this number.
    Cuda(usize),
}

/// A device that was opened.
pub struct Opened {
    /// The device, with the types that products and weights have on it.
    pub compute: Compute,
    /// What the user should know: why `auto` does not use the GPU that there is.
    pub note: Option<String>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Compute {
    /// For training: in the products that are fastest there, unless others are asked for.
    pub fn fastest(choice: Choice, product: Option<Product>, weights: Weights) -> Result<Opened> {
        let (device, note) = open(choice)?;
        let fastest = match device {
            Device::Cpu if !Level::current().has_bf16() => Product::F32,
            _ => Product::Bf16,
        };
        let product = product.unwrap_or(fastest);
        let compute = Self {
            device,
            product,
            weights,
        };
        Ok(Opened { compute, note })
    }

    /// For answers: in f32 unless bf16 is asked for. Reading every weight once for each token is what they cost,
    /// whatever it is multiplied as.
    pub fn exact(choice: Choice, product: Option<Product>, weights: Weights) -> Result<Opened> {
        let (device, note) = open(choice)?;
        let compute = Self {
            device,
            product: product.unwrap_or(Product::F32),
            weights,
        };
        Ok(Opened { compute, note })
    }
}

/// The device, and what the user should know about it.
#[cfg(not(feature = "cuda"))]
fn open(choice: Choice) -> Result<(Device, Option<String>)> {
    match choice {
        Choice::Auto | Choice::Cpu => Ok((Device::Cpu, None)),
        Choice::Cuda(number) => anyhow::bail!(
            "{DEVICE} cuda:{number}: this build computes on the processor only; build with --features cuda, or use \
             {DEVICE} cpu"
        ),
    }
}

/// The device, and what the user should know about it.
#[cfg(feature = "cuda")]
fn open(choice: Choice) -> Result<(Device, Option<String>)> {
    use super::cuda::open::{self, Missing};

    match choice {
        Choice::Cpu => Ok((Device::Cpu, None)),
        Choice::Cuda(number) => match open::card(number) {
            Ok(device) => Ok((device, None)),
            Err(missing) => {
                anyhow::bail!("{DEVICE} cuda:{number}: {missing}; or use {DEVICE} cpu")
            }
        },
        Choice::Auto => match open::card(0) {
            Ok(device) => Ok((device, None)),
            // A machine without a GPU is no news.
            Err(Missing::Driver | Missing::Cards) => Ok((Device::Cpu, None)),
            Err(missing) => {
                let note = format!("{missing}; computing on the processor");
                Ok((Device::Cpu, Some(note)))
            }
        },
    }
}

/// Whether an error says that a card's memory is used up.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    #[cfg(feature = "cuda")]
    return error.chain().any(super::cuda::is_out_of_memory);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = error;
        false
    }
}

/// A card's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardMemory {
    /// What the GPU has.
    pub total: u64,
    /// What no process holds now.
    pub free: u64,
    /// The most that this process has held so far.
    pub peak: u64,
}

/// The card's memory, if the device is one; the processor's is told by [`crate::memory`].
pub fn card_memory(device: &Device) -> Result<Option<CardMemory>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => Ok(Some(super::cuda::open::memory(gpu)?)),
        _ => Ok(None),
    }
}

/// Has a card give back what it keeps and does not use, so that what is asked for next may be all of it.
pub fn give_back_memory(device: &Device) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => Ok(super::cuda::open::give_back_memory(gpu)?),
        _ => Ok(()),
    }
}

/// The card's name, if the device is one.
pub fn card_name(device: &Device) -> Result<Option<String>> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(gpu) => Ok(Some(super::cuda::open::name(gpu)?)),
        _ => Ok(None),
    }
}
