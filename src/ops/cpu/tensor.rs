//! Tensors in main memory: what an op takes is borrowed, what it computed becomes a tensor.

use std::ops::Range;

use candle_core::{CpuStorage, Device, Result, Shape, Storage, StorageRef, Tensor, bail};

use super::activations::Activations;

/// A contiguous tensor's numbers, f32 or bf16, borrowed for as long as this lives.
pub struct Borrowed<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl Borrowed<'_> {
    /// The numbers, of either type.
    pub fn get(&self) -> Activations<'_> {
        let range = self.range.clone();
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => Activations::F32(&numbers[range]),
            Storage::Cpu(CpuStorage::BF16(numbers)) => Activations::Bf16(&numbers[range]),
            _ => unreachable!("`borrow` lets no other storage in"),
        }
    }

    /// The numbers of a tensor that is always f32. An error if it is not.
    pub fn f32(&self) -> Result<&[f32]> {
        match self.get() {
            Activations::F32(numbers) => Ok(numbers),
            Activations::Bf16(_) => bail!("an op got a BF16 tensor, not f32 on the CPU"),
        }
    }
}

/// Borrows a tensor's numbers. An error if it is neither f32 nor bf16, not on the CPU or not
/// contiguous.
pub fn borrow(tensor: &Tensor) -> Result<Borrowed<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "an op got a tensor of shape {:?} that is not contiguous",
            tensor.shape()
        );
    };
    if !matches!(
        &*storage,
        Storage::Cpu(CpuStorage::F32(_) | CpuStorage::BF16(_))
    ) {
        bail!(
            "an op got a {:?} tensor on {:?}, neither f32 nor bf16 on the CPU",
            tensor.dtype(),
            tensor.device().location()
        );
    }
    Ok(Borrowed {
        storage,
        range: start..end,
    })
}

/// A tensor of freshly computed numbers.
pub fn tensor(numbers: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(numbers, shape.into(), &Device::Cpu)
}
