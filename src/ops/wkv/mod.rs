//! WKV, the recurrence of RWKV-5: every head carries a matrix S `[key, value]` along its sequence.
//!
//! ```text
//! y_t     = r_t (S_t + u * k_t^T v_t)
//! S_{t+1} = diag(w) S_t + k_t^T v_t                    S at a sequence's start is the learned state
//! ```
//!
//! Backward, with dy given and G = dL/dS run from each sequence's end with G = 0 (w and u are
//! frozen):
//!
//! ```text
//! dr_t = S_t dy_t + (u * k_t) (v_t . dy_t)
//! dk_t = G_{t+1} v_t + (u * r_t) (v_t . dy_t)
//! dv_t = G_{t+1}^T k_t + (r_t . (u * k_t)) dy_t
//! G_t  = diag(w) G_{t+1} + r_t^T dy_t                  dL/d(learned state) = sum over sequences of G at their start
//! ```
//!
//! dr needs S, which runs forwards; dk and dv need G, which runs backwards: two sweeps, and no S is
//! ever stored. (Peng et al. 2024, "Eagle and Finch", for the forward.)

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;
#[cfg(test)]
mod tests;

use candle_core::{Result, Tensor, bail};

use super::Offsets;
use super::cpu::activations::Activations;
use super::cpu::tensor::{borrow, tensor};
use super::linear::{ProductType, Rows};

/// The frozen decay and bonus of a layer's heads.
#[derive(Clone, Debug)]
pub struct Wkv {
    /// w, between 0 and 1: `[H, K]`.
    pub decay: Tensor,
    /// u: `[H, K]`.
    pub bonus: Tensor,
}

/// Gradients of everything that is not frozen.
pub struct WkvGradients {
    /// `[N, C]`, as the products take them that r, k and v came from.
    pub dr: Rows,
    /// As `dr`.
    pub dk: Rows,
    /// As `dr`.
    pub dv: Rows,
    /// Of the learned state: `[H, K, K]` as \[key, value\].
    pub dstate: Tensor,
}

/// Plain views of one call's inputs, as the kernels take them.
pub(crate) struct Inputs<'a> {
    pub r: Activations<'a>,
    pub k: Activations<'a>,
    pub v: Activations<'a>,
    pub decay: &'a [f32],
    pub bonus: &'a [f32],
    pub state: &'a [f32],
    pub n_head: usize,
    pub head_size: usize,
    pub offsets: &'a Offsets,
}

impl Wkv {
    /// r, k, v `[N, C]`, state `[H, K, K]` as \[key, value\] to (y `[N, C]`, the state after each
    /// sequence `[sequences, H, K, K]`).
    pub fn forward(
        &self,
        rkv: [&Tensor; 3],
        state: &Tensor,
        offsets: &Offsets,
    ) -> Result<(Tensor, Tensor)> {
        if state.device().is_cuda() {
            self.check(rkv, state, offsets)?;
            return cuda::forward(self, rkv, state, offsets);
        }
        let (y, end) = self.with_inputs(rkv, state, offsets, cpu::forward)??;
        let (n_head, head_size) = self.decay.dims2()?;
        let ends = (offsets.sequences(), n_head, head_size, head_size);
        Ok((y, tensor(end, ends)?))
    }

    /// Gradients from dy `[N, C]` and the forward's inputs; r, k and v came from products of type
    /// `product`.
    pub fn backward(
        &self,
        dy: &Tensor,
        rkv: [&Tensor; 3],
        state: &Tensor,
        offsets: &Offsets,
        product: ProductType,
    ) -> Result<WkvGradients> {
        self.check([dy, dy, dy], state, offsets)?;
        if state.device().is_cuda() {
            self.check(rkv, state, offsets)?;
            return cuda::backward(self, dy, rkv, state, offsets, product);
        }
        let dy = borrow(dy)?;
        let ([dr, dk, dv], dstate) = self.with_inputs(rkv, state, offsets, |inputs| {
            cpu::backward(dy.get(), inputs, product)
        })?;
        Ok(WkvGradients {
            dr: dr.into(),
            dk: dk.into(),
            dv: dv.into(),
            dstate: tensor(dstate, state.shape())?,
        })
    }

    /// Runs a kernel on plain views of the tensors, once their shapes are known to agree.
    fn with_inputs<R>(
        &self,
        [r, k, v]: [&Tensor; 3],
        state: &Tensor,
        offsets: &Offsets,
        kernel: impl FnOnce(&Inputs) -> R,
    ) -> Result<R> {
        let (n_head, head_size) = self.check([r, k, v], state, offsets)?;
        Ok(kernel(&Inputs {
            r: borrow(r)?.get(),
            k: borrow(k)?.get(),
            v: borrow(v)?.get(),
            decay: borrow(&self.decay)?.f32()?,
            bonus: borrow(&self.bonus)?.f32()?,
            state: borrow(state)?.f32()?,
            n_head,
            head_size,
            offsets,
        }))
    }

    /// (n_head, head_size), once every shape agrees with them.
    fn check(
        &self,
        rkv: [&Tensor; 3],
        state: &Tensor,
        offsets: &Offsets,
    ) -> Result<(usize, usize)> {
        let (n_head, head_size) = self.decay.dims2()?;
        let rows = [offsets.rows(), n_head * head_size];
        if self.bonus.dims() != [n_head, head_size]
            || state.dims() != [n_head, head_size, head_size]
            || rkv.iter().any(|t| t.dims() != rows)
        {
            bail!(
                "wkv of r {:?}, k {:?}, v {:?} with state {:?}, decay {:?} and {} rows",
                rkv[0].shape(),
                rkv[1].shape(),
                rkv[2].shape(),
                state.shape(),
                self.decay.shape(),
                offsets.rows()
            );
        }
        Ok((n_head, head_size))
    }
}
