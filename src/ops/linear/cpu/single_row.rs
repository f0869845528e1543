//! The product of a single row, which is decoding: bound by how fast W can be read, it goes
//! straight down W's bytes.

use super::packed::Packed;
use super::unit::Unit;
use crate::ops::cpu::bf16::round;
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::output::chunks;
use crate::ops::cpu::vector::{LANES, Vector, dot};
use crate::ops::linear::Matrix;
use crate::ops::linear::row_part::RowPart;
use crate::tensors::Element;

/// Rows of W that one task of a single row's product takes.
const STRIPE: usize = 64;
/// Numbers of W widened at once for a single row; they stay in registers and L1.
const STRIP: usize = 256;

/// One row times W transposed, added to `to` if there is one.
pub fn single(left: &Packed, w: &Matrix, to: Option<&[f32]>) -> Vec<f32> {
    let (x, level) = (left.numbers(), left.level());
    chunks(w.rows, STRIPE, 0.0, |stripe, out| {
        let first = stripe * STRIPE;
        if let Some(to) = to {
            out.copy_from_slice(&to[first..][..out.len()]);
        }
        stripe_of_single(level, w, first, &x, left.unit(), out);
    })
}

vectorised! {
    /// Some rows of W, from `first` on, times x, added to `out`.
    fn stripe_of_single<V: Vector>(
        level: Level,
        w: &Matrix,
        first: usize,
        x: &[f32],
        unit: Unit,
        out: &mut [f32],
    ) {
        for (row, out) in (first..).zip(out) {
            *out += dot_row::<V>(w, row, x, unit);
        }
    }
}

/// One row of W times x.
#[inline(always)]
fn dot_row<V: Vector>(w: &Matrix, row: usize, x: &[f32], unit: Unit) -> f32 {
    match w.part(row, 0..w.columns) {
        RowPart::Stored(Element::Bf16, bytes) => return dot_bf16::<V>(bytes, x),
        RowPart::Quantised(numbers) if !unit.rounds() => return numbers.dot::<V>(x),
        _ => {}
    }
    let mut strip = [0.0; STRIP];
    let mut sum = 0.0;
    for (first, x) in (0..).step_by(STRIP).zip(x.chunks(STRIP)) {
        let strip = &mut strip[..x.len()];
        w.part(row, first..first + x.len()).widen::<V>(strip);
        if unit.rounds() {
            strip
                .iter_mut()
                .for_each(|x| *x = f32::from_bits(round(*x) << 16));
        }
        sum += dot::<V>(strip, x);
    }
    sum
}

/// The sum of the products of some bf16 and as many f32: widened in registers, since nearly every
/// weight of a model is such a number, and answering waits for nothing else.
#[inline(always)]
fn dot_bf16<V: Vector>(bytes: &[u8], x: &[f32]) -> f32 {
    const SUMS: usize = 4;
    let mut sums = [V::zero(); SUMS];
    let (wide, x_wide) = (
        bytes.chunks_exact(2 * SUMS * LANES),
        x.chunks_exact(SUMS * LANES),
    );
    let (rest, x_rest) = (wide.remainder(), x_wide.remainder());
    for (bytes, x) in wide.zip(x_wide) {
        let lanes = bytes.as_chunks().0.iter().zip(x.as_chunks().0);
        for (sum, (bytes, x)) in sums.iter_mut().zip(lanes) {
            *sum = sum.add_product(V::load_bf16(bytes), V::load_whole(x));
        }
    }
    for (bytes, x) in rest.chunks(2 * LANES).zip(x_rest.chunks(LANES)) {
        let mut numbers = [0.0; LANES];
        Element::Bf16.decode_into(bytes, &mut numbers);
        sums[0] = sums[0].add_product(V::load_whole(&numbers), V::load(x));
    }
    let [a, b, c, d] = sums;
    a.add(b).add(c.add(d)).sum()
}
