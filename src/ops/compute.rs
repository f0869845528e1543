//! Where a model computes, and in which numbers.

use candle_core::{DType, Device};

use super::linear::{ProductType, Weights};

/// Where a model computes, and in which numbers.
#[derive(Clone, Debug)]
pub struct Compute {
    /// Where activations and learnt numbers lie, and on a GPU the frozen weights too.
    pub device: Device,
    /// The type that both sides of a product with a frozen matrix are rounded to.
    pub product: ProductType,
    /// What frozen matrices are held as.
    pub weights: Weights,
}

impl Compute {
    /// The type of what products take and give: the product's, since reading and writing them is
    /// what costs.
    pub fn activations(&self) -> DType {
        self.product.dtype()
    }

    /// The type of time-mix's r, k, v and y, of RWKV-5's gate and channel-mix's r: f32 in main memory,
    /// since their rounding shows in the loss. RWKV-7's decays, rates and gates are f32 everywhere.
    pub fn sensitive_activations(&self) -> DType {
        match self.device {
            Device::Cpu => DType::F32,
            Device::Cuda(_) | Device::Metal(_) => self.activations(),
        }
    }
}

/// On the processor, with matrices where the file has them.
impl From<ProductType> for Compute {
    fn from(product: ProductType) -> Self {
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
