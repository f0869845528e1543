//! Which device computes, opened and told apart from the ones that cannot.

use std::fmt;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};

use super::Compute;
use super::cpu::level::Level;
pub use super::cuda::driver::GpuMemory;
use super::cuda::driver::{self, Missing};
use super::linear::{ProductType, Weights};
use super::reduce;
use crate::setting::DEVICE;

/// What `--device` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A GPU if this build can use GPUs and there is one, else the processor.
    Auto,
    /// The same for the program with this number among those on a machine that share its GPUs out.
    Shared(usize),
    /// The processor, even if there is a GPU.
    Cpu,
    /// The GPU with this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// What one of several ranks opens, the one with this number on its machine.
    pub fn of_rank(self, local_rank: usize) -> Self {
        match self {
            Self::Auto => Self::Shared(local_rank),
            Self::Shared(_) | Self::Cpu | Self::Cuda(_) => self,
        }
    }
}

/// A device that was opened.
pub struct Opened {
    /// The device, with the types that products and weights have on it.
    pub compute: Compute,
    /// What the user should know: why `auto` does not use the GPU that there is.
    pub note: Option<String>,
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto | Self::Shared(_) => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl Compute {
    /// For training: in the products that are fastest there, unless others are asked for.
    pub fn fastest(
        choice: DeviceChoice,
        product: Option<ProductType>,
        weights: Weights,
    ) -> Result<Opened> {
        let (device, note) = open(choice)?;
        let fastest = match device {
            Device::Cpu if !Level::current().has_bf16() => ProductType::F32,
            _ => ProductType::Bf16,
        };
        let product = product.unwrap_or(fastest);
        let compute = Self {
            device,
            product,
            weights,
        };
        Ok(Opened { compute, note })
    }

    /// For answers: in f32 unless bf16 is asked for. Reading every weight once for each token is
    /// what they cost, whatever it is multiplied as.
    pub fn exact(
        choice: DeviceChoice,
        product: Option<ProductType>,
        weights: Weights,
    ) -> Result<Opened> {
        let (device, note) = open(choice)?;
        let compute = Self {
            device,
            product: product.unwrap_or(ProductType::F32),
            weights,
        };
        Ok(Opened { compute, note })
    }
}

/// The device, and what the user should know about it.
fn open(choice: DeviceChoice) -> Result<(Device, Option<String>)> {
    let gpu = |number| driver::open(number, try_kernels);
    match choice {
        DeviceChoice::Cpu => Ok((Device::Cpu, None)),
        DeviceChoice::Cuda(number) => match gpu(number) {
            Ok(device) => Ok((device, None)),
            Err(why @ Missing::Feature) => {
                bail!("{DEVICE} cuda:{number}: {why}, or use {DEVICE} cpu")
            }
            Err(why) => bail!("{DEVICE} cuda:{number}: {why}; or use {DEVICE} cpu"),
        },
        DeviceChoice::Auto => open(DeviceChoice::Shared(0)),
        DeviceChoice::Shared(number) => match shared(number, gpu) {
            Ok(device) => Ok((device, None)),
            // That there is no GPU to be used needs no note.
            Err(Missing::Feature | Missing::Driver | Missing::Gpus) => Ok((Device::Cpu, None)),
            Err(why) => {
                let note = format!("{why}; computing on the processor");
                Ok((Device::Cpu, Some(note)))
            }
        },
    }
}

/// The GPU with this number, counted round where there are fewer.
fn shared(
    number: usize,
    gpu: impl Fn(usize) -> Result<Device, Missing>,
) -> Result<Device, Missing> {
    match gpu(number) {
        Err(Missing::Number { count, .. }) if count > 0 => gpu(number % count as usize),
        opened => opened,
    }
}

/// Runs one of our kernels and one of candle's, which come in another form: better now than after a
/// model is loaded.
fn try_kernels(device: &Device) -> candle_core::Result<()> {
    let one = Tensor::zeros(1, DType::F32, device)?.affine(1.0, 1.0)?;
    match reduce::sum_of_squares(&one)? {
        1.0 => Ok(()),
        other => candle_core::bail!("it computes {other} where 1 is right"),
    }
}

/// Whether an error says that a GPU's memory is full.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    error.chain().any(driver::is_out_of_memory)
}

/// The GPU's memory, if the device is one; [`crate::system`] tells of the processor's.
pub fn gpu_memory(device: &Device) -> candle_core::Result<Option<GpuMemory>> {
    match device {
        Device::Cuda(gpu) => driver::memory(gpu).map(Some),
        Device::Cpu | Device::Metal(_) => Ok(None),
    }
}

/// Has a GPU's allocator give the memory that it keeps and does not use back to the system, so that
/// one large allocation may have it.
pub fn give_back_memory(device: &Device) -> candle_core::Result<()> {
    match device {
        Device::Cuda(gpu) => driver::give_back_memory(gpu),
        Device::Cpu | Device::Metal(_) => Ok(()),
    }
}

/// What computes, in words: where it differs, so may numbers.
pub fn describe(compute: &Compute) -> candle_core::Result<String> {
    let product = compute.product;
    Ok(match gpu_name(&compute.device)? {
        Some(gpu) => format!("{gpu}, in {product}"),
        None => {
            let (level, threads) = (Level::current(), rayon::current_num_threads());
            let s = if threads == 1 { "" } else { "s" };
            format!("CPU ({level}, {threads} thread{s}), in {product}")
        }
    })
}

/// The GPU's name, if the device is one.
pub fn gpu_name(device: &Device) -> candle_core::Result<Option<String>> {
    match device {
        Device::Cuda(gpu) => driver::name(gpu).map(Some),
        Device::Cpu | Device::Metal(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn ranks_of_a_machine_take_its_gpus_in_turn() {
        let gpu_of = |rank, count: i32| {
            let opened = Cell::new(None);
            let gpu = |number: usize| match number < count as usize {
                true => {
                    opened.set(Some(number));
                    Ok(Device::Cpu)
                }
                false => Err(Missing::Number { number, count }),
            };
            let _ = shared(rank, gpu);
            opened.get()
        };
        assert_eq!(
            [0, 1, 2, 3, 4].map(|rank| gpu_of(rank, 4)),
            [0, 1, 2, 3, 0].map(Some)
        );
        assert_eq!([0, 1, 2].map(|rank| gpu_of(rank, 1)), [Some(0); 3]);
        assert_eq!(gpu_of(1, 0), None);
        // What is asked for is not shared out.
        assert_eq!(DeviceChoice::Auto.of_rank(3), DeviceChoice::Shared(3));
        assert_eq!(DeviceChoice::Cuda(1).of_rank(3), DeviceChoice::Cuda(1));
        assert_eq!(DeviceChoice::Cpu.of_rank(3), DeviceChoice::Cpu);
    }
}
