//! Which signals are ignored. Asked of the system itself, since /proc is not everywhere.

/// Whether a signal is ignored, as `nohup` or a shell's `&` has it at the start.
#[cfg(unix)]
pub fn ignores(signal: i32) -> bool {
    // SAFETY: all zeros are a `sigaction`, and without a new action the call only fills it in.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether a signal is ignored; `false`, since this system does not tell.
#[cfg(not(unix))]
pub fn ignores(_: i32) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_rust_ignores_is_seen_and_nothing_else() {
        // Rust's runtime ignores SIGPIPE, and nobody can ignore SIGKILL.
        assert!(ignores(libc::SIGPIPE));
        assert!(!ignores(libc::SIGKILL) && !ignores(libc::SIGVTALRM));
        assert!(!ignores(9999), "there is no such signal");
    }
}
