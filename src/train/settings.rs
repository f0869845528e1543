//! A run's settings as its checkpoints remember them, value by value, so that a run that goes on
//! from one can tell what is not as it was. The fields are named as the command line's flags are,
//! and stand in their order.

use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::{Evaluation, HeldOut, Init, Options, Schedule};
use crate::data::Formats;
use crate::data::bad_rows::OnBadRow;
use crate::data::line_ends::LineEnds;
use crate::fetch::Remote;
use crate::model::Group;
use crate::ops::adam::Adam;
use crate::ops::cpu::Processor;
use crate::setting::{DATASET_SPLIT, HUGGINGFACE_DATASET, INIT, SEED, Setting, TUNE};

/// Defines [`RunSettings`], and its fields as a list.
macro_rules! run_settings {
    ($($name:ident: $kind:ty,)*) => {
        /// What decides a run's course and what it writes. Words stand for choices, as the command
        /// line has them; an empty text is a file that was not asked for. Addresses are left out,
        /// since they may hold a password.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default)] // a setting that an earlier version did not have was its default
        pub struct RunSettings { $($name: $kind,)* }

        impl RunSettings {
            fn fields(&self) -> Vec<(Setting, Value)> {
                vec![$((Setting::new(stringify!($name)), json!(self.$name)),)*]
            }
        }
    };
}

run_settings! {
    learningrate: f64,
    batchsize: usize,
    exit_loss: f64,
    max_epochs: f64,
    max_time: f64,
    dataset_walk: String,
    tune: String,
    init: String,
    seed: u64,
    lr_schedule: String,
    lr_final: Option<f64>,
    warmup_steps: usize,
    grad_clip: f64,
    adam_beta1: f64,
    adam_beta2: f64,
    weight_decay: f64,
    eval_path: String,
    eval_split: Option<f64>,
    eval_every: usize,
    keep: String,
    patience: usize,
    save_every: f64,
    data_format: String,
    skip_bad: bool,
    keep_cr: bool,
    prompt_formatter: String,
    response_formatter: String,
    system_formatter: String,
    response_end: String,
    prompt_cutoff: i64,
    completion_cutoff: i64,
    model_location: String,
    data_path: String,
    huggingface_dataset: String,
    dataset_split: String,
    save_filename: String,
    log_file: String,
    report: String,
    tensorboard: String,
    device: String,
    dtype: String,
    weights: String,
    cpu: String,
    recompute: String,
    micro_batch: Option<usize>,
    threads: Option<usize>,
}

/// A setting that is not as it was, with both values as they would be typed.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// Which one.
    pub setting: Setting,
    /// The value when the checkpoint was written.
    pub then: String,
    /// The value now.
    pub now: String,
}

impl RunSettings {
    /// The settings of a run, as the checkpoint will hold them.
    pub fn of(options: &Options) -> Self {
        let Options {
            model,
            model_remote: _,
            data,
            data_remote,
            formats,
            save,
            log_file,
            report,
            tensorboard,
            resume: _,
            save_every,
            evaluation,
            schedule,
            adam,
            grad_clip,
            batch_size,
            walk,
            seed,
            init,
            other_model: _,
            tune,
            exit_loss,
            max_epochs,
            max_time,
            device,
            product,
            weights,
            recompute,
            micro_batch,
            processor,
        } = options;
        let Formats {
            format,
            system,
            prompt,
            response,
            end,
            prompt_cutoff,
            completion_cutoff,
            line_ends,
            changed: _,
            on_bad_row,
        } = formats;
        let Evaluation {
            examples,
            every,
            keep,
            patience,
        } = evaluation;
        let Schedule {
            shape,
            learning_rate,
            last,
            warmup,
        } = schedule;
        let Adam {
            beta1,
            beta2,
            weight_decay,
        } = adam;
        let Processor { threads, level } = processor;
        let (eval_path, eval_split) = match examples {
            HeldOut::None => (String::new(), None),
            HeldOut::File(path) => (text(path), None),
            HeldOut::Share(share) => (String::new(), Some(*share)),
        };
        let (huggingface_dataset, dataset_split) = match data_remote {
            Some(Remote::Dataset { dataset, split }) => (dataset.to_string(), split.clone()),
            Some(Remote::Url { .. }) | None => Default::default(),
        };
        let written = |path: &Option<_>| path.as_deref().map_or(String::new(), text);
        let tokens = |cutoff: &Option<usize>| cutoff.map_or(-1, |tokens| tokens as i64);
        let auto = || "auto".to_string();
        Self {
            learningrate: *learning_rate,
            batchsize: *batch_size,
            exit_loss: *exit_loss,
            max_epochs: *max_epochs,
            max_time: *max_time,
            dataset_walk: walk.to_string(),
            tune: tune.to_string(),
            init: init.as_ref().map_or(String::new(), Init::to_string),
            seed: *seed,
            lr_schedule: shape.to_string(),
            lr_final: *last,
            warmup_steps: *warmup,
            grad_clip: *grad_clip,
            adam_beta1: *beta1,
            adam_beta2: *beta2,
            weight_decay: *weight_decay,
            eval_path,
            eval_split,
            eval_every: *every,
            keep: keep.to_string(),
            patience: *patience,
            save_every: *save_every,
            data_format: format.map_or_else(auto, |format| format.to_string()),
            skip_bad: *on_bad_row == OnBadRow::Skip,
            keep_cr: *line_ends == LineEnds::Keep,
            prompt_formatter: prompt.to_string(),
            response_formatter: response.to_string(),
            system_formatter: system.to_string(),
            response_end: end.to_string(),
            prompt_cutoff: tokens(prompt_cutoff),
            completion_cutoff: tokens(completion_cutoff),
            model_location: text(model),
            data_path: text(data),
            huggingface_dataset,
            dataset_split,
            save_filename: text(save),
            log_file: written(log_file),
            report: written(report),
            tensorboard: written(tensorboard),
            device: device.to_string(),
            dtype: product.map_or_else(auto, |product| product.to_string()),
            weights: weights.to_string(),
            cpu: level.map_or_else(auto, |level| level.to_string()),
            recompute: recompute.to_string(),
            micro_batch: *micro_batch,
            threads: *threads,
        }
    }

    /// What is not the same `now`. That no dataset is asked for any more is no change: the examples
    /// themselves are compared.
    pub fn changes(&self, now: &Self) -> Vec<Change> {
        let names_no_dataset = now.huggingface_dataset.is_empty();
        let is_dataset = |setting: &Setting| [HUGGINGFACE_DATASET, DATASET_SPLIT].contains(setting);
        let both = self.fields().into_iter().zip(now.fields());
        both.filter(|((setting, _), _)| !(names_no_dataset && is_dataset(setting)))
            .filter(|((_, then), (_, now))| then != now)
            .map(|((setting, then), (_, now))| Change {
                setting,
                then: typed(&then),
                now: typed(&now),
            })
            .collect()
    }

    /// Whether a memory plan that was made for `self` serves `now`. With parts of another size the
    /// last digits would be others. Free memory is no reason for a new plan, a setting is.
    pub fn has_same_plan(&self, now: &Self) -> bool {
        let asked = |settings: &Self| {
            let Self {
                batchsize,
                micro_batch,
                recompute,
                weights,
                ..
            } = settings.clone();
            (batchsize, micro_batch, recompute, weights)
        };
        asked(self) == asked(now)
    }

    /// What is learnt, what from, and in which order: all that a run must have in common with its
    /// checkpoint.
    pub fn start(&self) -> String {
        let Self {
            tune, init, seed, ..
        } = self;
        format!("{TUNE} {tune} {INIT} {init} {SEED} {seed}")
    }

    /// Each setting and its value as they would be typed.
    pub fn shown(&self) -> Vec<(String, String)> {
        let fields = self.fields().into_iter();
        fields
            .map(|(setting, value)| (setting.to_string(), typed(&value)))
            .collect()
    }

    /// Reads settings, or what the first version wrote instead: each flag and its value as it was
    /// typed.
    pub fn read<'de, D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let stored = match Value::deserialize(json)? {
            Value::Array(flags) => of_flags(flags),
            settings => settings,
        };
        serde_json::from_value(stored).map_err(serde::de::Error::custom)
    }
}

impl Default for RunSettings {
    fn default() -> Self {
        Self::of(&Options::default())
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A value as it would be typed: a newline as `\n`, a whole number without a point, nothing for
/// what was not given.
fn typed(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.replace('\n', "\\n"),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() => float.to_string(),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// The first version's list of `["--flag", "value"]` as settings.
fn of_flags(flags: Vec<Value>) -> Value {
    let kinds: Map<String, Value> = (RunSettings::default().fields().into_iter())
        .map(|(setting, value)| (setting.name().to_string(), value))
        .collect();
    let flags = flags.iter().filter_map(|flag| {
        let (name, text) = (flag.get(0)?.as_str()?, flag.get(1)?.as_str()?);
        let name = name.trim_start_matches('-');
        let value = match kinds.get(name)? {
            Value::String(_) if name == TUNE.name() => groups_in_order(text).into(),
            Value::String(_) => text.replace("\\n", "\n").into(),
            _ => number(text.trim()),
        };
        Some((name.to_string(), value))
    });
    Value::Object(flags.collect())
}

fn groups_in_order(text: &str) -> String {
    let is_named = |group: &Group| text.split(',').any(|name| name.trim() == group.name());
    let named = Group::ALL.into_iter().filter(is_named);
    named.map(Group::name).collect::<Vec<_>>().join(",")
}

/// A number of whichever kind, or null.
fn number(text: &str) -> Value {
    let whole = || text.parse::<i64>().ok().map(Value::from);
    let whole = text.parse::<u64>().ok().map(Value::from).or_else(whole);
    whole
        .or_else(|| text.parse::<f64>().ok().map(Value::from))
        .unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
