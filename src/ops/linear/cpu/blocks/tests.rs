//! Products of blocks against sums in float64.

use super::*;
use crate::ops::cpu::level::tests::at_each_level;

fn block(rows: usize, columns: usize, seed: u32) -> Block {
    let mut block = Block::zero(rows, columns);
    let mut state = seed;
    for row in 0..rows {
        for value in block.row_mut(row) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
        }
    }
    block
}

/// a b, a b', a' b and a' b', each added to what is there and by some rows, against float64.
#[test]
fn blocks_are_multiplied_whichever_way_they_lie() {
    at_each_level(|level| {
        let types = [(ProductType::F32, 1e-6), (ProductType::Bf16, 1e-2)];
        for (product, tolerance) in types {
            let unit = match Unit::of(product, level) {
                Unit::Split => continue,
                unit => unit,
            };
            for (m, k, n) in [(32, 32, 32), (64, 96, 32), (32, 64, 96), (96, 128, 64)] {
                for turned in [[false; 2], [false, true], [true, false], [true; 2]] {
                    check(level, unit, tolerance, [m, k, n], turned);
                }
            }
        }
        Ok(())
    })
    .unwrap();
}

fn check(
    level: Level,
    unit: Unit,
    tolerance: f64,
    [m, k, n]: [usize; 3],
    [a_turned, b_turned]: [bool; 2],
) {
    let sides = |turned, [rows, columns]: [usize; 2], seed| match turned {
        true => block(columns, rows, seed),
        false => block(rows, columns, seed),
    };
    let (a, b) = (sides(a_turned, [m, k], 1), sides(b_turned, [k, n], 2));
    let number = |block: &Block, turned, row: usize, column: usize| {
        f64::from(match turned {
            true => block.row(column)[row],
            false => block.row(row)[column],
        })
    };
    let [mut packed, mut left, mut right] = [(); 3].map(|()| BlockUnits::new(level, unit));
    match a_turned {
        true => left.turned(packed.down(&a)),
        false => left.across(&a),
    };
    match b_turned {
        true => right.turned(packed.across(&b)),
        false => right.down(&b),
    };
    let mut out = block(m, n, 3);
    let before = block(m, n, 3);
    let products = BlockProducts::new(level, unit);
    let half = m / 2 / SIDE * SIDE;
    let units = products.units(k);
    for rows in [(0, half), (half, m - half)] {
        products.multiply(&left, rows, units, &right, (&mut out, BlockSum::Onto));
    }
    for row in 0..m {
        for column in 0..n {
            let products =
                (0..k).map(|i| number(&a, a_turned, row, i) * number(&b, b_turned, i, column));
            let want = f64::from(before.row(row)[column]) + products.sum::<f64>();
            let got = f64::from(out.row(row)[column]);
            assert!(
                (got - want).abs() <= tolerance * (k as f64).sqrt(),
                "{unit:?} at {level}, {m} {k} {n}: {got} {want}"
            );
        }
    }
}
