//! Token shift on a GPU.

use candle_core::{DType, Result, Tensor, bail};

use super::{Shifted, TokenShift};
use crate::ops::cuda::{Arg, Grid, constant, gpu, int, launch, output, pointer, suffix};
use crate::ops::linear::{ProductType, Rows};

const SOURCE: &str = include_str!("token_shift.cu");
/// Rows that a block goes through.
const RUN: usize = constant(SOURCE, "RUN");
/// Mixes that the kernels take.
const MIXES: usize = constant(SOURCE, "MIXES");

pub fn forward(
    shift: &TokenShift,
    x: &Tensor,
    first: &Tensor,
    product: ProductType,
) -> Result<Shifted> {
    let TokenShift {
        norm,
        mixes,
        offsets,
    } = shift;
    let (rows, channels) = x.dims2()?;
    let mixed: Vec<Tensor> = mixes
        .iter()
        .map(|_| output(x, x.shape(), product.dtype()))
        .collect::<Result<_>>()?;
    let ends = output(x, (offsets.sequences(), channels), DType::F32)?;
    let starts = &offsets.on_gpu(x)?.offsets;
    let mut args = vec![
        pointer(x)?,
        pointer(first)?,
        pointer(&norm.weight)?,
        pointer(&norm.bias)?,
    ];
    args.extend(padded(mixes.iter().copied())?);
    args.extend(padded(&mixed)?);
    args.extend([
        pointer(&ends)?,
        pointer(starts)?,
        int(offsets.sequences())?,
        int(rows)?,
        int(channels)?,
        Arg::Float(norm.eps),
    ]);
    let grid = Grid {
        shared: channels * size_of::<f32>(),
        ..Grid::blocks(rows.div_ceil(RUN))
    };
    let kernel = match product {
        ProductType::F32 => "token_shift_f32",
        ProductType::Bf16 => "token_shift_bf16",
    };
    // SAFETY: the kernel's arguments; `mod.rs` checked that shapes agree.
    unsafe { launch(gpu(x)?, kernel, grid, &args)? };
    Ok(Shifted {
        mixed: mixed.into_iter().map(Rows::Gpu).collect(),
        ends,
    })
}

pub fn backward(
    shift: &TokenShift,
    x: &Tensor,
    d_out: &Tensor,
    d_mixed: &[Tensor],
) -> Result<(Tensor, Tensor)> {
    let TokenShift {
        norm,
        mixes,
        offsets,
    } = shift;
    let (rows, channels) = x.dims2()?;
    let dx = output(x, x.shape(), x.dtype())?;
    let dfirst = output(x, channels, DType::F32)?;
    let starts = &offsets.on_gpu(x)?.offsets;
    let (gpu, suffix) = (gpu(x)?, suffix(&d_mixed[0])?);

    let mut args = vec![pointer(x)?, pointer(d_out)?, pointer(&norm.weight)?];
    args.extend(padded(mixes.iter().copied())?);
    args.extend(padded(d_mixed)?);
    args.extend([
        pointer(&dx)?,
        pointer(starts)?,
        int(offsets.sequences())?,
        int(rows)?,
        int(channels)?,
        Arg::Float(norm.eps),
    ]);
    let grid = Grid {
        shared: 2 * channels * size_of::<f32>(),
        ..Grid::blocks(rows.div_ceil(RUN))
    };
    // SAFETY: as above, of token_shift_backward.
    unsafe { launch(gpu, &format!("token_shift_backward_{suffix}"), grid, &args)? };

    let mut args = Vec::new();
    args.extend(padded(mixes.iter().copied())?);
    args.extend(padded(d_mixed)?);
    args.extend([
        pointer(&dfirst)?,
        pointer(starts)?,
        int(offsets.sequences())?,
        int(channels)?,
    ]);
    // SAFETY: as above, of token_shift_first.
    unsafe {
        launch(
            gpu,
            &format!("token_shift_first_{suffix}"),
            Grid::each(channels),
            &args,
        )?;
    }
    Ok((dx, dfirst))
}

/// The addresses of up to [`MIXES`] tensors, then zeros.
fn padded<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<[Arg; MIXES]> {
    let mut all = [Arg::Pointer(0); MIXES];
    let mut places = all.iter_mut();
    for tensor in tensors {
        let Some(place) = places.next() else {
            bail!("the GPU's kernels take {MIXES} mixes at most");
        };
        *place = pointer(tensor)?;
    }
    Ok(all)
}
