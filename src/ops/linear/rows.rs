//! The left side of a product, on either device.

use candle_core::{DType, Device, Result, Tensor};

use super::cuda;
use super::{Packed, ProductType};
use crate::ops::cpu::tensor::tensor;

/// A matrix `[rows, columns]` of activations or of their gradients on the left of a product,
/// rounded as the product takes it.
pub enum Rows {
    /// In main memory.
    Packed(Packed),
    /// On a GPU: a tensor of the product's type.
    Gpu(Tensor),
}

impl Rows {
    /// `[rows, columns]`.
    pub fn dims(&self) -> Result<[usize; 2]> {
        match self {
            Self::Packed(packed) => Ok(packed.dims()),
            Self::Gpu(x) => x.dims2().map(Into::into),
        }
    }

    /// The numbers of a tensor `[N, C]`.
    pub fn of(product: ProductType, x: &Tensor) -> Result<Self> {
        if x.device().is_cuda() {
            return Ok(Self::Gpu(cuda::cast(x, product.dtype())?));
        }
        Ok(Self::Packed(Packed::of(product, x)?))
    }

    /// The numbers again as f32, in main memory.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => tensor(packed.numbers(), packed.dims().to_vec()),
            Self::Gpu(x) => x.to_device(&Device::Cpu)?.to_dtype(DType::F32),
        }
    }
}

impl From<Packed> for Rows {
    fn from(packed: Packed) -> Self {
        Self::Packed(packed)
    }
}
