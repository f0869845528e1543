//! The recurrence on a GPU: its sweeps token by token (`recurrent.cu`), or in chunks on the tensor
//! cores (`chunked.cu`, of `chunk.cuh` and `halves.cuh`), what is made of them (`gradients.cu`), and
//! keys before and after.

mod keys;

use candle_core::{DType, Result, Tensor};

use self::keys::Keys;
use super::{Delta, DeltaForward, DeltaGradients, DeltaInputs};
use crate::ops::cuda::{
    Arg, Grid, check_head_size, constant, gpu, int, launch, output, pointer, pointer_of, suffix,
    sum_over_sequences,
};
use crate::ops::linear::Rows;
use crate::ops::offsets::Offsets;

const RECURRENT: &str = include_str!("../recurrent.cu");
/// Threads that share a row or a column of the state.
const PARTS: usize = constant(RECURRENT, "PARTS");
/// Tokens that are brought to shared memory at a time.
const STEP: usize = constant(RECURRENT, "STEP");

const CHUNKED: &str = include_str!("../chunked.cu");
/// Bytes of shared memory for each channel of a head, and more, of the sweeps in chunks.
const VALUES_SHARED: [usize; 2] = [
    constant(CHUNKED, "VALUES_SHARED_EACH"),
    constant(CHUNKED, "VALUES_SHARED_MORE"),
];
const KEYS_SHARED: [usize; 2] = [
    constant(CHUNKED, "KEYS_SHARED_EACH"),
    constant(CHUNKED, "KEYS_SHARED_MORE"),
];
/// Threads that load a chunk's keys; as many load its values and multiply its rows.
const ROLE: usize = constant(include_str!("../chunk.cuh"), "ROLE");
/// The mean number of rows of a sequence from which chunks are used: below it, most of the time
/// would go into filling the line of chunks that a block works on.
const CHUNKED_FROM: usize = 32;
/// The largest head of which shared memory holds the chunks on every GPU: compute capability 8.6 and
/// 8.9 have the least for a block.
const LARGEST_CHUNKED_HEAD: usize = 64;
const _: () = assert!(KEYS_SHARED[0] * LARGEST_CHUNKED_HEAD + KEYS_SHARED[1] <= 99 << 10);

const GRADIENTS: &str = include_str!("../gradients.cu");
/// Threads that share a head's score.
const LANES: usize = constant(GRADIENTS, "LANES");
/// Channels that a block of the last kernel takes, and threads for each.
const GRADIENT_CHANNELS: usize = constant(GRADIENTS, "GRADIENT_CHANNELS");
const GRADIENT_LANES: usize = constant(GRADIENTS, "GRADIENT_LANES");

pub fn forward(
    delta: &Delta,
    x: DeltaInputs,
    state: &Tensor,
    offsets: &Offsets,
) -> Result<DeltaForward> {
    check_head_size(delta.bonus.dims2()?.1)?;
    let keys = keys::forward(delta, x)?;
    let run = Run::new(delta, x, &keys, offsets)?;
    let made = DeltaForward {
        y: output(x.r, x.r.shape(), x.r.dtype())?,
        q: output(x.r, (offsets.rows(), run.n_head), DType::F32)?,
        sa: run.wide()?,
        ends: output(x.r, run.starts_shape(), DType::F32)?,
    };
    let args = [
        pointer_of(DType::F32, state)?,
        pointer(&made.y)?,
        pointer(&made.sa)?,
        pointer(&made.ends)?,
    ];
    run.sweep(Sweep::Forward, &args)?;
    run.scores(delta, [x.r, &keys.k], &made.q)?;
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
    check_head_size(delta.bonus.dims2()?.1)?;
    let keys = keys::forward(delta, x)?;
    let run = Run::new(delta, x, &keys, offsets)?;
    let (dv, dsa) = (run.wide()?, run.wide()?);
    let starts = output(x.r, run.starts_shape(), DType::F32)?;
    let dy = pointer_of(x.r.dtype(), dy)?;
    let args = [dy, pointer(&dv)?, pointer(&dsa)?, pointer(&starts)?];
    run.sweep(Sweep::BackwardValues, &args)?;

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
    run.sweep(Sweep::BackwardKeys, &args)?;
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
    drop((sdy, keys));
    let [d_kappa, da] = keys::backward(delta, [&dkk, &dalpha, &dk], x)?;
    Ok(DeltaGradients {
        dr: Rows::Gpu(dr),
        dw: Rows::Gpu(dw),
        d_kappa,
        da,
        dv,
        dstate: sum_over_sequences(&starts)?,
    })
}

/// A kernel that goes through every sequence with every head's matrix.
#[derive(Clone, Copy, Debug)]
enum Sweep {
    Forward,
    BackwardValues,
    /// Two sweeps at once, one each way.
    BackwardKeys,
}

/// One call's inputs and sizes, and how it is computed.
struct Run<'a> {
    like: &'a Tensor,
    inputs: [Arg; 8],
    rows: usize,
    sequences: usize,
    n_head: usize,
    head_size: usize,
    is_chunked: bool,
}

impl<'a> Run<'a> {
    fn new(delta: &Delta, x: DeltaInputs<'a>, keys: &Keys, offsets: &Offsets) -> Result<Self> {
        let (n_head, head_size) = delta.bonus.dims2()?;
        Ok(Self {
            like: x.r,
            inputs: [
                pointer(x.r)?,
                pointer_of(DType::F32, x.w)?,
                pointer(&keys.k)?,
                pointer_of(x.r.dtype(), x.v)?,
                pointer(&keys.kk)?,
                pointer(&keys.alpha)?,
                pointer(&delta.decay)?,
                pointer(&offsets.on_gpu(x.r)?.offsets)?,
            ],
            rows: offsets.rows(),
            sequences: offsets.sequences(),
            n_head,
            head_size,
            is_chunked: x.r.dtype() == DType::BF16
                && head_size <= LARGEST_CHUNKED_HEAD
                && offsets.rows() >= CHUNKED_FROM * offsets.sequences(),
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

    fn sweep(&self, sweep: Sweep, args: &[Arg]) -> Result<()> {
        // With the rows of a head that go to shared memory by tokens, and what does in chunks.
        let (name, ways, rows, [each, more]) = match sweep {
            Sweep::Forward => ("delta_forward", 1, 6 * STEP + 2, VALUES_SHARED),
            Sweep::BackwardValues => ("delta_backward_values", 1, 6 * STEP + 2, VALUES_SHARED),
            Sweep::BackwardKeys => ("delta_backward_keys", 2, 7 * STEP, KEYS_SHARED),
        };
        let size = self.head_size;
        let blocks = [self.sequences, self.n_head, ways];
        let (kernel, grid) = if self.is_chunked {
            let grid = Grid {
                blocks,
                threads: 2 * size + 2 * ROLE,
                shared: each * size + more,
            };
            (format!("{name}_chunked_{size}"), grid)
        } else {
            let grid = Grid {
                blocks,
                threads: PARTS * size,
                shared: rows * size * size_of::<f32>(),
            };
            (format!("{name}_{}_{size}", suffix(self.like)?), grid)
        };
        self.launch(&kernel, grid, args)
    }

    /// Runs the kernel that gives q.
    fn scores(&self, delta: &Delta, [r, k]: [&Tensor; 2], q: &Tensor) -> Result<()> {
        let args = [
            pointer(r)?,
            pointer(k)?,
            pointer(&delta.bonus)?,
            pointer(q)?,
            int(self.rows)?,
            int(self.n_head)?,
            int(self.head_size)?,
        ];
        let kernel = format!("delta_scores_{}", suffix(r)?);
        let grid = Grid::each(self.rows * self.n_head * LANES);
        // SAFETY: the kernel's arguments; `mod.rs` checked that shapes agree.
        unsafe { launch(gpu(r)?, &kernel, grid, &args) }
    }

    /// Runs the kernel that goes through a sequence with some threads for each channel.
    fn gradients(&self, args: &[Arg]) -> Result<()> {
        let channels = self.n_head * self.head_size;
        let kernel = format!("delta_gradients_{}", suffix(self.like)?);
        let grid = Grid {
            blocks: [self.sequences, channels.div_ceil(GRADIENT_CHANNELS), 1],
            threads: GRADIENT_CHANNELS * GRADIENT_LANES,
            shared: 0,
        };
        self.launch(&kernel, grid, args)
    }

    /// Runs a kernel that takes the inputs first.
    fn launch(&self, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        let args = [&self.inputs[..], args].concat();
        // SAFETY: the kernels' arguments, as their file lists them; `mod.rs` checked that shapes
        // agree.
        unsafe { launch(gpu(self.like)?, kernel, grid, &args) }
    }
}
