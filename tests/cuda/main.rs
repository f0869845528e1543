//! Every op on a GPU against the same op on the processor, which its own tests hold to float64:
//! over lengths, head sizes and storage types, at the borders of chunks and sequences. The whole
//! model is in `golden.rs`.
//!
//! Without a GPU, `tools/cuda-emulator/run cargo test --features cuda --test cuda -- --ignored`
//! runs these tests on kernels that the processor executes thread by thread.

#[path = "../common/mod.rs"]
mod common;
mod delta;
mod learning;
mod products;
mod reading;
mod rows;
mod seven;
mod sides;
mod wkv;
