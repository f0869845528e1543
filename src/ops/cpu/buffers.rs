//! Memory for activations.
//!
//! A step allocates and frees buffers of megabytes for every op. An allocator that gives those back to the system has
//! them cleared, page by page, when it asks for them again, which cost a sixth to a third of a step when it was measured.
//! This one keeps them: what a step needs, the next one will need too.

use std::ffi::{c_int, c_long};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells the allocator never to give memory back. Before any thread is started.
pub fn keep() {
    /// `mi_option_purge_delay` of mimalloc.h, which the crate does not name.
    const PURGE_DELAY: c_int = 15;
    const NEVER: c_long = -1;
    // SAFETY: sets one number; the function is not thread safe, and no other thread is there yet.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, NEVER) }
}
