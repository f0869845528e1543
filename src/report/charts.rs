//! The charts that a run has.

use super::chart::axis::{Scale, extent};
use super::chart::{Chart, Mark, Series, Style};
use super::{Eval, History, Step};

/// From this ratio of the highest to the lowest loss on, the scale is logarithmic.
const WIDE: f64 = 20.0;

/// The charts of a run, the most telling first.
pub fn all(history: &History) -> Vec<Chart> {
    vec![
        loss(history),
        Chart {
            title: "Held-out accuracy",
            caption: "How often the model's first guess is the right next token, in held-out answers.",
            unit: "% of tokens",
            scale: Scale::Fit,
            series: vec![held_out(history, |e| e.accuracy * 100.0)],
        },
        Chart {
            title: "Gradient norms",
            caption: "How hard each group of learnt numbers is pulled; a run that goes well calms down.",
            unit: "norm",
            scale: Scale::Log,
            series: vec![
                norms(history, "soft prompt", Style::ONE, |s| {
                    s.grad_norms.soft_prompt
                }),
                norms(history, "shifts", Style::TWO, |s| s.grad_norms.shift),
                norms(history, "wkv", Style::THREE, |s| s.grad_norms.wkv),
            ],
        },
        Chart {
            title: "Learning rate",
            caption: "How far each step goes.",
            unit: "learning rate",
            scale: Scale::FromZero,
            series: vec![steps(history, Style::SMOOTH, Mark::Line, |s| {
                s.learning_rate
            })],
        },
        Chart {
            title: "Speed",
            caption: "Tokens computed in a second, prompts included.",
            unit: "tokens a second",
            scale: Scale::FromZero,
            series: vec![steps(history, Style::SMOOTH, Mark::Noisy, |s| {
                s.tokens_per_s
            })],
        },
    ]
}

/// The loss of each step, smoothed and of held-out examples.
pub fn loss(history: &History) -> Chart {
    Chart {
        title: "Loss",
        caption: match history.evals.is_empty() {
            true => "How surprised the model is by the answers it learns from; lower is better.",
            false => {
                "How surprised the model is by the answers it learns from, and by held-out ones, from which it does \
                 not learn; lower is better."
            }
        },
        unit: "loss a token",
        scale: loss_scale(history),
        series: vec![
            steps(history, Style::RAW, Mark::Line, |s| s.loss),
            Series {
                name: "smoothed",
                ..steps(history, Style::SMOOTH, Mark::Line, |s| s.loss_avg)
            },
            held_out(history, |e| e.loss),
        ],
    }
}

fn steps(history: &History, style: Style, mark: Mark, value: fn(&Step) -> f64) -> Series {
    let steps = history.steps.iter();
    Series {
        name: "each step",
        style,
        mark,
        points: steps.map(|step| (step.step, value(step))).collect(),
    }
}

fn norms(
    history: &History,
    name: &'static str,
    style: Style,
    value: fn(&Step) -> Option<f64>,
) -> Series {
    let steps = history.steps.iter();
    let point = |step: &Step| (step.step, value(step).unwrap_or(f64::NAN));
    Series {
        name,
        style,
        mark: Mark::Noisy,
        points: steps.map(point).collect(),
    }
}

fn held_out(history: &History, value: fn(&Eval) -> f64) -> Series {
    let evals = history.evals.iter();
    Series {
        name: "held-out",
        style: Style::HELD_OUT,
        mark: Mark::Dots,
        points: evals.map(|eval| (eval.step, value(eval))).collect(),
    }
}

/// A log scale where the losses differ by a large ratio, unless one is zero, which has no place on
/// it.
fn loss_scale(history: &History) -> Scale {
    let steps = history.steps.iter().flat_map(|s| [s.loss, s.loss_avg]);
    let losses = steps.chain(history.evals.iter().map(|e| e.loss));
    match extent(Scale::Fit, losses) {
        Some((low, high)) if low > 0.0 && high / low > WIDE => Scale::Log,
        _ => Scale::Fit,
    }
}
