//! The activations of a low-rank product on the CPU, row by row, into the form that the next
//! product takes.

use super::Activation;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::vector::{sigmoid, sigmoid_and_rest, tanh};
use crate::ops::linear::{Packed, ProductType};

/// act(h) of h, which is `dims`.
pub fn activate(
    activation: Activation,
    h: &[f32],
    dims: [usize; 2],
    product: ProductType,
) -> Packed {
    let level = Level::current();
    Packed::each(product, dims, |t, out| {
        let h = &h[t * dims[1]..][..dims[1]];
        activate_row(level, activation, h, out);
    })
}

/// d * act'(h).
pub fn activate_backward(
    activation: Activation,
    [d, h]: [&[f32]; 2],
    dims: [usize; 2],
    product: ProductType,
) -> Packed {
    let level = Level::current();
    Packed::each(product, dims, |t, out| {
        let row = t * dims[1]..(t + 1) * dims[1];
        activate_row_backward(level, activation, &d[row.clone()], &h[row], out);
    })
}

vectorised! {
    fn activate_row<V: Vector>(level: Level, activation: Activation, h: &[f32], out: &mut [f32]) {
        match activation {
            Activation::None => out.copy_from_slice(h),
            Activation::Tanh => {
                for (out, h) in out.iter_mut().zip(h) {
                    *out = tanh::<V>(*h);
                }
            }
            Activation::Sigmoid => {
                for (out, h) in out.iter_mut().zip(h) {
                    *out = sigmoid::<V>(*h);
                }
            }
        }
    }
}

vectorised! {
    fn activate_row_backward<V: Vector>(
        level: Level,
        activation: Activation,
        d: &[f32],
        h: &[f32],
        out: &mut [f32],
    ) {
        match activation {
            Activation::None => out.copy_from_slice(d),
            Activation::Tanh => {
                for ((out, d), h) in out.iter_mut().zip(d).zip(h) {
                    let [s, rest] = sigmoid_and_rest::<V>(2.0 * h);
                    *out = d * 4.0 * s * rest;
                }
            }
            Activation::Sigmoid => {
                for ((out, d), h) in out.iter_mut().zip(d).zip(h) {
                    let [s, rest] = sigmoid_and_rest::<V>(*h);
                    *out = d * s * rest;
                }
            }
        }
    }
}
