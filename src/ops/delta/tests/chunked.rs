//! Chunks against the reference in float64, at each level.

use super::*;
use crate::ops::linear::blocks::CHUNKS_OF;

/// Products of chunks, and how far y, ends and gradients may be off by norm.
const PRODUCTS: [(ProductType, f64); 2] = [(ProductType::F32, 1e-5), (ProductType::Bf16, 3e-2)];

fn check_chunks(n_head: usize, head_size: usize, lengths: &[usize], kind: Kind) -> Result<()> {
    let offsets = Offsets::from_lengths(lengths.to_vec());
    let case = Case::new(n_head, head_size, offsets, kind)?;
    let (want, want_gradients) = case.wanted()?;
    at_each_level(|level| {
        for (product, tolerance) in PRODUCTS {
            // There an f32 goes in parts, which blocks do not have.
            if level == Level::Amx && product == ProductType::F32 {
                continue;
            }
            CHUNKS_OF.set(Some(product));
            let got = case.got();
            CHUNKS_OF.set(None);
            let (got, got_gradients) = got?;
            let names = MADE.iter().chain(&GRADIENTS);
            let wanted = want.iter().chain(&want_gradients);
            for ((name, got), want) in names.zip(got.iter().chain(&got_gradients)).zip(wanted) {
                let what = format!(
                    "{name} of {n_head} x {head_size}, {kind:?}, {lengths:?}, {product:?}, {level}"
                );
                close_by_norm(&what, got, want, tolerance);
            }
        }
        Ok(())
    })
}

#[test]
fn chunks_agree_with_the_reference() -> Result<()> {
    let lengths: [&[usize]; 6] = [&[32], &[31, 1, 32], &[33], &[5, 0, 64], &[70, 3], &[130]];
    for (n_head, head_size) in [(1, 5), (2, 32), (1, 64), (1, 96)] {
        for lengths in lengths {
            check_chunks(n_head, head_size, lengths, Kind::Spread)?;
        }
    }
    Ok(())
}

#[test]
fn chunks_of_decays_at_both_ends_of_their_range_and_of_one_token() -> Result<()> {
    for kind in [Kind::Decay(12.0), Kind::Decay(-7.0), Kind::OneToken] {
        check_chunks(1, 64, &[300], kind)?;
        check_chunks(2, 33, &[40, 1], kind)?;
    }
    Ok(())
}
