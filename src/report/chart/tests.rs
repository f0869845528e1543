//! Charts drawn in both ways, with values that have a place on their axis and values that have
//! none.

use super::*;

fn chart(scale: Scale, values: &[f64]) -> Chart {
    let points = values.iter().enumerate().map(|(i, &value)| (i + 1, value));
    Chart {
        title: "Loss",
        caption: "",
        unit: "loss",
        scale,
        series: vec![Series {
            name: "each step",
            style: Style::RAW,
            mark: Mark::Line,
            points: points.collect(),
        }],
    }
}

fn html(scale: Scale, values: &[f64]) -> Option<String> {
    let html = chart(scale, values).html(values.len());
    html.map(Markup::into_string)
}

#[test]
fn a_curve_is_in_steps_and_thousandths() {
    let svg = html(Scale::Fit, &[4.0, 3.0, 0.0]).unwrap();
    assert!(svg.contains(r#"viewBox="0 0 3 1000""#), "{svg}");
    assert!(
        svg.contains(r#"d="M1 0.0L1 0.0 2 250.0 3 1000.0""#),
        "{svg}"
    );
}

#[test]
fn what_is_no_number_is_a_gap() {
    let values = [4.0, f64::NAN, 2.0, f64::INFINITY, 0.0, 4.0];
    let svg = html(Scale::Fit, &values).unwrap();
    let path = r#"d="M1 0.0L1 0.0M3 500.0L3 500.0M5 1000.0L5 1000.0 6 0.0""#;
    assert!(svg.contains(path), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert!(html(Scale::Log, &[0.0, f64::NAN]).is_none());
    assert!(html(Scale::Log, &[]).is_none());
}

#[test]
fn one_step_is_a_dot() {
    assert!(
        html(Scale::Fit, &[4.0])
            .unwrap()
            .contains(r#"d="M1 0.0h0""#)
    );
}

#[test]
fn a_picture_of_its_own_has_the_same_curve_in_its_frame() {
    let svg = chart(Scale::Fit, &[4.0, 3.0, 0.0]).svg(4).into_string();
    let (x, y) = (
        |step| 64.0 + 704.0 * step / 4.0,
        |place: f64| 96.0 + 306.0 * (1.0 - place),
    );
    let path = format!(
        r#"d="M{a} {top:.1}L{a} {top:.1} {b} {:.1} {c} {:.1}""#,
        y(0.75),
        y(0.0),
        a = x(1.0),
        b = x(2.0),
        c = x(3.0),
        top = y(1.0)
    );
    assert!(svg.contains(&path), "{path} in {svg}");
    for label in [
        ">Loss<",
        ">loss<",
        ">step<",
        "each step",
        ">0<",
        ">2<",
        ">4<",
    ] {
        assert!(svg.contains(label), "{label} in {svg}");
    }
    // Any viewer shows it: nothing is left to a style sheet.
    assert!(!svg.contains("class=") && !svg.contains("var("), "{svg}");
}

#[test]
fn a_picture_without_values_is_a_picture() {
    let svg = chart(Scale::Log, &[f64::NAN]).svg(1).into_string();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{svg}");
    assert!(!svg.contains("<path"), "{svg}");
}

#[test]
fn colours_are_those_of_the_page() {
    let css = include_str!("../page/style.css");
    let light = css.split("@media").next().unwrap();
    for Style { class, colour, .. } in [
        Style::RAW,
        Style::SMOOTH,
        Style::HELD_OUT,
        Style::ONE,
        Style::TWO,
        Style::THREE,
    ] {
        let tint = |line: &&str| line.contains("--tint") && line.contains(&format!(".{class}"));
        let line = css.lines().find(tint).unwrap();
        let name = line.split("var(").nth(1).unwrap().split(')').next();
        let wanted = format!("{}: {colour};", name.unwrap());
        assert!(light.contains(&wanted), "{class}: {wanted}");
    }
}
