//! What the tests share: the same inputs on the processor and on the GPU, and how far results may
//! be apart.

use crate::common::close::close;
use candle_core::{DType, Device, Result, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use state_tune::ops::device::DeviceChoice;
use state_tune::ops::linear::{ProductType, Rows, Weights};
use state_tune::ops::norm::Norm;
use state_tune::ops::{Compute, Offsets};
use state_tune::tensors::Element;

/// The first GPU.
#[track_caller]
pub fn gpu() -> Device {
    let opened = Compute::fastest(DeviceChoice::Cuda(0), None, Weights::File).unwrap();
    opened.compute.device
}

/// How activations are stored, and how far a result may then be off: relative to it and to its root
/// mean square.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    pub product: ProductType,
    pub tolerance: f64,
}

pub const STORES: [Store; 2] = [
    Store {
        product: ProductType::F32,
        tolerance: 2e-5,
    },
    // A bf16 has eight bits: 4e-3 for what is rounded once, and as much again for what enters
    // rounded.
    Store {
        product: ProductType::Bf16,
        tolerance: 1e-2,
    },
];

/// Both sides' inputs: on the GPU in the store's type, in main memory the same numbers in f32.
pub struct Sides<'a> {
    gpu: &'a Device,
    pub store: Store,
    rng: StdRng,
}

impl<'a> Sides<'a> {
    pub fn new(gpu: &'a Device, store: Store) -> Self {
        Self {
            gpu,
            store,
            rng: StdRng::seed_from_u64(1),
        }
    }

    pub fn numbers(&mut self, shape: &[usize], low: f32, high: f32) -> Result<Tensor> {
        let count = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..count)
            .map(|_| self.rng.random_range(low..high))
            .collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    }

    /// (main memory, GPU), activations.
    pub fn activations(&mut self, shape: &[usize]) -> Result<[Tensor; 2]> {
        let stored = self
            .numbers(shape, -1.0, 1.0)?
            .to_dtype(self.store.product.dtype())?;
        Ok([stored.to_dtype(DType::F32)?, stored.to_device(self.gpu)?])
    }

    /// The same of what is f32 on both sides.
    pub fn parameters(&mut self, shape: &[usize], low: f32, high: f32) -> Result<[Tensor; 2]> {
        let numbers = self.numbers(shape, low, high)?;
        self.both(&numbers)
    }

    /// The same numbers on both sides.
    pub fn both(&self, numbers: &Tensor) -> Result<[Tensor; 2]> {
        Ok([numbers.clone(), numbers.to_device(self.gpu)?])
    }

    pub fn norm(&mut self, channels: usize, groups: usize) -> Result<[Norm; 2]> {
        let weight = self.parameters(&[channels], 0.5, 1.5)?;
        let bias = self.parameters(&[channels], -0.5, 0.5)?;
        let norm = |i: usize| Norm {
            weight: weight[i].clone(),
            bias: bias[i].clone(),
            groups,
            eps: 64e-5,
        };
        Ok([norm(0), norm(1)])
    }

    #[track_caller]
    pub fn close(&self, what: &str, want: &Tensor, got: &Tensor) {
        close(what, got, want, self.store.tolerance);
    }

    #[track_caller]
    pub fn close_rows(&self, what: &str, want: &Rows, got: &Rows) -> Result<()> {
        self.close(what, &want.tensor()?, &got.tensor()?);
        Ok(())
    }
}

/// Batches with sequences of one row, borders at and beside those of runs and chunks, and long
/// ones.
pub fn batches() -> Vec<Offsets> {
    let batches: [&[usize]; 6] = [
        &[1],
        &[7],
        &[3, 1, 9],
        &[1; 9],
        &[16, 15, 17, 63, 64, 65],
        &[200],
    ];
    batches
        .iter()
        .map(|lengths| Offsets::from_lengths(lengths.iter().copied()))
        .collect()
}

/// The numbers of `w` as a file has them.
pub fn stored(w: &Tensor, element: Element) -> Result<Vec<u8>> {
    let numbers: Vec<f32> = w.flatten_all()?.to_vec1()?;
    Ok(element.encode(&numbers))
}
