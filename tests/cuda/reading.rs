//! The GPU's own figures, and a text that is read token by token.

use candle_core::{Device, Tensor};
use state_tune::model::{Reader, Rwkv, State};
use state_tune::ops::linear::ProductType;
use state_tune::ops::{Compute, device};

use crate::common::close::close;
use crate::common::golden;
use crate::sides::gpu;

#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn a_gpu_tells_of_itself() {
    let gpu = gpu();
    assert!(device::gpu_name(&gpu).unwrap().is_some());
    let memory = device::gpu_memory(&gpu).unwrap().unwrap();
    assert!(memory.free <= memory.total && memory.peak <= memory.total);
}

/// One token, which is recorded, some at once, one again, which is recorded again, and one that is
/// launched.
#[test]
#[ignore = "needs --features cuda and a GPU, which tools/cuda-emulator emulates"]
fn reading_on_from_a_state() -> anyhow::Result<()> {
    reads_on("model_5.2.pth")?;
    reads_on("model_7.pth")
}

fn reads_on(file: &str) -> anyhow::Result<()> {
    let gpu = gpu();
    let model = golden(file);
    let model = |device: &Device| {
        let exact = Compute::from(ProductType::F32);
        Rwkv::open(
            &model,
            Compute {
                device: device.clone(),
                ..exact
            },
        )
    };
    let (exact, on_gpu) = (model(&Device::Cpu)?, model(&gpu)?);
    let start = State::zeros(exact.config())?;
    let mut want = Reader::new(&exact, &start)?;
    let mut got = Reader::new(&on_gpu, &start.to_device(&gpu)?)?;
    for tokens in [
        &[3u32][..],
        &[5, 8, 13],
        &[21],
        &[34],
        &[55],
        &[89, 144],
        &[7],
        &[11],
    ] {
        let (want, got) = (want.read(tokens)?, got.read(tokens)?);
        let tensor = |row: Vec<f32>| Tensor::new(row, &Device::Cpu);
        close(
            &format!("{file} after {tokens:?}"),
            &tensor(got)?,
            &tensor(want)?,
            1e-4,
        );
    }
    assert!(got.read(&[160]).is_err(), "no such token");
    Ok(())
}
