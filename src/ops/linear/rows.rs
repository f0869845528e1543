//! The left side of a product, on either device.

#[cfg(feature = "cuda")]
use candle_core::{DType, Device};
use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use super::{Packed, Product};
use crate::ops::cpu::tensor::tensor;

/// A matrix `[rows, columns]` of activations or of their gradients on the left of a product,
/// rounded as the product takes it.
pub enum Rows {
    /// In main memory.
    Packed(Packed),
    /// On a card: a tensor of the product's type.
    #[cfg(feature = "cuda")]
    Card(Tensor),
}

impl Rows {
    /// `[rows, columns]`.
    pub fn dims(&self) -> Result<[usize; 2]> {
        match self {
            Self::Packed(packed) => Ok(packed.dims()),
            #[cfg(feature = "cuda")]
            Self::Card(x) => x.dims2().map(Into::into),
        }
    }

    /// The numbers of a tensor `[N, C]`.
    pub fn of(product: Product, x: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return Ok(Self::Card(cuda::cast(x, product.dtype())?));
        }
        Ok(Self::Packed(Packed::of(product, x)?))
    }

    /// The numbers again as f32, in main memory.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Packed(packed) => tensor(packed.numbers(), packed.dims().to_vec()),
            #[cfg(feature = "cuda")]
            Self::Card(x) => x.to_device(&Device::Cpu)?.to_dtype(DType::F32),
        }
    }
}

impl From<Packed> for Rows {
    fn from(packed: Packed) -> Self {
        Self::Packed(packed)
    }
}
