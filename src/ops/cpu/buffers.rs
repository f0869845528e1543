//! Memory for activations.
//!
//! A step allocates and frees buffers of megabytes for every op. An allocator that returns them to
//! the system gets pages that the system has to clear when it asks for them again, which cost a
//! sixth to a third of a step when it was measured. So the program, its benches and its examples
//! allocate with mimalloc, and have it keep what a step frees: the next step needs as much again. A
//! library does not choose the allocator of whoever links it, so each of these binaries declares it
//! (`#[global_allocator]`).

use std::ffi::{c_int, c_long};
use std::sync::Once;

/// Tells mimalloc never to return memory to the system. To be called before any thread is started,
/// and without effect after the first time and in a program that allocates with something else.
pub fn keep() {
    static FIRST: Once = Once::new();
    /// `mi_option_purge_delay` of mimalloc.h, which the crate does not name.
    const PURGE_DELAY: c_int = 15;
    const NEVER: c_long = -1;
    // SAFETY: sets one number; the function is not thread safe, and no other thread is there yet.
    FIRST.call_once(|| unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) });
}
