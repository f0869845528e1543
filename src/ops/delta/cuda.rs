//! The recurrence on a GPU, token by token (`recurrent.cu`).

use candle_core::{DType, Result, Tensor};

use super::{Delta, DeltaForward, DeltaGradients, DeltaInputs};
use crate::ops::cuda::{
    Arg, Grid, check_head_size, constant, gpu, int, launch, output, pointer, pointer_of, suffix,
    sum_over_sequences,
};
use crate::ops::linear::Rows;
use crate::ops::offsets::Offsets;

const SOURCE: &str = include_str!("recurrent.cu");
/// Threads that share a row or a column of the state.
const PARTS: usize = constant(SOURCE, "PARTS");
/// Tokens that are brought to shared memory at a time.
const STEP: usize = constant(SOURCE, "STEP");
/// Channels that a block of the last kernel takes.
const GRADIENT_THREADS: usize = constant(SOURCE, "GRADIENT_THREADS");

pub fn forward(
    delta: &Delta,
    x: DeltaInputs,
    state: &Tensor,
    offsets: &Offsets,
) -> Result<DeltaForward> {
    let run = Run::new(delta, x, offsets)?;
    let made = DeltaForward {
        y: output(x.r, x.r.shape(), x.r.dtype())?,
        q: output(x.r, (offsets.rows(), run.n_head), DType::F32)?,
        sa: run.wide()?,
        ends: output(x.r, run.starts_shape(), DType::F32)?,
    };
    let args = [
        pointer_of(DType::F32, state)?,
        pointer(&delta.bonus)?,
        pointer(&made.y)?,
        pointer(&made.sa)?,
        pointer(&made.ends)?,
        pointer(&made.q)?,
    ];
    run.walk("delta_forward", 1, 4 * STEP + 2 * (STEP + 1), &args)?;
    Ok(made)
}

pub fn backward(
    delta: &Delta,
    [dy, dq]: [&Tensor; 2],
    x: DeltaInputs,
    sa: &Tensor,
    state: &Tensor,
    offsets: &Offsets,
) -> Result<DeltaGradients> {
    let run = Run::new(delta, x, offsets)?;
    let (dv, dsa) = (run.wide()?, run.wide()?);
    let starts = output(x.r, run.starts_shape(), DType::F32)?;
    let dy = pointer_of(x.r.dtype(), dy)?;
    let args = [dy, pointer(&dv)?, pointer(&dsa)?, pointer(&starts)?];
    run.walk("delta_backward_values", 1, 4 * STEP + 2 * (STEP + 1), &args)?;

    // Sums over values, of which the last kernel makes gradients in their place.
    let (dk, dkk, dalpha) = (run.wide()?, run.wide()?, run.wide()?);
    let sdy = run.wide()?;
    let args = [
        pointer_of(DType::F32, state)?,
        dy,
        pointer_of(DType::F32, sa)?,
        pointer(&dsa)?,
        pointer(&dk)?,
        pointer(&dalpha)?,
        pointer(&dkk)?,
        pointer(&sdy)?,
    ];
    run.walk("delta_backward_keys", 2, 7 * STEP, &args)?;
    drop(dsa);

    let [dr, dw] = [
        output(x.r, x.r.shape(), x.r.dtype())?,
        output(x.r, x.r.shape(), x.r.dtype())?,
    ];
    let args = [
        pointer(&delta.bonus)?,
        pointer_of(DType::F32, dq)?,
        pointer(&sdy)?,
        pointer(&dr)?,
        pointer(&dw)?,
        pointer(&dk)?,
        pointer(&dkk)?,
        pointer(&dalpha)?,
        int(run.n_head * run.head_size)?,
        int(run.head_size)?,
    ];
    run.gradients(&args)?;
    Ok(DeltaGradients {
        dr: Rows::Gpu(dr),
        dw: Rows::Gpu(dw),
        dk,
        dv,
        dkk,
        dalpha,
        dstate: sum_over_sequences(&starts)?,
    })
}

/// One call's inputs and sizes.
struct Run<'a> {
    like: &'a Tensor,
    inputs: [Arg; 8],
    sequences: usize,
    n_head: usize,
    head_size: usize,
}

impl<'a> Run<'a> {
    fn new(delta: &Delta, x: DeltaInputs<'a>, offsets: &Offsets) -> Result<Self> {
        let (n_head, head_size) = delta.bonus.dims2()?;
        check_head_size(head_size)?;
        Ok(Self {
            like: x.r,
            inputs: [
                pointer(x.r)?,
                pointer_of(DType::F32, x.w)?,
                pointer_of(x.r.dtype(), x.k)?,
                pointer_of(x.r.dtype(), x.v)?,
                pointer_of(DType::F32, x.kk)?,
                pointer_of(DType::F32, x.alpha)?,
                pointer(&delta.decay)?,
                pointer(&offsets.on_gpu(x.r)?.offsets)?,
            ],
            sequences: offsets.sequences(),
            n_head,
            head_size,
        })
    }

    /// f32, `[N, C]`.
    fn wide(&self) -> Result<Tensor> {
        output(self.like, self.like.shape(), DType::F32)
    }

    /// A matrix for each head of each sequence.
    fn starts_shape(&self) -> (usize, usize, usize, usize) {
        (self.sequences, self.n_head, self.head_size, self.head_size)
    }

    /// Runs a kernel whose blocks go through a sequence with a head's matrix, in so many ways, with
    /// so many rows of a head in shared memory.
    fn walk(&self, kernel: &str, ways: usize, rows: usize, args: &[Arg]) -> Result<()> {
        let kernel = format!("{kernel}_{}_{}", suffix(self.like)?, self.head_size);
        let grid = Grid {
            blocks: [self.sequences, self.n_head, ways],
            threads: PARTS * self.head_size,
            shared: rows * self.head_size * size_of::<f32>(),
        };
        self.launch(&kernel, grid, args)
    }

    /// Runs the kernel that goes through a sequence with a thread for each channel.
    fn gradients(&self, args: &[Arg]) -> Result<()> {
        let channels = self.n_head * self.head_size;
        let kernel = format!("delta_gradients_{}", suffix(self.like)?);
        let grid = Grid {
            blocks: [self.sequences, channels.div_ceil(GRADIENT_THREADS), 1],
            threads: GRADIENT_THREADS,
            shared: 0,
        };
        self.launch(&kernel, grid, args)
    }

    fn launch(&self, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        let args = [&self.inputs[..], args].concat();
        // SAFETY: the kernels' arguments, as their file lists them; `mod.rs` checked that shapes
        // agree.
        unsafe { launch(gpu(self.like)?, kernel, grid, &args) }
    }
}
