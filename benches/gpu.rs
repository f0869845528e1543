//! The recurrences by themselves, and tokens of an answer, on a GPU: for `tools/gpu-check`, which reads one JSON
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
use state_tune::ops::delta::{Delta, DeltaInputs, DeltaKeys};
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
/// Of RWKV-7's: forward r S, kk S and what k and kk add; backward what reads G (dv, dk, dsa, db) and S (dr, da), and
/// what adds to them.
const DELTA_FORWARD: usize = 4 * 2 * HEAD_SIZE * HEAD_SIZE;
const DELTA_BACKWARD: usize = 10 * 2 * HEAD_SIZE * HEAD_SIZE;

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
            delta(&compute.device, n_head, lengths, times)?;
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

/// Random tensors on a device.
struct Random<'a> {
    rng: StdRng,
    device: &'a Device,
}

impl<'a> Random<'a> {
    fn new(device: &'a Device) -> Self {
        Self {
            rng: StdRng::seed_from_u64(1),
            device,
        }
    }

    /// Numbers that bf16 holds.
    fn uniform(&mut self, shape: &[usize], low: f32, high: f32) -> Result<Tensor> {
        let count = shape.iter().product();
        let numbers: Vec<bf16> = (0..count)
            .map(|_| bf16::from_f32(self.rng.random_range(low..high)))
            .collect();
        Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_device(self.device)?)
    }

    /// The same, stored in f32.
    fn uniform_f32(&mut self, shape: &[usize], low: f32, high: f32) -> Result<Tensor> {
        Ok(self.uniform(shape, low, high)?.to_dtype(DType::F32)?)
    }
}

/// Prints what calls took. Bytes: of each input read once and each output written once.
fn report(what: &str, n_head: usize, offsets: &Offsets, seconds: f64, bytes: usize, flops: usize) {
    let line = json!({
        "what": what,
        "heads": n_head,
        "sequences": offsets.sequences(),
        "rows": offsets.rows(),
        "seconds": seconds,
        "bytes": bytes,
        "flops": flops * n_head * offsets.rows(),
    });
    println!("{line}");
}

/// Forward and backward of sequences of these lengths, stored in bf16.
fn wkv(device: &Device, n_head: usize, lengths: &[usize], times: Times) -> Result<()> {
    let offsets = Offsets::from_lengths(lengths.iter().copied());
    let mut random = Random::new(device);
    let of_heads = [n_head, HEAD_SIZE];
    // Learnt in this range: from channels that forget within a token to some that hardly do.
    let logs = random
        .uniform_f32(&of_heads, -6.0, 0.5)?
        .to_device(&Device::Cpu)?;
    let op = Wkv {
        decay: logs.exp()?.neg()?.exp()?.to_device(device)?,
        bonus: random.uniform_f32(&of_heads, -0.5, 0.8)?,
    };
    let state = random.uniform_f32(&[n_head, HEAD_SIZE, HEAD_SIZE], -1.0, 1.0)?;
    let rows = [offsets.rows(), n_head * HEAD_SIZE];
    let r = random.uniform(&rows, -1.0, 1.0)?;
    let k = random.uniform(&rows, -1.0, 1.0)?;
    let v = random.uniform(&rows, -1.0, 1.0)?;
    let dy = random.uniform(&rows, -1.0, 1.0)?;
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
    let tensor = r.elem_count() * size_of::<bf16>();
    report(
        "wkv_forward",
        n_head,
        &offsets,
        forward,
        4 * tensor,
        FORWARD,
    );
    report(
        "wkv_backward",
        n_head,
        &offsets,
        backward,
        7 * tensor,
        BACKWARD,
    );
    Ok(())
}

/// Likewise of RWKV-7's recurrence.
fn delta(device: &Device, n_head: usize, lengths: &[usize], times: Times) -> Result<()> {
    let offsets = Offsets::from_lengths(lengths.iter().copied());
    let mut random = Random::new(device);
    let rows = [offsets.rows(), n_head * HEAD_SIZE];
    let op = Delta {
        decay: random.uniform_f32(&rows[1..], -7.0, 3.0)?,
        bonus: random.uniform_f32(&[n_head, HEAD_SIZE], -0.5, 0.5)?,
        keys: DeltaKeys {
            removal: random.uniform_f32(&rows[1..], 0.4, 1.1)?,
            share: random.uniform_f32(&rows[1..], 0.6, 1.2)?,
            rate: random.uniform_f32(&rows[1..], -1.0, 1.0)?,
        },
    };
    let state = random.uniform_f32(&[n_head, HEAD_SIZE, HEAD_SIZE], -1.0, 1.0)?;
    let x = DeltaInputs {
        r: &random.uniform(&rows, -1.0, 1.0)?,
        w: &random.uniform_f32(&rows, -1.0, 1.0)?,
        kappa: &random.uniform(&rows, -1.0, 1.0)?,
        a: &random.uniform_f32(&rows, -4.0, 4.0)?,
        v: &random.uniform(&rows, -1.0, 1.0)?,
    };
    let dy = random.uniform(&rows, -1.0, 1.0)?;
    let dq = random.uniform_f32(&[offsets.rows(), n_head], -1.0, 1.0)?;
    let sa = op.forward(x, &state, &offsets)?.sa;

    let forward = seconds(device, times, || {
        op.forward(x, &state, &offsets)?;
        Ok(())
    })?;
    let backward = seconds(device, times, || {
        op.backward([&dy, &dq], x, &sa, &state, &offsets, ProductType::Bf16)?;
        Ok(())
    })?;
    let (half, single) = (
        dy.elem_count() * size_of::<bf16>(),
        dy.elem_count() * size_of::<f32>(),
    );
    // What goes in and out, not the keys between: r, kappa, v and y; w, a and sa.
    report(
        "delta_forward",
        n_head,
        &offsets,
        forward,
        4 * half + 3 * single,
        DELTA_FORWARD,
    );
    // r, kappa, v, dy, dr, dw, dkappa and da; w, a, sa and dv.
    report(
        "delta_backward",
        n_head,
        &offsets,
        backward,
        8 * half + 4 * single,
        DELTA_BACKWARD,
    );
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
        let mut reader = Reader::new(&model, &start)?;
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
