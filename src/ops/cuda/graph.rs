//! A run of kernels recorded once and launched as a whole: what a single token costs is otherwise mostly the launching of
//! some hundred small kernels one by one.
//!
//! A graph's kernels keep the addresses that they were recorded with. So `work` is run twice: the first time, which counts,
//! every output that it asks for is remembered; the second time, which only records, it gets the same ones again.

use std::cell::RefCell;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaGraph, sys};
use candle_core::{CudaDevice, DType, Result, Shape, Tensor, bail};

use super::{Arg, Grid, card, int, launch, pointer};

thread_local! {
    /// Outputs of the work under way, if they are to be remembered or given again.
    static OUTPUTS: RefCell<Option<Outputs>> = const { RefCell::new(None) };
}

struct Outputs {
    tensors: Vec<Tensor>,
    /// The next one to be given again; `None` while they are remembered.
    next: Option<usize>,
}

/// An output for `work` that is being recorded, or `None` where `make` it is the caller's.
pub fn output(
    shape: &Shape,
    dtype: DType,
    make: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    OUTPUTS.with_borrow_mut(|outputs| {
        let Some(Outputs { tensors, next }) = outputs else {
            return make();
        };
        match next {
            None => {
                let tensor = make()?;
                tensors.push(tensor.clone());
                Ok(tensor)
            }
            Some(next) => match tensors.get(*next) {
                Some(tensor) if tensor.shape() == shape && tensor.dtype() == dtype => {
                    *next += 1;
                    Ok(tensor.clone())
                }
                _ => bail!("work that is recorded asked for other memory than when it was run"),
            },
        }
    })
}

/// Recorded work, with the memory that it uses.
pub struct Graph {
    graph: CudaGraph,
    /// What the graph's kernels know the addresses of.
    _outputs: Vec<Tensor>,
    _copies: Copies,
}

impl Graph {
    /// Does `work`, then copies some of what it came to over what it began with; and records both. `work` may not copy
    /// from or to main memory, or wait. What it gave is written again at each launch; what it read, beside what is
    /// given to it again, must stay where it is.
    pub fn record<T>(
        gpu: &CudaDevice,
        work: impl Fn() -> anyhow::Result<T>,
        copies: impl FnOnce(&T) -> anyhow::Result<Copies>,
    ) -> anyhow::Result<(Self, T)> {
        let (done, outputs) = with_outputs(Vec::new(), None, &work)?;
        let copies = copies(&done)?;
        copies.launch()?;
        let stream = gpu.cuda_stream();
        stream
            .begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .w()?;
        let recorded = with_outputs(outputs, Some(0), || {
            work()?;
            Ok(copies.launch()?)
        });
        // Ended whatever happened, since nothing else can be done on the stream until then.
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).w();
        let ((), outputs) = recorded?;
        let Some(graph) = graph? else {
            anyhow::bail!("the GPU's driver recorded nothing");
        };
        graph.upload().w()?;
        Ok((
            Self {
                graph,
                _outputs: outputs,
                _copies: copies,
            },
            done,
        ))
    }

    /// Does it all again.
    pub fn launch(&self) -> Result<()> {
        self.graph.launch().w()
    }
}

/// Runs `work` with outputs remembered or given again, and gives them back.
fn with_outputs<T>(
    tensors: Vec<Tensor>,
    next: Option<usize>,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Tensor>)> {
    OUTPUTS.set(Some(Outputs { tensors, next }));
    let done = work();
    let outputs = OUTPUTS.take().map_or(Vec::new(), |outputs| outputs.tensors);
    Ok((done?, outputs))
}

/// Contiguous f32 tensors that are copied over others, all in one kernel.
pub struct Copies {
    /// `[count, 3]`: from, to, how many numbers.
    list: Tensor,
    most: usize,
}

impl Copies {
    /// From the first of each pair over the second.
    pub fn new(pairs: &[(Tensor, Tensor)]) -> Result<Self> {
        let mut list = Vec::with_capacity(3 * pairs.len());
        let mut most = 0;
        for (from, to) in pairs {
            if from.dtype() != DType::F32 || to.dtype() != DType::F32 || from.dims() != to.dims() {
                bail!("a copy of {:?} over {:?}", from.shape(), to.shape());
            }
            for tensor in [from, to] {
                match pointer(tensor)? {
                    Arg::Pointer(address) => list.push(address as i64),
                    other => bail!("{other:?} is no address"),
                }
            }
            list.push(from.elem_count() as i64);
            most = most.max(from.elem_count());
        }
        let Some((first, _)) = pairs.first() else {
            bail!("no copies");
        };
        Ok(Self {
            list: Tensor::from_vec(list, (pairs.len(), 3), first.device())?,
            most,
        })
    }

    /// Copies them. The tensors must still be there.
    pub fn launch(&self) -> Result<()> {
        let (count, _) = self.list.dims2()?;
        let grid = Grid {
            blocks: [self.most.div_ceil(256), count, 1],
            ..Grid::blocks(1)
        };
        let args = [pointer(&self.list)?, int(count)?];
        // SAFETY: the kernel's arguments; `new` took the list from tensors of equal size.
        unsafe { launch(card(&self.list)?, "copy_all", grid, &args) }
    }
}

/// Puts a number where a recorded kernel reads it.
pub fn set(number: &Tensor, value: i32) -> Result<()> {
    let Arg::Pointer(address) = pointer(number)? else {
        bail!("no address");
    };
    let stream = card(number)?.cuda_stream();
    // SAFETY: the tensor has one i32. The call takes the number itself, so that nothing of ours is read later.
    unsafe { sys::cuMemsetD32Async(address, value as u32, 1, stream.cu_stream()) }
        .result()
        .w()
}
