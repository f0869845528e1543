//! When a run ends, and why.

use std::fmt;

use crate::setting::{EXIT_LOSS, MAX_EPOCHS, MAX_TIME, PATIENCE, RESUME};
use crate::system::signals::POWER;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};

/// Why a run ended without an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stop {
    /// The loss fell below the limit that was set for it.
    ExitLoss {
        /// The loss of the last step.
        loss: f64,
        /// The limit.
        exit_loss: f64,
    },
    /// All steps are done.
    MaxEpochs {
        /// How many times over the data that is; may be a fraction.
        max_epochs: f64,
    },
    /// The time is over.
    MaxTime {
        /// The limit, in seconds.
        max_time: f64,
    },
    /// The loss on held-out examples has not become better for a while.
    Patience {
        /// How many evaluations in a row were no better.
        evals: usize,
    },
    /// The signal with this number asked for it.
    Signal(i32),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExitLoss { loss, exit_loss } => {
                write!(f, "the loss {loss:.4} is below {EXIT_LOSS} {exit_loss}")
            }
            Self::MaxEpochs { max_epochs } => write!(f, "{MAX_EPOCHS} {max_epochs} done"),
            Self::MaxTime { max_time } => write!(f, "{MAX_TIME} {max_time} seconds are over"),
            Self::Patience { evals } => {
                write!(
                    f,
                    "{evals} evaluations in a row were no better ({PATIENCE})"
                )
            }
            Self::Signal(SIGINT) => write!(f, "interrupted"),
            Self::Signal(SIGHUP) => write!(f, "hung up"),
            Self::Signal(SIGTERM) => write!(f, "asked to terminate"),
            Self::Signal(SIGUSR1) => write!(f, "asked to finish (SIGUSR1)"),
            Self::Signal(SIGUSR2) => write!(f, "asked to finish (SIGUSR2)"),
            Self::Signal(SIGQUIT) => write!(f, "asked to quit (SIGQUIT)"),
            Self::Signal(signal) if Some(*signal) == POWER => write!(f, "the power fails (SIGPWR)"),
            Self::Signal(SIGXCPU) => write!(f, "the limit on processor time is reached (SIGXCPU)"),
            Self::Signal(SIGXFSZ) => {
                write!(f, "the limit on the size of files is reached (SIGXFSZ)")
            }
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

impl Stop {
    /// How to go on from this end, unless another limit is reached as well.
    pub fn way_on(&self) -> String {
        match self {
            Self::ExitLoss { .. } => format!("{RESUME} goes on with a lower {EXIT_LOSS} (0: none)"),
            Self::MaxEpochs { .. } => format!("{RESUME} goes on with a higher {MAX_EPOCHS}"),
            Self::MaxTime { .. } => format!("{RESUME} goes on with a higher {MAX_TIME}"),
            Self::Patience { .. } => {
                format!("{RESUME} goes on with a higher {PATIENCE} (0: none)")
            }
            Self::Signal(_) => format!("{RESUME} goes on"),
        }
    }
}

/// The limits of a run.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The last step: [`steps`] of the data, the batch size and what is done.
    pub steps: usize,
    /// A step whose loss is below this is the last one.
    pub exit_loss: f64,
    /// What `steps` was made from, for the message.
    pub max_epochs: f64,
    /// Seconds from the first step on, those before a resume included.
    pub max_time: f64,
}

impl Limits {
    /// Why to stop after a step, if there is a reason.
    pub fn reached(&self, step: usize, loss: f64, seconds: f64) -> Option<Stop> {
        let &Self {
            steps,
            exit_loss,
            max_epochs,
            max_time,
        } = self;
        if loss < exit_loss {
            Some(Stop::ExitLoss { loss, exit_loss })
        } else if step >= steps {
            Some(Stop::MaxEpochs { max_epochs })
        } else if seconds >= max_time {
            Some(Stop::MaxTime { max_time })
        } else {
            None
        }
    }

    /// Seconds that a run may still take after `step` steps in `seconds`.
    pub fn left(&self, step: usize, seconds: f64) -> f64 {
        let by_steps = seconds / step as f64 * self.steps.saturating_sub(step) as f64;
        by_steps.min(self.max_time - seconds).max(0.0)
    }
}

/// The last step of a run over so many examples that has done `done` steps, for which `drawn` examples
/// were drawn: floor(max_epochs * examples / batch_size), at least 1, if batches were always as large.
/// A fraction like 20 * 3 / 7 epochs, rounded as it was written, still gives the 20 steps that were
/// meant.
pub fn steps(
    max_epochs: f64,
    examples: usize,
    batch_size: usize,
    (done, drawn): (usize, usize),
) -> usize {
    let left = max_epochs * examples as f64 * (1.0 + 1e-9) - drawn as f64;
    let steps = (left / batch_size as f64).floor().max(0.0) as usize;
    done.saturating_add(steps).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_whole_and_broken_epochs() {
        let steps = |max_epochs, examples, batch_size| {
            let fresh = steps(max_epochs, examples, batch_size, (0, 0));
            // A run that goes on has the same end.
            for done in 1..=fresh {
                let drawn = done * batch_size;
                assert_eq!(
                    steps(max_epochs, examples, batch_size, (done, drawn)),
                    fresh
                );
            }
            fresh
        };
        assert_eq!(steps(10.0, 300, 8), 375);
        assert_eq!(steps(3.0, 300, 8), 112);
        assert_eq!(steps(0.5, 3, 8), 1);
        for (wanted, batch_size, examples) in [(20, 3, 7), (20, 7, 11), (6, 8, 13), (29, 1, 100)] {
            let max_epochs = (wanted * batch_size) as f64 / examples as f64;
            assert_eq!(steps(max_epochs, examples, batch_size), wanted);
        }
    }

    #[test]
    fn epochs_count_examples_whatever_the_batches_were() {
        assert_eq!(steps(4.0, 300, 8, (150, 300)), 150 + 900 / 8);
        assert_eq!(steps(1.0, 300, 8, (4, 256)), 4 + 44 / 8);
        assert_eq!(steps(1.0, 300, 8, (150, 300)), 150);
        assert_eq!(steps(0.5, 300, 8, (150, 300)), 150);
    }

    #[test]
    fn reasons_and_their_order() {
        let limits = Limits {
            steps: 10,
            exit_loss: 0.5,
            max_epochs: 2.0,
            max_time: 60.0,
        };
        assert_eq!(limits.reached(9, 0.5, 59.0), None);
        assert!(matches!(
            limits.reached(9, 0.49, 59.0),
            Some(Stop::ExitLoss { .. })
        ));
        assert!(matches!(
            limits.reached(10, 0.5, 59.0),
            Some(Stop::MaxEpochs { .. })
        ));
        assert!(matches!(
            limits.reached(9, 0.5, 60.0),
            Some(Stop::MaxTime { .. })
        ));
    }

    #[test]
    fn time_left_is_bounded_by_max_time() {
        let limits = Limits {
            steps: 10,
            exit_loss: 0.5,
            max_epochs: 2.0,
            max_time: 60.0,
        };
        assert_eq!(limits.left(5, 20.0), 20.0);
        assert_eq!(limits.left(5, 40.0), 20.0);
        assert_eq!(limits.left(10, 80.0), 0.0);
    }
}
