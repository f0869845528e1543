//! A matrix as a GPU holds it.

use candle_core::{Device, Result, Tensor, bail};
use half::bf16;

use super::ProductType;
use crate::ops::cuda::{Arg, constant, pointer};
use crate::ops::linear::quantised::{BLOCK, Form, LEVELS, Quantised};
use crate::setting::DEVICE;
use crate::tensors::Element;

/// Numbers of bf16 that are sixteen bytes, which kernels read at once.
pub const NEIGHBOURS: usize = 8;
pub const SOURCE: &str = include_str!("linear.cu");
const _: () = assert!(
    BLOCK == constant(SOURCE, "QUANTISED_BLOCK"),
    "kernels read quantised numbers in the blocks that they are stored in"
);

/// A matrix `[rows, columns]` as a GPU holds it.
#[derive(Clone, Debug)]
pub enum Numbers {
    /// bf16 or f32, row after row.
    Plain(Tensor),
    Quantised(GpuQuantised),
}

/// `linear::quantised` has the layout.
#[derive(Clone, Debug)]
pub struct GpuQuantised {
    pub form: Form,
    dims: [usize; 2],
    pub codes: Tensor,
    pub scales: Tensor,
    /// What nf4's codes stand for.
    pub levels: Tensor,
}

impl Numbers {
    /// Copies numbers that are stored as `element` to the GPU, in that type where the kernels know
    /// it: f16 becomes what the product takes, and so does f32 where the product would round it
    /// anyway.
    pub fn stored(
        data: &[u8],
        element: Element,
        dims: [usize; 2],
        product: ProductType,
        device: &Device,
    ) -> Result<Self> {
        check(dims)?;
        let tensor = match (element, product) {
            (Element::Bf16, _) => upload(data, device)?,
            (element, ProductType::Bf16) => {
                let numbers = element.decode(data).into_iter().map(bf16::from_f32);
                Tensor::from_iter(numbers, device)?
            }
            (element, ProductType::F32) => Tensor::from_iter(element.decode(data), device)?,
        };
        Ok(Self::Plain(tensor.reshape(dims.to_vec())?))
    }

    /// Copies quantised numbers to the GPU.
    pub fn quantised(numbers: &Quantised, dims: [usize; 2], device: &Device) -> Result<Self> {
        check(dims)?;
        let codes = numbers.codes();
        Ok(Self::Quantised(GpuQuantised {
            form: numbers.form(),
            dims,
            codes: Tensor::from_slice(codes, codes.len(), device)?,
            scales: upload(numbers.scales(), device)?,
            levels: Tensor::new(&LEVELS, device)?,
        }))
    }

    /// Bytes of the GPU's memory.
    pub fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        match self {
            Self::Plain(tensor) => bytes(tensor),
            Self::Quantised(GpuQuantised { codes, scales, .. }) => bytes(codes) + bytes(scales),
        }
    }

    pub fn dims(&self) -> Result<[usize; 2]> {
        match self {
            Self::Plain(tensor) => Ok(tensor.dims2()?.into()),
            Self::Quantised(GpuQuantised { dims, .. }) => Ok(*dims),
        }
    }

    /// The embedding table `[rows, columns]`, of which `rows::embed` takes rows.
    pub fn table(&self) -> Result<&Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor),
            Self::Quantised(_) => bail!("an embedding is not quantised"),
        }
    }
}

impl GpuQuantised {
    pub fn args(&self) -> Result<[Arg; 3]> {
        Ok([
            pointer(&self.codes)?,
            pointer(&self.scales)?,
            pointer(&self.levels)?,
        ])
    }
}

/// What the kernels can read.
fn check([_, columns]: [usize; 2]) -> Result<()> {
    if !columns.is_multiple_of(NEIGHBOURS) {
        bail!(
            "a matrix of {columns} columns: the GPU's kernels take {NEIGHBOURS} neighbours at a time; \
             use {DEVICE} cpu"
        );
    }
    Ok(())
}

/// Little-endian bf16 as a tensor on the GPU.
fn upload(bytes: &[u8], device: &Device) -> Result<Tensor> {
    // SAFETY: any two bytes are a bf16.
    let (before, numbers, after) = unsafe { bytes.align_to::<bf16>() };
    if cfg!(target_endian = "little") && before.is_empty() && after.is_empty() {
        return Tensor::from_slice(numbers, numbers.len(), device);
    }
    let numbers = bytes.as_chunks().0.iter().copied();
    Tensor::from_iter(numbers.map(bf16::from_le_bytes), device)
}
