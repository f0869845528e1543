//! The value residual on the CPU, row by row.

use rayon::prelude::*;

use super::ResidualViews;
use crate::ops::cpu::activations::{Activations, ActivationsParts};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::{Output, cleared};
use crate::ops::cpu::vector::{sigmoid, sigmoid_and_rest};
use crate::ops::linear::{Packed, ProductType};

/// Rows that a task takes at once.
const PIECE: usize = 32;

/// Writes v.
pub fn forward(x: &ResidualViews, out: &ActivationsParts) {
    let (channels, level) = (x.bias.len(), Level::current());
    let rows = x.gate.len() / channels;
    (0..rows.div_ceil(PIECE)).into_par_iter().for_each(|piece| {
        let [mut v, mut nu_scratch, mut first_scratch] = [(); 3].map(|()| vec![0.0; channels]);
        for t in piece * PIECE..rows.min((piece + 1) * PIECE) {
            let row = t * channels..(t + 1) * channels;
            let nu = x.nu.part(level, row.clone(), &mut nu_scratch);
            let first = x.v_first.part(level, row.clone(), &mut first_scratch);
            forward_row(level, [nu, first, &x.gate[row.clone()], x.bias], &mut v);
            // SAFETY: pieces are disjoint.
            unsafe { out.write(level, row.start, &v) };
        }
    });
}

/// ([dnu, dgate], dv_first) from both parts of dv and what is asked of v_first above.
pub fn backward(
    dv: [Activations; 2],
    above: Option<&[f32]>,
    x: &ResidualViews,
    product: ProductType,
) -> ([Packed; 2], Vec<f32>) {
    let (channels, level) = (x.bias.len(), Level::current());
    let dims = [x.gate.len() / channels, channels];
    let mut dv_first = Output::new(x.gate.len());
    let out = dv_first.parts();
    let made = Packed::fill(product, dims, 2, |range, writer| {
        let [
            mut sum,
            mut dnu,
            mut d_gate,
            mut nu_scratch,
            mut first_scratch,
        ] = [(); 5].map(|()| vec![0.0; channels]);
        for t in range {
            let row = t * channels..(t + 1) * channels;
            add_parts(level, dv, row.start, &mut sum, &mut dnu);
            let nu = x.nu.part(level, row.clone(), &mut nu_scratch);
            let first = x.v_first.part(level, row.clone(), &mut first_scratch);
            let inputs = [nu, first, &x.gate[row.clone()], x.bias];
            // SAFETY: ranges of rows are disjoint between tasks.
            let d_first = cleared(unsafe { out.part(row.clone()) }, 0.0);
            backward_row(level, &sum, inputs, [&mut dnu, &mut d_gate, d_first]);
            if let Some(above) = above {
                add(level, &above[row], d_first);
            }
            writer.put(0, t, &dnu);
            writer.put(1, t, &d_gate);
        }
    });
    let made = made
        .try_into()
        .unwrap_or_else(|_| unreachable!("two matrices were asked for"));
    // SAFETY: `Packed::fill` asks for every row.
    (made, unsafe { dv_first.finish() })
}

/// The sum of all, rows of `channels`.
pub fn first_backward(
    dv: [Activations; 2],
    above: Option<&[f32]>,
    channels: usize,
    product: ProductType,
) -> Packed {
    let level = Level::current();
    let dims = [dv[0].len() / channels, channels];
    let mut made = Packed::fill(product, dims, 1, |range, writer| {
        let [mut sum, mut scratch] = [(); 2].map(|()| vec![0.0; channels]);
        for t in range {
            add_parts(level, dv, t * channels, &mut sum, &mut scratch);
            if let Some(above) = above {
                add(level, &above[t * channels..][..channels], &mut sum);
            }
            writer.put(0, t, &sum);
        }
    });
    made.swap_remove(0)
}

/// The sum of both parts of the row that begins at number `start`.
fn add_parts(
    level: Level,
    dv: [Activations; 2],
    start: usize,
    sum: &mut [f32],
    scratch: &mut [f32],
) {
    let row = start..start + sum.len();
    dv[0].copy(level, row.clone(), sum);
    add(level, dv[1].part(level, row, scratch), sum);
}

vectorised! {
    fn forward_row<V: Vector>(level: Level, inputs: [&[f32]; 4], v: &mut [f32]) {
        let [nu, first, gate, bias] = inputs;
        let inputs = nu.iter().zip(first).zip(gate).zip(bias);
        for (v, (((nu, first), gate), bias)) in v.iter_mut().zip(inputs) {
            *v = nu + (first - nu) * sigmoid::<V>(gate + bias);
        }
    }
}

vectorised! {
    fn backward_row<V: Vector>(
        level: Level,
        dv: &[f32],
        inputs: [&[f32]; 4],
        outs: [&mut [f32]; 3],
    ) {
        let ([nu, first, gate, bias], [dnu, d_gate, d_first]) = (inputs, outs);
        let inputs = dv.iter().zip(nu).zip(first).zip(gate).zip(bias);
        let outs = dnu.iter_mut().zip(d_gate).zip(d_first);
        for (((dnu, d_gate), d_first), ((((dv, nu), first), gate), bias)) in outs.zip(inputs) {
            let [beta, rest] = sigmoid_and_rest::<V>(gate + bias);
            *dnu = dv * rest;
            *d_first = dv * beta;
            *d_gate = dv * (first - nu) * beta * rest;
        }
    }
}

vectorised! {
    fn add<V: Vector>(level: Level, d: &[f32], sum: &mut [f32]) {
        for (sum, d) in sum.iter_mut().zip(d) {
            *sum += d;
        }
    }
}
