//! A state's tensors as a file has them, made into a [`State`], and made from one.

use candle_core::{DType, Device, Tensor};

use super::error::Error;
use crate::model::State;
use crate::tensors::{Element, Stored};

/// The tensors of a state as they lie in a file, with the sizes that the shape of its matrices
/// tells.
#[derive(Debug)]
pub struct RawState {
    /// What the file calls its matrices.
    name: &'static str,
    /// One tensor for all layers, or one for each.
    wkv: Vec<Stored>,
    /// Layers, heads, and rows of a matrix.
    sizes: [usize; 3],
    /// Each of the shape `shift_shape`: one tensor for all layers, two for each layer, or none.
    shifts: Vec<Stored>,
    shift_shape: Vec<usize>,
    soft_prompt: Option<Stored>,
}

impl RawState {
    /// Of matrices alone, one tensor `[heads, size, size]` for each layer.
    pub fn of_layers(name: &'static str, wkv: Vec<Stored>) -> Result<Self, Error> {
        let first = wkv.first().ok_or(Error::not_a_state("no matrices"))?;
        match first.shape[..] {
            [h, k, v] if k == v => Self::of_matrices(name, [wkv.len(), h, k], wkv),
            _ => Err(no_square(name, first)),
        }
    }

    /// Of matrices alone, one tensor `[layers, 1, heads, size, size]`.
    pub fn of_stack(name: &'static str, wkv: Stored) -> Result<Self, Error> {
        match wkv.shape[..] {
            [l, 1, h, k, v] if k == v => Self::of_matrices(name, [l, h, k], vec![wkv]),
            _ => Err(no_square(name, &wkv)),
        }
    }

    fn of_matrices(name: &'static str, sizes: [usize; 3], wkv: Vec<Stored>) -> Result<Self, Error> {
        let first = &wkv[0];
        if sizes.contains(&0) {
            return Err(no_square(name, first));
        }
        if let Some(other) = wkv.iter().find(|other| other.shape != first.shape) {
            return Err(no_square(name, other));
        }
        Ok(Self {
            name,
            wkv,
            sizes,
            shifts: Vec::new(),
            shift_shape: Vec::new(),
            soft_prompt: None,
        })
    }

    /// The same with shifts, each of this shape: one tensor for all layers, or two for each.
    pub fn with_shifts(mut self, shifts: Vec<Stored>, shape: Vec<usize>) -> Self {
        (self.shifts, self.shift_shape) = (shifts, shape);
        self
    }

    /// The same with a soft prompt `[1, 1, C]`, or one without rows, `[1, 0, C]`, which is none.
    pub fn with_soft_prompt(mut self, soft_prompt: Stored) -> Self {
        self.soft_prompt = Some(soft_prompt);
        self
    }

    /// Layers.
    pub fn n_layer(&self) -> usize {
        self.sizes[0]
    }

    /// Width of the model's embeddings.
    pub fn n_embd(&self) -> usize {
        self.sizes[1] * self.sizes[2]
    }

    /// The first of its matrices.
    pub fn matrix(&self) -> &Stored {
        &self.wkv[0]
    }

    /// Errors when many tensors share a few bytes of the file, or a little of it unpacks to a lot.
    pub fn check_size(&self, file: usize) -> Result<(), Error> {
        /// How many bytes a file may unpack to beyond its own size.
        const ALLOWED: usize = 64 << 20;
        let tensors = self.soft_prompt.iter().chain(&self.shifts).chain(&self.wkv);
        let bytes: usize = tensors.map(|tensor| tensor.bytes.len()).sum();
        if bytes > file.saturating_add(ALLOWED) {
            return Err(Error::Swollen { bytes, file });
        }
        Ok(())
    }

    /// The type of its shifts, or of its matrices where there are none.
    pub fn element(&self) -> Result<Element, Error> {
        let dtype = self.shifts.first().unwrap_or(self.matrix()).dtype;
        Element::of(dtype).ok_or(Error::Type {
            part: self.name,
            dtype,
        })
    }

    /// The state, all f32, its matrices as they stand in the file. Shifts that the file does not
    /// have are zeros, which is what its readers start from.
    pub fn state(&self) -> Result<State, Error> {
        let [n_layer, n_head, size] = self.sizes;
        let wkv = numbers(self.name, &self.wkv)?;
        Ok(State {
            soft_prompt: self.soft_prompt()?,
            shifts: self.shifts()?,
            wkv: wkv.reshape((n_layer, n_head, size, size))?,
        })
    }

    fn shifts(&self) -> Result<Tensor, Error> {
        const PART: &str = "time_shifts";
        let rows = (2 * self.n_layer(), self.n_embd());
        if self.shifts.is_empty() {
            return Ok(Tensor::zeros(rows, DType::F32, &Device::Cpu)?);
        }
        for shift in &self.shifts {
            check_shape(PART, shift, &self.shift_shape)?;
        }
        Ok(numbers(PART, &self.shifts)?.reshape(rows)?)
    }

    /// `[C]`; `None` where the file has none, or one without rows.
    fn soft_prompt(&self) -> Result<Option<Tensor>, Error> {
        const PART: &str = "softprompt";
        let n_embd = self.n_embd();
        match &self.soft_prompt {
            Some(tensor) if tensor.shape != [1, 0, n_embd] => {
                check_shape(PART, tensor, &[1, 1, n_embd])?;
                let numbers = numbers(PART, std::slice::from_ref(tensor))?;
                Ok(Some(numbers.reshape(n_embd)?))
            }
            _ => Ok(None),
        }
    }
}

fn no_square(part: &'static str, found: &Stored) -> Error {
    Error::Shape {
        part,
        found: found.shape.clone(),
        expected: "(layers, 1, heads, size, size) or (heads, size, size)",
    }
}

fn check_shape(part: &'static str, found: &Stored, expected: &[usize]) -> Result<(), Error> {
    if found.shape == expected {
        return Ok(());
    }
    Err(Error::Misfit {
        part,
        found: found.shape.clone(),
        expected: expected.to_vec(),
    })
}

/// All numbers of some tensors as f32, flat, one tensor after another.
fn numbers(part: &'static str, tensors: &[Stored]) -> Result<Tensor, Error> {
    let mut numbers = Vec::new();
    for tensor in tensors {
        let element = Element::of(tensor.dtype).ok_or(Error::Type {
            part,
            dtype: tensor.dtype,
        })?;
        numbers.extend(element.decode(&tensor.bytes));
    }
    check_finite(part, &numbers)?;
    let count = numbers.len();
    Ok(Tensor::from_vec(numbers, count, &Device::Cpu)?)
}

/// A tensor as a file has it. Errors when a number is not finite, or not once it has the type.
pub fn stored(
    part: &'static str,
    tensor: &Tensor,
    shape: &[usize],
    element: Element,
) -> Result<Stored, Error> {
    let numbers: Vec<f32> = tensor.flatten_all()?.to_vec1()?;
    let stored = Stored::new(element, shape.to_vec(), &numbers);
    check_finite(part, &element.decode(&stored.bytes))?;
    Ok(stored)
}

/// The matrices of each layer, each `[heads, size, size]`, as a file has them.
pub fn matrices(state: &State, element: Element) -> Result<Vec<Stored>, Error> {
    let (l, h, k, _) = state.wkv.dims4()?;
    let matrix = |i| stored("time_mix", &state.wkv.get(i)?, &[h, k, k], element);
    (0..l).map(matrix).collect()
}

/// The shifts of each layer, att and ffn, each of this shape, as a file has them.
pub fn shifts(state: &State, shape: &[usize], element: Element) -> Result<Vec<[Stored; 2]>, Error> {
    let shift = |row| stored("time_shifts", &state.shifts.get(row)?, shape, element);
    let layers = 0..state.shifts.dim(0)? / 2;
    layers
        .map(|i| Ok([shift(2 * i)?, shift(2 * i + 1)?]))
        .collect()
}

fn check_finite(part: &'static str, numbers: &[f32]) -> Result<(), Error> {
    if numbers.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        Err(Error::NotFinite { part })
    }
}
