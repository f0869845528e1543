//! Which token comes next: the most likely one, or one drawn by temperature and top-p.

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;

use super::Settings;

/// Chooses one token after another. The same settings and logits give the same tokens.
pub struct Sampler {
    temperature: f64,
    top_p: f64,
    rng: StdRng,
}

impl Sampler {
    /// A sampler at the beginning of its random numbers.
    pub fn new(settings: &Settings) -> Self {
        Self {
            temperature: settings.temperature,
            top_p: settings.top_p,
            rng: StdRng::seed_from_u64(settings.seed),
        }
    }

    /// The next token, by the model's logits over all tokens. Errors when one of them is not
    /// finite.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        let best = likeliest(logits)?;
        if self.temperature == 0.0 {
            return Ok(best as u32);
        }
        let weights = weights(logits, logits[best], self.temperature, self.top_p);
        let drawn = WeightedIndex::new(weights).context("no token can be drawn")?;
        Ok(drawn.sample(&mut self.rng) as u32)
    }
}

/// The index of the largest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Result<usize> {
    let mut best = 0;
    for (i, &logit) in logits.iter().enumerate() {
        ensure!(
            logit.is_finite(),
            "the model's prediction for token {i} is {logit}: the model or the state is broken"
        );
        if logit > logits[best] {
            best = i;
        }
    }
    Ok(best)
}

/// How often each token is drawn, in proportion to the most likely one, which is 1.
///
/// `top_p` cuts by the model's own probabilities, before the temperature changes them, as the
/// `rwkv` package's `sample_logits` does: so a high temperature lets no further token in. Other
/// programs cut afterwards.
fn weights(logits: &[f32], top: f32, temperature: f64, top_p: f64) -> Vec<f64> {
    let least = least(logits, top, top_p);
    let weight = |&logit: &f32| {
        if logit < least {
            0.0
        } else {
            (above(logit, top) / temperature).exp()
        }
    };
    logits.iter().map(weight).collect()
}

/// The smallest logit that is drawn: the last of as few of the most likely tokens as have `top_p`
/// of the probability together. Tokens exactly as likely as that one are drawn too.
fn least(logits: &[f32], top: f32, top_p: f64) -> f32 {
    if top_p >= 1.0 {
        return f32::NEG_INFINITY; // rounding must not lose one
    }
    let mut sorted = logits.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let probability = |&logit: &f32| above(logit, top).exp();
    let enough = top_p * sorted.iter().map(probability).sum::<f64>();
    let mut sum = 0.0;
    let last = sorted.iter().find(|&logit| {
        sum += probability(logit);
        sum >= enough
    });
    last.copied().unwrap_or(f32::NEG_INFINITY)
}

/// A logit minus the largest one. It is at most 0, so its exponential cannot overflow.
fn above(logit: f32, top: f32) -> f64 {
    f64::from(logit) - f64::from(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of these probabilities; any constant may be added to them.
    fn logits(probabilities: &[f64]) -> Vec<f32> {
        let logit = |p: &f64| (p.ln() + 7.0) as f32;
        probabilities.iter().map(logit).collect()
    }

    fn sampler(temperature: f64, top_p: f64, seed: u64) -> Sampler {
        Sampler::new(&Settings {
            temperature,
            top_p,
            seed,
            ..Settings::greedy(1)
        })
    }

    /// How often each of the tokens comes in 20,000 draws.
    fn shares(probabilities: &[f64], temperature: f64, top_p: f64) -> Vec<f64> {
        const DRAWS: usize = 20_000;
        let (logits, mut sampler) = (logits(probabilities), sampler(temperature, top_p, 1));
        let mut counts = vec![0; logits.len()];
        for _ in 0..DRAWS {
            counts[sampler.next(&logits).unwrap() as usize] += 1;
        }
        let share = |count| f64::from(count) / DRAWS as f64;
        counts.into_iter().map(share).collect()
    }

    #[test]
    fn the_first_of_equal_logits_wins_and_broken_ones_are_refused() {
        assert_eq!(likeliest(&[0.0, 2.0, 2.0, 1.0]).unwrap(), 1);
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for temperature in [0.0, 1.0] {
                let error = sampler(temperature, 0.5, 1).next(&[0.0, broken]);
                assert!(error.unwrap_err().to_string().contains("token 1"));
            }
        }
    }

    #[test]
    fn tokens_come_as_often_as_worked_out_by_hand() {
        const P: [f64; 4] = [0.3, 0.05, 0.5, 0.15];
        // (temperature, top_p, shares); a zero is exact.
        let cases = [
            (1.0, 1.0, [0.3, 0.05, 0.5, 0.15]),
            // 0.5 + 0.3 are the first to reach 0.7: 3/8 and 5/8 of them.
            (1.0, 0.7, [0.375, 0.0, 0.625, 0.0]),
            // 0.5 does not reach 0.51.
            (1.0, 0.51, [0.375, 0.0, 0.625, 0.0]),
            (1.0, 0.49, [0.0, 0.0, 1.0, 0.0]),
            (1.0, 1e-9, [0.0, 0.0, 1.0, 0.0]),
            // Squares: 0.09, 0.0025, 0.25, 0.0225 of 0.365.
            (0.5, 1.0, [0.2466, 0.0068, 0.6849, 0.0616]),
            // Square roots. Tempered first, 0.75 would take in a third token; its own probabilities
            // need two.
            (2.0, 0.75, [0.4365, 0.0, 0.5635, 0.0]),
            (1e9, 1.0, [0.25, 0.25, 0.25, 0.25]),
            (1e-9, 1.0, [0.0, 0.0, 1.0, 0.0]),
            (5e-324, 1.0, [0.0, 0.0, 1.0, 0.0]),
        ];
        for (temperature, top_p, wanted) in cases {
            let shares = shares(&P, temperature, top_p);
            for (share, wanted) in shares.iter().zip(wanted) {
                // A share's standard deviation is at most 0.0036 here.
                let close = (share - wanted).abs() < 0.015;
                let set = (*share == 0.0) == (wanted == 0.0);
                assert!(close && set, "{temperature} {top_p}: {shares:?}");
            }
        }
    }

    #[test]
    fn equals_of_the_last_token_are_drawn_too() {
        let shares = shares(&[0.25, 0.5, 0.25], 1.0, 0.6);
        assert!(shares.iter().all(|&share| share > 0.2), "{shares:?}");
    }

    #[test]
    fn logits_of_any_size_are_drawn_from() {
        for logits in [[f32::MAX, f32::MIN], [f32::MAX; 2], [f32::MIN; 2]] {
            for top_p in [0.5, 1.0] {
                assert!(sampler(1.0, top_p, 1).next(&logits).unwrap() < 2);
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let run = |seed| {
            let (logits, mut sampler) = (logits(&[0.25; 4]), sampler(1.0, 1.0, seed));
            let tokens = (0..50).map(|_| sampler.next(&logits).unwrap());
            tokens.collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
