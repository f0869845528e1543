//! The keys on the CPU: rows in parallel, each read once and written once.

use rayon::prelude::*;

use super::KeyViews;
use crate::ops::cpu::activations::{Activations, ActivationsParts};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::vector::{Vector, dot, sigmoid, sigmoid_and_rest};
use crate::ops::linear::{Packed, ProductType};

/// Rows that a task takes at once.
const PIECE: usize = 32;
/// The length that a head is at least divided by.
const SHORTEST: f32 = 1e-12;

/// Writes kk, alpha and k.
pub fn forward(x: &KeyViews, outs: &[ActivationsParts; 3]) {
    let (channels, level) = (x.rate.len(), Level::current());
    let rows = x.a.len() / channels;
    (0..rows.div_ceil(PIECE)).into_par_iter().for_each(|piece| {
        let [mut scratch, mut kk, mut alpha, mut k] = [(); 4].map(|()| vec![0.0; channels]);
        for t in piece * PIECE..rows.min((piece + 1) * PIECE) {
            let row = t * channels..(t + 1) * channels;
            let kappa = x.kappa.part(level, row.clone(), &mut scratch);
            forward_row(
                level,
                x,
                kappa,
                &x.a[row.clone()],
                [&mut kk, &mut alpha, &mut k],
            );
            for (out, values) in outs.iter().zip([&kk, &alpha, &k]) {
                // SAFETY: pieces are disjoint.
                unsafe { out.write(level, row.start, values) };
            }
        }
    });
}

/// [dkappa, da] from dkk, dalpha and dk.
pub fn backward(d: [Activations; 3], x: &KeyViews, product: ProductType) -> [Packed; 2] {
    let (channels, level) = (x.rate.len(), Level::current());
    let dims = [x.a.len() / channels, channels];
    let made = Packed::fill(product, dims, 2, |range, writer| {
        let [mut d_kappa, mut da] = [(); 2].map(|()| vec![0.0; channels]);
        let mut scratchs = [(); 4].map(|()| vec![0.0; channels]);
        let [kappa_scratch, dkk_scratch, dalpha_scratch, dk_scratch] = &mut scratchs;
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let kappa = x.kappa.part(level, row.clone(), kappa_scratch);
            let d = [
                d[0].part(level, row.clone(), dkk_scratch),
                d[1].part(level, row.clone(), dalpha_scratch),
                d[2].part(level, row.clone(), dk_scratch),
            ];
            backward_row(level, x, d, kappa, &x.a[row], [&mut d_kappa, &mut da]);
            writer.put(0, t, &d_kappa);
            writer.put(1, t, &da);
        }
    });
    made.try_into()
        .unwrap_or_else(|_| unreachable!("two matrices were asked for"))
}

vectorised! {
    fn forward_row<V: Vector>(
        level: Level,
        x: &KeyViews<'_>,
        kappa: &[f32],
        a: &[f32],
        outs: [&mut [f32]; 3],
    ) {
        let [kk, alpha, k] = outs;
        for ((kk, kappa), scale) in kk.iter_mut().zip(kappa).zip(x.removal) {
            *kk = kappa * scale;
        }
        for kk in kk.chunks_exact_mut(x.rate.len() / x.n_head) {
            let scale = 1.0 / length::<V>(kk);
            for kk in kk {
                *kk *= scale;
            }
        }
        for ((alpha, a), rate) in alpha.iter_mut().zip(a).zip(x.rate) {
            *alpha = sigmoid::<V>(a + rate);
        }
        for (((k, kappa), alpha), share) in k.iter_mut().zip(kappa).zip(alpha).zip(x.share) {
            *k = kappa * (1.0 + (*alpha - 1.0) * share);
        }
    }
}

vectorised! {
    fn backward_row<V: Vector>(
        level: Level,
        x: &KeyViews<'_>,
        d: [&[f32]; 3],
        kappa: &[f32],
        a: &[f32],
        outs: [&mut [f32]; 2],
    ) {
        let ([dkk, dalpha, dk], [d_kappa, da]) = (d, outs);
        let size = x.rate.len() / x.n_head;
        // u, then du * k_k.
        for ((u, kappa), scale) in d_kappa.iter_mut().zip(kappa).zip(x.removal) {
            *u = kappa * scale;
        }
        let heads = d_kappa.chunks_exact_mut(size).zip(dkk.chunks_exact(size));
        for ((u, dkk), removal) in heads.zip(x.removal.chunks_exact(size)) {
            let scale = match length::<V>(u) {
                length if length <= SHORTEST => 0.0,
                length => 1.0 / length,
            };
            let along = dot::<V>(u, dkk) * scale * scale;
            for ((u, dkk), removal) in u.iter_mut().zip(dkk).zip(removal) {
                *u = (dkk - *u * along) * scale * removal;
            }
        }
        let inputs = kappa.iter().zip(a).zip(x.rate).zip(x.share);
        let outs = d_kappa.iter_mut().zip(da).zip(dk).zip(dalpha);
        for ((((d_kappa, da), dk), dalpha), (((kappa, a), rate), share)) in outs.zip(inputs) {
            let [alpha, rest] = sigmoid_and_rest::<V>(a + rate);
            *d_kappa += dk * (1.0 - rest * share);
            *da = (dalpha + dk * kappa * share) * alpha * rest;
        }
    }
}

/// What a head is divided by. Unlike `f32::max`, the comparison lets NaN through.
#[inline(always)]
fn length<V: Vector>(u: &[f32]) -> f32 {
    let length = dot::<V>(u, u).sqrt();
    if length < SHORTEST { SHORTEST } else { length }
}
