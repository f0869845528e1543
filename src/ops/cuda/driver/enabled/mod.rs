//! NVIDIA's driver and libraries, by way of the ones that candle has opened.

mod blas;
mod errors;
mod launch;
mod memory;
mod open;
mod recording;

pub use blas::gemm;
pub use errors::is_out_of_memory;
pub use launch::{address, launch};
pub use memory::{give_back_memory, memory};
pub use open::{name, open};
pub use recording::{Recording, set};
