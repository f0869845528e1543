//! The memory plan against what a step of training really takes from the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use state_tune::model::{Batch, FirstRow, Intermediates, ModelFile, Rwkv, Sequence, State};
use state_tune::ops::linear::ProductType;

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

#[test]
fn a_step_takes_what_the_plan_says() {
    // One test for both generations: the count is of all that the process takes.
    takes_what_is_planned("examples/tiny/model.pth");
    takes_what_is_planned("tests/golden/model_7.pth");
}

fn takes_what_is_planned(path: &str) {
    let file = ModelFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    // Tokens that the smallest vocabulary has.
    let tokens: Vec<u32> = (0..=ROWS as u32).map(|i| 1 + i % 150).collect();
    // One prediction is scored: the head's logits are planned for apart.
    let sequence = Sequence {
        tokens: &tokens,
        scored: &[Range {
            start: ROWS,
            end: ROWS + 1,
        }],
    };
    let batch = Batch::pack([sequence], FirstRow::Token);
    for product in [ProductType::F32, ProductType::Bf16] {
        let model = Rwkv::load(&file, product).unwrap();
        let state = State::zeros(model.config()).unwrap();
        for intermediates in [Intermediates::Keep, Intermediates::Recompute] {
            let step = || {
                model
                    .loss_and_gradient(&batch, &state, intermediates, 1.0)
                    .unwrap()
            };
            // What stays from the first time on is no part of a step.
            step();
            let before = USED.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            step();
            let taken = PEAK.load(Ordering::Relaxed) - before;
            let planned = ROWS * model.bytes_per_row(intermediates);
            let share = taken as f64 / planned as f64;
            println!(
                "{path}, {product}, {intermediates:?}: {taken} of {planned} bytes, {share:.2}"
            );
            assert!(
                (0.4..=1.0).contains(&share),
                "{path}, {product}, {intermediates:?}: a step takes {share:.2} of what is planned"
            );
        }
    }
}
