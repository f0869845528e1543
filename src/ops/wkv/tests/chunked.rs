//! Chunks against the reference in float64, at each level.

use super::*;
use crate::ops::cpu::level::Level;
use crate::ops::linear::blocks::CHUNKS_OF;

/// What a decay is for chunks to be taken, at least.
const LEAST: f64 = 5e-4;
/// Products of chunks, and how far y, ends and gradients may be off by norm.
const PRODUCTS: [(ProductType, f64); 2] = [(ProductType::F32, 2e-6), (ProductType::Bf16, 5e-3)];

fn check_chunks(decay: &Tensor, lengths: &[usize]) -> Result<()> {
    let case = Case::new(decay, Offsets::from_lengths(lengths.to_vec()))?;
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
            if has_chunks {
                let by_tokens = case.got(ProductType::F32)?;
                let off = (&got[0] - &by_tokens[0])?.abs()?.max_all()?;
                assert!(off.to_scalar::<f32>()? > 0.0, "{level}: not in chunks");
            }
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
            check_chunks(&uniform(5, &heads, 0.001, 0.9999)?, lengths)?;
        }
    }
    Ok(())
}

#[test]
fn chunks_of_decays_at_both_ends_of_their_range() -> Result<()> {
    for decay in [0.0, 1e-30, 4.99e-4, 5e-4, 1e-3, 1.0] {
        let decay = ((uniform(5, &[2, 32], 0.0, 1.0)? * 0.0)? + decay)?;
        check_chunks(&decay, &[300, 40, 1])?;
    }
    Ok(())
}
