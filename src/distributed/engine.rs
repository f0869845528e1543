//! What a run on several ranks asks of whatever connects them: few calls, since all else is made of
//! sums.

/// Connects the ranks of a run. Every rank makes the same calls in the same order, and each call
/// waits until all have made it.
pub trait Engine: Send + Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Puts the sum over all ranks in the place of each number: on all ranks the same bits.
    fn sum_f64(&self, numbers: &mut [f64]);

    /// The same of numbers in single precision.
    fn sum_f32(&self, numbers: &mut [f32]);

    /// Leaves the job in order, when all have done what they had to.
    fn finish(&self);

    /// Ends all ranks at once.
    fn abort(&self, code: i32);
}

/// A single rank, which needs nothing.
pub struct One;

impl Engine for One {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_f64(&self, _numbers: &mut [f64]) {}

    fn sum_f32(&self, _numbers: &mut [f32]) {}

    fn finish(&self) {}

    fn abort(&self, _code: i32) {}
}
