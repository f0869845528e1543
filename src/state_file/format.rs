//! The ways in which programs keep a state in a file.

use std::fmt;

use crate::model::State;

/// One of them. All matrices are \[key, value\] in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Ours, and the original's: a list of soft prompt and (shifts, matrices), the latter as \[value, key\].
    State,
    /// The original's later one: a dictionary with `blocks.{i}.att.wkvstate` and both shifts, \[key, value\], bf16.
    Original,
    /// A dictionary of `blocks.{i}.att.time_state`, \[value, key\], bf16: RWKV-PEFT, RWKV-Runner, ChatRWKV.
    TimeState,
    /// safetensors of `blocks.{i}.att.time_state`, \[key, value\], f16: web-rwkv, Ai00.
    WebRwkv,
    /// The `rwkv` package's running state: a list of att shift, matrix and ffn shift of each layer, \[key, value\].
    RwkvLive,
    /// A model with `time_state` among its tensors, from which the `rwkv` package starts by itself.
    Model,
}

/// Each with the name it goes by.
pub const FORMATS: [(&str, Format); 6] = [
    ("state", Format::State),
    ("original", Format::Original),
    ("time_state", Format::TimeState),
    ("web-rwkv", Format::WebRwkv),
    ("rwkv-live", Format::RwkvLive),
    ("model", Format::Model),
];

impl Format {
    /// The format called `name`.
    pub fn named(name: &str) -> Option<Self> {
        let found = FORMATS.iter().find(|(known, _)| *known == name);
        found.map(|&(_, format)| format)
    }

    /// What of a state a file of this format would lose, in words.
    pub fn loses(self, state: &State) -> candle_core::Result<Vec<&'static str>> {
        let (keeps_soft_prompt, keeps_shifts) = match self {
            Self::State => (true, true),
            Self::Original | Self::RwkvLive => (false, true),
            Self::TimeState | Self::WebRwkv | Self::Model => (false, false),
        };
        let mut lost = Vec::new();
        if state.soft_prompt.is_some() && !keeps_soft_prompt {
            lost.push("the soft prompt");
        }
        let has_shifts = state.shifts.abs()?.max_all()?.to_scalar::<f32>()? > 0.0;
        if has_shifts && !keeps_shifts {
            lost.push("the token shifts");
        }
        Ok(lost)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = FORMATS.iter().find(|(_, format)| format == self);
        f.write_str(found.map_or("", |(name, _)| name))
    }
}
