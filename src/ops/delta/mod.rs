//! The recurrence of RWKV-7, a generalised delta rule: every head carries a matrix S `[key, value]`
//! along its sequence, and every token decays it, replaces a part of what a key holds, and adds a
//! new value. Both keys are made of one product, kappa, and of the in-context learning rate:
//!
//! ```text
//! u     = kappa * k_k,   n = max(|u|, 1e-12) over each head,   kk = u / n
//! alpha = sigmoid(a0 + a)
//! k     = kappa * (1 + (alpha - 1) * k_a)
//!
//! s_t  = sigmoid(w0 + w_t)              logw_t = -c s_t,  c = e^-0.5           decay exp(logw_t), between 0.5452 and 1
//! sa_t = -kk_t S_{t-1}                  what the key kk_t (of length 1) holds, with its sign turned
//! S_t  = diag(exp(logw_t)) S_{t-1} + (kk_t * alpha_t)^T sa_t + k_t^T v_t       S_0 is the learned state
//! y_t  = r_t S_t                        after the update, unlike RWKV-5's
//! q_t  = sum over a head of r_t * k_t * r_k            how much of v_t is added to y_t after its norm
//! ```
//!
//! Backward, with dy and dq given; a = -kk, b = kk * alpha, and L_t is dL/dS_t without what token t
//! itself asks of S_t, which is 0 at each sequence's end (the vectors are frozen):
//!
//! ```text
//! G       = L_t + r_t^T dy_t            dv_t = k_t G      dk_t = G v_t + dq_t r_t * r_k
//! dsa_t   = b_t G                       db_t = G sa_t
//! L_{t-1} = diag(exp(logw_t)) G + a_t^T dsa_t          dL/d(learned state) = sum over sequences of L_0
//!
//! da_t    = S_{t-1} dsa_t               dr_t = S_t dy_t + dq_t k_t * r_k
//! dkk_t   = alpha_t * db_t - da_t       dalpha_t = kk_t * db_t
//!
//! dlogw_t = E_{t-1} - a_t * da_t        E_t = dlogw_t - r_t * (S_t dy_t) + b_t * db_t + k_t * (G v_t)
//! dw_t    = -c s_t (1 - s_t) dlogw_t    E_t = sum over values of L_t * S_t, so that E_0 is known
//!
//! du     = (dkk - kk sum over a head of kk * dkk) / n          0 where |u| is 1e-12 or less
//! dkappa = dk * (1 + (alpha - 1) * k_a) + du * k_k
//! da     = (dalpha + dk * kappa * k_a) * alpha * (1 - alpha)
//! ```
//!
//! PyTorch's gradient of a head of zeros is dkk * 1e12; 0 trains on.
//!
//! Two sweeps, the first backwards with L, the second forwards with S; no S is ever stored. (On a
//! GPU long sequences in bf16 go in chunks of tokens: `chunked.cu`.) E and
//! dlogw follow from sum over values of G * S_t = E_t + r_t * (S_t dy_t); they save a third product
//! with a matrix, and what rounding adds up to over 2,048 tokens is 1e-5 of dlogw at most. (A GPU goes
//! through them from the end, where E is 0.) All sums and S are f32, whatever is stored.
//!
//! On the CPU a head's keys and decays are made in buffers of its task, once for all that is done with
//! them (`cpu/keys.rs`); on a GPU keys are tensors, and decays are made where they are read. (Peng et al.
//! 2025, "RWKV-7 Goose", for the forward.)

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

/// The frozen parameters of a layer's recurrence.
#[derive(Clone, Debug)]
pub struct Delta {
    /// w0, which every row of w is added to: `[C]`.
    pub decay: Tensor,
    /// r_k: `[H, K]`.
    pub bonus: Tensor,
    /// What makes keys of kappa and a.
    pub keys: DeltaKeys,
}

/// The frozen parameters of a layer's keys, `[C]` each.
#[derive(Clone, Debug)]
pub struct DeltaKeys {
    /// k_k: scale of the key whose value is replaced.
    pub removal: Tensor,
    /// k_a: how much of the learning rate the key that is added takes.
    pub share: Tensor,
    /// a0, which every row of a is added to.
    pub rate: Tensor,
}

/// What tokens bring, `[N, C]` each. r, kappa and v are f32 or bf16, the others f32.
#[derive(Clone, Copy)]
pub struct DeltaInputs<'a> {
    /// What reads S.
    pub r: &'a Tensor,
    /// The decay before w0 and its sigmoid.
    pub w: &'a Tensor,
    /// What both keys are made of.
    pub kappa: &'a Tensor,
    /// The in-context learning rate before a0 and its sigmoid.
    pub a: &'a Tensor,
    /// The value that is added.
    pub v: &'a Tensor,
}

/// What [`Delta::forward`] returns.
pub struct DeltaForward {
    /// `[N, C]`, of r's type.
    pub y: Tensor,
    /// `[N, H]`, f32.
    pub q: Tensor,
    /// What the backward pass needs beside the inputs: `[N, C]`, f32.
    pub sa: Tensor,
    /// The state after each sequence, `[sequences, H, K, K]` as \[key, value\].
    pub ends: Tensor,
}

/// Gradients of everything that is not frozen. All but v came from products, which take their
/// gradients as [`Rows`].
pub struct DeltaGradients {
    /// Of r, for the product that gave it.
    pub dr: Rows,
    /// Of w before w0 and its sigmoid, likewise.
    pub dw: Rows,
    /// Of kappa, likewise.
    pub d_kappa: Rows,
    /// Of a before a0 and its sigmoid, likewise.
    pub da: Rows,
    /// Of v: `[N, C]`, f32.
    pub dv: Tensor,
    /// Of the learned state: `[H, K, K]` as \[key, value\].
    pub dstate: Tensor,
}

/// Plain views of one call's inputs, as the kernels take them.
pub(crate) struct DeltaViews<'a> {
    pub r: Activations<'a>,
    pub w: &'a [f32],
    pub kappa: Activations<'a>,
    pub a: &'a [f32],
    pub v: Activations<'a>,
    pub decay: &'a [f32],
    pub bonus: &'a [f32],
    pub keys: KeyVectors<'a>,
    pub state: &'a [f32],
    pub n_head: usize,
    pub head_size: usize,
    pub offsets: &'a Offsets,
}

/// [`DeltaKeys`] as plain views, of all heads or of one.
#[derive(Clone, Copy)]
pub(crate) struct KeyVectors<'a> {
    pub removal: &'a [f32],
    pub share: &'a [f32],
    pub rate: &'a [f32],
}

impl<'a> KeyVectors<'a> {
    /// A head's part.
    fn of_head(self, head: usize, size: usize) -> Self {
        let of_head = |vector: &'a [f32]| &vector[head * size..][..size];
        Self {
            removal: of_head(self.removal),
            share: of_head(self.share),
            rate: of_head(self.rate),
        }
    }
}

impl Delta {
    /// From a state `[H, K, K]` as \[key, value\], with which every sequence begins.
    pub fn forward(
        &self,
        x: DeltaInputs,
        state: &Tensor,
        offsets: &Offsets,
    ) -> Result<DeltaForward> {
        let (n_head, head_size) = self.check(x, state, offsets)?;
        if state.device().is_cuda() {
            return cuda::forward(self, x, state, offsets);
        }
        let made = self.with_views(x, state, offsets, cpu::forward)??;
        let end_dims = (offsets.sequences(), n_head, head_size, head_size);
        Ok(DeltaForward {
            y: made.y,
            q: tensor(made.q, (offsets.rows(), n_head))?,
            sa: tensor(made.sa, x.r.shape())?,
            ends: tensor(made.ends, end_dims)?,
        })
    }

    /// Gradients from dy `[N, C]` and dq `[N, H]`, the forward's inputs and its sa; r and w came
    /// from products of type `product`.
    pub fn backward(
        &self,
        [dy, dq]: [&Tensor; 2],
        x: DeltaInputs,
        sa: &Tensor,
        state: &Tensor,
        offsets: &Offsets,
        product: ProductType,
    ) -> Result<DeltaGradients> {
        let (n_head, _) = self.check(x, state, offsets)?;
        let rows = x.r.shape();
        if dy.shape() != rows || sa.shape() != rows || dq.dims() != [offsets.rows(), n_head] {
            bail!(
                "delta of {rows:?} with dy {:?}, dq {:?} and sa {:?}",
                dy.shape(),
                dq.shape(),
                sa.shape()
            );
        }
        if state.device().is_cuda() {
            return cuda::backward(self, [dy, dq], x, sa, state, offsets);
        }
        let (dy, dq, sa) = (borrow(dy)?, borrow(dq)?, borrow(sa)?);
        let (dq, sa) = (dq.f32()?, sa.f32()?);
        let made = self.with_views(x, state, offsets, |views| {
            cpu::backward(dy.get(), dq, sa, views, product)
        })?;
        Ok(DeltaGradients {
            dr: made.dr.into(),
            dw: made.dw.into(),
            d_kappa: made.d_kappa.into(),
            da: made.da.into(),
            dv: tensor(made.dv, rows)?,
            dstate: tensor(made.dstate, state.shape())?,
        })
    }

    /// Runs a kernel on plain views of the tensors, whose shapes agree.
    fn with_views<R>(
        &self,
        x: DeltaInputs,
        state: &Tensor,
        offsets: &Offsets,
        kernel: impl FnOnce(&DeltaViews) -> R,
    ) -> Result<R> {
        let (n_head, head_size) = self.bonus.dims2()?;
        let DeltaKeys {
            removal,
            share,
            rate,
        } = &self.keys;
        let [removal, share, rate] = [borrow(removal)?, borrow(share)?, borrow(rate)?];
        Ok(kernel(&DeltaViews {
            r: borrow(x.r)?.get(),
            w: borrow(x.w)?.f32()?,
            kappa: borrow(x.kappa)?.get(),
            a: borrow(x.a)?.f32()?,
            v: borrow(x.v)?.get(),
            decay: borrow(&self.decay)?.f32()?,
            bonus: borrow(&self.bonus)?.f32()?,
            keys: KeyVectors {
                removal: removal.f32()?,
                share: share.f32()?,
                rate: rate.f32()?,
            },
            state: borrow(state)?.f32()?,
            n_head,
            head_size,
            offsets,
        }))
    }

    /// (n_head, head_size), once every shape agrees with them.
    fn check(&self, x: DeltaInputs, state: &Tensor, offsets: &Offsets) -> Result<(usize, usize)> {
        let (n_head, head_size) = self.bonus.dims2()?;
        let channels = n_head * head_size;
        let all = [x.r, x.w, x.kappa, x.a, x.v];
        let keys = &self.keys;
        let vectors = [&self.decay, &keys.removal, &keys.share, &keys.rate];
        if vectors.iter().any(|vector| vector.dims() != [channels])
            || state.dims() != [n_head, head_size, head_size]
            || all.iter().any(|t| t.dims() != [offsets.rows(), channels])
        {
            bail!(
                "delta of {:?} with state {:?}, vectors {:?}, {n_head} heads of {head_size} and {} rows",
                all.map(|t| t.shape()),
                state.shape(),
                vectors.map(|vector| vector.shape()),
                offsets.rows()
            );
        }
        Ok((n_head, head_size))
    }
}
