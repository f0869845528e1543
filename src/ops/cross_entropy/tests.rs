//! Losses and gradients against the reference in float64.

use candle_core::{DType, Var};

use super::*;
use crate::ops::cpu::level::tests::at_each_level;
use crate::ops::linear::{ProductType, Weights};
use crate::ops::testing::{close_by_norm, f32, uniform};
use crate::tensors::Element;

/// What logits are like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Spread,
    /// exp overflows in f32 unless the largest is taken off first.
    Large,
    /// The largest so far grows from slice to slice.
    Growing,
    /// The target's is far above the others: its softmax less 1 has digits that bf16 does not.
    Sure,
}

struct Case {
    x: Var,
    w: Tensor,
    targets: Vec<u32>,
}

impl Case {
    /// Rows and a head that bf16 holds exactly.
    fn new(kind: Kind, [rows, channels, vocab]: [usize; 3]) -> Result<Self> {
        let exact = |x: &Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F64);
        let numbers = |x: &Tensor| x.flatten_all()?.to_vec1::<f64>();
        let x = numbers(&exact(&uniform(1, &[rows, channels], -1.0, 1.0)?)?)?;
        let mut w = numbers(&uniform(2, &[vocab, channels], -1.0, 1.0)?)?;
        let targets: Vec<u32> = (0..rows).map(|row| (row * 3100 % vocab) as u32).collect();
        for (row, w) in w.chunks_mut(channels).enumerate() {
            match kind {
                Kind::Spread | Kind::Large | Kind::Sure => {}
                Kind::Growing => w[0] = 9.0 * row as f64 / vocab as f64,
            }
        }
        let mut x = x;
        for (x, &target) in x.chunks_mut(channels).zip(&targets) {
            match kind {
                Kind::Spread => {}
                Kind::Large => x.iter_mut().for_each(|x| *x *= 64.0),
                Kind::Growing => x[0] = 1.0,
                Kind::Sure => {
                    let length: f64 = x.iter().map(|x| x * x).sum();
                    let w = &mut w[target as usize * channels..][..channels];
                    for (w, x) in w.iter_mut().zip(x) {
                        *w = 15.0 * *x / length;
                    }
                }
            }
        }
        let tensor = |x: Vec<f64>, rows| Tensor::from_vec(x, (rows, channels), &Device::Cpu);
        Ok(Self {
            x: Var::from_tensor(&tensor(x, rows)?)?,
            w: exact(&tensor(w, vocab)?)?,
            targets,
        })
    }

    fn head(&self, element: Element, product: ProductType) -> Result<Matrix> {
        let dims = self.w.dims2()?.into();
        let w: Vec<f32> = f32(&self.w)?.flatten_all()?.to_vec1()?;
        Matrix::new(element.encode(&w).into(), element, dims, product)
    }

    /// Compares everything with the reference's, under a head whose numbers are `w`.
    fn check(&self, what: &str, head: &Matrix, w: &Tensor) -> Result<()> {
        const SCALE: f64 = 0.25;
        let logits = self.x.matmul(&w.t()?)?;
        let want = reference::loss(&logits, &self.targets)?;
        let grads = want.backward()?;
        let want_dx = (grads.get(&self.x).unwrap() * SCALE)?;
        let want_loss = want.to_scalar::<f64>()?;

        let x = Rows::of(head.product(), &f32(&self.x)?)?;
        let (losses, dx) = loss_and_gradient(head, &x, &self.targets, SCALE as f32)?;
        let loss: f64 = losses.to_vec1::<f64>()?.iter().sum();
        // Logits are rounded to f32, which counts in the exponent.
        let tolerance = 1e-5 * want_loss;
        assert!(
            (loss - want_loss).abs() <= tolerance,
            "{what}: {loss} {want_loss}"
        );
        let tolerance = match head.product() {
            ProductType::F32 => 2e-5,
            ProductType::Bf16 => 5e-3,
        };
        close_by_norm(what, &dx, &want_dx, tolerance);

        let (scored, hits) = score(head, &x, &self.targets)?;
        assert_eq!(
            (scored, hits),
            (loss, reference::hits(&logits, &self.targets)?),
            "{what}"
        );
        Ok(())
    }
}

#[test]
fn loss_and_gradient_agree_with_the_reference() -> Result<()> {
    at_each_level(|level| {
        for kind in [Kind::Spread, Kind::Large, Kind::Growing, Kind::Sure] {
            // Of one slice and less, and of more whose last is short.
            for sizes in [
                [2, 8, 3],
                [1, 40, 4100],
                [5, 16, 2048],
                [20, 40, 2049],
                [9, 64, 6500],
            ] {
                let case = Case::new(kind, sizes)?;
                for product in [ProductType::F32, ProductType::Bf16] {
                    for element in [Element::Bf16, Element::F16, Element::F32] {
                        let head = case.head(element, product)?;
                        let what = format!("{kind:?} {sizes:?} {product:?} {element:?} {level}");
                        case.check(&what, &head, &case.w)?;
                    }
                }
            }
        }
        Ok(())
    })
}

/// Slices of a quantised head are those of its numbers.
#[test]
fn a_quantised_head_is_taken_by_slices() -> Result<()> {
    let case = Case::new(Kind::Spread, [9, 70, 4200])?;
    for weights in [Weights::Int8, Weights::Nf4] {
        let head = case
            .head(Element::Bf16, ProductType::F32)?
            .held_as(weights)?;
        let mut numbers = Vec::new();
        for row in 0..4200 {
            head.push_row(row, &mut numbers)?;
        }
        let w = tensor(numbers, (4200, 70))?.to_dtype(DType::F64)?;
        case.check(&format!("{weights}"), &head, &w)?;
    }
    Ok(())
}

/// Logits of -inf count nothing, wherever they are; what is no number makes the loss none.
#[test]
fn logits_that_are_not_finite() -> Result<()> {
    let of = |special: f32, at: std::ops::Range<usize>, target: u32| -> Result<(f64, usize)> {
        let mut w = vec![0.0; 2 * SLICE];
        w[at].fill(special);
        let head = Element::F32.encode(&w);
        let head = Matrix::new(head.into(), Element::F32, [w.len(), 1], ProductType::F32)?;
        let x = Rows::of(ProductType::F32, &tensor(vec![2.0; 2], (2, 1))?)?;
        let (losses, _) = loss_and_gradient(&head, &x, &[target; 2], 1.0)?;
        let losses = losses.to_vec1::<f64>()?;
        let (scored, hits) = score(&head, &x, &[target; 2])?;
        assert_eq!(scored.to_bits(), (losses[0] + losses[1]).to_bits());
        Ok((losses[0], hits))
    };
    // Twice that is infinite.
    const LARGE: f32 = 3e38;
    let half = SLICE as u32;
    for (nothing, target) in [(0..SLICE, half), (SLICE..2 * SLICE, 0)] {
        let (loss, hits) = of(-LARGE, nothing, target)?;
        assert!((loss - f64::from(half).ln()).abs() < 1e-6, "{loss}");
        assert_eq!(hits, 2);
    }
    let (loss, _) = of(-LARGE, 3..4, 3)?;
    assert_eq!(loss, f64::INFINITY);
    for special in [f32::NAN, LARGE] {
        for at in [0, SLICE + 5] {
            assert!(of(special, at..at + 1, 7)?.0.is_nan());
        }
    }
    let (loss, hits) = of(f32::NAN, 0..2 * SLICE, 0)?;
    assert!(loss.is_nan() && hits == 0);
    Ok(())
}

#[test]
fn of_equal_logits_the_first_is_the_choice() -> Result<()> {
    let mut rows = vec![1.0; SLICE + 3];
    for at in [1, 2, SLICE + 1] {
        rows[at] = 3.0;
    }
    let w = Element::F32.encode(&rows);
    let head = Matrix::new(w.into(), Element::F32, [rows.len(), 1], ProductType::F32)?;
    let x = Rows::of(ProductType::F32, &tensor(vec![1.0; 3], (3, 1))?)?;
    assert_eq!(score(&head, &x, &[1, 2, SLICE as u32 + 1])?.1, 1);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let case = Case::new(Kind::Spread, [2, 8, 4])?;
    let head = case.head(Element::F32, ProductType::F32)?;
    let x = Rows::of(ProductType::F32, &f32(&case.x)?)?;
    for targets in [&[1, 4][..], &[1], &[]] {
        assert!(loss_and_gradient(&head, &x, targets, 1.0).is_err());
        assert!(score(&head, &x, targets).is_err());
    }
    let narrow = Rows::of(ProductType::F32, &tensor(vec![0.0; 6], (2, 3))?)?;
    assert!(loss_and_gradient(&head, &narrow, &[1, 2], 1.0).is_err());
    Ok(())
}
