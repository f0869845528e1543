//! Rows of a batch on a GPU.

use candle_core::{DType, Result, Tensor};

use crate::ops::cuda::{Grid, gpu, indices, int, launch, output, pointer, pointer_if, suffix};

/// What stands for a row without a token.
const SOFT_PROMPT: i32 = -1;

pub fn embed(
    table: &Tensor,
    tokens: &[Option<u32>],
    soft_prompt: Option<&Tensor>,
) -> Result<Tensor> {
    let numbers: Vec<i32> = tokens
        .iter()
        .map(|token| token.map_or(SOFT_PROMPT, |token| token as i32))
        .collect();
    let numbers = Tensor::from_vec(numbers, tokens.len(), table.device())?;
    embed_on_gpu(table, &numbers, soft_prompt)
}

/// The same of tokens that are on the GPU already, where -1 stands for the soft prompt.
pub fn embed_on_gpu(
    table: &Tensor,
    numbers: &Tensor,
    soft_prompt: Option<&Tensor>,
) -> Result<Tensor> {
    let (_, channels) = table.dims2()?;
    let count = numbers.dim(0)?;
    let out = output(table, (count, channels), DType::F32)?;
    let args = [
        pointer(table)?,
        pointer_if(soft_prompt)?,
        pointer(numbers)?,
        pointer(&out)?,
        int(channels)?,
    ];
    let kernel = format!("embed_{}", suffix(table)?);
    // SAFETY: the kernel's arguments; every token was checked, and that a soft prompt is there
    // where it is needed.
    unsafe { launch(gpu(table)?, &kernel, Grid::blocks(count), &args)? };
    Ok(out)
}

pub fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let (_, channels) = x.dims2()?;
    let out = output(x, (rows.len(), channels), x.dtype())?;
    copy("take_rows", x, rows, &out, channels)?;
    Ok(out)
}

pub fn put(x: &Tensor, rows: &[u32], like: &Tensor) -> Result<Tensor> {
    let (_, channels) = x.dims2()?;
    let out = like.zeros_like()?;
    copy("put_rows", x, rows, &out, channels)?;
    Ok(out)
}

fn copy(kernel: &str, x: &Tensor, rows: &[u32], out: &Tensor, channels: usize) -> Result<()> {
    let numbers = indices(rows, x)?;
    let args = [
        pointer(x)?,
        pointer(&numbers)?,
        pointer(out)?,
        int(channels)?,
    ];
    // SAFETY: the kernels' arguments; `mod.rs` checked every row.
    unsafe { launch(gpu(x)?, kernel, Grid::blocks(rows.len()), &args) }
}

pub fn sum(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let (_, channels) = x.dims2()?;
    let numbers = indices(rows, x)?;
    let out = output(x, (1, channels), DType::F32)?;
    let args = [
        pointer(x)?,
        pointer(&numbers)?,
        pointer(&out)?,
        int(rows.len())?,
        int(channels)?,
    ];
    // SAFETY: as above.
    unsafe { launch(gpu(x)?, "sum_rows", Grid::each(channels), &args)? };
    Ok(out)
}
