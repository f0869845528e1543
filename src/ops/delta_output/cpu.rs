//! The output on the CPU, row by row, into the form that the next product takes.

use super::DeltaOutputViews;
use crate::ops::cpu::activations::{Activations, ActivationsParts};
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::{Output, cleared};
use crate::ops::cpu::vector::dot;
use crate::ops::linear::{Packed, ProductType};
use crate::ops::norm;

pub fn forward(x: &DeltaOutputViews, product: ProductType) -> Packed {
    let (channels, heads, level) = (x.norm.weight.len(), x.norm.groups, Level::current());
    let mut made = Packed::fill(
        product,
        [x.y.len() / channels, channels],
        1,
        |range, writer| {
            let [mut z, mut scratch, mut gate_scratch] = [(); 3].map(|()| vec![0.0; channels]);
            for t in range {
                let row = t * channels..(t + 1) * channels;
                norm::row(
                    level,
                    x.norm,
                    x.y.part(level, row.clone(), &mut scratch),
                    &mut z,
                );
                let v = x.v.part(level, row.clone(), &mut scratch);
                let gate = x.gate.part(level, row, &mut gate_scratch);
                add_own_value(level, &x.q[t * heads..][..heads], v, &mut z);
                multiply(level, gate, &mut z);
                writer.put(0, t, &z);
            }
        },
    );
    made.swap_remove(0)
}

/// (dq, dg) from dz; writes dy and dv.
pub fn backward(
    dz: Activations,
    x: &DeltaOutputViews,
    [dy_out, dv_out]: [&ActivationsParts; 2],
    product: ProductType,
) -> (Vec<f32>, Packed) {
    let (channels, heads, level) = (x.norm.weight.len(), x.norm.groups, Level::current());
    let rows = x.y.len() / channels;
    let mut dq = Output::new(rows * heads);
    let dq_out = dq.parts();
    let mut d_gate = Packed::fill(product, [rows, channels], 1, |range, writer| {
        let [mut sum, mut e, mut made] = [(); 3].map(|()| vec![0.0; channels]);
        let mut scratchs = [(); 4].map(|()| vec![0.0; channels]);
        let [dz_scratch, y_scratch, v_scratch, gate_scratch] = &mut scratchs;
        for t in range {
            let row = t * channels..(t + 1) * channels;
            let q = &x.q[t * heads..][..heads];
            let dz = dz.part(level, row.clone(), dz_scratch);
            let y = x.y.part(level, row.clone(), y_scratch);
            let v = x.v.part(level, row.clone(), v_scratch);
            let gate = x.gate.part(level, row.clone(), gate_scratch);
            norm::row(level, x.norm, y, &mut sum);
            add_own_value(level, q, v, &mut sum);
            multiply(level, dz, &mut sum);
            writer.put(0, t, &sum);
            e.copy_from_slice(dz);
            multiply(level, gate, &mut e);
            norm::row_backward(level, x.norm, &e, y, &mut made);
            // SAFETY: ranges of rows are disjoint between tasks.
            let dq = unsafe {
                dy_out.write(level, row.start, &made);
                cleared(dq_out.part(t * heads..(t + 1) * heads), 0.0)
            };
            own_value_backward(level, &e, q, v, dq, &mut made);
            // SAFETY: as above.
            unsafe { dv_out.write(level, row.start, &made) };
        }
    });
    // SAFETY: `Packed::fill` asks for every row.
    (unsafe { dq.finish() }, d_gate.swap_remove(0))
}

vectorised! {
    /// z + q v, head by head.
    fn add_own_value<V: Vector>(level: Level, q: &[f32], v: &[f32], z: &mut [f32]) {
        let size = z.len() / q.len();
        for ((z, v), q) in z.chunks_exact_mut(size).zip(v.chunks_exact(size)).zip(q) {
            for (z, v) in z.iter_mut().zip(v) {
                *z += q * v;
            }
        }
    }
}

vectorised! {
    fn own_value_backward<V: Vector>(
        level: Level,
        e: &[f32],
        q: &[f32],
        v: &[f32],
        dq: &mut [f32],
        dv: &mut [f32],
    ) {
        let size = e.len() / q.len();
        let heads = e.chunks_exact(size).zip(v.chunks_exact(size)).zip(q);
        for ((dq, dv), ((e, v), q)) in dq.iter_mut().zip(dv.chunks_exact_mut(size)).zip(heads) {
            *dq = dot::<V>(e, v);
            for (dv, e) in dv.iter_mut().zip(e) {
                *dv = q * e;
            }
        }
    }
}

vectorised! {
    fn multiply<V: Vector>(level: Level, factors: &[f32], z: &mut [f32]) {
        for (z, factor) in z.iter_mut().zip(factors) {
            *z *= factor;
        }
    }
}
