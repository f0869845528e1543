//! What the backward pass's second sweep makes of a token's sums: the gradients of its keys, and E,
//! which goes on to the next token.

use std::ops::Range;

use crate::ops::cpu::vector::{LANES, Vector};

/// A token's gradients per key. Each buffer first holds the sum that its gradient is computed from.
pub struct KeyedGradients {
    /// S dy, then dr.
    pub dr: Vec<f32>,
    /// dlogw / dw, then dw.
    pub dw: Vec<f32>,
    /// G v, then dk.
    pub dk: Vec<f32>,
    /// -S dsa, then dkk.
    pub dkk: Vec<f32>,
    /// db = G sa, then dalpha.
    pub dalpha: Vec<f32>,
    /// E of the token before, then of this one.
    pub e: Vec<f32>,
}

/// What else a token's gradients are made of.
pub struct TokenInputs<'a> {
    pub r: &'a [f32],
    pub k: &'a [f32],
    pub kk: &'a [f32],
    pub alpha: &'a [f32],
    /// kk * alpha.
    pub b: &'a [f32],
    /// r_k.
    pub bonus: &'a [f32],
    pub dq: f32,
}

impl KeyedGradients {
    pub fn new(size: usize) -> Self {
        let [dr, dw, dk, dkk, dalpha, e] = [(); 6].map(|()| vec![0.0; size]);
        Self {
            dr,
            dw,
            dk,
            dkk,
            dalpha,
            e,
        }
    }

    /// Takes G v and G sa of the numbers `at` of a task: the sum over its shares.
    #[inline(always)]
    pub fn take(&mut self, sums: &[[Vec<f32>; 2]], at: Range<usize>) {
        let [first, rest @ ..] = sums else {
            unreachable!("a task has a share");
        };
        for (i, out) in [&mut self.dk, &mut self.dalpha].into_iter().enumerate() {
            for (out, sum) in out.iter_mut().zip(&first[i][at.clone()]) {
                *out = *sum;
            }
            for share in rest {
                for (out, sum) in out.iter_mut().zip(&share[i][at.clone()]) {
                    *out += sum;
                }
            }
        }
    }

    /// Makes gradients of sums, for some keys.
    #[inline(always)]
    pub fn finish<V: Vector>(&mut self, known: &TokenInputs, keys: Range<usize>) {
        let (dq, minus) = (V::splat(known.dq), V::splat(-1.0));
        for start in keys.clone().step_by(LANES) {
            let at = start..keys.end.min(start + LANES);
            let (r, k) = (V::load(&known.r[at.clone()]), V::load(&known.k[at.clone()]));
            let kk = V::load(&known.kk[at.clone()]);
            let alpha = V::load(&known.alpha[at.clone()]);
            let b = V::load(&known.b[at.clone()]);
            let bonus = V::load(&known.bonus[at.clone()]).mul(dq);
            let [dr, dw, dk] = [&mut self.dr, &mut self.dw, &mut self.dk];
            let [dr, dw, dk] = [
                &mut dr[at.clone()],
                &mut dw[at.clone()],
                &mut dk[at.clone()],
            ];
            let (dkk, dalpha) = (&mut self.dkk[at.clone()], &mut self.dalpha[at.clone()]);
            let e = &mut self.e[at];

            let (s_dy, g_v, minus_da) = (V::load(dr), V::load(dk), V::load(dkk));
            let db = V::load(dalpha);
            let dlogw = V::load(e).add_product(kk.mul(minus), minus_da);
            let after = dlogw.add_product(r.mul(minus), s_dy);
            after.add_product(b, db).add_product(k, g_v).store(e);
            V::load(dw).mul(dlogw).store(dw);
            s_dy.add_product(k, bonus).store(dr);
            g_v.add_product(r, bonus).store(dk);
            minus_da.add_product(alpha, db).store(dkk);
            kk.mul(db).store(dalpha);
        }
    }
}
