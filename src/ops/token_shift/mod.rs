//! LayerNorm, then token shift: every normal row is mixed with the one before it, once for each
//! product that follows.
//!
//! ```text
//! a   = LayerNorm(x)
//! p_t = a_{t-1}, or the learned `first` where a sequence starts
//! x_t = a_t * mix + p_t * (1 - mix)                          for each mix
//!
//! da_t   = sum over mixes of mix * dx_t + (1 - mix) * dx_{t+1}     the second term only inside a sequence
//! dfirst = sum over starts and mixes of (1 - mix) * dx_t
//! ```
//!
//! One pass over x each way: these are the widest loops of a block beside its products, and memory
//! bounds them.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Result, Tensor, bail};

use super::Offsets;
use super::cpu::tensor::{Borrowed, borrow, tensor};
use super::linear::{ProductType, Rows};
use super::norm::Norm;

/// The frozen parameters of a token shift, and the sequences that it goes through.
pub struct TokenShift<'a> {
    /// The LayerNorm in front.
    pub norm: &'a Norm,
    /// `[C]`, one for each mixed copy.
    pub mixes: Vec<&'a Tensor>,
    /// Where the sequences begin among the rows of x.
    pub offsets: &'a Offsets,
}

/// What [`TokenShift::forward`] returns.
pub struct Shifted {
    /// For each mix, `[N, C]`.
    pub mixed: Vec<Rows>,
    /// The normal last row of each sequence, `[sequences, C]`: what a text that goes on is shifted by.
    pub ends: Tensor,
}

impl TokenShift<'_> {
    /// One shifted and mixed copy of LayerNorm(x `[N, C]`) for each mix; `first` is `[C]`.
    pub fn forward(&self, x: &Tensor, first: &Tensor, product: ProductType) -> Result<Shifted> {
        let Self {
            norm,
            mixes,
            offsets,
        } = self;
        check(norm, x, &[first], offsets)?;
        check(norm, x, mixes, offsets)?;
        if x.device().is_cuda() {
            return cuda::forward(self, x, first, product);
        }
        let (params, mixes) = (norm.params()?, borrow_all(mixes)?);
        let shift = cpu::Shift {
            norm: params.get()?,
            mixes: &slices(&mixes)?,
            offsets,
        };
        let x_view = borrow(x)?;
        let mixed = shift.forward(x_view.f32()?, borrow(first)?.f32()?, product);
        let ends = offsets.ranges().map(|range| range.end - 1);
        let ends = cpu::normal_rows(params.get()?, x_view.f32()?, ends);
        Ok(Shifted {
            mixed: mixed.into_iter().map(Rows::from).collect(),
            ends: tensor(ends, (offsets.sequences(), x.dim(1)?))?,
        })
    }

    /// (d_out + dx `[N, C]`, dfirst `[C]`) from the gradient of each mixed copy; `d_out` `[N, C]`
    /// is what reaches x by another way.
    pub fn backward(
        &self,
        x: &Tensor,
        d_out: &Tensor,
        d_mixed: &[Tensor],
    ) -> Result<(Tensor, Tensor)> {
        let Self {
            norm,
            mixes,
            offsets,
        } = self;
        check(norm, x, mixes, offsets)?;
        for d in d_mixed.iter().chain([d_out]) {
            if d.dims() != x.dims() || d_mixed.len() != mixes.len() {
                bail!(
                    "token shift of {:?} with a gradient of {:?}",
                    x.shape(),
                    d.shape()
                );
            }
        }
        if x.device().is_cuda() {
            return cuda::backward(self, x, d_out, d_mixed);
        }
        let d_mixed = d_mixed.iter().map(borrow).collect::<Result<Vec<_>>>()?;
        let d_mixed: Vec<_> = d_mixed.iter().map(Borrowed::get).collect();
        let (params, mixes) = (norm.params()?, borrow_all(mixes)?);
        let shift = cpu::Shift {
            norm: params.get()?,
            mixes: &slices(&mixes)?,
            offsets,
        };
        let (dx, dfirst) = shift.backward(borrow(x)?.f32()?, borrow(d_out)?.f32()?, &d_mixed);
        let channels = dfirst.len();
        Ok((tensor(dx, x.shape())?, tensor(dfirst, channels)?))
    }
}

fn borrow_all<'a>(tensors: &[&'a Tensor]) -> Result<Vec<Borrowed<'a>>> {
    tensors.iter().map(|tensor| borrow(tensor)).collect()
}

fn slices<'a>(all: &'a [Borrowed]) -> Result<Vec<&'a [f32]>> {
    all.iter().map(Borrowed::f32).collect()
}

fn check(norm: &Norm, x: &Tensor, vectors: &[&Tensor], offsets: &Offsets) -> Result<()> {
    norm.check(x)?;
    let (rows, channels) = x.dims2()?;
    if rows != offsets.rows() || vectors.iter().any(|vector| vector.dims() != [channels]) {
        bail!(
            "token shift of {:?} with vectors {:?} and offsets of {} rows",
            x.shape(),
            vectors.iter().map(|v| v.shape()).collect::<Vec<_>>(),
            offsets.rows()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::cpu::level::tests::at_each_level;
    use super::super::norm;
    use super::super::testing::{F32, close, f32, many_offsets, stored, uniform, var};
    use super::*;

    #[test]
    fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| {
            // As many mixes as a channel-mix has at least, and a time-mix at most.
            many_offsets().iter().try_for_each(|offsets| {
                [1, 3, 6]
                    .into_iter()
                    .try_for_each(|mixes| check_one(offsets, mixes))
            })
        })
    }

    /// Gradients that are stored as bf16 are computed as the f32 that they stand for.
    #[test]
    fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
        at_each_level(|_| {
            let offsets = Offsets::from_lengths([40, 1, 30]);
            let shape = [offsets.rows(), 49];
            let uniform = |seed| f32(&uniform(seed, &shape, -1.0, 1.0)?);
            let norm = Norm {
                weight: uniform(3)?.get(0)?,
                bias: uniform(4)?.get(0)?,
                groups: 1,
                eps: 1e-5,
            };
            let mixes = [uniform(10)?.get(0)?, uniform(11)?.get(0)?];
            let shift = TokenShift {
                norm: &norm,
                mixes: mixes.iter().collect(),
                offsets: &offsets,
            };
            let (x, d_out) = (uniform(1)?, uniform(5)?);
            let [a, b] = [stored(&uniform(20)?)?, stored(&uniform(21)?)?];
            let [got, want] = [0, 1].map(|i| {
                let d = [a[i].clone(), b[i].clone()];
                shift.backward(&x, &d_out, &d).unwrap()
            });
            close("dx", &got.0, &want.0, 0.0);
            close("dfirst", &got.1, &want.1, 0.0);
            Ok(())
        })
    }

    fn check_one(offsets: &Offsets, count: u64) -> Result<()> {
        let shape = [offsets.rows(), 49];
        let (x, first) = (var(1, &shape)?, var(2, &shape[1..])?);
        let (weight, bias) = (
            uniform(3, &shape[1..], 0.5, 1.5)?,
            uniform(4, &shape[1..], -0.5, 0.5)?,
        );
        let d_out = uniform(5, &shape, -1.0, 1.0)?;
        let mixes: Vec<Tensor> = (0..count)
            .map(|i| uniform(10 + i, &shape[1..], 0.0, 1.0))
            .collect::<Result<_>>()?;
        let dy: Vec<Tensor> = (0..count)
            .map(|i| uniform(20 + i, &shape, -1.0, 1.0))
            .collect::<Result<_>>()?;
        let a = norm::reference::forward(&x, 1, &weight, &bias, 1e-5)?;
        let mut loss = (x.as_tensor() * &d_out)?.sum_all()?;
        let mut wanted = Vec::new();
        for (mix, dy) in mixes.iter().zip(&dy) {
            wanted.push(reference::forward(&a, &first, mix, offsets)?);
            loss = (loss + (wanted.last().unwrap() * dy)?.sum_all()?)?;
        }
        let grads = loss.backward()?;

        let norm = Norm {
            weight: f32(&weight)?,
            bias: f32(&bias)?,
            groups: 1,
            eps: 1e-5,
        };
        let mixes: Vec<Tensor> = mixes.iter().map(f32).collect::<Result<_>>()?;
        let (x32, first32) = (f32(&x)?, f32(&first)?);
        let shift = TokenShift {
            norm: &norm,
            mixes: mixes.iter().collect(),
            offsets,
        };
        let got = shift.forward(&x32, &first32, ProductType::F32)?;
        for (got, want) in got.mixed.iter().zip(&wanted) {
            close("x", &got.tensor()?, want, F32);
        }
        let dy: Vec<Tensor> = dy.iter().map(f32).collect::<Result<_>>()?;
        let (dx, dfirst) = shift.backward(&x32, &f32(&d_out)?, &dy)?;
        close("dx", &dx, grads.get(&x).unwrap(), 2.0 * F32);
        close("dfirst", &dfirst, grads.get(&first).unwrap(), F32);
        let ends: Vec<u32> = offsets.ranges().map(|r| r.end as u32 - 1).collect();
        let want = a.index_select(&Tensor::new(ends, x.device())?, 0)?;
        close("ends", &got.ends, &want, F32);
        Ok(())
    }
}
