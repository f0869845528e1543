//! Token shift: every row is mixed with the row before it, once for each product that follows.
//!
//! ```text
//! p_t = a_{t-1}, or the learned `first` where a sequence starts
//! x_t = a_t * mix + p_t * (1 - mix)                          for each mix
//!
//! da_t   = sum over mixes of mix * dx_t + (1 - mix) * dx_{t+1}     the second term only inside a sequence
//! dfirst = sum over starts and mixes of (1 - mix) * dx_t
//! ```

mod cpu;
#[cfg(test)]
mod reference;

use candle_core::{Result, Tensor, bail};

use super::{Offsets, floats, tensor};

/// One shifted and mixed copy of a `[N, C]` for each of `mixes`, which are `[C]`; `first` is `[C]`.
pub fn forward(
    a: &Tensor,
    first: &Tensor,
    mixes: &[&Tensor],
    offsets: &Offsets,
) -> Result<Vec<Tensor>> {
    check(a, first, mixes, offsets)?;
    let (values, first) = (floats(a)?, floats(first)?);
    let mixed = mixes.iter().map(|mix| {
        tensor(
            cpu::forward(&values, &first, &floats(mix)?, offsets),
            a.shape(),
        )
    });
    mixed.collect()
}

/// (da `[N, C]`, dfirst `[C]`) from the gradient of each mixed copy.
pub fn backward(dx: &[Tensor], mixes: &[&Tensor], offsets: &Offsets) -> Result<(Tensor, Tensor)> {
    let Some(shape) = dx.first().map(|dx| dx.shape().clone()) else {
        bail!("token shift without a mix")
    };
    let (_, channels) = shape.dims2()?;
    let (mut da, mut dfirst) = (vec![0.0; shape.elem_count()], vec![0.0; channels]);
    for (dx, mix) in dx.iter().zip(mixes) {
        check(dx, mix, mixes, offsets)?;
        cpu::backward(&floats(dx)?, &floats(mix)?, offsets, &mut da, &mut dfirst);
    }
    Ok((tensor(da, shape)?, tensor(dfirst, channels)?))
}

fn check(a: &Tensor, first: &Tensor, mixes: &[&Tensor], offsets: &Offsets) -> Result<()> {
    let (rows, channels) = a.dims2()?;
    if rows != offsets.rows()
        || first.dims() != [channels]
        || mixes.iter().any(|mix| mix.dims() != [channels])
    {
        bail!(
            "token shift of {:?} with first {:?} and offsets of {} rows",
            a.shape(),
            first.shape(),
            offsets.rows()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::check::{F32, close, f32, offset_grid, uniform, var};
    use super::*;

    #[test]
    fn forward_and_gradients_agree_with_the_reference() -> Result<()> {
        for offsets in offset_grid() {
            let shape = [offsets.rows(), 48];
            let (a, first) = (var(1, &shape)?, var(2, &shape[1..])?);
            let mixes: Vec<Tensor> = (0..3)
                .map(|i| uniform(10 + i, &shape[1..], 0.0, 1.0))
                .collect::<Result<_>>()?;
            let dy: Vec<Tensor> = (0..3)
                .map(|i| uniform(20 + i, &shape, -1.0, 1.0))
                .collect::<Result<_>>()?;
            let mut loss = Tensor::zeros((), a.dtype(), a.device())?;
            let mut wanted = Vec::new();
            for (mix, dy) in mixes.iter().zip(&dy) {
                wanted.push(reference::forward(&a, &first, mix, &offsets)?);
                loss = (loss + (wanted.last().unwrap() * dy)?.sum_all()?)?;
            }
            let grads = loss.backward()?;

            let mixes: Vec<Tensor> = mixes.iter().map(f32).collect::<Result<_>>()?;
            let mixes: Vec<&Tensor> = mixes.iter().collect();
            for (got, want) in forward(&f32(&a)?, &f32(&first)?, &mixes, &offsets)?
                .iter()
                .zip(&wanted)
            {
                close("x", got, want, F32);
            }
            let dy: Vec<Tensor> = dy.iter().map(f32).collect::<Result<_>>()?;
            let (da, dfirst) = backward(&dy, &mixes, &offsets)?;
            close("da", &da, grads.get(&a).unwrap(), F32);
            close("dfirst", &dfirst, grads.get(&first).unwrap(), F32);
        }
        Ok(())
    }
}
