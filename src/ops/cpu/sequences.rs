//! What sequences share: the state that each begins with.

/// The sum of what each sequence has of a state's gradient, `numbers` of them a sequence. In f64, so
/// that ranks that share the sequences give nearly the same sum.
pub fn sum_over_sequences(gradients: &[f32], numbers: usize) -> Vec<f32> {
    let mut sums = vec![0.0; numbers];
    for gradient in gradients.chunks_exact(numbers) {
        for (sum, g) in sums.iter_mut().zip(gradient) {
            *sum += f64::from(*g);
        }
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}
