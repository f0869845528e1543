//! Quantising, and the way back, sixteen numbers at a time.

use half::bf16;

use super::{BLOCK, Form, LEVELS, QuantisedPart};
use crate::ops::cpu::level::vectorised;
use crate::ops::cpu::vector::{LANES, Vector};

/// Halfway from each of nf4's levels to the next.
const BORDERS: [f32; LEVELS.len() - 1] = {
    let mut borders = [0.0; LEVELS.len() - 1];
    let mut i = 0;
    while i < borders.len() {
        borders[i] = (LEVELS[i] + LEVELS[i + 1]) / 2.0;
        i += 1;
    }
    borders
};

vectorised! {
    /// Quantises whole blocks of finite numbers.
    pub fn quantise<V: Vector>(
        level: Level,
        form: Form,
        values: &[f32],
        codes: &mut [u8],
        scales: &mut [u8],
    ) {
        let blocks = values.as_chunks::<BLOCK>().0.iter();
        let places = codes.chunks_exact_mut(form.size()).zip(scales.as_chunks_mut::<2>().0);
        for (values, (codes, scale)) in blocks.zip(places) {
            let most = values.iter().fold(0f32, |most, x| most.max(x.abs()));
            let rounded = bf16::from_f32(match form {
                Form::Int8 => most / 127.0,
                Form::Nf4 => most,
            });
            *scale = rounded.to_le_bytes();
            // Where the scale is zero all codes are those of zeros.
            let unit = if rounded == bf16::ZERO { 1.0 } else { rounded.to_f32() };
            match form {
                Form::Int8 => for (code, x) in codes.iter_mut().zip(values) {
                    // Only a scale that was rounded down leads past the end.
                    let code_of_x = (x / unit).round_ties_even().clamp(-127.0, 127.0);
                    *code = code_of_x as i8 as u8;
                },
                Form::Nf4 => {
                    let (low, high) = values.split_at(BLOCK / 2);
                    for (code, (low, high)) in codes.iter_mut().zip(low.iter().zip(high)) {
                        *code = nearest(low / unit) | nearest(high / unit) << 4;
                    }
                }
            }
        }
    }
}

/// The level that is nearest: as many as there are borders below x.
#[inline(always)]
fn nearest(x: f32) -> u8 {
    let mut code = 0;
    for border in BORDERS {
        code += u8::from(x > border);
    }
    code
}

impl QuantisedPart<'_> {
    /// The numbers as f32.
    #[inline(always)]
    pub fn widen<V: Vector>(self, out: &mut [f32]) {
        for (i, out) in out.chunks_mut(LANES).enumerate() {
            self.lanes::<V>(self.first + i * LANES).store(out);
        }
    }

    /// Sixteen numbers, from the one with this place on, counted from the first block's beginning.
    #[inline(always)]
    fn lanes<V: Vector>(self, place: usize) -> V {
        let (block, place) = (place / BLOCK, place % BLOCK);
        let codes = &self.codes[block * self.form.size()..][..self.form.size()];
        let codes = codes.as_chunks().0;
        let numbers = match self.form {
            Form::Int8 => V::load_i8(&codes[place / LANES]),
            Form::Nf4 => {
                let (half, place) = (place / (BLOCK / 2), place % (BLOCK / 2));
                V::load_whole(&LEVELS).look_up(&codes[place / LANES])[half]
            }
        };
        numbers.mul(V::splat(wide(self.scales[block])))
    }

    /// The sum of the products with as many f32. A part that begins a block.
    #[inline(always)]
    pub fn dot<V: Vector>(self, x: &[f32]) -> f32 {
        debug_assert!(self.first == 0 && self.len == x.len());
        let mut blocks = self.codes.chunks_exact(self.form.size()).zip(self.scales);
        let (x, rest) = x.as_chunks();
        let mut sum = V::zero();
        for (x, (codes, &scale)) in x.iter().zip(blocks.by_ref()) {
            sum = sum.add_product(self.products::<V>(codes, x), V::splat(wide(scale)));
        }
        if let (false, Some((codes, &scale))) = (rest.is_empty(), blocks.next()) {
            let mut last = [0.0; BLOCK];
            last[..rest.len()].copy_from_slice(rest);
            sum = sum.add_product(self.products::<V>(codes, &last), V::splat(wide(scale)));
        }
        sum.sum()
    }

    /// The products of one block, without its scale, in sixteen sums.
    #[inline(always)]
    fn products<V: Vector>(self, codes: &[u8], x: &[f32; BLOCK]) -> V {
        let (codes, x) = (codes.as_chunks().0, x.as_chunks().0);
        let mut sums = [V::zero(); 2];
        match self.form {
            Form::Int8 => {
                for (i, (codes, x)) in codes.iter().zip(x).enumerate() {
                    sums[i % 2] = sums[i % 2].add_product(V::load_i8(codes), V::load_whole(x));
                }
            }
            Form::Nf4 => {
                let levels = V::load_whole(&LEVELS);
                let (low_x, high_x) = x.split_at(x.len() / 2);
                for (codes, (low_x, high_x)) in codes.iter().zip(low_x.iter().zip(high_x)) {
                    let [low, high] = levels.look_up(codes);
                    sums[0] = sums[0].add_product(low, V::load_whole(low_x));
                    sums[1] = sums[1].add_product(high, V::load_whole(high_x));
                }
            }
        }
        sums[0].add(sums[1])
    }
}

/// A scale as f32.
#[inline(always)]
fn wide(scale: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(scale)) << 16)
}
