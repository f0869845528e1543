//! Quantised numbers against the definition, in float64, by trying every code.

use super::*;
use crate::ops::cpu::level::tests::at_each_level;
use crate::ops::cpu::vector::Plain;
use crate::ops::testing::uniform;

const FORMS: [Form; 2] = [Form::Int8, Form::Nf4];

/// Quantises a matrix that is given row after row.
fn quantised(form: Form, [rows, columns]: [usize; 2], w: &[f32]) -> Result<Quantised> {
    Quantised::new(form, [rows, columns], |row, out| {
        out.copy_from_slice(&w[row * columns..][..columns]);
    })
}

fn row(numbers: &Quantised, row: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; columns];
    numbers.part(row, 0..columns).widen::<Plain>(&mut out);
    out
}

/// What the codes of a block with this scale may stand for, as the module says it.
fn codes(form: Form, scale: f32) -> Vec<f64> {
    let scale = f64::from(scale);
    match form {
        Form::Int8 => (-127..=127).map(|code| scale * f64::from(code)).collect(),
        Form::Nf4 => LEVELS.map(|level| scale * f64::from(level)).to_vec(),
    }
}

fn scale(form: Form, block: &[f32]) -> f32 {
    let most = block.iter().fold(0f32, |most, x| most.max(x.abs()));
    bf16::from_f32(match form {
        Form::Int8 => most / 127.0,
        Form::Nf4 => most,
    })
    .to_f32()
}

/// Rows of uniform numbers, of ever larger ones within a block, of few values, and of extreme
/// sizes.
fn matrices() -> Result<Vec<([usize; 2], Vec<f32>)>> {
    let mut all = Vec::new();
    for (seed, [rows, columns]) in (1..).zip([[1, 1], [3, 63], [2, 64], [5, 65], [7, 200]]) {
        let uniform: Vec<f64> = uniform(seed, &[rows, columns], -1.0, 1.0)?
            .flatten_all()?
            .to_vec1()?;
        let kinds: [fn(usize, f64) -> f64; 7] = [
            |_, x| x,
            |i, x| x * 1.3f64.powi((i % 60) as i32),
            |i, _| (i % 3) as f64 - 1.0,
            |_, _| 0.0,
            |i, x| if i % 130 < 70 { 0.0 } else { x },
            |_, x| x * 1e-40,
            |_, x| x * 3e38,
        ];
        for kind in kinds {
            let numbers = uniform.iter().enumerate();
            let numbers = numbers.map(|(i, &x)| kind(i, x) as f32);
            all.push(([rows, columns], numbers.collect()));
        }
    }
    Ok(all)
}

#[test]
fn every_number_gets_the_nearest_code() -> Result<()> {
    at_each_level(|level| {
        for form in FORMS {
            for ([rows, columns], w) in matrices()? {
                let numbers = quantised(form, [rows, columns], &w)?;
                for (i, w) in w.chunks(columns).enumerate() {
                    let got = row(&numbers, i, columns);
                    for (w, got) in w.chunks(BLOCK).zip(got.chunks(BLOCK)) {
                        let scale = scale(form, w);
                        let codes = codes(form, scale);
                        for (&w, &got) in w.iter().zip(got) {
                            let (w, got) = (f64::from(w), f64::from(got));
                            let off = |x: f64| (x - w).abs();
                            let nearest = codes.iter().map(|&x| off(x)).fold(f64::MAX, f64::min);
                            // Half a unit of f32, or the least number that there is, for the
                            // arithmetic.
                            let slack = 1e-7 * f64::from(scale).max(w.abs()) + 1e-45;
                            assert!(
                                off(got) <= nearest + slack,
                                "{level} {form}: {got} for {w}, scale {scale}"
                            );
                        }
                    }
                }
            }
        }
        Ok(())
    })
}

/// Half a step of int8, which is 1/127 of a block's largest number; half of nf4's widest gap.
#[test]
fn no_number_is_further_off_than_half_a_gap() -> Result<()> {
    for (form, bound) in [(Form::Int8, 0.5 / 127.0), (Form::Nf4, 0.152)] {
        for ([rows, columns], w) in matrices()? {
            // Numbers that bf16 itself cannot tell apart are another matter.
            if w.iter().all(|x| x.abs() < 1e-38) {
                continue;
            }
            let numbers = quantised(form, [rows, columns], &w)?;
            for (i, w) in w.chunks(columns).enumerate() {
                let got = row(&numbers, i, columns);
                for (w, got) in w.chunks(BLOCK).zip(got.chunks(BLOCK)) {
                    let most = w.iter().fold(0f32, |most, x| most.max(x.abs()));
                    for (w, got) in w.iter().zip(got) {
                        // bf16 rounds the scale by at most 1/256.
                        let bound = bound * most * (1.0 + 1.0 / 256.0);
                        assert!((w - got).abs() <= bound, "{form}: {got} for {w} of {most}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_layout_is_as_documented() -> Result<()> {
    // Two rows of two blocks, of which the second has six numbers; each block's largest is 127 or
    // 1.
    let code = |i: usize| (i * 37 % 255) as i32 - 127;
    let mut w: Vec<f32> = (0..140).map(|i| code(i) as f32).collect();
    w[0] = 127.0;
    w[64] = 127.0;
    let numbers = quantised(Form::Int8, [2, 70], &w)?;
    assert_eq!(numbers.codes.len(), 2 * 2 * 64);
    assert_eq!(numbers.codes[64], 127);
    for i in 1..64 {
        assert_eq!(i32::from(numbers.codes[i] as i8), code(i), "{i}");
    }
    assert!(numbers.codes[70..128].iter().all(|&code| code == 0));
    assert_eq!(numbers.scales.len(), 2 * 2 * 2);
    assert_eq!(numbers.scales[..4], [0x80, 0x3f, 0x80, 0x3f]);

    let level = |i: usize| (i * 7) % 16;
    let w: Vec<f32> = (0..70).map(|i| 2.0 * LEVELS[level(i)]).collect();
    let numbers = quantised(Form::Nf4, [1, 70], &w)?;
    assert_eq!(numbers.codes.len(), 2 * 32);
    for j in 0..32 {
        let byte = usize::from(numbers.codes[j]);
        assert_eq!((byte % 16, byte / 16), (level(j), level(32 + j)), "{j}");
    }
    // Past the row's end stands the level 0.
    for j in 6..32 {
        assert_eq!(numbers.codes[32 + j] % 16, 7);
    }
    assert_eq!(numbers.scales[..2], bf16::from_f32(2.0).to_le_bytes());
    Ok(())
}

#[test]
fn a_part_is_what_the_whole_row_has_there() -> Result<()> {
    let columns = 200;
    let ([rows, _], w) = &matrices()?[28];
    for form in FORMS {
        let numbers = quantised(form, [*rows, columns], w)?;
        for (start, len) in [(0, 16), (16, 32), (48, 32), (64, 64), (176, 24), (192, 0)] {
            let mut got = vec![f32::NAN; len];
            let part = numbers.part(3, start..start + len);
            assert_eq!(part.len(), len);
            part.widen::<Plain>(&mut got);
            assert_eq!(got, row(&numbers, 3, columns)[start..start + len]);
        }
    }
    Ok(())
}

#[test]
fn what_is_not_finite_is_an_error_that_says_where() {
    for (value, said) in [
        (f32::NAN, "NaN"),
        (f32::NEG_INFINITY, "-inf"),
        (f32::MAX, "3402823"),
    ] {
        for form in FORMS {
            let mut w = vec![0.5; 3 * 70];
            w[70 + 65] = value;
            let error = quantised(form, [3, 70], &w).unwrap_err().to_string();
            assert!(error.contains("row 1, column 65 is"), "{error}");
            assert!(error.contains(said), "{error}");
            assert!(error.contains(&form.to_string()), "{error}");
        }
    }
}

/// As QLoRA makes the levels: quantiles of the normal distribution, eight above zero and seven
/// below, with 0 between, all over the largest.
#[test]
fn nf4_is_qloras() {
    const OFFSET: f64 = 0.967_708_333;
    let above = (0..8).map(|i| quantile(OFFSET + (0.5 - OFFSET) * f64::from(i) / 8.0));
    let below = (0..7).map(|i| -quantile(OFFSET + (0.5 - OFFSET) * f64::from(i) / 7.0));
    let mut want: Vec<f64> = above.chain(below).chain([0.0]).collect();
    want.sort_by(f64::total_cmp);
    let most = want[15];
    for (got, want) in LEVELS.into_iter().zip(want) {
        assert!(
            (f64::from(got) - want / most).abs() < 1e-6,
            "{got} {}",
            want / most
        );
    }
}

/// Below which a normal number stays with probability p, at least a half; by halving.
fn quantile(p: f64) -> f64 {
    let density = |x: f64| (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    // Simpson's rule from 0 to x.
    let probability = |x: f64| {
        const STEPS: u32 = 1000;
        let h = x / f64::from(STEPS);
        let sum: f64 = (0..=STEPS)
            .map(|i| {
                let weight = match i {
                    0 | STEPS => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                weight * density(f64::from(i) * h)
            })
            .sum();
        0.5 + sum * h / 3.0
    };
    let (mut low, mut high) = (0.0, 4.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if probability(middle) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}
