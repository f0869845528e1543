//! Signals that ask a run to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::{self, Handle};

use super::limits::Stop;
use crate::console::Console;
use crate::system;

/// Ctrl-C, SIGTERM, and a terminal that goes away. The first signal is noted, so that the current
/// step is finished and the state saved; a second one ends the program at once.
pub struct Signals {
    latest: Arc<AtomicUsize>,
    listener: Handle,
}

impl Signals {
    /// Catches signals for as long as this lives. The first is answered on `console` at once, since
    /// a step may take a while.
    pub fn catch(console: Console) -> io::Result<Self> {
        let (latest, again) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        // A signal that `nohup` has ignored stays ignored.
        let mut heard = vec![SIGINT, SIGTERM];
        heard.extend((!system::ignores(SIGHUP)).then_some(SIGHUP));
        for &signal in &heard {
            // Handlers run in this order: a signal that finds `again` set ends the program, others
            // set it.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))?;
            flag::register(signal, Arc::clone(&again))?;
            flag::register_usize(signal, Arc::clone(&latest), signal as usize)?;
        }
        let mut arriving = iterator::Signals::new(heard)?;
        let listener = arriving.handle();
        thread::Builder::new()
            .name("signals".to_string())
            .spawn(move || {
                if let Some(signal) = arriving.forever().next() {
                    console.line(&format!(
                        "{}: finishing this step, then saving; once more stops at once, without saving",
                        Stop::Signal(signal)
                    ));
                }
            })?;
        Ok(Self { latest, listener })
    }

    /// Why to stop, if a signal came.
    pub fn caught(&self) -> Option<Stop> {
        match self.latest.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(Stop::Signal(signal as i32)),
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.listener.close();
    }
}
