//! Keys and decays of a task's tokens, made once for all its sweeps, and the gradients that go back
//! through the keys.

use std::ops::Range;

use super::super::{DeltaViews, KeyVectors};
use super::task::{DeltaTask, Direction, decay, decay_and_slope, write};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::{Output, OutputParts, prefetch};
use crate::ops::cpu::vector::{Vector, dot, sigmoid, sigmoid_and_rest};

/// The length that a head's key is at least divided by.
const SHORTEST: f32 = 1e-12;

/// Keys and decays of a task's tokens, `[T, K]` each.
pub struct TaskKeys {
    /// The decay exp(logw).
    pub w: Vec<f32>,
    pub kk: Vec<f32>,
    pub alpha: Vec<f32>,
    pub k: Vec<f32>,
    /// dlogw / dw, or nothing.
    pub slopes: Vec<f32>,
}

/// The same, to be written.
struct KeyParts<'a> {
    w: OutputParts<'a>,
    kk: OutputParts<'a>,
    alpha: OutputParts<'a>,
    k: OutputParts<'a>,
    slopes: Option<OutputParts<'a>>,
}

impl TaskKeys {
    /// Those of a task; the backward pass needs slopes, too.
    pub fn new(level: Level, x: &DeltaViews, task: &DeltaTask, has_slopes: bool) -> Self {
        let numbers = task.rows.len() * task.size;
        let mut outs = [(); 4].map(|()| Output::new(numbers));
        let mut slopes = Output::new(if has_slopes { numbers } else { 0 });
        let [w, kk, alpha, k] = outs.each_mut().map(Output::parts);
        let parts = KeyParts {
            w,
            kk,
            alpha,
            k,
            slopes: has_slopes.then(|| slopes.parts()),
        };
        task.pieces(|rows| make(level, x, task, rows, &parts));
        // SAFETY: the pieces are the whole, and each writes all of its rows.
        let ([w, kk, alpha, k], slopes) =
            unsafe { (outs.map(|out| out.finish()), slopes.finish()) };
        Self {
            w,
            kk,
            alpha,
            k,
            slopes,
        }
    }
}

vectorised! {
    /// Writes those of some rows.
    fn make<V: Vector>(
        level: Level,
        x: &DeltaViews<'_>,
        task: &DeltaTask<'_>,
        rows: Range<usize>,
        out: &KeyParts<'_>,
    ) {
        let KeyVectors {
            removal,
            share,
            rate,
        } = task.keys;
        let [mut kk, mut alpha, mut k, mut w, mut slopes, mut scratch] =
            [(); 6].map(|()| vec![0.0; task.size]);
        for t in rows {
            let (here, ahead) = (task.at(t), task.ahead(Direction::Forwards, t));
            x.kappa.prefetch(ahead.clone());
            for x in [x.w, x.a] {
                prefetch(&x[ahead.clone()]);
            }
            let kappa = x.kappa.part_inline(here.clone(), &mut scratch);
            for ((kk, kappa), scale) in kk.iter_mut().zip(kappa).zip(removal) {
                *kk = kappa * scale;
            }
            let scale = 1.0 / length::<V>(&kk);
            for kk in &mut kk {
                *kk *= scale;
            }
            for ((alpha, a), rate) in alpha.iter_mut().zip(&x.a[here.clone()]).zip(rate) {
                *alpha = sigmoid::<V>(a + rate);
            }
            for (((k, kappa), alpha), share) in k.iter_mut().zip(kappa).zip(&alpha).zip(share) {
                *k = kappa * (1.0 + (*alpha - 1.0) * share);
            }
            match &out.slopes {
                None => decay::<V>(&x.w[here], task.decay, &mut w),
                Some(_) => decay_and_slope::<V>(&x.w[here], task.decay, &mut w, &mut slopes),
            }
            let start = task.own(t).start;
            // SAFETY: no other piece has these rows.
            unsafe {
                write(&out.kk, start, &kk);
                write(&out.alpha, start, &alpha);
                write(&out.k, start, &k);
                write(&out.w, start, &w);
                if let Some(out) = &out.slopes {
                    write(out, start, &slopes);
                }
            }
        }
    }
}

/// dkappa and da of a token, from the gradients of its kk, alpha and k.
#[inline(always)]
pub fn backward<V: Vector>(
    task: &DeltaTask,
    [dkk, dalpha, dk]: [&[f32]; 3],
    [kappa, a]: [&[f32]; 2],
    [d_kappa, da]: [&mut [f32]; 2],
) {
    let KeyVectors {
        removal,
        share,
        rate,
    } = task.keys;
    // u, then du * k_k.
    for ((u, kappa), scale) in d_kappa.iter_mut().zip(kappa).zip(removal) {
        *u = kappa * scale;
    }
    let scale = match length::<V>(d_kappa) {
        length if length <= SHORTEST => 0.0,
        length => 1.0 / length,
    };
    let along = dot::<V>(d_kappa, dkk) * scale * scale;
    for ((u, dkk), removal) in d_kappa.iter_mut().zip(dkk).zip(removal) {
        *u = (dkk - *u * along) * scale * removal;
    }
    let inputs = kappa.iter().zip(a).zip(rate).zip(share);
    let outs = d_kappa.iter_mut().zip(da).zip(dk).zip(dalpha);
    for ((((d_kappa, da), dk), dalpha), (((kappa, a), rate), share)) in outs.zip(inputs) {
        let [alpha, rest] = sigmoid_and_rest::<V>(a + rate);
        *d_kappa += dk * (1.0 - rest * share);
        *da = (dalpha + dk * kappa * share) * alpha * rest;
    }
}

/// What a head is divided by. Unlike `f32::max`, the comparison lets NaN through.
#[inline(always)]
fn length<V: Vector>(u: &[f32]) -> f32 {
    let length = dot::<V>(u, u).sqrt();
    if length < SHORTEST { SHORTEST } else { length }
}
