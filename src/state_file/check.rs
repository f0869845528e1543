//! Whether a state can be saved, found without making the file of it: training asks after every
//! update.

use super::error::Error;
use crate::model::{Group, State};
use crate::ops::reduce;
use crate::tensors::Element;

/// Errors as [`super::write()`] would for a [`super::Format::STATE`] when a number is not finite, or
/// not once it has the file's type. The state may lie on any device: one number of each group is
/// read from there.
pub fn check(state: &State, element: Element) -> Result<(), Error> {
    for (group, tensor) in state.groups() {
        let (part, element) = match group {
            Group::SoftPrompt => ("softprompt", element),
            Group::Shift => ("time_shifts", element),
            Group::Wkv => ("time_mix", Element::F32),
        };
        // Rounding keeps the order of numbers, so the largest is the first to become infinite.
        let largest = reduce::max_abs(tensor)?;
        let saved = element.decode(&element.encode(&[largest]));
        if !saved.iter().all(|number| number.is_finite()) {
            return Err(Error::NotFinite { part });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::{Format, write};
    use super::*;

    fn state(group: Group, number: f32) -> State {
        let tensor = |of: Group, shape: &[usize]| {
            let mut numbers = vec![0.5; shape.iter().product()];
            if of == group {
                numbers[3] = number;
            }
            Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
        };
        State {
            soft_prompt: Some(tensor(Group::SoftPrompt, &[6])),
            shifts: tensor(Group::Shift, &[4, 6]),
            wkv: tensor(Group::Wkv, &[2, 2, 3, 3]),
        }
    }

    /// Numbers at both sides of each type's end: 65,520 rounds to what f16 does not have, and so
    /// does 3.4e38 for bf16.
    #[test]
    fn what_could_not_be_written_is_refused_in_the_same_words() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.pth");
        let numbers = [
            0.0,
            65_504.0,
            65_519.9,
            65_520.0,
            3.38e38,
            3.4e38,
            f32::MAX,
            f32::NAN,
        ];
        let numbers = numbers
            .into_iter()
            .flat_map(|x| [x, -x])
            .chain([f32::INFINITY]);
        let mut refused = 0;
        for number in numbers {
            for group in Group::ALL {
                for element in [Element::Bf16, Element::F16, Element::F32] {
                    let state = state(group, number);
                    let told = |result: Result<(), Error>| result.err().map(|e| e.to_string());
                    let checked = told(check(&state, element));
                    refused += usize::from(checked.is_some());
                    let written = told(write(&path, &state, element, Format::STATE, None));
                    assert_eq!(checked, written, "{number} in {group} as {element}");
                }
            }
        }
        assert_eq!(refused, 51);
    }
}
