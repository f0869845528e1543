//! Panics of libraries that are errors here: they are caught, and nothing is printed.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether a panic on this thread is expected, and says nothing.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` with a library that panics where it should return an error. Other threads' panics are
/// printed as ever. Gives back what a panic said; nothing that `work` held may be used after one.
pub fn catch_quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    done.map_err(text_of)
}

fn text_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast_ref::<&str>()
            .map_or_else(String::new, |text| text.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_panic_said_is_given_back() {
        assert_eq!(catch_quietly(|| 1), Ok(1));
        let caught = catch_quietly::<()>(|| panic!("as a {} does", "library"));
        assert_eq!(caught, Err("as a library does".to_string()));
        assert_eq!(catch_quietly::<()>(|| panic!("so")), Err("so".to_string()));
        // What comes after one within another is still quiet, and what comes after both is not.
        let within = catch_quietly(|| {
            let caught = catch_quietly::<()>(|| panic!("so"));
            (caught.is_err(), QUIET.get())
        });
        assert_eq!((within, QUIET.get()), (Ok((true, true)), false));
    }
}
