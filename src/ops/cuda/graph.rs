//! A sequence of kernels that is recorded once and launched as a whole: most of what a single token
//! costs would otherwise be the launching of some hundred small kernels one by one.
//!
//! A graph's kernels keep the addresses that they were recorded with. So the work is done twice.
//! The first time its kernels run, and every output that it allocates is remembered; the second
//! time they are only recorded, and it gets the same outputs again.

use std::cell::RefCell;

use candle_core::{CudaDevice, DType, Result, Shape, Tensor, bail};

use super::driver::Recording;
use super::{Grid, address, gpu, int, launch, pointer};

thread_local! {
    /// The outputs of the work under way, if that work is to be recorded.
    static OUTPUTS: RefCell<Option<RecordedOutputs>> = const { RefCell::new(None) };
}

struct RecordedOutputs {
    tensors: Vec<Tensor>,
    /// The next one to be given again; `None` while they are remembered.
    next: Option<usize>,
}

/// An output of a kernel: what `make` allocates, unless the work under way is being recorded and
/// has its output already.
pub fn output(
    shape: &Shape,
    dtype: DType,
    make: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    OUTPUTS.with_borrow_mut(|outputs| {
        let Some(RecordedOutputs { tensors, next }) = outputs else {
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
    recording: Recording,
    /// The graph's kernels write to these addresses.
    _outputs: Vec<Tensor>,
    _copies: Copies,
}

impl Graph {
    /// Does `work`, then copies some of its results over some of its inputs; and records both.
    /// `work` may not copy from or to main memory, or wait. Each launch writes its results again;
    /// its inputs, other than those that are copied over, must stay where they are.
    pub fn record<T>(
        gpu: &CudaDevice,
        work: impl Fn() -> anyhow::Result<T>,
        copies: impl FnOnce(&T) -> anyhow::Result<Copies>,
    ) -> anyhow::Result<(Self, T)> {
        let (done, outputs) = with_outputs(Vec::new(), None, &work)?;
        let copies = copies(&done)?;
        copies.launch()?;
        let mut kept = Vec::new();
        let recording = Recording::new(gpu, || {
            ((), kept) = with_outputs(outputs, Some(0), || {
                work()?;
                Ok(copies.launch()?)
            })?;
            Ok(())
        })?;
        Ok((
            Self {
                recording,
                _outputs: kept,
                _copies: copies,
            },
            done,
        ))
    }

    /// Does it all again.
    pub fn launch(&self) -> Result<()> {
        self.recording.launch()
    }
}

/// Runs `work` with outputs remembered or given again, and gives them back.
fn with_outputs<T>(
    tensors: Vec<Tensor>,
    next: Option<usize>,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Tensor>)> {
    OUTPUTS.set(Some(RecordedOutputs { tensors, next }));
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
                list.push(address(tensor)? as i64);
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
        unsafe { launch(gpu(&self.list)?, "copy_all", grid, &args) }
    }
}
