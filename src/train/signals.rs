//! How a run answers a signal that asks it to stop.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::limits::Stop;
use crate::console::{self, Console};
use crate::distributed::Ranks;
use crate::system::signals::{Later, Listener};

/// Notes a request to stop, so that the current step is finished and the state saved.
pub struct Signals {
    listener: Listener,
    is_saving: Arc<AtomicBool>,
    /// Whether several ranks have to stop together.
    is_shared: bool,
    /// The signal that all ranks know of.
    agreed: Cell<Option<i32>>,
}

impl Signals {
    /// Listens for as long as this lives. A request is answered on `console` at once, since a step
    /// may take a while. A later signal ends the program, after `at_once`; but not one of several
    /// ranks, whose launcher sends what it likes and would end the others with it.
    pub fn catch(
        ranks: &Ranks,
        console: Console,
        at_once: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let is_shared = ranks.count() > 1;
        let is_saving = Arc::new(AtomicBool::new(false));
        let saves = Arc::clone(&is_saving);
        let notice = move |signal| {
            console::hurry();
            let doing = match saves.load(Ordering::Relaxed) {
                true => "saving",
                false => "finishing this step, then saving",
            };
            let more = match is_shared {
                true => "",
                false => "; once more after a second stops at once, without saving",
            };
            console.line(&format!("{}: {doing}{more}", Stop::Signal(signal)));
        };
        let later = match is_shared {
            true => Later::Ignored,
            false => Later::Ends(Box::new(at_once)),
        };
        console::write_aside()?;
        let listener = Listener::new(notice, later)?;
        Ok(Self {
            listener,
            is_saving,
            is_shared,
            agreed: Cell::new(None),
        })
    }

    /// There is no further step: what is left is to save.
    pub fn begin_saving(&self) {
        self.is_saving.store(true, Ordering::Relaxed);
    }

    /// Why to stop, if a signal came to this rank.
    pub fn caught(&self) -> Option<Stop> {
        self.listener.caught().map(Stop::Signal)
    }

    /// The same as a number for the other ranks; 0 is no signal.
    pub fn number(&self) -> f64 {
        self.listener.caught().map_or(0.0, f64::from)
    }

    /// Takes note of what each rank's number is, from which on all know of the first signal.
    pub fn agree(&self, numbers: impl Iterator<Item = f64>) {
        let first = numbers
            .filter(|&number| number > 0.0)
            .map(|number| number as i32)
            .next();
        self.agreed.set(self.agreed.get().or(first));
    }

    /// Why all ranks stop, if one of them said that a signal came to it.
    pub fn agreed(&self) -> Option<Stop> {
        match self.is_shared {
            true => self.agreed.get().map(Stop::Signal),
            false => self.caught(),
        }
    }
}
