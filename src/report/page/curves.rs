//! Which charts a run has.

use super::axis::{Scale, extent};
use super::chart::{Chart, Mark, Series};
use crate::report::{Eval, History, Step};

/// Losses of so different a size are told apart by their ratio.
const WIDE: f64 = 20.0;

/// The charts of a run, the most telling first.
pub fn charts(history: &History) -> Vec<Chart> {
    let steps = |name, class, mark, value: fn(&Step) -> f64| Series {
        name,
        class,
        mark,
        points: history.steps.iter().map(|s| (s.step, value(s))).collect(),
    };
    let held_out = |value: fn(&Eval) -> f64| Series {
        name: "held-out",
        class: "held",
        mark: Mark::Dots,
        points: history.evals.iter().map(|e| (e.step, value(e))).collect(),
    };
    vec![
        Chart {
            title: "Loss",
            caption: match history.evals.is_empty() {
                true => {
                    "How surprised the model is by the answers it learns from; lower is better."
                }
                false => {
                    "How surprised the model is by the answers it learns from, and by held-out ones, from which it does \
                     not learn; lower is better."
                }
            },
            unit: "loss a token",
            scale: loss_scale(history),
            series: vec![
                steps("each step", "raw", Mark::Line, |s| s.loss),
                steps("smoothed", "smooth", Mark::Line, |s| s.loss_avg),
                held_out(|e| e.loss),
            ],
        },
        Chart {
            title: "Held-out accuracy",
            caption: "How often the model's first guess is the right next token, in held-out answers.",
            unit: "% of tokens",
            scale: Scale::Fit,
            series: vec![held_out(|e| e.accuracy * 100.0)],
        },
        Chart {
            title: "Gradient norms",
            caption: "How hard each group of learnt numbers is pulled; a run that goes well calms down.",
            unit: "norm",
            scale: Scale::Log,
            series: vec![
                steps("soft prompt", "one", Mark::Noisy, |s| {
                    s.grad_norms.soft_prompt.unwrap_or(f64::NAN)
                }),
                steps("shifts", "two", Mark::Noisy, |s| {
                    s.grad_norms.shift.unwrap_or(f64::NAN)
                }),
                steps("wkv", "three", Mark::Noisy, |s| {
                    s.grad_norms.wkv.unwrap_or(f64::NAN)
                }),
            ],
        },
        Chart {
            title: "Learning rate",
            caption: "How far each step goes.",
            unit: "learning rate",
            scale: Scale::FromZero,
            series: vec![steps("each step", "smooth", Mark::Line, |s| {
                s.learning_rate
            })],
        },
        Chart {
            title: "Speed",
            caption: "Tokens computed in a second, prompts included.",
            unit: "tokens a second",
            scale: Scale::FromZero,
            series: vec![steps("each step", "smooth", Mark::Noisy, |s| {
                s.tokens_per_s
            })],
        },
    ]
}

/// A log scale where the losses span more than one size, unless one is zero and would be lost.
fn loss_scale(history: &History) -> Scale {
    let steps = history.steps.iter().flat_map(|s| [s.loss, s.loss_avg]);
    let losses = steps.chain(history.evals.iter().map(|e| e.loss));
    match extent(Scale::Fit, losses) {
        Some((low, high)) if low > 0.0 && high / low > WIDE => Scale::Log,
        _ => Scale::Fit,
    }
}
