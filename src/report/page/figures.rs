//! The few numbers that say how a run went.

use maud::{Markup, html};

use crate::console::duration;
use crate::report::chart::number::{count, figure};
use crate::report::{Eval, History};

/// A number in large type, and what it is to be compared with.
struct Figure {
    name: &'static str,
    value: String,
    beside: String,
}

/// All figures that the run has.
pub fn tiles(history: &History) -> Markup {
    let mut tiles = of_steps(history);
    let second = tiles.len().min(1); // beside the loss
    tiles.splice(second..second, of_evals(&history.evals));
    html! {
        @if !tiles.is_empty() {
            dl.tiles {
                @for tile in tiles {
                    div { dt { (tile.name) } dd.value { (tile.value) } dd { (tile.beside) } }
                }
            }
        }
    }
}

fn of_steps(history: &History) -> Vec<Figure> {
    let (Some(first), Some(last)) = (history.steps.first(), history.steps.last()) else {
        return Vec::new();
    };
    let steps = history.steps.len();
    let tokens: usize = history.steps.iter().map(|step| step.tokens_seen).sum();
    let mut tiles = vec![
        Figure {
            name: "Loss, last step",
            value: figure(last.loss),
            beside: format!("{} at first", figure(first.loss)),
        },
        Figure {
            name: "Steps",
            value: count(steps),
            beside: format!("pass {} over the data", count(last.epoch)),
        },
        Figure {
            name: "Time",
            value: duration(last.seconds),
            beside: format!("{} s a step", figure(last.seconds / steps as f64)),
        },
    ];
    if last.seconds > 0.0 {
        tiles.push(Figure {
            name: "Tokens a second",
            value: count((tokens as f64 / last.seconds).round() as usize),
            beside: format!("{} tokens in all", count(tokens)),
        });
    }
    tiles
}

fn of_evals(evals: &[Eval]) -> Vec<Figure> {
    let tile = |name, best: Option<&Eval>, text: fn(&Eval) -> String| {
        let (first, best) = (evals.first()?, best?);
        let beside = match first.step == best.step {
            true => format!("best, at step {}", count(best.step)),
            false => format!(
                "best, at step {}; {} at first",
                count(best.step),
                text(first)
            ),
        };
        Some(Figure {
            name,
            value: text(best),
            beside,
        })
    };
    let losses = evals.iter().filter(|eval| eval.loss.is_finite());
    let accuracies = evals.iter().filter(|eval| eval.accuracy.is_finite());
    let best_loss = losses.min_by(|a, b| a.loss.total_cmp(&b.loss));
    // Of equals, the first: what came later was not needed.
    let best_accuracy = accuracies.min_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
    [
        tile("Held-out loss", best_loss, |eval| figure(eval.loss)),
        tile("Held-out accuracy", best_accuracy, |eval| {
            format!("{:.1}\u{202f}%", eval.accuracy * 100.0)
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}
