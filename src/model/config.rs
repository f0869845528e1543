//! What kind of model a file holds, read off the names and shapes of its tensors alone.

use std::fmt;

use anyhow::{Result, bail, ensure};
use sha2::{Digest, Sha256};

use super::weights::ModelFile;

/// The RWKV-5 releases that differ in their maths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One decay and one bonus a head, no gate.
    V5_0,
    /// One decay and one bonus a head, gated.
    V5_1,
    /// A decay and a bonus for each channel, gated. All "World" models from Eagle on.
    V5_2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5_0 => "5.0",
            Self::V5_1 => "5.1",
            Self::V5_2 => "5.2",
        })
    }
}

/// The sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which maths it has.
    pub version: Version,
    /// V: tokens that it knows.
    pub vocab_size: usize,
    /// L: blocks.
    pub n_layer: usize,
    /// C: channels of a row.
    pub n_embd: usize,
    /// H: heads of the WKV recurrence.
    pub n_head: usize,
    /// K: channels of a head, n_embd / n_head.
    pub head_size: usize,
    /// F: width of the channel-mix's inner layer.
    pub n_ffn: usize,
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version,
            vocab_size,
            n_layer,
            n_embd,
            n_head,
            head_size,
            n_ffn,
        } = self;
        write!(
            f,
            "RWKV-{version}, {n_layer} layers, n_embd {n_embd}, {n_head} heads of {head_size}, ffn {n_ffn}, \
             vocabulary {vocab_size}"
        )
    }
}

impl Config {
    /// Reads the sizes. Errors say which version or what else it is, if it is not an RWKV-5 model.
    pub fn of(file: &ModelFile) -> Result<Self> {
        refuse_other_models(file)?;
        let [vocab_size, n_embd] = file.matrix_shape("emb.weight")?;
        let last = file.names().filter_map(layer_of).max().unwrap_or(0);
        ensure!(
            last < file.names().count(),
            "there is a tensor of layer {last} (blocks.{last}.*), but not of every layer before it"
        );
        let n_layer = last + 1;
        let gate = file.has("blocks.0.att.gate.weight");
        let (version, n_head) = match (file.shape("blocks.0.att.time_decay")?, gate) {
            (&[n_head, per_head], true) if per_head > 1 => (Version::V5_2, n_head),
            (&[n_head, per_head], false) if per_head > 1 => bail!(
                "blocks.0.att.time_decay is [{n_head}, {per_head}] as in RWKV-5.2, but blocks.0.att.gate.weight is \
                 missing: the checkpoint is incomplete"
            ),
            (shape, true) => (Version::V5_1, shape.iter().product()),
            (shape, false) => (Version::V5_0, shape.iter().product()),
        };
        ensure!(
            n_head > 0 && n_embd.is_multiple_of(n_head),
            "n_embd {n_embd} (from emb.weight) is not a multiple of {n_head} heads (from blocks.0.att.time_decay)"
        );
        let [n_ffn, _] = file.matrix_shape("blocks.0.ffn.key.weight")?;
        Ok(Self {
            version,
            vocab_size,
            n_layer,
            n_embd,
            n_head,
            head_size: n_embd / n_head,
            n_ffn,
        })
    }
}

/// A hash, in hexadecimal, of the sizes and of every layer's decays and norms: little to read, and
/// training changes all of them.
pub fn fingerprint(file: &ModelFile, config: &Config) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(config.to_string());
    for i in 0..config.n_layer {
        for name in ["att.time_decay", "ln1.weight", "ln1.bias"] {
            let name = format!("blocks.{i}.{name}");
            let count = file.shape(&name)?.iter().product();
            for number in file.numbers(&name, count)? {
                hasher.update(number.to_le_bytes());
            }
        }
    }
    let hash = hasher.finalize();
    Ok(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The number in `blocks.N.rest`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blocks.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

fn refuse_other_models(file: &ModelFile) -> Result<()> {
    let other = |version: &str| -> Result<()> {
        bail!("this is an RWKV-{version} model; state-tune tunes RWKV-5 (5.0, 5.1, 5.2)")
    };
    let has = |name: &str| file.has(&format!("blocks.0.att.{name}"));
    if has("r_k") || has("x_r") || has("w0") {
        return other("7");
    }
    if has("time_maa_x") || has("time_maa_w1") || has("time_decay_w1") {
        return other("6");
    }
    if has("time_mix_k") && !has("ln_x.weight") {
        return other("4");
    }
    if !file.has("emb.weight") || !has("time_decay") || !has("ln_x.weight") {
        let some: Vec<&str> = file.names().take(3).collect();
        bail!(
            "this is not an RWKV model: it has {} tensors, but no emb.weight and blocks.0.att.* among them{}",
            file.names().count(),
            if some.is_empty() {
                String::new()
            } else {
                format!(" (there are {}, ...)", some.join(", "))
            }
        );
    }
    Ok(())
}
