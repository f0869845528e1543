//! WKV on a GPU: token by token (`recurrent.cu`), or in chunks on the tensor cores
//! (`chunked.cu`, of `strips.cuh` and `cuda/tile.cuh`).

use candle_core::{DType, Result, Tensor};
use half::bf16;

use super::{Wkv, WkvGradients};
use crate::ops::cuda::{
    Arg, Grid, check_head_size, constant, gpu, int, launch, output, pointer, pointer_if, suffix,
    sum_over_sequences,
};
use crate::ops::linear::{ProductType, Rows};
use crate::ops::offsets::{Offsets, Sequences};

/// The mean number of rows of a sequence from which chunks are used: below it, most of a chunk's
/// work would be for rows that are not there.
const CHUNKED_FROM: usize = 32;
const RECURRENT: &str = include_str!("recurrent.cu");
/// Threads that share a row or a column of the state.
const PARTS: usize = constant(RECURRENT, "PARTS");
/// Tokens that are brought to shared memory at a time.
const STEP: usize = constant(RECURRENT, "STEP");

const STRIPS: &str = include_str!("strips.cuh");
/// Rows of a chunk, and of a strip of it.
const CHUNK: usize = constant(STRIPS, "CHUNK");
const STRIP: usize = constant(STRIPS, "STRIP");

const CHUNKED: &str = include_str!("chunked.cu");
/// Chunks that a walking block holds at a time, and the values of a head that it carries.
const STAGES: usize = constant(CHUNKED, "STAGES");
const WALKED_VALUES: usize = constant(CHUNKED, "WALKED_VALUES");

pub fn forward(
    wkv: &Wkv,
    rkv: [&Tensor; 3],
    state: &Tensor,
    offsets: &Offsets,
) -> Result<(Tensor, Tensor)> {
    let run = Run::new(wkv, rkv, state, offsets)?;
    let [r, k, v] = rkv;
    let y = output(r, r.shape(), r.dtype())?;
    let end = output(r, run.starts_shape(), DType::F32)?;
    if run.is_chunked {
        let states = run.states(k, v, state, Some(&end))?;
        let args = [
            pointer(r)?,
            pointer(k)?,
            pointer(v)?,
            pointer(&wkv.decay)?,
            pointer(&wkv.bonus)?,
            pointer(&states)?,
            pointer(&run.sequences.chunks)?,
            int(run.n_head)?,
            pointer(&y)?,
        ];
        let size = run.head_size;
        // r, k and v, the state, and the scales.
        let shared = 3 * tile(CHUNK, size) + tile(size, size) + scales(size);
        run.launch(
            "wkv_outputs",
            [run.chunks * run.n_head, 1, 1],
            128,
            shared,
            &args,
        )?;
    } else {
        let args = [
            pointer(r)?,
            pointer(k)?,
            pointer(v)?,
            pointer(&wkv.decay)?,
            pointer(&wkv.bonus)?,
            pointer(state)?,
            pointer(&run.sequences.offsets)?,
            pointer(&y)?,
            pointer(&end)?,
        ];
        run.recurrent("wkv_forward_recurrent", 1, &args)?;
    }
    Ok((y, end))
}

pub fn backward(
    wkv: &Wkv,
    dy: &Tensor,
    rkv: [&Tensor; 3],
    state: &Tensor,
    offsets: &Offsets,
    product: ProductType,
) -> Result<WkvGradients> {
    let run = Run::new(wkv, rkv, state, offsets)?;
    let [r, k, v] = rkv;
    let like = |x: &Tensor| output(x, x.shape(), x.dtype());
    let (dr, dk, dv) = (like(r)?, like(k)?, like(v)?);
    let starts = output(r, run.starts_shape(), DType::F32)?;
    if run.is_chunked {
        let states = run.states(k, v, state, None)?;
        let gradients = output(r, run.edges_shape(), DType::BF16)?;
        let args = [
            pointer(r)?,
            pointer(dy)?,
            pointer(&wkv.decay)?,
            pointer(&run.sequences.chunks)?,
            pointer(&run.sequences.first_chunks)?,
            int(run.n_head)?,
            pointer(&gradients)?,
            pointer(&starts)?,
        ];
        run.walk("wkv_state_gradients", &args)?;
        let args = [
            pointer(r)?,
            pointer(k)?,
            pointer(v)?,
            pointer(dy)?,
            pointer(&wkv.decay)?,
            pointer(&wkv.bonus)?,
            pointer(&states)?,
            pointer(&gradients)?,
            pointer(&run.sequences.chunks)?,
            int(run.n_head)?,
            pointer(&dr)?,
            pointer(&dk)?,
            pointer(&dv)?,
        ];
        let size = run.head_size;
        // Keys of S and G that are held at a time.
        let panel = if size == 64 { 64 } else { 32 };
        let shared = 4 * tile(CHUNK, size) + 2 * tile(panel, size) + scales(size);
        run.launch(
            "wkv_gradients",
            [run.chunks * run.n_head, 1, 1],
            384,
            shared,
            &args,
        )?;
    } else {
        let args = [
            pointer(r)?,
            pointer(k)?,
            pointer(v)?,
            pointer(dy)?,
            pointer(&wkv.decay)?,
            pointer(&wkv.bonus)?,
            pointer(state)?,
            pointer(&run.sequences.offsets)?,
            pointer(&dr)?,
            pointer(&dk)?,
            pointer(&dv)?,
            pointer(&starts)?,
        ];
        run.recurrent("wkv_backward_recurrent", 3, &args)?;
    }
    Ok(WkvGradients {
        dr: Rows::of(product, &dr)?,
        dk: Rows::of(product, &dk)?,
        dv: Rows::of(product, &dv)?,
        dstate: sum_over_sequences(&starts)?,
    })
}

/// Bytes of a matrix of bf16 in shared memory (`cuda/tile.cuh`).
fn tile(rows: usize, columns: usize) -> usize {
    rows * (columns + 8) * size_of::<bf16>()
}

/// Bytes of the powers of the decay within and across strips, and of the bonus, in shared memory
/// (`strips.cuh`).
fn scales(size: usize) -> usize {
    ((STRIP + CHUNK / STRIP - 1) * (size + 8) + size) * size_of::<f32>()
}

/// One call's sizes, and how it is computed.
struct Run<'a> {
    wkv: &'a Wkv,
    like: &'a Tensor,
    sequences: &'a Sequences,
    count: usize,
    chunks: usize,
    n_head: usize,
    head_size: usize,
    is_chunked: bool,
}

impl<'a> Run<'a> {
    fn new(
        wkv: &'a Wkv,
        [r, ..]: [&'a Tensor; 3],
        state: &Tensor,
        offsets: &'a Offsets,
    ) -> Result<Self> {
        let (n_head, head_size, _) = state.dims3()?;
        check_head_size(head_size)?;
        let sequences = offsets.on_gpu(r)?;
        Ok(Self {
            wkv,
            like: r,
            sequences,
            count: offsets.sequences(),
            chunks: sequences.chunks.dim(0)?,
            n_head,
            head_size,
            is_chunked: r.dtype() == DType::BF16
                && offsets.rows() >= CHUNKED_FROM * offsets.sequences(),
        })
    }

    /// A matrix for each head of each sequence.
    fn starts_shape(&self) -> (usize, usize, usize, usize) {
        (self.count, self.n_head, self.head_size, self.head_size)
    }

    /// A matrix for each head of each chunk.
    fn edges_shape(&self) -> (usize, usize, usize, usize) {
        (self.chunks, self.n_head, self.head_size, self.head_size)
    }

    /// S where each chunk begins, and at each sequence's end if that is wanted.
    fn states(
        &self,
        k: &Tensor,
        v: &Tensor,
        state: &Tensor,
        end: Option<&Tensor>,
    ) -> Result<Tensor> {
        let states = output(k, self.edges_shape(), DType::BF16)?;
        let args = [
            pointer(k)?,
            pointer(v)?,
            pointer(&self.wkv.decay)?,
            pointer(state)?,
            pointer(&self.sequences.chunks)?,
            pointer(&self.sequences.first_chunks)?,
            int(self.n_head)?,
            pointer(&states)?,
            pointer_if(end)?,
        ];
        self.walk("wkv_states", &args)?;
        Ok(states)
    }

    /// A kernel whose blocks walk a sequence's chunks.
    fn walk(&self, kernel: &str, args: &[Arg]) -> Result<()> {
        let size = self.head_size;
        let blocks = self.count * self.n_head * size / WALKED_VALUES;
        let shared = STAGES * (tile(CHUNK, size) + tile(CHUNK, WALKED_VALUES));
        self.launch(kernel, [blocks, 1, 1], 2 * size, shared, args)
    }

    fn recurrent(&self, kernel: &str, sweeps: usize, args: &[Arg]) -> Result<()> {
        let shared = 3 * STEP * self.head_size * size_of::<f32>();
        let blocks = [self.count, self.n_head, sweeps];
        self.launch(kernel, blocks, PARTS * self.head_size, shared, args)
    }

    fn launch(
        &self,
        kernel: &str,
        blocks: [usize; 3],
        threads: usize,
        shared: usize,
        args: &[Arg],
    ) -> Result<()> {
        let kernel = format!("{kernel}_{}_{}", suffix(self.like)?, self.head_size);
        let grid = Grid {
            blocks,
            threads,
            shared,
        };
        // SAFETY: the kernel's arguments, as its file lists them; `mod.rs` checked that shapes
        // agree.
        unsafe { launch(gpu(self.like)?, &kernel, grid, args) }
    }
}
