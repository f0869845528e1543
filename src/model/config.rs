//! What kind of model a file holds, read off the names and shapes of its tensors alone.

use std::fmt;

use anyhow::{Result, bail, ensure};

use super::{ModelFile, other_models};

/// What a model's version begins with. States of different generations mean different things, even
/// where their shapes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// RWKV-5.
    Five,
    /// RWKV-7.
    Seven,
}

/// What a fingerprint of an RWKV-7 model begins with; those of RWKV-5 models are the hash alone.
pub(super) const SEVEN: &str = "rwkv7-";

impl Generation {
    /// The generation of a model that has this fingerprint, which is one.
    pub fn of_fingerprint(fingerprint: &str) -> Self {
        match fingerprint.starts_with(SEVEN) {
            true => Self::Seven,
            false => Self::Five,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Five => "RWKV-5",
            Self::Seven => "RWKV-7",
        })
    }
}

/// The RWKV releases that differ in their maths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One decay and one bonus a head, no gate.
    V5_0,
    /// One decay and one bonus a head, gated.
    V5_1,
    /// A decay and a bonus for each channel, gated. All "World" models from Eagle on.
    V5_2,
    /// A decay, a learning rate and a gate for each row and channel, made by matrices of low rank;
    /// "x070".
    V7,
}

impl Version {
    /// What it begins with.
    pub fn generation(self) -> Generation {
        match self {
            Self::V5_0 | Self::V5_1 | Self::V5_2 => Generation::Five,
            Self::V7 => Generation::Seven,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V5_0 => "5.0",
            Self::V5_1 => "5.1",
            Self::V5_2 => "5.2",
            Self::V7 => "7",
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
    /// Reads the sizes. Errors say which version or what else it is, if it is no model that can be
    /// used.
    pub fn of(file: &ModelFile) -> Result<Self> {
        other_models::refuse(file)?;
        let [vocab_size, n_embd] = file.matrix_shape("emb.weight")?;
        let last = file.names().filter_map(layer_of).max().unwrap_or(0);
        ensure!(
            last < file.names().count(),
            "there is a tensor of layer {last} (blocks.{last}.*), but not of every layer before it"
        );
        let n_layer = last + 1;
        let (version, n_head) = match other_models::is_seven(file) {
            true => {
                let [n_head, _] = file.matrix_shape(other_models::BONUS_7)?;
                (Version::V7, n_head)
            }
            false => version_of_five(file)?,
        };
        ensure!(
            n_head > 0 && n_embd.is_multiple_of(n_head),
            "n_embd {n_embd} (from emb.weight) is not a multiple of {n_head} heads (from {})",
            match version.generation() {
                Generation::Five => "blocks.0.att.time_decay",
                Generation::Seven => other_models::BONUS_7,
            }
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

/// Which RWKV-5 a file holds, and its heads.
fn version_of_five(file: &ModelFile) -> Result<(Version, usize)> {
    let gate = file.has("blocks.0.att.gate.weight");
    Ok(match (file.shape("blocks.0.att.time_decay")?, gate) {
        (&[n_head, per_head], true) if per_head > 1 => (Version::V5_2, n_head),
        (&[n_head, per_head], false) if per_head > 1 => bail!(
            "blocks.0.att.time_decay is [{n_head}, {per_head}] as in RWKV-5.2, but blocks.0.att.gate.weight is \
             missing: the checkpoint is incomplete"
        ),
        (shape, true) => (Version::V5_1, shape.iter().product()),
        (shape, false) => (Version::V5_0, shape.iter().product()),
    })
}

/// The number in `blocks.N.rest`.
fn layer_of(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("blocks.")?.split_once('.')?;
    number.parse().ok()
}
