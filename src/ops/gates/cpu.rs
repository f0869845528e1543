//! The gates on the CPU, row by row, into the form that the next product takes.

use crate::ops::level::{Level, vectorised};
use crate::ops::linear::{Packed, Product};
use crate::ops::norm::{self, Params};
use crate::ops::output::{Output, chunks, cleared};
use crate::ops::vector::sigmoid;

/// Elements that a task takes at once: enough to outweigh its hand-over.
const PIECE: usize = 1 << 14;

/// The norm of y, times silu(g) where there is a gate.
pub fn norm_silu(norm: Params, y: &[f32], gate: Option<&[f32]>, product: Product) -> Packed {
    let (channels, level) = (norm.weight.len(), Level::current());
    Packed::each(product, [y.len() / channels, channels], |t, z| {
        let row = t * channels..(t + 1) * channels;
        norm::row(level, norm, &y[row.clone()], z);
        if let Some(gate) = gate {
            silu_mul(level, &gate[row], z);
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
) -> (Vec<f32>, Packed) {
    let (channels, level) = (norm.weight.len(), Level::current());
    let mut dy = Output::new(y.len());
    let out = dy.parts();
    let mut d_gate = Packed::fill(product, [y.len() / channels, channels], 1, |range, rows| {
        let (mut normal, mut d_normal) = (vec![0.0; channels], vec![0.0; channels]);
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let y = &y[row.clone()];
            norm::row(level, norm, y, &mut normal);
            silu_mul_backward(
                level,
                &dz[row.clone()],
                &gate[row.clone()],
                &mut normal,
                &mut d_normal,
            );
            rows.put(0, t, &normal);
            // SAFETY: ranges of rows are disjoint between tasks.
            let dy = unsafe { out.part(row) };
            norm::row_backward(level, norm, &d_normal, y, cleared(dy, 0.0));
        }
    });
    // SAFETY: `Packed::fill` asks for every row.
    let dy = unsafe { dy.finish() };
    (dy, d_gate.swap_remove(0))
}

/// x + sigmoid(r) * v
pub fn sigmoid_mul_onto(x: &[f32], r: &[f32], v: &[f32]) -> Vec<f32> {
    let level = Level::current();
    chunks(x.len(), PIECE, 0.0, |piece, z| {
        let start = piece * PIECE;
        sigmoid_mul(level, &x[start..], &r[start..], &v[start..], z);
    })
}

/// [dr, dv] from dz, rows of `channels`.
pub fn sigmoid_mul_backward(
    dz: &[f32],
    r: &[f32],
    v: &[f32],
    channels: usize,
    product: Product,
) -> [Packed; 2] {
    let level = Level::current();
    let both = Packed::fill(
        product,
        [dz.len() / channels, channels],
        2,
        |range, rows| {
            let (mut dr, mut dv) = (vec![0.0; channels], vec![0.0; channels]);
            for t in range {
                let row = t * channels..(t + 1) * channels;
                let (dz, r, v) = (&dz[row.clone()], &r[row.clone()], &v[row]);
                sigmoid_mul_row_backward(level, dz, r, v, &mut dr, &mut dv);
                rows.put(0, t, &dr);
                rows.put(1, t, &dv);
            }
        },
    );
    both.try_into()
        .unwrap_or_else(|_| unreachable!("two matrices were asked for"))
}

/// max(k, 0)^2, rows of `channels`.
pub fn relu_squared(k: &[f32], channels: usize, product: Product) -> Packed {
    let level = Level::current();
    Packed::each(product, [k.len() / channels, channels], |t, z| {
        relu_squared_row(level, &k[t * channels..][..channels], z);
    })
}

/// dk from dz.
pub fn relu_squared_backward(dz: &[f32], k: &[f32], channels: usize, product: Product) -> Packed {
    let level = Level::current();
    Packed::each(product, [k.len() / channels, channels], |t, dk| {
        let row = t * channels..(t + 1) * channels;
        relu_squared_row_backward(level, &dz[row.clone()], &k[row], dk);
    })
}

vectorised! {
    fn silu_mul(gate: &[f32], z: &mut [f32]) {
        for (z, &g) in z.iter_mut().zip(gate) {
            *z *= g * sigmoid(g);
        }
    }
}

vectorised! {
    /// From the norm's values; they give way to the gate's gradient.
    fn silu_mul_backward(dz: &[f32], gate: &[f32], normal: &mut [f32], d_normal: &mut [f32]) {
        for (((d_normal, normal), &dz), &g) in
            d_normal.iter_mut().zip(normal).zip(dz).zip(gate)
        {
            let (s, rest) = (sigmoid(g), sigmoid(-g));
            *d_normal = dz * g * s;
            *normal = dz * *normal * s * (1.0 + g * rest);
        }
    }
}

vectorised! {
    fn sigmoid_mul(x: &[f32], r: &[f32], v: &[f32], z: &mut [f32]) {
        for (((z, x), &r), v) in z.iter_mut().zip(x).zip(r).zip(v) {
            *z = x + sigmoid(r) * v;
        }
    }
}

vectorised! {
    fn sigmoid_mul_row_backward(
        dz: &[f32],
        r: &[f32],
        v: &[f32],
        dr: &mut [f32],
        dv: &mut [f32],
    ) {
        let inputs = dz.iter().zip(r).zip(v);
        for ((dr, dv), ((dz, &r), v)) in dr.iter_mut().zip(dv).zip(inputs) {
            let (s, rest) = (sigmoid(r), sigmoid(-r));
            *dr = dz * v * s * rest;
            *dv = dz * s;
        }
    }
}

/// Unlike `f32::max`, this lets NaN through: a broken model must not train on unnoticed.
#[inline(always)]
fn relu(k: f32) -> f32 {
    if k < 0.0 { 0.0 } else { k }
}

vectorised! {
    fn relu_squared_row(k: &[f32], z: &mut [f32]) {
        for (z, k) in z.iter_mut().zip(k) {
            *z = relu(*k) * relu(*k);
        }
    }
}

vectorised! {
    fn relu_squared_row_backward(dz: &[f32], k: &[f32], dk: &mut [f32]) {
        for ((dk, dz), k) in dk.iter_mut().zip(dz).zip(k) {
            *dk = dz * 2.0 * relu(*k);
        }
    }
}
