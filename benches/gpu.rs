//! WKV by itself, and tokens of an answer, on a GPU: for `tools/gpu-check`, which reads one JSON
//! object a line.
//!
//! ```sh
//! cargo bench --features cuda --bench gpu -- [--small] [--decode MODEL]
//! ```
//!
//! A plain loop rather than criterion: what is wanted is one number for each case, in a minute at
//! most, for a script that holds it against the GPU's own rates. Calls are queued, as those of a
//! step are, and waited for together: what is timed is the GPU, unless it is faster than the
//! program that feeds it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use half::bf16;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use state_tune::model::{ModelFile, Reader, Rwkv, State};
use state_tune::ops::device::{DeviceChoice, gpu_name};
use state_tune::ops::linear::{ProductType, Weights};
use state_tune::ops::wkv::Wkv;
use state_tune::ops::{Compute, Offsets};

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HEAD_SIZE: usize = 64;
/// Floating-point operations of one head's row, in products of a row or a matrix of the head:
/// forward r S and k v; backward k v for S and r dy for G, and with them S dy, G v and G k.
const FORWARD: usize = 2 * 2 * HEAD_SIZE * HEAD_SIZE;
const BACKWARD: usize = 5 * 2 * HEAD_SIZE * HEAD_SIZE;

struct Options {
    /// For an emulated GPU: small, and few times.
    small: bool,
    /// The model whose answers are timed.
    decode: Option<PathBuf>,
}

/// How often something is measured, and how many calls are queued each time.
#[derive(Clone, Copy)]
struct Times {
    measured: usize,
    queued: usize,
}

fn main() -> Result<()> {
    let options = parse(std::env::args().skip(1))?;
    let compute = Compute::fastest(
        DeviceChoice::Cuda(0),
        Some(ProductType::Bf16),
        Weights::File,
    )?
    .compute;
    let name = gpu_name(&compute.device)?;
    println!("{}", json!({"what": "gpu", "name": name}));
    if let Some(path) = &options.decode {
        return decode(path, options.small);
    }
    let (heads, lengths, times) = match options.small {
        true => (
            vec![1],
            vec![vec![70; 2], vec![140]],
            Times {
                measured: 3,
                queued: 1,
            },
        ),
        false => (
            vec![32, 64],
            vec![vec![1024; 16], vec![16 * 1024]],
            Times {
                measured: 25,
                queued: 8,
            },
        ),
    };
    for n_head in heads {
        for lengths in &lengths {
            wkv(&compute.device, n_head, lengths, times)?;
        }
    }
    Ok(())
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        small: false,
        decode: None,
    };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--small" => options.small = true,
            "--decode" => options.decode = Some(args.next().context("--decode MODEL")?.into()),
            // Cargo's own.
            "--bench" => {}
            other => bail!("{other}: there is --small and --decode MODEL"),
        }
    }
    Ok(options)
}

/// Forward and backward of sequences of these lengths, stored in bf16.
fn wkv(device: &Device, n_head: usize, lengths: &[usize], times: Times) -> Result<()> {
    let offsets = Offsets::from_lengths(lengths.iter().copied());
    let mut rng = StdRng::seed_from_u64(1);
    let mut uniform = |shape: &[usize], low: f32, high: f32| -> Result<Tensor> {
        let count = shape.iter().product();
        let numbers: Vec<bf16> = (0..count)
            .map(|_| bf16::from_f32(rng.random_range(low..high)))
            .collect();
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
    };
    let of_heads = [n_head, HEAD_SIZE];
    // Learnt in this range: from channels that forget within a token to some that hardly do.
    let logs = uniform(&of_heads, -6.0, 0.5)?.to_dtype(DType::F32)?;
    let op = Wkv {
        decay: logs.exp()?.neg()?.exp()?.to_device(device)?,
        bonus: uniform(&of_heads, -0.5, 0.8)?
            .to_dtype(DType::F32)?
            .to_device(device)?,
    };
    let state = uniform(&[n_head, HEAD_SIZE, HEAD_SIZE], -1.0, 1.0)?
        .to_dtype(DType::F32)?
        .to_device(device)?;
    let rows = [offsets.rows(), n_head * HEAD_SIZE];
    let mut activations =
        || -> Result<Tensor> { Ok(uniform(&rows, -1.0, 1.0)?.to_device(device)?) };
    let (r, k, v, dy) = (
        activations()?,
        activations()?,
        activations()?,
        activations()?,
    );
    let rkv = [&r, &k, &v];

    let forward = seconds(device, times, || {
        op.forward(rkv, &state, &offsets)?;
        Ok(())
    })?;
    let backward = seconds(device, times, || {
        op.backward(&dy, rkv, &state, &offsets, ProductType::Bf16)?;
        Ok(())
    })?;
    // r, k, v and y; and r, k, v, dy, dr, dk and dv.
    let tensor = r.elem_count() * r.dtype().size_in_bytes();
    for (what, seconds, tensors, flops) in [
        ("wkv_forward", forward, 4, FORWARD),
        ("wkv_backward", backward, 7, BACKWARD),
    ] {
        let line = json!({
            "what": what,
            "heads": n_head,
            "sequences": offsets.sequences(),
            "rows": offsets.rows(),
            "seconds": seconds,
            "bytes": tensors * tensor,
            "flops": flops * n_head * offsets.rows(),
        });
        println!("{line}");
    }
    Ok(())
}

/// Tokens of an answer, one after another, as products and weights of each kind.
fn decode(path: &std::path::Path, small: bool) -> Result<()> {
    let checkpoint = ModelFile::open(path)?;
    let times = match small {
        true => Times {
            measured: 3,
            queued: 1,
        },
        false => Times {
            measured: 25,
            queued: 8,
        },
    };
    // What the program does unless it is told otherwise comes first.
    for (product, weights) in [
        (None, Weights::File),
        (Some(ProductType::Bf16), Weights::File),
        (None, Weights::Int8),
        (None, Weights::Nf4),
    ] {
        let compute = Compute::exact(DeviceChoice::Cuda(0), product, weights)?.compute;
        let model = Rwkv::load(&checkpoint, &compute)?;
        let start = State::zeros(model.config())?.to_device(&compute.device)?;
        let mut reader = Reader::new(&model, &start);
        let mut token = 1;
        let seconds = seconds(&compute.device, times, || {
            // As in an answer, the next token hangs on the last one's logits, which are read here.
            let logits = reader.read(&[token])?;
            token = 1 + (logits[0].to_bits() >> 8) % 200;
            Ok(())
        })?;
        let line = json!({
            "what": "decode",
            "product": format!("{:?}", compute.product),
            "weights": weights.to_string(),
            "seconds": seconds,
            "bytes": model.bytes_multiplied(),
        });
        println!("{line}");
    }
    Ok(())
}

/// The median time of a call, once it has run a few times.
fn seconds(device: &Device, times: Times, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..2 {
        call()?;
    }
    device.synchronize()?;
    let mut each = Vec::with_capacity(times.measured);
    for _ in 0..times.measured {
        let begun = Instant::now();
        for _ in 0..times.queued {
            call()?;
        }
        device.synchronize()?;
        each.push(begun.elapsed().as_secs_f64() / times.queued as f64);
    }
    each.sort_by(f64::total_cmp);
    Ok(each[each.len() / 2])
}
