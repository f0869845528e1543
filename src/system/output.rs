//! Whether standard output was open when the program began. Where it was not, Rust opens /dev/null
//! in its place before `main`, and what is written there would be lost without a word.

/// Whether standard output was closed at the start, as by a shell's `>&-`.
#[cfg(target_os = "linux")]
pub fn output_was_closed() -> bool {
    at_start::CLOSED.load(std::sync::atomic::Ordering::Relaxed)
}

/// Whether standard output was closed at the start; `false`, since only Linux is asked in time.
#[cfg(not(target_os = "linux"))]
pub fn output_was_closed() -> bool {
    false
}

#[cfg(target_os = "linux")]
mod at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    pub static CLOSED: AtomicBool = AtomicBool::new(false);

    /// The system calls what this section names before Rust's runtime begins.
    // SAFETY: the section holds addresses of such functions, and this one needs nothing of Rust's
    // runtime.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: it only asks for the descriptor's flags.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        CLOSED.store(flags == -1, Ordering::Relaxed);
    }
}
