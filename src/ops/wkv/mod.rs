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

    /// Gradients from dy `[N, C]` and the forward's inputs; r, k and v came from such products.
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

#[cfg(test)]
mod tests {
    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{F32_LONG, close, f32, offset_grid, rounded, stored, uniform, var};
    use super::*;

    #[test]
    fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| check())
    }

    #[test]
    fn a_thousand_sequences_of_one_row() -> Result<()> {
        at_each_level(|_| check_one(1, 8, Offsets::from_lengths([1; 1000])))
    }

    /// What is stored as bf16 is computed as the f32 that it stands for, and rounded once.
    #[test]
    fn what_is_stored_as_bf16_is_computed_in_f32() -> Result<()> {
        at_each_level(|_| {
            let offsets = Offsets::from_lengths([33, 2, 18]);
            let rows = [offsets.rows(), 60];
            let wkv = Wkv {
                decay: f32(&uniform(5, &[3, 20], 0.0, 1.0)?)?,
                bonus: f32(&uniform(6, &[3, 20], -1.0, 2.0)?)?,
            };
            let state = f32(&uniform(4, &[3, 20, 20], -1.0, 1.0)?)?;
            let [r, k, v, dy] =
                [1, 2, 3, 7].map(|seed| stored(&uniform(seed, &rows, -1.0, 1.0).unwrap()).unwrap());
            let [(y, end), (y32, end32)] = [0, 1].map(|i| {
                wkv.forward([&r[i], &k[i], &v[i]], &state, &offsets)
                    .unwrap()
            });
            rounded("y", &y, &y32);
            close("end", &end, &end32, 0.0);
            let product = ProductType::F32;
            let [got, want] = [0, 1].map(|i| {
                wkv.backward(&dy[i], [&r[i], &k[i], &v[i]], &state, &offsets, product)
                    .unwrap()
            });
            close("dr", &got.dr.tensor()?, &want.dr.tensor()?, 0.0);
            close("dk", &got.dk.tensor()?, &want.dk.tensor()?, 0.0);
            close("dv", &got.dv.tensor()?, &want.dv.tensor()?, 0.0);
            close("dstate", &got.dstate, &want.dstate, 0.0);
            // Gradients go to products rounded, and numbers of a head begin and end within what is
            // written at once.
            let round =
                |x: &Rows| -> Result<Tensor> { x.tensor()?.to_dtype(candle_core::DType::BF16) };
            let product = ProductType::Bf16;
            let got = wkv.backward(&dy[1], [&r[1], &k[1], &v[1]], &state, &offsets, product)?;
            close("dr", &round(&got.dr)?, &round(&want.dr)?, 0.0);
            close("dk", &round(&got.dk)?, &round(&want.dk)?, 0.0);
            close("dv", &round(&got.dv)?, &round(&want.dv)?, 0.0);
            Ok(())
        })
    }

    /// Decays at both ends of their range, over lengths that fill the few tokens taken at once and
    /// that do not.
    #[test]
    fn heads_that_forget_at_once_and_heads_that_never_do() -> Result<()> {
        at_each_level(|_| {
            for decay in [0.0, 1e-30, 1e-3, 1.0] {
                for length in [3, 4, 5, 9, 200] {
                    check_decay(decay, Offsets::from_lengths([length, 1]))?;
                }
            }
            Ok(())
        })
    }

    fn check_decay(decay: f64, offsets: Offsets) -> Result<()> {
        let decay = ((uniform(5, &[2, 8], 0.0, 1.0)? * 0.0)? + decay)?;
        check_with(&decay, offsets)
    }

    fn check() -> Result<()> {
        for (n_head, head_size) in [(1, 8), (3, 20), (2, 64), (1, 72), (1, 128)] {
            for offsets in offset_grid() {
                check_one(n_head, head_size, offsets)?;
            }
        }
        Ok(())
    }

    fn check_one(n_head: usize, head_size: usize, offsets: Offsets) -> Result<()> {
        // From a decay that forgets at once to one that bf16 would round to 1.
        check_with(&uniform(5, &[n_head, head_size], 0.001, 0.9999)?, offsets)
    }

    fn check_with(decay: &Tensor, offsets: Offsets) -> Result<()> {
        let (n_head, head_size) = decay.dims2()?;
        let rows = [offsets.rows(), n_head * head_size];
        let (r, k, v) = (var(1, &rows)?, var(2, &rows)?, var(3, &rows)?);
        let state = var(4, &[n_head, head_size, head_size])?;
        let bonus = uniform(6, &[n_head, head_size], -1.0, 2.0)?;
        let dy = uniform(7, &rows, -1.0, 1.0)?;
        let (y, end) = reference::forward([&r, &k, &v], &state, decay, &bonus, &offsets)?;
        let grads = (&y * &dy)?.sum_all()?.backward()?;

        let wkv = Wkv {
            decay: f32(decay)?,
            bonus: f32(&bonus)?,
        };
        let (r32, k32, v32, state32) = (f32(&r)?, f32(&k)?, f32(&v)?, f32(&state)?);
        let (got, got_end) = wkv.forward([&r32, &k32, &v32], &state32, &offsets)?;
        close("y", &got, &y, F32_LONG);
        close("end", &got_end, &end, F32_LONG);
        let rkv = [&r32, &k32, &v32];
        let got = wkv.backward(&f32(&dy)?, rkv, &state32, &offsets, ProductType::F32)?;
        close("dr", &got.dr.tensor()?, grads.get(&r).unwrap(), F32_LONG);
        close("dk", &got.dk.tensor()?, grads.get(&k).unwrap(), F32_LONG);
        close("dv", &got.dv.tensor()?, grads.get(&v).unwrap(), F32_LONG);
        close("dstate", &got.dstate, grads.get(&state).unwrap(), F32_LONG);

        Ok(())
    }
}
