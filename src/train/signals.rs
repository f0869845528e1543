//! How a run answers a signal that asks it to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::limits::Stop;
use crate::console::Console;
use crate::system::signals::Listener;

/// Notes a request to stop, so that the current step is finished and the state saved.
pub struct Signals {
    listener: Listener,
    is_saving: Arc<AtomicBool>,
}

impl Signals {
    /// Listens for as long as this lives. A request is answered on `console` at once, since a step
    /// may take a while. A later signal ends the program, after `at_once`.
    pub fn catch(console: Console, at_once: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let is_saving = Arc::new(AtomicBool::new(false));
        let saves = Arc::clone(&is_saving);
        let notice = move |signal| {
            let doing = match saves.load(Ordering::Relaxed) {
                true => "saving",
                false => "finishing this step, then saving",
            };
            console.line(&format!(
                "{}: {doing}; once more after a second stops at once, without saving",
                Stop::Signal(signal)
            ));
        };
        let listener = Listener::new(notice, at_once)?;
        Ok(Self {
            listener,
            is_saving,
        })
    }

    /// There is no further step: what is left is to save.
    pub fn begin_saving(&self) {
        self.is_saving.store(true, Ordering::Relaxed);
    }

    /// Why to stop, if a signal came.
    pub fn caught(&self) -> Option<Stop> {
        self.listener.caught().map(Stop::Signal)
    }
}
