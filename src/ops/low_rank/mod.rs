//! A product with a matrix of low rank, with an activation in its middle: RWKV-7 makes its decay,
//! its in-context learning rate, its value residual's gate and its output gate so.
//!
//! ```text
//! h  = x A                           x [N, C], A [C, rank]
//! y  = act(h) B                      B [rank, C']
//! dx = ((dy B') * act'(h)) A'
//! ```
//!
//! Files have A and B as `x @ A` takes them, transposed against all other matrices: what is forward
//! here is a [`Matrix`]'s backward product, and the other way round. A and B are frozen. What is
//! added to y belongs to the op that takes it, which adds it in f32.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Device, Result, Tensor, bail};

use super::cpu::tensor::borrow;
use super::linear::{Matrix, NEIGHBOURS, ProductType, Rows};

/// What becomes of the numbers between the two matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// They stay as they are.
    None,
    /// Their hyperbolic tangent.
    Tanh,
    /// Their logistic function.
    Sigmoid,
}

/// Two frozen matrices of one product type.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// A: `[C, rank]`.
    pub down: Matrix,
    /// B: `[rank, C']`.
    pub up: Matrix,
    /// Between the two.
    pub activation: Activation,
}

impl LowRank {
    /// The same on a device. A GPU gets a copy, whose rank is a multiple of what kernels take at
    /// once: the channels beyond it meet zeros in both matrices.
    pub fn on(self, device: &Device) -> Result<Self> {
        if device.is_cpu() {
            return Ok(self);
        }
        let ([channels, rank], [_, out]) = (self.down.dims(), self.up.dims());
        let rank = rank.next_multiple_of(NEIGHBOURS);
        Ok(Self {
            down: self.down.padded([channels, rank])?.on(device)?,
            up: self.up.padded([rank, out])?.on(device)?,
            activation: self.activation,
        })
    }

    /// x `[N, C]` to y `[N, C']` and what [`Self::backward`] needs, `[N, rank]`, both f32.
    pub fn forward(&self, x: &Rows) -> Result<(Tensor, Tensor)> {
        Ok(Self::forward_each(vec![(self, x)])?.remove(0))
    }

    /// The same of several, each with rows of its own: single rows are multiplied at once.
    pub fn forward_each(all: Vec<(&Self, &Rows)>) -> Result<Vec<(Tensor, Tensor)>> {
        let down = all.iter().map(|&(low_rank, x)| (&low_rank.down, x));
        let inner = Matrix::backward_wide_each(down.collect())?;
        let mut active = Vec::with_capacity(all.len());
        for ((low_rank, _), inner) in all.iter().zip(&inner) {
            active.push(low_rank.activate(inner)?);
        }
        let up = all.iter().zip(&active);
        let up = up.map(|(&(low_rank, _), active)| (&low_rank.up, active));
        let y = Matrix::backward_wide_each(up.collect())?;
        Ok(y.into_iter().zip(inner).collect())
    }

    fn activate(&self, inner: &Tensor) -> Result<Rows> {
        let (activation, product) = (self.activation, self.product());
        if inner.device().is_cuda() {
            return cuda::activate(activation, inner, product);
        }
        let (numbers, dims) = (borrow(inner)?, inner.dims2()?.into());
        Ok(cpu::activate(activation, numbers.f32()?, dims, product).into())
    }

    /// dx `[N, C]` from dy `[N, C']` and what the forward pass left.
    pub fn backward(&self, dy: &Rows, inner: &Tensor) -> Result<Tensor> {
        let d_active = self.up.forward_wide(dy)?;
        if d_active.shape() != inner.shape() {
            bail!(
                "a low-rank product's gradient of {:?} with {:?} kept",
                d_active.shape(),
                inner.shape()
            );
        }
        let (activation, product) = (self.activation, self.product());
        let d_inner = if inner.device().is_cuda() {
            cuda::activate_backward(activation, [&d_active, inner], product)?
        } else {
            let (d, h, dims) = (borrow(&d_active)?, borrow(inner)?, inner.dims2()?.into());
            cpu::activate_backward(activation, [d.f32()?, h.f32()?], dims, product).into()
        };
        self.down.forward(&d_inner)
    }

    /// What its products round to.
    pub fn product(&self) -> ProductType {
        self.down.product()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{BF16, F32, close, f32, uniform, var};
    use super::*;
    use crate::tensors::Element;

    const ALL: [Activation; 3] = [Activation::None, Activation::Tanh, Activation::Sigmoid];

    /// A matrix of bf16, and its numbers.
    fn matrix(seed: u64, dims: [usize; 2], product: ProductType) -> Result<(Matrix, Tensor)> {
        let w = uniform(seed, &dims, -0.5, 0.5)?.to_dtype(DType::BF16)?;
        let numbers: Vec<half::bf16> = w.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let matrix = Matrix::new(bytes.into(), Element::Bf16, dims, product)?;
        Ok((matrix, w.to_dtype(DType::F64)?))
    }

    #[test]
    fn forward_and_gradient_agree_with_the_reference() -> Result<()> {
        at_each_level(|level| {
            for [rows, channels, rank, out] in [
                [1, 32, 12, 32],
                // Tasks of several widths, and a rest.
                [1, 600, 224, 998],
                [9, 64, 33, 48],
                [70, 128, 96, 128],
                [5, 40, 1, 7],
            ] {
                for activation in ALL {
                    let what = format!("{level} {rows} x {channels} x {rank}, {activation:?}");
                    let (down, a) = matrix(1, [channels, rank], ProductType::F32)?;
                    let (up, b) = matrix(2, [rank, out], ProductType::F32)?;
                    let low_rank = LowRank {
                        down,
                        up,
                        activation,
                    };
                    let x = var(3, &[rows, channels])?;
                    let dy = uniform(4, &[rows, out], -1.0, 1.0)?;
                    let want = reference::forward(&x, &a, &b, activation)?;
                    let gradients = (&want * &dy)?.sum_all()?.backward()?;
                    let (y, kept) = low_rank.forward(&Rows::of(ProductType::F32, &f32(&x)?)?)?;
                    close(&format!("y, {what}"), &y, &want, 10.0 * F32);
                    let dy = Rows::of(ProductType::F32, &f32(&dy)?)?;
                    let dx = low_rank.backward(&dy, &kept)?;
                    let want = gradients.get(&x).unwrap();
                    close(&format!("dx, {what}"), &dx, want, 10.0 * F32);
                }
            }
            Ok(())
        })
    }

    /// What the two products take is rounded to bf16, and nothing else is.
    #[test]
    fn bf16_products_round_what_they_take() -> Result<()> {
        at_each_level(|level| {
            let [rows, channels, rank] = [9, 64, 33];
            let round = |x: &Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F64);
            for activation in ALL {
                let (down, a) = matrix(1, [channels, rank], ProductType::Bf16)?;
                let (up, b) = matrix(2, [rank, channels], ProductType::Bf16)?;
                let low_rank = LowRank {
                    down,
                    up,
                    activation,
                };
                let x = f32(&uniform(3, &[rows, channels], -1.0, 1.0)?)?;
                let (y, kept) = low_rank.forward(&Rows::of(ProductType::Bf16, &x)?)?;
                assert_eq!((y.dtype(), kept.dtype()), (DType::F32, DType::F32));
                let what = format!("{level} {activation:?}");
                close(
                    &format!("kept, {what}"),
                    &kept,
                    &round(&x)?.matmul(&a)?,
                    10.0 * F32,
                );
                let want = reference::forward(&round(&x)?, &a, &b, activation)?;
                close(&format!("y, {what}"), &y, &want, BF16);
                let dx = low_rank.backward(&Rows::of(ProductType::Bf16, &y)?, &kept)?;
                assert_eq!(dx.dtype(), DType::BF16);
            }
            Ok(())
        })
    }

    /// Single rows are multiplied at once.
    #[test]
    fn several_at_once_give_what_each_gives_alone() -> Result<()> {
        at_each_level(|_| {
            for product in [ProductType::F32, ProductType::Bf16] {
                let mut all = Vec::new();
                for (seed, rank) in (0..).zip([32, 1, 96, 300]) {
                    let low_rank = LowRank {
                        down: matrix(seed, [70, rank], product)?.0,
                        up: matrix(seed + 10, [rank, 70], product)?.0,
                        activation: ALL[seed as usize % ALL.len()],
                    };
                    let x = f32(&uniform(seed + 20, &[1, 70], -1.0, 1.0)?)?;
                    all.push((low_rank, Rows::of(product, &x)?));
                }
                let each = all.iter().map(|(low_rank, x)| (low_rank, x));
                let got = LowRank::forward_each(each.collect())?;
                for ((low_rank, x), (y, inner)) in all.iter().zip(&got) {
                    let want = low_rank.forward(x)?;
                    close("y", y, &want.0, 0.0);
                    close("inner", inner, &want.1, 0.0);
                }
            }
            Ok(())
        })
    }

    #[test]
    fn far_out_values_stay_finite() {
        let (far, one) = ([-1e4, -60.0, 60.0, 1e4], [1.0; 4]);
        let (dims, product) = ([1, 4], ProductType::F32);
        for (activation, want) in [
            (Activation::Tanh, [-1.0, -1.0, 1.0, 1.0]),
            (Activation::Sigmoid, [0.0, 0.0, 1.0, 1.0]),
        ] {
            let got = cpu::activate(activation, &far, dims, product).numbers();
            let off = got.iter().zip(want).map(|(got, want)| (got - want).abs());
            assert!(off.fold(0.0, f32::max) < 1e-25, "{activation:?}: {got:?}");
            let d = cpu::activate_backward(activation, [&one, &far], dims, product).numbers();
            assert!(
                d.iter().all(|x| (0.0..1e-25).contains(x)),
                "{activation:?}: {d:?}"
            );
        }
    }
}
