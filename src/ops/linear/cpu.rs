//! The products on the CPU: `gemm` over panels of widened rows, or, for one row of x (decoding), a dot product for
//! each row of W straight from its bytes.

use std::ops::Range;

use gemm::Parallelism;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::{Element, Matrix, Product};
use crate::ops::dot;

/// Numbers of W widened at once: 2 MB of f32, which a core's cache holds or nearly holds.
const PANEL: usize = 1 << 19;
/// Numbers widened by one task.
const PIECE: usize = 1 << 14;
/// Numbers of a row widened at once where the row is used but once; they stay in registers and L1.
const STRIP: usize = 256;

/// x `[N, columns]` to `[N, rows]`.
pub fn forward(w: &Matrix, x: &[f32]) -> Vec<f32> {
    let x = &*rounded(x, w.product);
    let n = x.len() / w.columns;
    let mut y = vec![0.0; n * w.rows];
    if n == 1 {
        y.par_iter_mut()
            .enumerate()
            .with_min_len(64)
            .for_each(|(row, y)| *y = dot_row(w, row, x));
        return y;
    }
    for_each_panel(w, |panel, rows| {
        let product = Gemm {
            m: n,
            k: w.columns,
            n: rows.len(),
            a_stride: w.columns,
            c_stride: w.rows,
        };
        product.run(x, Right::Transposed(panel), &mut y[rows.start..], false);
    });
    y
}

/// dy `[N, rows]` to dx `[N, columns]`: a sum over panels.
pub fn backward(w: &Matrix, dy: &[f32]) -> Vec<f32> {
    let dy = &*rounded(dy, w.product);
    let n = dy.len() / w.rows;
    let mut dx = vec![0.0; n * w.columns];
    for_each_panel(w, |panel, rows| {
        let product = Gemm {
            m: n,
            k: rows.len(),
            n: w.columns,
            a_stride: w.rows,
            c_stride: w.columns,
        };
        product.run(
            &dy[rows.start..],
            Right::Plain(panel),
            &mut dx,
            rows.start > 0,
        );
    });
    dx
}

/// Calls `f` with each panel of W as f32 and the rows it holds.
fn for_each_panel(w: &Matrix, mut f: impl FnMut(&[f32], Range<usize>)) {
    let height = (PANEL / w.columns).clamp(1, w.rows);
    let mut panel = vec![0.0; height * w.columns];
    for start in (0..w.rows).step_by(height) {
        let rows = start..(start + height).min(w.rows);
        let panel = &mut panel[..rows.len() * w.columns];
        let bytes = w.bytes(rows.clone());
        panel
            .par_chunks_mut(PIECE)
            .zip(bytes.par_chunks(PIECE * w.element.size()))
            .for_each(|(panel, bytes)| {
                widen(w.element, bytes, panel);
                round(panel, w.product, w.element);
            });
        f(panel, rows);
    }
}

/// One row of W times x.
fn dot_row(w: &Matrix, row: usize, x: &[f32]) -> f32 {
    let mut strip = [0.0; STRIP];
    let mut sum = 0.0;
    for (x, bytes) in x
        .chunks(STRIP)
        .zip(w.bytes(row..row + 1).chunks(STRIP * w.element.size()))
    {
        let strip = &mut strip[..x.len()];
        widen(w.element, bytes, strip);
        round(strip, w.product, w.element);
        sum += dot(strip, x);
    }
    sum
}

/// Little-endian numbers, at any alignment, as f32.
pub fn widen(element: Element, bytes: &[u8], out: &mut [f32]) {
    match element {
        Element::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
            }
        }
        // `half` converts f16 by the processor's own instruction where there is one, which is only worth it in bulk.
        Element::F16 => {
            let mut strip = [f16::ZERO; STRIP];
            for (out, bytes) in out.chunks_mut(STRIP).zip(bytes.chunks(STRIP * 2)) {
                let strip = &mut strip[..out.len()];
                for (half, b) in strip.iter_mut().zip(bytes.chunks_exact(2)) {
                    *half = f16::from_le_bytes([b[0], b[1]]);
                }
                strip.convert_to_f32_slice(out);
            }
        }
        Element::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *out = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
    }
}

/// Rounds widened numbers of W as the product wants them; those that were bf16 are round already.
fn round(values: &mut [f32], product: Product, from: Element) {
    if product == Product::Bf16 && from != Element::Bf16 {
        values
            .iter_mut()
            .for_each(|x| *x = bf16::from_f32(*x).to_f32());
    }
}

fn rounded(x: &[f32], product: Product) -> std::borrow::Cow<'_, [f32]> {
    match product {
        Product::F32 => x.into(),
        Product::Bf16 => x
            .par_iter()
            .with_min_len(PIECE)
            .map(|&x| bf16::from_f32(x).to_f32())
            .collect::<Vec<_>>()
            .into(),
    }
}

/// The right-hand matrix of a product, f32, in row-major order.
enum Right<'a> {
    /// B `[k, n]`.
    Plain(&'a [f32]),
    /// B', stored as `[n, k]`.
    Transposed(&'a [f32]),
}

/// C `[m, n]` = A `[m, k]` B, where a row of A begins every `a_stride` numbers and one of C every `c_stride`.
struct Gemm {
    m: usize,
    n: usize,
    k: usize,
    a_stride: usize,
    c_stride: usize,
}

impl Gemm {
    /// Writes C, or adds to it.
    fn run(&self, a: &[f32], b: Right, c: &mut [f32], add: bool) {
        let &Self {
            m,
            n,
            k,
            a_stride,
            c_stride,
        } = self;
        let (b, b_row, b_column) = match b {
            Right::Plain(b) => (b, n, 1),
            Right::Transposed(b) => (b, 1, k),
        };
        assert!(
            m > 0 && n > 0 && k > 0 && k <= a_stride && n <= c_stride,
            "sizes of a product"
        );
        assert!(
            a.len() >= (m - 1) * a_stride + k
                && b.len() >= n * k
                && c.len() >= (m - 1) * c_stride + n
        );
        // SAFETY: the asserts above hold every element that these sizes and strides reach inside the three slices; c
        // is borrowed mutably, so it overlaps neither a nor b. Strides are lengths of slices and fit an isize.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                c_stride as isize,
                add,
                a.as_ptr(),
                1,
                a_stride as isize,
                b.as_ptr(),
                b_column as isize,
                b_row as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                Parallelism::Rayon(rayon::current_num_threads()),
            );
        }
    }
}
