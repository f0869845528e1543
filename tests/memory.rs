//! The memory plan against what a step of training really takes from the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::Device;
use state_tune::model::{Batch, FirstRow, Intermediates, ModelFile, Rwkv, Sequence, State};
use state_tune::ops::device::DeviceChoice;
use state_tune::ops::linear::{ProductType, Weights};
use state_tune::ops::{Compute, device};

/// The system's allocator, with a count of the bytes that are in use and of the most so far.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Long enough for rows to outweigh everything else.
const ROWS: usize = 1024;

const MODELS: [&str; 2] = ["examples/tiny/model.pth", "tests/golden/model_7.pth"];
/// On a GPU a product of several rows widens its matrix, which is planned for apart: here a head of a
/// small vocabulary.
const GPU_MODELS: [&str; 2] = ["tests/golden/model_5.2.pth", "tests/golden/model_7.pth"];

/// One way of computing a step.
struct Step {
    what: String,
    model: Rwkv,
    state: State,
    intermediates: Intermediates,
}

impl Step {
    /// All ways of computing one on a device.
    fn all(device: &Device, models: [&'static str; 2]) -> impl Iterator<Item = Self> {
        let ways = models.into_iter().flat_map(|path| {
            let products = [ProductType::F32, ProductType::Bf16].into_iter();
            products.flat_map(move |product| {
                [Intermediates::Keep, Intermediates::Recompute].map(|kept| (path, product, kept))
            })
        });
        ways.map(|(path, product, intermediates)| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let compute = Compute {
                device: device.clone(),
                ..Compute::from(product)
            };
            let model = Rwkv::load(&ModelFile::open(&path).unwrap(), compute).unwrap();
            let state = State::zeros(model.config()).unwrap();
            Self {
                what: format!("{}, {product}, {intermediates:?}", path.display()),
                state: state.to_device(device).unwrap(),
                model,
                intermediates,
            }
        })
    }

    /// Computes it with so many rows, of which the first and the last are scored: what lies between
    /// them goes through the whole of the last block, and the head's logits are planned for apart.
    fn run(&self, rows: usize) {
        // Tokens that the smallest vocabulary has.
        let tokens: Vec<u32> = (0..=rows as u32).map(|i| 1 + i % 150).collect();
        let sequence = Sequence {
            tokens: &tokens,
            scored: &[1..2, rows..rows + 1],
        };
        let batch = Batch::pack([sequence], FirstRow::Token);
        self.model
            .loss_and_gradient(&batch, &self.state, self.intermediates, 1.0)
            .unwrap();
    }

    fn planned(&self) -> usize {
        ROWS * self.model.bytes_per_row(self.intermediates)
    }

    #[track_caller]
    fn check(&self, taken: usize) {
        let planned = self.planned();
        let share = taken as f64 / planned as f64;
        println!("{}: {taken} of {planned} bytes, {share:.2}", self.what);
        assert!(
            (0.4..=1.0).contains(&share),
            "{}: a step takes {share:.2} of what is planned",
            self.what
        );
    }
}

#[test]
fn a_step_takes_what_the_plan_says() {
    // One test for both generations: the count is of all that the process takes.
    for step in Step::all(&Device::Cpu, MODELS) {
        // What stays from the first time on is no part of a step.
        step.run(ROWS);
        let before = USED.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        step.run(ROWS);
        step.check(PEAK.load(Ordering::Relaxed) - before);
    }
}

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn a_step_on_a_gpu_takes_what_the_plan_says() {
    let opened = Compute::fastest(DeviceChoice::Cuda(0), None, Weights::File).unwrap();
    let gpu = opened.compute.device;
    let memory = || device::gpu_memory(&gpu).unwrap().unwrap();
    let mut steps: Vec<Step> = Step::all(&gpu, GPU_MODELS).collect();
    // A GPU's peak only grows: what takes least comes first, and no model goes before the end.
    steps.sort_by_key(Step::planned);
    for step in &steps {
        step.run(2);
        let before = memory().used;
        step.run(ROWS);
        step.check((memory().peak - before) as usize);
    }
}
