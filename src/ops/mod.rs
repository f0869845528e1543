//! The operations that a model is made of, each with a gradient written by hand.
//!
//! Every op is a folder: `mod.rs` says the maths, checks shapes and dispatches; `cpu.rs` is the kernel, `cuda.rs` with a
//! `.cu` is the same for NVIDIA cards; `reference.rs` is the same thing slow and obvious, in candle's differentiable
//! tensor operations, so that a test can run it in float64 and let candle find the gradient, and a bench can time it
//! beside the kernel. All of them see *flat* activations `[N, C]`: the rows of all sequences one after another, no batch
//! axis and no padding. Where sequences begin and end matters to two ops only ([`token_shift`] and [`wkv`]), which take
//! [`Offsets`].
//!
//! What products take and give, forward and backward, is stored in the product's type ([`linear`]), f32 or bf16; sums,
//! states, what is learnt, and what goes from layer to layer are f32. So are, on a processor and forward, time-mix's
//! r, k, v, gate and y and channel-mix's r.

pub mod adam;
pub mod cpu;
pub mod cross_entropy;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
pub mod device;
pub mod gates;
pub mod linear;
pub mod norm;
pub mod rows;
pub mod token_shift;
pub mod wkv;

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor, bail};

use self::linear::{Product, Weights};

#[cfg(test)]
pub(crate) mod testing;

/// Where a model computes, and in which numbers.
#[derive(Clone, Debug)]
pub struct Compute {
    pub device: Device,
    pub product: Product,
    /// What frozen matrices are held as.
    pub weights: Weights,
}

impl Compute {
    /// The type of what products take and give: the product's, since reading and writing them is what costs.
    pub fn activations(&self) -> DType {
        self.product.dtype()
    }

    /// The type of time-mix's r, k, v, gate and y and of channel-mix's r: f32 in main memory, since their rounding shows in
    /// the loss.
    pub fn sensitive_activations(&self) -> DType {
        match self.device {
            Device::Cpu => DType::F32,
            Device::Cuda(_) | Device::Metal(_) => self.activations(),
        }
    }
}

/// On the processor, with matrices where the file has them.
impl From<Product> for Compute {
    fn from(product: Product) -> Self {
        Self {
            device: Device::Cpu,
            product,
            weights: Weights::File,
        }
    }
}

impl From<&Compute> for Compute {
    fn from(compute: &Compute) -> Self {
        compute.clone()
    }
}

/// Where each sequence lies in a flat batch: sequence `i` is the rows `offsets[i]..offsets[i + 1]`, never empty.
#[derive(Clone, Debug)]
pub struct Offsets {
    /// Where each begins, and where the last one ends.
    starts: Vec<usize>,
    #[cfg(feature = "cuda")]
    on_card: cuda::Cached,
}

impl Eq for Offsets {}

impl PartialEq for Offsets {
    fn eq(&self, other: &Self) -> bool {
        self.starts == other.starts
    }
}

impl Offsets {
    /// Offsets of sequences with these lengths, one after another. A length of 0 makes no sequence.
    pub fn from_lengths(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut offsets = vec![0];
        for length in lengths.into_iter().filter(|&length| length > 0) {
            offsets.push(offsets[offsets.len() - 1] + length);
        }
        Self {
            starts: offsets,
            #[cfg(feature = "cuda")]
            on_card: cuda::Cached::default(),
        }
    }

    /// The number of rows of all sequences together.
    pub fn rows(&self) -> usize {
        self.starts[self.sequences()]
    }

    /// The number of sequences.
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// The row range of each sequence, in order.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// The first row of each sequence, in order.
    pub fn starts(&self) -> &[usize] {
        &self.starts[..self.sequences()]
    }

    /// Whether `row` is the first of a sequence.
    pub fn is_start(&self, row: usize) -> bool {
        self.starts().binary_search(&row).is_ok()
    }
}

/// The elements of a contiguous f32 tensor in main memory, borrowed for as long as this lives.
pub(crate) struct Floats<G> {
    storage: G,
    range: Range<usize>,
}

impl<G: Deref<Target = Storage>> Deref for Floats<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(data)) => &data[self.range.clone()],
            _ => unreachable!("`floats` lets no other storage in"),
        }
    }
}

/// Borrows a tensor's elements. Errors when it is not f32, not on the CPU or not contiguous.
pub(crate) fn floats(tensor: &Tensor) -> Result<Floats<impl Deref<Target = Storage>>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!(
            "an op got a tensor of shape {:?} that is not contiguous",
            tensor.shape()
        );
    };
    if !matches!(&*storage, Storage::Cpu(CpuStorage::F32(_))) {
        bail!(
            "an op got a {:?} tensor on {:?}, not f32 on the CPU",
            tensor.dtype(),
            tensor.device().location()
        );
    }
    Ok(Floats {
        storage,
        range: start..end,
    })
}

/// A tensor of its own from freshly computed elements.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &candle_core::Device::Cpu)
}
