//! Rows of a flat batch: made from tokens, taken out, put back, summed. Each has its gradient in
//! another: that of taking is putting, and the soft prompt's, which stands at every sequence's
//! start, is a sum.

mod cuda;

use candle_core::{DType, Result, Tensor, bail};

use super::cpu::tensor::tensor;
use super::linear::Matrix;

/// The embedding of each token `[N, C]` from `table` `[V, C]`; where there is no token,
/// `soft_prompt` `[C]`.
pub fn embed(
    table: &Matrix,
    tokens: &[Option<u32>],
    soft_prompt: Option<&Tensor>,
) -> Result<Tensor> {
    let [vocab, channels] = table.dims();
    if let Some(token) = tokens
        .iter()
        .flatten()
        .find(|&&token| token as usize >= vocab)
    {
        bail!("token {token} of a vocabulary of {vocab}");
    }
    if tokens.contains(&None) && soft_prompt.is_none_or(|soft| soft.dims() != [channels]) {
        bail!("a row for a soft prompt, and none of {channels} channels");
    }
    if let Some(on_gpu) = table.on_gpu() {
        return cuda::embed(on_gpu.table()?, tokens, soft_prompt);
    }
    let soft_prompt = soft_prompt.map(|soft| soft.to_vec1::<f32>()).transpose()?;
    let mut rows = Vec::with_capacity(tokens.len() * channels);
    for token in tokens {
        match token {
            Some(token) => table.push_row(*token as usize, &mut rows)?,
            None => rows.extend(soft_prompt.iter().flatten()),
        }
    }
    tensor(rows, (tokens.len(), channels))
}

/// The embedding of tokens whose numbers are on the GPU, `[N]` to `[N, C]`.
pub(crate) fn embed_on_gpu(table: &Matrix, tokens: &Tensor) -> Result<Tensor> {
    match table.on_gpu() {
        Some(on_gpu) => cuda::embed_on_gpu(on_gpu.table()?, tokens, None),
        None => bail!("the tokens are on a GPU, and their embedding is not"),
    }
}

/// The rows `rows` of x `[N, C]`, in that order.
pub fn take(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    check(x, rows)?;
    if x.device().is_cuda() {
        return cuda::take(x, rows);
    }
    x.index_select(&Tensor::new(rows, x.device())?, 0)
}

/// Zeros like `like` `[N, C]`, with x in the rows `rows`, none of which comes twice.
pub fn put(x: &Tensor, rows: &[u32], like: &Tensor) -> Result<Tensor> {
    check(like, rows)?;
    if x.device().is_cuda() {
        return cuda::put(x, rows, like);
    }
    like.zeros_like()?
        .index_add(&Tensor::new(rows, x.device())?, x, 0)
}

/// The sum of the rows `rows` of x `[N, C]`, `[1, C]` in f32.
pub fn sum(x: &Tensor, rows: &[u32]) -> Result<Tensor> {
    check(x, rows)?;
    if x.device().is_cuda() {
        return cuda::sum(x, rows);
    }
    take(x, rows)?.sum_keepdim(0)?.to_dtype(DType::F32)
}

fn check(x: &Tensor, rows: &[u32]) -> Result<()> {
    let (count, _) = x.dims2()?;
    match rows.iter().find(|&&row| row as usize >= count) {
        Some(row) => bail!("row {row} of {count}"),
        None if rows.is_empty() => bail!("no rows"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::linear::ProductType;
    use super::super::testing::{F32, close, f32, uniform};
    use super::*;
    use crate::tensors::Element;

    #[test]
    fn tokens_and_the_soft_prompt_become_rows() -> Result<()> {
        let numbers: Vec<u8> = (0..6u16).flat_map(|i| (i << 7).to_le_bytes()).collect();
        let table = Matrix::new(numbers.into(), Element::Bf16, [3, 2], ProductType::F32)?;
        let soft = tensor(vec![7.0, 8.0], 2)?;
        let got = embed(&table, &[None, Some(2), Some(0)], Some(&soft))?;
        let bf16 = |i: u32| f32::from_bits(i << 23);
        assert_eq!(
            got.to_vec2::<f32>()?,
            [[7.0, 8.0], [bf16(4), bf16(5)], [bf16(0), bf16(1)]]
        );
        assert!(embed(&table, &[Some(3)], None).is_err());
        assert!(embed(&table, &[None], None).is_err());
        Ok(())
    }

    #[test]
    fn putting_back_what_was_taken() -> Result<()> {
        let x = f32(&uniform(1, &[5, 4], -1.0, 1.0)?)?;
        let some = take(&x, &[3, 0])?;
        assert_eq!(some.get(0)?.to_vec1::<f32>()?, x.get(3)?.to_vec1::<f32>()?);
        let back = put(&some, &[3, 0], &x)?.to_vec2::<f32>()?;
        assert_eq!(back[3], x.get(3)?.to_vec1::<f32>()?);
        assert_eq!(back[1], [0.0; 4]);
        let want = (x.get(3)? + x.get(0)?)?.unsqueeze(0)?;
        close("sum", &sum(&x, &[3, 0])?, &want, F32);
        assert!(take(&x, &[5]).is_err());
        Ok(())
    }
}
