//! A batch on several ranks: each takes a share of its sequences, and the gradient is the sum of the
//! shares' gradients, each scaled by the whole batch. So a step learns from the same examples however
//! many ranks there are, and only the order of its sums differs.

use std::cmp::Reverse;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::Tune;
use crate::distributed::Ranks;
use crate::model::State;

/// Which sequences each rank takes, given the rows of all: the longest first, each to the rank with
/// the fewest rows so far. Of equals the first. A share is in the batch's order, and may be empty.
pub fn share_out(rows: &[usize], ranks: usize) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..rows.len()).collect();
    longest_first.sort_by_key(|&i| Reverse(rows[i]));
    let mut shares = vec![(0usize, Vec::new()); ranks];
    for i in longest_first {
        if let Some((sum, share)) = shares.iter_mut().min_by_key(|(sum, _)| *sum) {
            *sum = sum.saturating_add(rows[i]);
            share.push(i);
        }
    }
    let in_order = |(_, mut share): (usize, Vec<usize>)| {
        share.sort_unstable();
        share
    };
    shares.into_iter().map(in_order).collect()
}

/// A gradient in main memory, where it can be summed over ranks: the numbers of the groups that are
/// learnt, one after another.
pub struct Flat(Vec<f32>);

impl Flat {
    /// Copies the groups that are learnt.
    pub fn of(gradient: &State, tune: Tune) -> Result<Self> {
        let learnt = || gradient.groups().filter(|(group, _)| tune[*group]);
        let count = learnt().map(|(_, tensor)| tensor.elem_count()).sum();
        let mut numbers = Vec::with_capacity(count);
        for (_, tensor) in learnt() {
            numbers.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(Self(numbers))
    }

    /// The gradient whose groups that are learnt are the sums over all ranks, and the others as in
    /// `own`. Between two exchanges.
    pub fn sum(mut self, ranks: &Ranks, own: &State, tune: Tune) -> Result<State> {
        ranks.sum(&mut self.0);
        let mut rest = self.0.as_slice();
        own.try_map(|group, tensor| {
            if !tune[group] {
                return Ok(tensor.clone());
            }
            let (numbers, others) = rest.split_at(tensor.elem_count());
            rest = others;
            let summed = Tensor::from_slice(numbers, tensor.shape(), &Device::Cpu)?;
            Ok(summed.to_device(tensor.device())?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_balanced_and_whole() {
        assert_eq!(share_out(&[5, 1, 4, 3, 3], 1), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(share_out(&[5, 1, 4, 3, 3], 2), [vec![0, 4], vec![1, 2, 3]]);
        assert_eq!(share_out(&[2, 2, 2], 2), [vec![0, 2], vec![1]]);
        assert_eq!(share_out(&[7], 3), [vec![0], vec![], vec![]]);
        assert_eq!(share_out(&[], 2), [vec![], Vec::<usize>::new()]);
        let rows: Vec<usize> = (0..97).map(|i| 1 + i * i % 61).collect();
        for ranks in [2, 3, 8, 64] {
            let shares = share_out(&rows, ranks);
            let mut all = shares.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..97));
            let sum = |share: &Vec<usize>| share.iter().map(|&i| rows[i]).sum::<usize>();
            let most = shares.iter().map(sum).max().unwrap();
            // No rank has a whole sequence more than its part.
            assert!(
                most <= rows.iter().sum::<usize>() / ranks + 61,
                "{ranks}: {most}"
            );
        }
    }
}
