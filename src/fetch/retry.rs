//! How long to wait before the next try, and when there is none.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// How long to wait for a server, and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub stall: Duration,
    /// Before the second try; it doubles from then on.
    pub first_delay: Duration,
    /// More tries after the first, as long as nothing new arrives.
    pub tries: usize,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stall: Duration::from_secs(60),
            first_delay: Duration::from_secs(1),
            tries: 7,
        }
    }
}

/// The longest wait that a server may ask for. If it asks for more, there is no further try.
const LONGEST: Duration = Duration::from_secs(600);

/// The delays before further tries.
pub struct Delays {
    builder: ExponentialBuilder,
    left: ExponentialBackoff,
}

/// What follows a try that failed.
pub enum AfterFailure {
    TryAfter(Duration),
    /// All tries are used up.
    GiveUp,
    /// The server asks for more patience than there is.
    TooLong(Duration),
}

impl Delays {
    pub fn new(policy: &RetryPolicy) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(policy.first_delay)
            .with_max_delay(Duration::from_secs(30))
            .with_max_times(policy.tries)
            .with_jitter();
        Self {
            left: builder.build(),
            builder,
        }
    }

    /// After progress: short delays again, and as many tries as at first.
    pub fn begin_anew(&mut self) {
        self.left = self.builder.build();
    }

    /// What follows a try that failed, where the server may have asked to wait for so long.
    pub fn next(&mut self, asked: Option<Duration>) -> AfterFailure {
        let Some(delay) = self.left.next() else {
            return AfterFailure::GiveUp;
        };
        match asked.map_or(delay, |asked| asked.max(delay)) {
            delay if delay > LONGEST => AfterFailure::TooLong(delay),
            delay => AfterFailure::TryAfter(delay),
        }
    }
}
