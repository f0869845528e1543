//! Token shift on the CPU: rows in parallel.

use rayon::prelude::*;

use super::Offsets;

pub fn forward(a: &[f32], first: &[f32], mix: &[f32], offsets: &Offsets) -> Vec<f32> {
    let channels = mix.len();
    let mut x = vec![0.0; a.len()];
    x.par_chunks_mut(channels).enumerate().for_each(|(t, x)| {
        let now = &a[t * channels..][..channels];
        let before = if offsets.is_start(t) {
            first
        } else {
            &a[(t - 1) * channels..][..channels]
        };
        for c in 0..channels {
            x[c] = now[c] * mix[c] + before[c] * (1.0 - mix[c]);
        }
    });
    x
}

/// Adds one mixed copy's part to `da` and `dfirst`.
pub fn backward(dx: &[f32], mix: &[f32], offsets: &Offsets, da: &mut [f32], dfirst: &mut [f32]) {
    let channels = mix.len();
    da.par_chunks_mut(channels).enumerate().for_each(|(t, da)| {
        for ((da, dx), mix) in da.iter_mut().zip(&dx[t * channels..]).zip(mix) {
            *da += mix * dx;
        }
        let next = t + 1;
        if next < offsets.rows() && !offsets.is_start(next) {
            for ((da, dx), mix) in da.iter_mut().zip(&dx[next * channels..]).zip(mix) {
                *da += (1.0 - mix) * dx;
            }
        }
    });
    for &start in offsets.starts() {
        for ((dfirst, dx), mix) in dfirst.iter_mut().zip(&dx[start * channels..]).zip(mix) {
            *dfirst += (1.0 - mix) * dx;
        }
    }
}
