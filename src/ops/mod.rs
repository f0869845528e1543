//! The operations that a model is made of, each with a gradient written by hand.
//!
//! Every op is a folder: `mod.rs` says the maths, checks shapes and dispatches; `cpu.rs` is the
//! kernel, and `cuda.rs` with a `.cu`, where there is one, the same for NVIDIA GPUs; `reference.rs` is the same thing
//! slow and obvious, in candle's differentiable tensor operations, so that a test can run it in
//! float64 and let candle find the gradient, and a bench can time it beside the kernel. [`adam`] and
//! [`rows`] have neither: on the processor they are candle's operations themselves. All of them
//! see *flat* activations `[N, C]`: the rows of all sequences one after another, no batch axis and
//! no padding. Where sequences begin and end matters to three ops only ([`token_shift`], [`wkv`] and
//! [`delta`]), which take [`Offsets`].
//!
//! What products take and give, forward and backward, is stored in the product's type ([`linear`]),
//! f32 or bf16; sums, states, what is learnt, and the x that goes from layer to layer are f32. So are, on
//! a processor and forward, time-mix's r, k, v, gate and y and channel-mix's r.

pub mod adam;
mod compute;
pub mod cpu;
pub mod cross_entropy;
#[cfg_attr(
    not(feature = "cuda"),
    expect(dead_code, reason = "what only NVIDIA's libraries read and make")
)]
pub(crate) mod cuda;
pub mod delta;
pub mod delta_output;
pub mod device;
pub mod gates;
pub mod linear;
pub mod low_rank;
pub mod norm;
mod offsets;
pub mod reduce;
#[doc(hidden)]
pub mod roofs;
pub mod rows;
pub mod token_shift;
pub mod value_residual;
pub mod wkv;

#[cfg(test)]
pub(crate) mod testing;

pub use self::compute::Compute;
pub use self::offsets::Offsets;
