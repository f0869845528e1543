//! What the ops' CPU kernels are made of: which instructions there are, vectors of them, where numbers lie in memory and
//! how they are written, and the threads that share the work.

pub mod buffers;
pub mod level;
pub(crate) mod numbers;
pub(crate) mod output;
#[doc(hidden)]
pub mod roofs;
pub mod threads;
pub(crate) mod vector;
