//! A whole tensor reduced to one number on the device it lies on: the sum of the squares of all
//! numbers, of which a gradient's norm is the root, and the largest absolute value, by which a
//! tensor is found fit to be saved.
//!
//! Nothing escapes the largest absolute value: it is NaN where any number is.

mod cpu;
mod cuda;
#[doc(hidden)]
pub mod reference;

use candle_core::{Result, Tensor};

use super::cpu::tensor::borrow;

/// The sum of the squares of all numbers of an f32 tensor, in f64.
pub fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.contiguous()?;
    if tensor.device().is_cuda() {
        return cuda::sum_of_squares(&tensor);
    }
    Ok(cpu::sum_of_squares(borrow(&tensor)?.f32()?))
}

/// The largest absolute value of an f32 tensor, NaN where any number is NaN, 0 where there is none.
pub fn max_abs(tensor: &Tensor) -> Result<f32> {
    let tensor = tensor.contiguous()?;
    if tensor.device().is_cuda() {
        return cuda::max_abs(&tensor);
    }
    Ok(cpu::max_abs(borrow(&tensor)?.f32()?))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::cpu::level::tests::at_each_level;
    use super::super::testing::{f32, uniform};
    use super::*;

    #[test]
    fn reductions_agree_with_the_reference() -> Result<()> {
        at_each_level(|_| {
            for shape in [vec![1], vec![7], vec![3, 1000], vec![2, 3, 64, 65]] {
                let x = f32(&uniform(1, &shape, -3.0, 2.0)?)?;
                let (got, want) = (sum_of_squares(&x)?, reference::sum_of_squares(&x)?);
                assert!((got - want).abs() <= 1e-12 * want, "{got} {want}");
                assert_eq!(f64::from(max_abs(&x)?), reference::max_abs(&x)?);
            }
            Ok(())
        })
    }

    #[test]
    fn a_number_that_is_not_finite_is_found_wherever_it_stands() -> Result<()> {
        at_each_level(|_| {
            for at in [0, 1, 500, 998, 999] {
                for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut numbers = vec![f32::MAX; 1000];
                    numbers[at] = value;
                    let most = max_abs(&Tensor::new(numbers, &Device::Cpu)?)?;
                    assert!(!most.is_finite(), "{value} at {at}: {most}");
                    assert_eq!(most.is_nan(), value.is_nan());
                }
            }
            Ok(())
        })
    }

    #[test]
    fn part_of_a_tensor_is_reduced_without_the_rest() -> Result<()> {
        let x = Tensor::new(&[[1f32, 20.0], [-3.0, 40.0]], &Device::Cpu)?;
        assert_eq!(max_abs(&x.narrow(1, 0, 1)?)?, 3.0);
        assert_eq!(sum_of_squares(&x.narrow(1, 0, 1)?)?, 10.0);
        assert_eq!(max_abs(&x.narrow(1, 0, 0)?)?, 0.0);
        Ok(())
    }
}
