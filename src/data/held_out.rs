//! Examples that are held out: evaluated, and not learnt from.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Example;

/// Holds out a share of the examples. They are chosen at random, but are always the same of the
/// same list, so that runs with different seeds stay comparable. Returns the examples to learn from
/// and those held out, both in their order; `None` if either would be empty.
pub fn put_aside(examples: Vec<Example>, share: f64) -> Option<(Vec<Example>, Vec<Example>)> {
    let count = (examples.len() as f64 * share).round().max(1.0) as usize;
    if count >= examples.len() {
        return None;
    }
    let mut aside = vec![true; count];
    aside.resize(examples.len(), false);
    aside.shuffle(&mut StdRng::seed_from_u64(0));
    let (mut kept, mut held_out) = (Vec::new(), Vec::new());
    for (example, is_aside) in examples.into_iter().zip(aside) {
        match is_aside {
            true => held_out.push(example),
            false => kept.push(example),
        }
    }
    Some((kept, held_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(examples: &[Example]) -> Vec<usize> {
        examples.iter().map(|example| example.line).collect()
    }

    fn examples(count: usize) -> Vec<Example> {
        let example = |line| Example {
            tokens: vec![1, 2],
            learnt: std::iter::once(1..2).collect(),
            line,
            cut: (0, 0),
        };
        (1..=count).map(example).collect()
    }

    #[test]
    fn a_share_is_put_aside_and_nothing_is_lost() {
        let (kept, held_out) = put_aside(examples(50), 0.1).unwrap();
        let (kept, held_out) = (lines(&kept), lines(&held_out));
        assert_eq!((kept.len(), held_out.len()), (45, 5));
        assert!(kept.is_sorted() && held_out.is_sorted());
        // Those of earlier versions, too: rand does not promise that.
        assert_eq!(held_out, [4, 19, 22, 31, 44]);
        let mut all = [kept, held_out.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (1..=50).collect::<Vec<_>>());
        assert_eq!(lines(&put_aside(examples(50), 0.1).unwrap().1), held_out);
    }

    #[test]
    fn neither_side_may_be_empty() {
        assert_eq!(put_aside(examples(2), 0.01).unwrap().1.len(), 1);
        assert_eq!(put_aside(examples(3), 0.99), None);
        assert_eq!(put_aside(examples(1), 0.5), None);
    }
}
