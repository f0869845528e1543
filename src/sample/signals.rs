//! Signals that end an answer: what was said so far is kept, and what ended it is told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

/// Ctrl-C and SIGTERM. The first is noted, a second one ends the program at once: a long prompt
/// takes its time.
pub struct Signals {
    latest: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Signals {
    /// Notes signals for as long as this lives.
    pub fn catch() -> io::Result<Self> {
        let (latest, again) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut registered = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in this order: a signal that finds `again` set ends the program, others
            // set it.
            registered.extend([
                flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?,
                flag::register(signal, Arc::clone(&again))?,
                flag::register_usize(signal, Arc::clone(&latest), signal as usize)?,
            ]);
        }
        Ok(Self { latest, registered })
    }

    /// The signal that came, if one did.
    pub fn caught(&self) -> Option<i32> {
        match self.latest.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }

    /// An error of the kind that breaks an answer off, if a signal came.
    pub fn check(&self) -> io::Result<()> {
        match self.caught() {
            Some(_) => Err(io::ErrorKind::Interrupted.into()),
            None => Ok(()),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}
