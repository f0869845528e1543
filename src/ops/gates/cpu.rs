//! The gates on the CPU, row by row, into the form that the next product takes.

use candle_core::{DType, Result, Shape, Tensor};

use crate::ops::cpu::activations::{Activations, ActivationsOutput};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::rows;
use crate::ops::cpu::vector::{sigmoid, sigmoid_and_rest};
use crate::ops::linear::{Packed, ProductType};
use crate::ops::norm::{self, Params};

/// Elements that a task takes at once: enough to outweigh its hand-over.
const PIECE: usize = 1 << 14;
/// Elements that are in the first cache at once.
const STRIP: usize = 1 << 10;

/// The norm of y, times silu(g) where there is a gate.
pub fn norm_silu(
    norm: Params,
    y: Activations,
    gate: Option<Activations>,
    product: ProductType,
) -> Packed {
    let (channels, level) = (norm.weight.len(), Level::current());
    let dims = [y.len() / channels, channels];
    let mut made = Packed::fill(product, dims, 1, |range, writer| {
        let [mut z, mut scratch] = [(); 2].map(|()| vec![0.0; channels]);
        for t in range {
            let row = t * channels..(t + 1) * channels;
            norm::row(
                level,
                norm,
                y.part(level, row.clone(), &mut scratch),
                &mut z,
            );
            if let Some(gate) = gate {
                silu_mul(level, gate.part(level, row, &mut scratch), &mut z);
            }
            writer.put(0, t, &z);
        }
    });
    made.swap_remove(0)
}

/// (dy, dg) from dz.
pub fn norm_silu_backward(
    norm: Params,
    [dz, y, gate]: [Activations; 3],
    dtype: DType,
    product: ProductType,
) -> Result<(Tensor, Packed)> {
    let (channels, level) = (norm.weight.len(), Level::current());
    let dims = [y.len() / channels, channels];
    let mut dy = ActivationsOutput::new(dtype, y.len())?;
    let out = dy.parts();
    let mut d_gate = Packed::fill(product, dims, 1, |range, writer| {
        let [mut normal, mut d_normal, mut dy] = [(); 3].map(|()| vec![0.0; channels]);
        let mut scratch = [(); 3].map(|()| vec![0.0; channels]);
        let [dz_scratch, y_scratch, gate_scratch] = &mut scratch;
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let dz = dz.part(level, row.clone(), dz_scratch);
            let y = y.part(level, row.clone(), y_scratch);
            let gate = gate.part(level, row.clone(), gate_scratch);
            norm::row(level, norm, y, &mut normal);
            silu_mul_backward(level, dz, gate, &mut normal, &mut d_normal);
            writer.put(0, t, &normal);
            norm::row_backward(level, norm, &d_normal, y, &mut dy);
            // SAFETY: ranges of rows are disjoint between tasks.
            unsafe { out.write(level, row.start, &dy) };
        }
    });
    // SAFETY: `Packed::fill` asks for every row.
    let dy = unsafe { dy.finish(&Shape::from(dims.to_vec())) }?;
    Ok((dy, d_gate.swap_remove(0)))
}

/// x + sigmoid(r) * v
pub fn sigmoid_mul_onto(x: &[f32], r: Activations, v: Activations) -> Vec<f32> {
    let level = Level::current();
    rows(x.len(), STRIP, PIECE / STRIP, |_| {
        let [mut r_scratch, mut v_scratch] = [[0.0; STRIP]; 2];
        move |strip, z: &mut [f32]| {
            let at = strip * STRIP..strip * STRIP + z.len();
            let r = r.part(level, at.clone(), &mut r_scratch);
            let v = v.part(level, at.clone(), &mut v_scratch);
            sigmoid_mul(level, &x[at], r, v, z);
        }
    })
}

/// [dr, dv] from dz, rows of `channels`.
pub fn sigmoid_mul_backward(
    dz: &[f32],
    r: Activations,
    v: Activations,
    channels: usize,
    product: ProductType,
) -> [Packed; 2] {
    let level = Level::current();
    let dims = [dz.len() / channels, channels];
    let both = Packed::fill(product, dims, 2, |range, writer| {
        let [mut dr, mut dv, mut r_scratch, mut v_scratch] = [(); 4].map(|()| vec![0.0; channels]);
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let r = r.part(level, row.clone(), &mut r_scratch);
            let v = v.part(level, row.clone(), &mut v_scratch);
            sigmoid_mul_row_backward(level, &dz[row], r, v, &mut dr, &mut dv);
            writer.put(0, t, &dr);
            writer.put(1, t, &dv);
        }
    });
    both.try_into()
        .unwrap_or_else(|_| unreachable!("two matrices were asked for"))
}

/// max(k, 0)^2, rows of `channels`.
pub fn relu_squared(k: Activations, channels: usize, product: ProductType) -> Packed {
    let level = Level::current();
    let mut made = Packed::fill(
        product,
        [k.len() / channels, channels],
        1,
        |range, writer| {
            let [mut z, mut scratch] = [(); 2].map(|()| vec![0.0; channels]);
            for t in range {
                let row = t * channels..(t + 1) * channels;
                relu_squared_row(level, k.part(level, row, &mut scratch), &mut z);
                writer.put(0, t, &z);
            }
        },
    );
    made.swap_remove(0)
}

/// dk from dz.
pub fn relu_squared_backward(
    dz: Activations,
    k: Activations,
    channels: usize,
    product: ProductType,
) -> Packed {
    let level = Level::current();
    let mut made = Packed::fill(
        product,
        [k.len() / channels, channels],
        1,
        |range, writer| {
            let [mut dk, mut dz_scratch, mut k_scratch] = [(); 3].map(|()| vec![0.0; channels]);
            for t in range {
                let row = t * channels..(t + 1) * channels;
                let dz = dz.part(level, row.clone(), &mut dz_scratch);
                let k = k.part(level, row, &mut k_scratch);
                relu_squared_row_backward(level, dz, k, &mut dk);
                writer.put(0, t, &dk);
            }
        },
    );
    made.swap_remove(0)
}

vectorised! {
    fn silu_mul<V: Vector>(level: Level, gate: &[f32], z: &mut [f32]) {
        for (z, &g) in z.iter_mut().zip(gate) {
            *z *= g * sigmoid::<V>(g);
        }
    }
}

vectorised! {
    /// From the norm's values; they give way to the gate's gradient.
    fn silu_mul_backward<V: Vector>(
        level: Level,
        dz: &[f32],
        gate: &[f32],
        normal: &mut [f32],
        d_normal: &mut [f32],
    ) {
        for (((d_normal, normal), &dz), &g) in
            d_normal.iter_mut().zip(normal).zip(dz).zip(gate)
        {
            let [s, rest] = sigmoid_and_rest::<V>(g);
            *d_normal = dz * g * s;
            *normal = dz * *normal * s * (1.0 + g * rest);
        }
    }
}

vectorised! {
    fn sigmoid_mul<V: Vector>(level: Level, x: &[f32], r: &[f32], v: &[f32], z: &mut [f32]) {
        for (((z, x), &r), v) in z.iter_mut().zip(x).zip(r).zip(v) {
            *z = x + sigmoid::<V>(r) * v;
        }
    }
}

vectorised! {
    fn sigmoid_mul_row_backward<V: Vector>(
        level: Level,
        dz: &[f32],
        r: &[f32],
        v: &[f32],
        dr: &mut [f32],
        dv: &mut [f32],
    ) {
        let inputs = dz.iter().zip(r).zip(v);
        for ((dr, dv), ((dz, &r), v)) in dr.iter_mut().zip(dv).zip(inputs) {
            let [s, rest] = sigmoid_and_rest::<V>(r);
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
    fn relu_squared_row<V: Vector>(level: Level, k: &[f32], z: &mut [f32]) {
        for (z, k) in z.iter_mut().zip(k) {
            *z = relu(*k) * relu(*k);
        }
    }
}

vectorised! {
    fn relu_squared_row_backward<V: Vector>(level: Level, dz: &[f32], k: &[f32], dk: &mut [f32]) {
        for ((dk, dz), k) in dk.iter_mut().zip(dz).zip(k) {
            *dk = dz * 2.0 * relu(*k);
        }
    }
}
