//! Chunks against the reference in float64, at each level.

use super::*;
use crate::ops::cpu::level::Level;
use crate::ops::linear::blocks::CHUNKS_OF;

/// What a decay is for chunks to be taken, at least.
const LEAST: f64 = 5e-3;
/// Products of chunks, and how far y, ends and gradients may be off by norm.
const PRODUCTS: [(ProductType, f64); 2] = [(ProductType::F32, 2e-6), (ProductType::Bf16, 5e-3)];

fn check_chunks(decay: &Tensor, lengths: &[usize]) -> Result<()> {
    check_case(
        &Case::new(decay, Offsets::from_lengths(lengths.to_vec()))?,
        lengths,
    )
}

fn check_case(case: &Case, lengths: &[usize]) -> Result<()> {
    let decay = &case.decay;
    let want = case.wanted()?;
    let has_chunks = decay.min_all()?.to_scalar::<f64>()? >= LEAST;
    at_each_level(|level| {
        for (product, tolerance) in PRODUCTS {
            // There an f32 goes in parts, which blocks do not have.
            if level == Level::Amx && product == ProductType::F32 {
                continue;
            }
            CHUNKS_OF.set(Some(product));
            let got = case.got(ProductType::F32);
            CHUNKS_OF.set(None);
            let got = got?;
            let by_tokens = case.got(ProductType::F32)?;
            let off = (&got[0] - &by_tokens[0])?.abs()?.max_all()?;
            assert_eq!(
                off.to_scalar::<f32>()? > 0.0,
                has_chunks,
                "{level}: in chunks or not"
            );
            for ((name, got), want) in MADE.iter().zip(got).zip(&want) {
                let shape = decay.dims();
                let what = format!("{name} of {shape:?}, {lengths:?}, {product:?}, {level}");
                close_by_norm(&what, &got, want, tolerance);
            }
        }
        Ok(())
    })
}

#[test]
fn chunks_agree_with_the_reference() -> Result<()> {
    let lengths: [&[usize]; 6] = [&[32], &[31, 1, 32], &[33], &[5, 0, 64], &[70, 3], &[130]];
    for heads in [[1, 5], [2, 32], [1, 64], [1, 96]] {
        for lengths in lengths {
            // From a decay that forgets nearly at once to one that bf16 would round to 1.
            check_chunks(&uniform(5, &heads, 0.006, 0.9999)?, lengths)?;
        }
    }
    Ok(())
}

#[test]
fn chunks_of_decays_at_both_ends_of_their_range() -> Result<()> {
    for decay in [0.0, 1e-30, 4.99e-3, 5.01e-3, 0.02, 1.0] {
        let decay = ((uniform(5, &[2, 32], 0.0, 1.0)? * 0.0)? + decay)?;
        check_chunks(&decay, &[300, 40, 1])?;
    }
    Ok(())
}

/// Small gradients stay numbers beside the smallest power of a decay, and large activations beside its
/// inverse.
#[test]
fn chunks_of_small_gradients_and_large_activations() -> Result<()> {
    let decay = ((uniform(5, &[1, 64], 0.0, 1.0)? * 0.0)? + 5.01e-3)?;
    let lengths = [96];
    let mut case = Case::new(&decay, Offsets::from_lengths(lengths))?;
    case.dy = (&case.dy * 1e-13)?;
    check_case(&case, &lengths)?;
    let mut case = Case::new(&decay, Offsets::from_lengths(lengths))?;
    for x in &mut case.rkv {
        *x = Var::from_tensor(&(x.as_tensor() * 1e4)?)?;
    }
    check_case(&case, &lengths)
}

/// Numbers that are not finite stay with the sequence that has them, whose thread goes on to others.
#[test]
fn what_is_not_finite_stays_in_its_sequence() -> Result<()> {
    let (sequences, length, size) = (40, 32, 5);
    let decay = uniform(5, &[1, size], 0.1, 0.9)?;
    let new = || Case::new(&decay, Offsets::from_lengths(vec![length; sequences]));
    let (case, mut with_bad) = (new()?, new()?);
    let v = case.rkv[2].as_tensor();
    let bad = Tensor::full(f64::INFINITY, (length, size), v.device())?;
    let others = v.narrow(0, length, (sequences - 1) * length)?;
    with_bad.rkv[2] = Var::from_tensor(&Tensor::cat(&[&bad, &others], 0)?)?;
    at_each_level(|level| {
        let [got, want] = [&with_bad, &case].map(|case| -> Result<Vec<Tensor>> {
            CHUNKS_OF.set(Some(ProductType::Bf16));
            let got = case.got(ProductType::F32);
            CHUNKS_OF.set(None);
            let [y, _, dr, dk, dv, _] = got?;
            let others = |x: Tensor| x.narrow(0, length, (sequences - 1) * length);
            [y, dr, dk, dv].into_iter().map(others).collect()
        });
        for (got, want) in got?.iter().zip(&want?) {
            close(&format!("others at {level}"), got, want, 0.0);
        }
        Ok(())
    })
}
