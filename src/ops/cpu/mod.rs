//! What the ops' CPU kernels are made of: which instructions there are, vectors of them, where
//! numbers lie in memory and how they are written, and the threads that share the work.

pub(crate) mod activations;
#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod bf16;
pub mod buffers;
pub mod level;
pub(crate) mod output;
pub mod processor;
pub(crate) mod sequences;
pub(crate) mod tensor;
pub mod threads;
pub(crate) mod vector;

pub use processor::Processor;
