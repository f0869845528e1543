//! The gates on the CPU, row by row, into the form that the next product takes.

use rayon::prelude::*;

use crate::ops::level::Level;
use crate::ops::linear::{Product, Rows};
use crate::ops::norm::Params;
use crate::ops::vector::sigmoid;
use crate::ops::Parts;

/// Elements that a task takes at once: enough to outweigh its hand-over.
const PIECE: usize = 1 << 14;

/// The norm of y, times silu(g) where there is a gate.
pub fn norm_silu(norm: Params, y: &[f32], gate: Option<&[f32]>, product: Product) -> Rows {
    let channels = norm.weight.len();
    Rows::each(product, [y.len() / channels, channels], |t, z| {
        let row = t * channels..(t + 1) * channels;
        norm.row(&y[row.clone()], z);
        if let Some(gate) = gate {
            for (z, &g) in z.iter_mut().zip(&gate[row]) {
                *z *= g * sigmoid(g);
            }
        }
    })
}

/// (dy, dg) from dz.
pub fn norm_silu_backward(
    norm: Params,
    dz: &[f32],
    y: &[f32],
    gate: &[f32],
    product: Product,
) -> (Vec<f32>, Rows) {
    let channels = norm.weight.len();
    let mut dy = vec![0.0; y.len()];
    let out = Parts::new(&mut dy);
    let mut d_gate = Rows::fill(product, [y.len() / channels, channels], 1, |range, rows| {
        let (mut normal, mut d_normal) = (vec![0.0; channels], vec![0.0; channels]);
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let (dz, y, gate) = (&dz[row.clone()], &y[row.clone()], &gate[row.clone()]);
            norm.row(y, &mut normal);
            for (((d_normal, normal), &dz), &g) in
                d_normal.iter_mut().zip(&mut normal).zip(dz).zip(gate)
            {
                let (s, rest) = (sigmoid(g), sigmoid(-g));
                *d_normal = dz * g * s;
                // The norm's place takes the gate's gradient.
                *normal = dz * *normal * s * (1.0 + g * rest);
            }
            // SAFETY: ranges of rows are disjoint between tasks.
            let dy = unsafe { out.part(row) };
            norm.row_backward(&d_normal, y, dy);
            rows.put(0, t, &normal);
        }
    });
    (dy, d_gate.swap_remove(0))
}

/// x + sigmoid(r) * v
pub fn sigmoid_mul_onto(x: &[f32], r: &[f32], v: &[f32]) -> Vec<f32> {
    let level = Level::current();
    let mut z = vec![0.0; x.len()];
    z.par_chunks_mut(PIECE)
        .zip(x.par_chunks(PIECE))
        .zip(r.par_chunks(PIECE).zip(v.par_chunks(PIECE)))
        .for_each(|((z, x), (r, v))| {
            level.run(|| {
                for ((z, x), (&r, v)) in z.iter_mut().zip(x).zip(r.iter().zip(v)) {
                    *z = x + sigmoid(r) * v;
                }
            });
        });
    z
}

/// [dr, dv] from dz, rows of `channels`.
pub fn sigmoid_mul_backward(
    dz: &[f32],
    r: &[f32],
    v: &[f32],
    channels: usize,
    product: Product,
) -> [Rows; 2] {
    let both = Rows::fill(product, [dz.len() / channels, channels], 2, |range, rows| {
        let (mut dr, mut dv) = (vec![0.0; channels], vec![0.0; channels]);
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let inputs = dz[row.clone()].iter().zip(&r[row.clone()]).zip(&v[row]);
            for ((dr, dv), ((dz, &r), v)) in dr.iter_mut().zip(&mut dv).zip(inputs) {
                let (s, rest) = (sigmoid(r), sigmoid(-r));
                *dr = dz * v * s * rest;
                *dv = dz * s;
            }
            rows.put(0, t, &dr);
            rows.put(1, t, &dv);
        }
    });
    both.try_into().unwrap_or_else(|_| unreachable!("two matrices were asked for"))
}

/// max(k, 0)^2, rows of `channels`.
pub fn relu_squared(k: &[f32], channels: usize, product: Product) -> Rows {
    Rows::each(product, [k.len() / channels, channels], |t, z| {
        for (z, k) in z.iter_mut().zip(&k[t * channels..]) {
            *z = k.max(0.0) * k.max(0.0);
        }
    })
}

/// dk from dz.
pub fn relu_squared_backward(dz: &[f32], k: &[f32], channels: usize, product: Product) -> Rows {
    Rows::each(product, [k.len() / channels, channels], |t, dk| {
        let row = t * channels..(t + 1) * channels;
        for ((dk, dz), k) in dk.iter_mut().zip(&dz[row.clone()]).zip(&k[row]) {
            *dk = dz * 2.0 * k.max(0.0);
        }
    })
}
