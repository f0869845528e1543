//! Ranks that are threads of one process, for tests: sums are taken in the ranks' order, whoever comes
//! first.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Engine;

/// One of some threads.
struct Thread {
    rank: usize,
    job: Arc<Job>,
}

struct Job {
    size: usize,
    round: Mutex<Round>,
    changed: Condvar,
}

/// The call that all threads are in.
#[derive(Default)]
struct Round {
    number: usize,
    /// What each rank brought.
    parts: Vec<Option<Numbers>>,
    /// The sum of the round before.
    sum: Option<Numbers>,
    is_aborted: bool,
}

#[derive(Clone)]
enum Numbers {
    F64(Vec<f64>),
    F32(Vec<f32>),
}

impl Numbers {
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::F64(sum), Self::F64(part)) if sum.len() == part.len() => {
                sum.iter_mut()
                    .zip(part)
                    .for_each(|(sum, part)| *sum += part);
            }
            (Self::F32(sum), Self::F32(part)) if sum.len() == part.len() => {
                sum.iter_mut()
                    .zip(part)
                    .for_each(|(sum, part)| *sum += part);
            }
            _ => panic!("the ranks make different calls"),
        }
    }
}

/// One engine for each of `size` threads.
pub fn threads(size: usize) -> Vec<Box<dyn Engine>> {
    let job = Arc::new(Job {
        size,
        round: Mutex::new(Round {
            parts: vec![None; size],
            ..Round::default()
        }),
        changed: Condvar::new(),
    });
    let engine = |rank| {
        let job = Arc::clone(&job);
        Box::new(Thread { rank, job }) as Box<dyn Engine>
    };
    (0..size).map(engine).collect()
}

impl Job {
    /// A thread that panicked aborted the job by that.
    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, rank: usize, numbers: Numbers) -> Numbers {
        let mut round = self.round();
        round.parts[rank] = Some(numbers);
        let number = round.number;
        if round.parts.iter().all(Option::is_some) {
            let mut parts = round.parts.iter_mut().filter_map(Option::take);
            let sum = parts.next().map(|mut sum| {
                parts.for_each(|part| sum.add(&part));
                sum
            });
            round.sum = sum;
            round.number += 1;
            self.changed.notify_all();
        }
        while round.number == number && !round.is_aborted {
            round = (self.changed.wait(round)).unwrap_or_else(PoisonError::into_inner);
        }
        match &round.sum {
            Some(sum) if round.number > number => sum.clone(),
            _ => panic!("another rank aborted the job"),
        }
    }
}

impl Engine for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.job.size
    }

    fn sum_f64(&self, numbers: &mut [f64]) {
        if let Numbers::F64(sum) = self.job.sum(self.rank, Numbers::F64(numbers.to_vec())) {
            numbers.copy_from_slice(&sum);
        }
    }

    fn sum_f32(&self, numbers: &mut [f32]) {
        if let Numbers::F32(sum) = self.job.sum(self.rank, Numbers::F32(numbers.to_vec())) {
            numbers.copy_from_slice(&sum);
        }
    }

    fn finish(&self) {}

    fn abort(&self, _code: i32) {
        self.job.round().is_aborted = true;
        self.job.changed.notify_all();
    }
}

/// A thread that panics takes the others with it.
impl Drop for Thread {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort(1);
        }
    }
}
