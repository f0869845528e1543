//! The products of a single row, which is decoding: bound by how fast W can be read, they go
//! straight down W's bytes. (RWKV-7's matrices of low rank are the right side of the backward
//! product even in the forward pass.)

use rayon::prelude::*;

use super::packed::Packed;
use super::unit::Unit;
use crate::ops::cpu::bf16::round;
use crate::ops::cpu::level::{Level, vectorised};
use crate::ops::cpu::output::{Output, cleared, prefetch_bytes};
use crate::ops::cpu::vector::{LANES, Vector, dot};
use crate::ops::linear::row_part::RowPart;
use crate::ops::linear::{Matrix, Side};
use crate::tensors::Element;

/// Rows of W that one task of a single row's product takes.
const ROWS: usize = 64;
/// Columns of W that one task may take where rows are summed. Wide ones have more of a row's bytes
/// read in one go.
const COLUMNS: [usize; 4] = [16 * LANES, 8 * LANES, 4 * LANES, 2 * LANES];
/// The most of them whose sums stay in sixteen registers.
const FEW_COLUMNS: usize = COLUMNS[2];
/// Bytes of W that the cache fetches ahead: a processor by itself fetches none beyond a page's end.
const AHEAD: usize = 4096;
/// Rows of W that it fetches ahead at least where rows are summed.
const ROWS_AHEAD: usize = 8;
/// Numbers of W widened at once for a single row; they stay in registers and L1.
const STRIP: usize = 256;

/// One row times W, or times W transposed.
pub struct SingleRow<'a> {
    pub left: &'a Packed,
    pub w: &'a Matrix,
    pub side: Side,
    /// What it is added to.
    pub onto: Option<&'a [f32]>,
}

/// Some products of single rows. Threads share all of them at once: waiting for each other after
/// each product would take about as long as a small product does.
pub fn multiply_single_rows(products: &[SingleRow]) -> Vec<Vec<f32>> {
    let columns = products
        .iter()
        .map(|product| product.side.dims(product.w).1);
    let mut outs: Vec<Output<f32>> = columns.map(Output::new).collect();
    let rows: Vec<Vec<f32>> = products
        .iter()
        .map(|product| product.left.numbers())
        .collect();
    let mut stripes = Vec::new();
    for ((product, x), out) in products.iter().zip(&rows).zip(&mut outs) {
        let widest = widest(product.side, product.left.level(), out.memory().len());
        let (mut remaining, mut first) = (out.memory(), 0);
        while !remaining.is_empty() {
            let width = width(product.side, remaining.len().min(widest));
            let (part, rest) = remaining.split_at_mut(width);
            stripes.push((product, x, first, part));
            (remaining, first) = (rest, first + width);
        }
    }
    // One at a time, so that no thread is left with several.
    let stripes = stripes.into_par_iter().with_max_len(1);
    stripes.for_each(|(product, x, first, part)| {
        let &SingleRow {
            left,
            w,
            side,
            onto,
        } = product;
        let (level, unit, out) = (left.level(), left.unit(), cleared(part, 0.0));
        if let Some(onto) = onto {
            out.copy_from_slice(&onto[first..][..out.len()]);
        }
        match side {
            Side::Forward => rows_times(level, w, first, x, unit, out),
            Side::Backward => sum_of_rows(level, w, first, x, unit, out),
        }
    });
    // SAFETY: the stripes are the whole, and each was cleared.
    outs.into_iter()
        .map(|out| unsafe { out.finish() })
        .collect()
}

/// How many outputs of so many one task takes at most. Where rows are summed, each thread should get
/// some.
fn widest(side: Side, level: Level, columns: usize) -> usize {
    let of_registers = match level {
        Level::Plain | Level::Avx2 => FEW_COLUMNS,
        Level::Avx512 | Level::Avx512Bf16 | Level::Amx => COLUMNS[0],
    };
    let of_threads = columns / rayon::current_num_threads();
    match side {
        Side::Forward => ROWS,
        Side::Backward => of_registers.min(of_threads).max(COLUMNS[3]),
    }
}

/// How many of `most` outputs a task takes: where rows are summed, the widest of [`COLUMNS`].
fn width(side: Side, most: usize) -> usize {
    match side {
        Side::Forward => most,
        Side::Backward => {
            let fitting = COLUMNS.into_iter().find(|&columns| columns <= most);
            fitting.unwrap_or(most)
        }
    }
}

vectorised! {
    /// Some rows of W, from `first` on, times x, added to `out`.
    fn rows_times<V: Vector>(
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

vectorised! {
    /// The sum of W's rows, each times its number of x, added to `out`: the columns from `first`
    /// on, so many as a task takes.
    fn sum_of_rows<V: Vector>(
        level: Level,
        w: &Matrix,
        first: usize,
        x: &[f32],
        unit: Unit,
        out: &mut [f32],
    ) {
        let width = COLUMNS.iter().position(|&columns| columns == out.len());
        match width.filter(|_| w.is_stored_as(Element::Bf16)) {
            Some(0) => sum_of_bf16::<V, { COLUMNS[0] / LANES }>(w, first, x, out),
            Some(1) => sum_of_bf16::<V, { COLUMNS[1] / LANES }>(w, first, x, out),
            Some(2) => sum_of_bf16::<V, { COLUMNS[2] / LANES }>(w, first, x, out),
            Some(_) => sum_of_bf16::<V, { COLUMNS[3] / LANES }>(w, first, x, out),
            None => sum_of_any::<V>(w, first, x, unit, out),
        }
    }
}

/// The columns of N vectors, of a matrix that is stored as bf16: widened in registers, where the
/// sums stay, too.
#[inline(always)]
fn sum_of_bf16<V: Vector, const N: usize>(w: &Matrix, first: usize, x: &[f32], out: &mut [f32]) {
    let mut sums = [V::zero(); N];
    let row_bytes = w.columns * Element::Bf16.size();
    let ahead = (AHEAD / row_bytes).max(ROWS_AHEAD) * row_bytes;
    for (row, x) in x.iter().enumerate() {
        let RowPart::Stored(_, bytes) = w.part(row, first..first + N * LANES) else {
            continue;
        };
        prefetch_bytes(bytes.as_ptr().wrapping_add(ahead), bytes.len());
        let x = V::splat(*x);
        for (sum, bytes) in sums.iter_mut().zip(bytes.as_chunks().0) {
            *sum = sum.add_product(V::load_bf16(bytes), x);
        }
    }
    add_to(out, &sums);
}

#[inline(always)]
fn sum_of_any<V: Vector>(w: &Matrix, first: usize, x: &[f32], unit: Unit, out: &mut [f32]) {
    const N: usize = COLUMNS[0] / LANES;
    let mut sums = [V::zero(); N];
    // Zeros beyond the columns that are there.
    let mut strip = [0.0; COLUMNS[0]];
    for (row, x) in x.iter().enumerate() {
        let part = w.part(row, first..first + out.len());
        widen_as::<V>(unit, part, &mut strip[..out.len()]);
        let x = V::splat(*x);
        let strip = strip[..out.len().next_multiple_of(LANES)].as_chunks().0;
        for (sum, numbers) in sums.iter_mut().zip(strip) {
            *sum = sum.add_product(V::load_whole(numbers), x);
        }
    }
    add_to(out, &sums);
}

#[inline(always)]
fn add_to<V: Vector>(out: &mut [f32], sums: &[V]) {
    for (out, sum) in out.chunks_mut(LANES).zip(sums) {
        V::load(out).add(*sum).store(out);
    }
}

/// Numbers of W as f32, rounded where the product's unit would round them.
#[inline(always)]
fn widen_as<V: Vector>(unit: Unit, part: RowPart, out: &mut [f32]) {
    part.widen::<V>(out);
    if unit.rounds() {
        for x in out {
            *x = f32::from_bits(round(*x) << 16);
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
        widen_as::<V>(unit, w.part(row, first..first + x.len()), strip);
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
        prefetch_bytes(bytes.as_ptr().wrapping_add(AHEAD), bytes.len());
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
