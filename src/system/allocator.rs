//! What becomes of a request for memory that cannot be met. Rust's own answer is to abort with a core
//! dump; here it is one line, and exit code 1. The program's allocator alone does so (`main.rs`),
//! since it is the one place that every request comes by.

use std::alloc::{GlobalAlloc, Layout};

/// An allocator that ends the program with one line where the inner one has no memory.
pub struct Telling<A>(pub A);

// SAFETY: each call goes to the inner allocator as it is, and what it gives goes back.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Telling<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc`.
        got(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `alloc_zeroed`.
        got(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps to the contract of `realloc`.
        got(unsafe { self.0.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to the contract of `dealloc`.
        unsafe { self.0.dealloc(pointer, layout) }
    }
}

fn got(pointer: *mut u8, bytes: usize) -> *mut u8 {
    #[cfg(unix)]
    if pointer.is_null() {
        end(bytes);
    }
    pointer
}

/// Tells it and ends the program, by means that need no memory and wait for no lock.
#[cfg(unix)]
#[cold]
fn end(bytes: usize) -> ! {
    use std::fs::File;
    use std::io::Write;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;

    let mut text = [0; MOST];
    let length = line(bytes, &mut text);
    // SAFETY: standard error stays open as long as the process, and is not closed here.
    let mut errors = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDERR_FILENO) });
    // There is nobody left to tell if this fails.
    let _ = errors.write_all(&text[..length]);
    signal_hook::low_level::exit(1)
}

/// Room for the line.
#[cfg(unix)]
const MOST: usize = 300;

/// Writes the line into `text`, and returns its length.
#[cfg(unix)]
fn line(bytes: usize, text: &mut [u8; MOST]) -> usize {
    use std::io::Write;

    let mut rest = &mut text[..];
    let _ = writeln!(
        rest,
        "error: out of memory: {bytes} more bytes could not be had; end other programs, raise the \
         limit (of `ulimit -v`, a container or a job), or use a smaller model, smaller batches or \
         shorter data"
    );
    let left = rest.len();
    MOST - left
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_whole_for_any_request() {
        for bytes in [1, usize::MAX] {
            let mut text = [0; MOST];
            let length = line(bytes, &mut text);
            let line = str::from_utf8(&text[..length]).unwrap();
            assert!(line.contains(&bytes.to_string()), "{line}");
            assert!(line.ends_with("shorter data\n"), "{line}");
        }
    }
}
