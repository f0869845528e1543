//! Cross-entropy as the definition reads, differentiable by candle.

use candle_core::{D, Result, Tensor};

/// The summed loss of logits `[R, V]`, a scalar.
pub fn loss(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let targets = Tensor::new(targets, logits.device())?.unsqueeze(1)?;
    (log_sum - shifted.gather(&targets, 1)?)?.sum_all()
}

/// How many targets are their row's largest logit, where no two are equal.
pub fn hits(logits: &Tensor, targets: &[u32]) -> Result<usize> {
    let choices: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
    Ok(choices.iter().zip(targets).filter(|(a, b)| a == b).count())
}
