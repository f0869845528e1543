//! What was learnt, a row for each layer: norms as colours, and as numbers where there is room.

use maud::{Markup, html};

use crate::report::LayerNorms;
use crate::report::chart::axis::{Scale, extent, foot};
use crate::report::chart::number::figure;

/// With more heads than this, numbers in the cells would not be readable.
const ROOMY: usize = 12;

/// What a cell shows beside its colour.
#[derive(Clone, Copy, PartialEq)]
enum Cells {
    Numbered,
    Empty,
}

/// The norms from the palest colour to the strongest.
struct Shades {
    low: f64,
    high: f64,
}

impl Shades {
    /// `None` when there is nothing to see: no value, or only zeros, as of a group that is not
    /// tuned. The palest is zero unless that would make all of them strong.
    fn new(norms: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = extent(Scale::FromZero, norms)?;
        let low = foot(low, high);
        (high > 0.0).then_some(Self { low, high })
    }

    fn share(&self, norm: f64) -> f64 {
        ((norm - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn cell(&self, layer: usize, what: &str, norm: Option<f64>, cells: Cells) -> Markup {
        let Some(norm) = norm.filter(|norm| norm.is_finite()) else {
            return html! { td title={ "layer " (layer) ", " (what) ": none" } { "–" } };
        };
        let share = self.share(norm);
        let decimals = (3.0 - self.high.log10().floor()).clamp(0.0, 6.0) as usize; // four digits of the highest
        html! {
            td class=[(share > 0.58).then_some("deep")] style={ "--share:" (format!("{:.1}%", share * 100.0)) }
                title={ "layer " (layer) ", " (what) ": " (figure(norm)) }
            {
                @if cells == Cells::Numbered { (format!("{norm:.decimals$}")) }
            }
        }
    }

    fn legend(&self, what: &str) -> Markup {
        html! {
            span { (what) " " b { (figure(self.low)) } i.ramp {} b { (figure(self.high)) } }
        }
    }
}

/// The table and its legend; `None` when there is nothing to see.
pub fn map(layers: &[LayerNorms]) -> Option<Markup> {
    let shifts = Shades::new(layers.iter().flat_map(|l| [l.att_shift, l.ffn_shift]));
    let wkv = Shades::new(layers.iter().flat_map(|l| l.wkv.iter().copied()));
    if shifts.is_none() && wkv.is_none() {
        return None;
    }
    let heads = layers.iter().map(|l| l.wkv.len()).max().unwrap_or(0);
    let cells = match heads <= ROOMY {
        true => Cells::Numbered,
        false => Cells::Empty,
    };
    Some(html! {
        p.legend {
            @if let Some(shades) = &shifts { (shades.legend("shifts")) }
            @if let Some(shades) = &wkv { (shades.legend("heads")) }
        }
        div.scroll tabindex="0" role="region" aria-label="Norms by layer" {
            table class=(if cells == Cells::Numbered { "heat" } else { "heat dense" }) {
                thead {
                    tr {
                        th scope="col" rowspan="2" { "layer" }
                        @if shifts.is_some() { th scope="colgroup" colspan="2" { "shift" } }
                        @if wkv.is_some() { th scope="colgroup" colspan=(heads) { "head" } }
                    }
                    tr {
                        @if shifts.is_some() { th scope="col" { "att" } th scope="col" { "ffn" } }
                        @if wkv.is_some() {
                            @for head in 0..heads { th scope="col" { (head) } }
                        }
                    }
                }
                tbody {
                    @for (i, layer) in layers.iter().enumerate() {
                        tr {
                            th scope="row" { (i) }
                            @if let Some(shades) = &shifts {
                                (shades.cell(i, "att shift", Some(layer.att_shift), cells))
                                (shades.cell(i, "ffn shift", Some(layer.ffn_shift), cells))
                            }
                            @if let Some(shades) = &wkv {
                                @for head in 0..heads {
                                    (shades.cell(i, &format!("head {head}"), layer.wkv.get(head).copied(), cells))
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(att_shift: f64, ffn_shift: f64, wkv: &[f64]) -> LayerNorms {
        LayerNorms {
            att_shift,
            ffn_shift,
            wkv: wkv.to_vec(),
        }
    }

    fn text(layers: &[LayerNorms]) -> String {
        map(layers).unwrap().into_string()
    }

    #[test]
    fn shifts_and_heads_have_a_scale_each() {
        let text = text(&[layer(1.0, 0.5, &[40.0, 80.0])]);
        for cell in [
            r#"<td class="deep" style="--share:100.0%" title="layer 0, att shift: 1">1.000</td>"#,
            r#"<td style="--share:50.0%" title="layer 0, ffn shift: 0.5">0.500</td>"#,
            r#"<td style="--share:50.0%" title="layer 0, head 0: 40">40.00</td>"#,
            r#"<td class="deep" style="--share:100.0%" title="layer 0, head 1: 80">80.00</td>"#,
        ] {
            assert!(text.contains(cell), "{cell} in {text}");
        }
    }

    #[test]
    fn norms_that_are_nearly_alike_are_told_apart() {
        let text = text(&[layer(64.0, 64.5, &[]), layer(64.25, 65.0, &[])]);
        assert!(
            text.contains("--share:0.0%") && text.contains("--share:25.0%"),
            "{text}"
        );
    }

    #[test]
    fn what_was_not_learnt_has_no_column() {
        let text = text(&[layer(0.0, 0.0, &[1.0]), layer(0.0, f64::NAN, &[2.0])]);
        assert!(!text.contains("shift"), "{text}");
        assert!(
            !map(&[layer(1.0, 1.0, &[0.0])])
                .unwrap()
                .into_string()
                .contains(">head<")
        );
        assert!(map(&[layer(0.0, 0.0, &[0.0, f64::NAN])]).is_none());
        assert!(map(&[]).is_none());
    }

    #[test]
    fn norms_that_are_no_numbers_have_no_colour() {
        let text = text(&[
            layer(1.0, f64::NAN, &[f64::INFINITY, 1.0]),
            layer(1.0, 1.0, &[1.0]),
        ]);
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert_eq!(text.matches("–</td>").count(), 3, "{text}");
    }

    #[test]
    fn many_heads_are_colours_alone() {
        let text = text(&[layer(1.0, 1.0, &[7.0; 40])]);
        assert!(
            text.contains(r#"title="layer 0, head 39: 7"></td>"#),
            "{text}"
        );
    }
}
