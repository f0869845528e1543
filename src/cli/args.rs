//! Every flag. The comments here are what `--help` shows and what the README's table is held to.

use std::path::PathBuf;

use clap::Parser;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::data::Walk;
use crate::data::template::Template;
use crate::model::Group;
use crate::ops::cpu::level::Level;
use crate::ops::device::Choice;
use crate::ops::linear::{Product, Weights};
use crate::train::schedule::Shape;
use crate::train::{Init, Keep, Recompute, Tune};

/// Teach a frozen RWKV-5 model a new manner by learning only the state it starts from.
///
/// Without --prompt it trains: reads --model_location and --data_path, writes --save_filename. With --prompt it shows
/// what the model answers, first without and then with that state; --prompts does so for a file of prompts, and
/// --interactive is a talk.
#[derive(Parser, Debug)]
#[command(
    name = "state-tune",
    version,
    rename_all = "snake_case",
    args_override_self = true,
    after_help = "Every flag is also read from the environment, as a variable named like the flag\n\
                  (env -- '--learningrate=0.02' state-tune) or as STATE_TUNE_LEARNINGRATE. The command line wins.\n\
                  Dashes may stand for underscores. In texts, \\n is a newline.\n\n\
                  `state-tune convert` turns a state into another format, `state-tune inspect` says what a file is;\n\
                  each explains itself with --help."
)]
pub struct Args {
    /// How far each step goes (Adam's learning rate)
    #[arg(long, default_value = "0.01", value_parser = positive, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub learningrate: f64,

    /// Examples in each step
    #[arg(long, default_value = "8", value_parser = batch_size, allow_hyphen_values = true, value_name = "N", help_heading = "Training")]
    pub batchsize: usize,

    /// Stop after a step whose loss is below this; 0 never does
    #[arg(long, default_value = "0.5", value_parser = number, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub exit_loss: f64,

    /// Stop after this many passes over the data; fractions count
    #[arg(long, default_value = "10", value_parser = positive, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub max_epochs: f64,

    /// Stop after this many seconds
    #[arg(long, default_value = "3600", value_parser = positive, allow_hyphen_values = true, value_name = "SECONDS", help_heading = "Training")]
    pub max_time: f64,

    /// Which examples come next: independent draws, the file's order, or a new order each epoch
    #[arg(
        long,
        value_parser = one_of(WALKS), default_value = "shuffled",
        value_name = "WALK",
        help_heading = "Training"
    )]
    pub dataset_walk: Walk,

    /// What is learnt, a list of: softprompt (a vector before the first token), shift (the token shifts), wkv (the matrices)
    #[arg(
        long,
        default_value = "softprompt,shift,wkv",
        value_parser = tune,
        value_name = "GROUPS",
        help_heading = "Training"
    )]
    pub tune: Tune,

    /// What the learnt numbers start as: zeros; ones (shifts and wkv, as the original did); small random ones
    #[arg(
        long,
        value_parser = one_of(INITS), default_value = "ones",
        value_name = "INIT",
        help_heading = "Training"
    )]
    pub init: Init,

    /// Decides random orders, a random start and drawn answers; the same seed gives the same run
    #[arg(
        long,
        default_value = "1", value_parser = seed,
        allow_hyphen_values = true,
        value_name = "N",
        help_heading = "Training"
    )]
    pub seed: u64,

    /// The learning rate's way from --learningrate to --lr_final: constant, cosine, linear or exponential
    #[arg(
        long,
        value_parser = one_of(SHAPES), default_value = "constant",
        value_name = "SHAPE",
        help_heading = "Training"
    )]
    pub lr_schedule: Shape,

    /// The learning rate of the last step, unless the schedule is constant [default: a hundredth of --learningrate]
    #[arg(long, value_parser = positive, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub lr_final: Option<f64>,

    /// Steps in which the learning rate rises to --learningrate
    #[arg(long, default_value = "0", value_parser = steps, allow_hyphen_values = true, value_name = "N", help_heading = "Training")]
    pub warmup_steps: usize,

    /// Cut the gradient of each group (soft prompt, shifts, wkv) down to this norm; 0 does not
    #[arg(long, default_value = "0", value_parser = not_negative, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub grad_clip: f64,

    /// Adam's decay of its mean of gradients
    #[arg(long, default_value = "0.9", value_parser = beta, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub adam_beta1: f64,

    /// Adam's decay of its mean of squared gradients
    #[arg(long, default_value = "0.999", value_parser = beta, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub adam_beta2: f64,

    /// The share of the learning rate that each step takes off what is learnt (AdamW)
    #[arg(long, default_value = "0", value_parser = not_negative, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Training")]
    pub weight_decay: f64,

    /// Stop before training: look at the flags and the data, and say what they come to
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL",
        help_heading = "Training"
    )]
    pub dry_run: bool,

    /// Examples that are not learnt from, to see how well they are predicted; JSON lines as --data_path
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "eval_split",
        help_heading = "Evaluation"
    )]
    pub eval_path: Option<PathBuf>,

    /// Put this share of the data aside for that instead, such as 0.1
    #[arg(long, value_parser = part, allow_hyphen_values = true, value_name = "SHARE", help_heading = "Evaluation")]
    pub eval_split: Option<f64>,

    /// Steps between two evaluations; 0 evaluates at the start and at the end only
    #[arg(long, default_value = "50", value_parser = steps, allow_hyphen_values = true, value_name = "N", help_heading = "Evaluation")]
    pub eval_every: usize,

    /// Which state is saved: the last one, or the one that predicts the held-out examples best
    #[arg(
        long,
        value_parser = one_of(KEEPS), default_value = "last",
        value_name = "WHICH",
        help_heading = "Evaluation"
    )]
    pub keep: Keep,

    /// Stop after this many evaluations in a row without a better one; 0 never does
    #[arg(long, default_value = "0", value_parser = steps, allow_hyphen_values = true, value_name = "N", help_heading = "Evaluation")]
    pub patience: usize,

    /// Go on from the checkpoint beside --save_filename, if there is one
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL",
        help_heading = "Checkpoints"
    )]
    pub resume: bool,

    /// Seconds between two checkpoints (--save_filename with .ckpt after it); 0 writes one after every step
    #[arg(long, default_value = "300", value_parser = not_negative, allow_hyphen_values = true, value_name = "SECONDS", help_heading = "Checkpoints")]
    pub save_every: f64,

    /// The prompt's text; {key} is that key's value in the line of data
    #[arg(long, default_value = DEFAULT_PROMPT, value_parser = template, allow_hyphen_values = true, value_name = "TEXT", help_heading = "Data")]
    pub prompt_formatter: Template,

    /// The completion's text, which is learnt
    #[arg(long, default_value = DEFAULT_RESPONSE, value_parser = template, allow_hyphen_values = true, value_name = "TEXT", help_heading = "Data")]
    pub response_formatter: Template,

    /// A system message's text, before a conversation's first prompt
    #[arg(long, default_value = DEFAULT_SYSTEM, value_parser = template, allow_hyphen_values = true, value_name = "TEXT", help_heading = "Data")]
    pub system_formatter: Template,

    /// Text that ends every completion and is learnt with it; answers end there, too, instead of at a blank line
    #[arg(long, default_value = "", value_parser = text, allow_hyphen_values = true, value_name = "TEXT", help_heading = "Data")]
    pub response_end: String,

    /// Keep only this many of the prompt's last tokens; -1 keeps all
    #[arg(long, default_value = "-1", value_parser = prompt_cutoff, allow_hyphen_values = true, value_name = "N", help_heading = "Data")]
    pub prompt_cutoff: Cutoff,

    /// Keep only this many of the completion's first tokens; -1 keeps all
    #[arg(long, default_value = "-1", value_parser = completion_cutoff, allow_hyphen_values = true, value_name = "N", help_heading = "Data")]
    pub completion_cutoff: Cutoff,

    /// The frozen model, .pth or .safetensors
    #[arg(
        long,
        default_value = "model.pth",
        value_name = "FILE",
        help_heading = "Files"
    )]
    pub model_location: PathBuf,

    /// Where the model is to be had when the file is not there: https://, hf://owner/name/file, b2://bucket/file, file://
    #[arg(long, default_value = "", value_name = "URL", help_heading = "Files")]
    pub model_url: String,

    /// The data, one JSON object a line
    #[arg(
        long,
        default_value = "data.jsonl",
        value_name = "FILE",
        help_heading = "Files"
    )]
    pub data_path: PathBuf,

    /// Where the data is to be had when the file is not there: an address as for --model_url
    #[arg(long, default_value = "", value_name = "URL", help_heading = "Files")]
    pub data_url: String,

    /// The dataset to use when the file is not there, owner/name[:config][@revision]; if given, before --data_url
    #[arg(
        long,
        default_value = "lonestar108/naughty-chat",
        value_name = "NAME",
        help_heading = "Files"
    )]
    pub huggingface_dataset: String,

    /// The dataset's split to use
    #[arg(
        long,
        default_value = "train",
        value_name = "NAME",
        help_heading = "Files"
    )]
    pub dataset_split: String,

    /// The state: written by training, read by testing
    #[arg(
        long,
        default_value = "state.pth",
        value_name = "FILE",
        help_heading = "Files"
    )]
    pub save_filename: PathBuf,

    /// Append one JSON object for each step to this file
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub log_file: Option<PathBuf>,

    /// Show the run as a web page in this file: curves, what was learnt, answers
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub report: Option<PathBuf>,

    /// Write what TensorBoard shows into this directory
    #[arg(long, value_name = "DIRECTORY", help_heading = "Files")]
    pub tensorboard: Option<PathBuf>,

    /// Answer this instead of training
    #[arg(long, value_parser = prompt, allow_hyphen_values = true, value_name = "TEXT", help_heading = "Testing")]
    pub prompt: Option<String>,

    /// Answer each line of this file instead, an object as in the data or a string, and write JSON lines
    #[arg(long, value_name = "FILE", help_heading = "Testing")]
    pub prompts: Option<PathBuf>,

    /// Talk with the tuned state instead, a line a turn; --prompt_formatter takes what is typed as {input}
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL",
        help_heading = "Testing"
    )]
    pub interactive: bool,

    /// Longest answer, in tokens
    #[arg(long, default_value = "50", value_parser = count, allow_hyphen_values = true, value_name = "N", help_heading = "Testing")]
    pub max_tokens: usize,

    /// How freely tokens are drawn; 0 always takes the likeliest
    #[arg(long, default_value = "0", value_parser = temperature, allow_hyphen_values = true, value_name = "NUMBER", help_heading = "Testing")]
    pub temperature: f64,

    /// Draw only among the likeliest tokens, as few as have this much of the probability together; 1 is all
    #[arg(long, default_value = "1", value_parser = top_p, allow_hyphen_values = true, value_name = "SHARE", help_heading = "Testing")]
    pub top_p: f64,

    /// Answer from a state that was tuned on another model of the same shape
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL",
        help_heading = "Testing"
    )]
    pub force: bool,

    /// What computes: cpu, cuda (the first GPU), cuda:N (that one); auto is a GPU if there is one that can be used
    #[arg(
        long,
        value_parser = device, default_value = "auto",
        value_name = "DEVICE",
        help_heading = "Machine"
    )]
    pub device: Choice,

    /// What products are computed in: f32 or bf16; auto takes what is fastest here for training, and f32 for answers
    #[arg(
        long,
        value_parser = one_of(DTYPES), default_value = "auto",
        value_name = "DTYPE",
        help_heading = "Machine"
    )]
    pub dtype: std::option::Option<Product>,

    /// What the frozen weights are held as: as the file has them, or bf16, int8 (half as many bits) or nf4 (a quarter)
    #[arg(
        long,
        value_parser = one_of(WEIGHTS), default_value = "file",
        value_name = "TYPE",
        help_heading = "Machine"
    )]
    pub weights: Weights,

    /// Instructions to compute with: plain, avx2, avx512, avx512bf16, amx; auto takes the best that this machine has
    #[arg(
        long,
        value_parser = one_of(LEVELS), default_value = "auto",
        value_name = "LEVEL",
        help_heading = "Machine"
    )]
    pub cpu: std::option::Option<Level>,

    /// Compute activations again for the backward pass instead of keeping them; auto goes by the free memory
    #[arg(
        long,
        value_parser = one_of(RECOMPUTES), default_value = "auto",
        value_name = "WHEN",
        help_heading = "Machine"
    )]
    pub recompute: Recompute,

    /// Most tokens computed at once; a larger batch is computed in parts [default: as many as memory holds]
    #[arg(long, value_parser = count, allow_hyphen_values = true, value_name = "N", help_heading = "Machine")]
    pub micro_batch: Option<usize>,

    /// Threads to compute with [default: one for each core]
    #[arg(long, value_parser = threads, allow_hyphen_values = true, value_name = "N", help_heading = "Machine")]
    pub threads: Option<usize>,
}

pub const DEFAULT_PROMPT: &str = "user: {input}\\n\\nassistant:";
pub const DEFAULT_RESPONSE: &str = " {output}";
pub const DEFAULT_SYSTEM: &str = "system: {system}\\n\\n";

const WALKS: &[(&str, Walk)] = &[
    ("random", Walk::Random),
    ("sequential", Walk::Sequential),
    ("shuffled", Walk::Shuffled),
];

const INITS: &[(&str, Init)] = &[
    ("zeros", Init::Zeros),
    ("ones", Init::Ones),
    ("random", Init::Random),
];

const SHAPES: &[(&str, Shape)] = &[
    ("constant", Shape::Constant),
    ("cosine", Shape::Cosine),
    ("linear", Shape::Linear),
    ("exponential", Shape::Exponential),
];

const KEEPS: &[(&str, Keep)] = &[("last", Keep::Last), ("best", Keep::Best)];

const RECOMPUTES: &[(&str, Recompute)] = &[
    ("auto", Recompute::Auto),
    ("always", Recompute::Always),
    ("never", Recompute::Never),
];

/// `None` is for the program to choose.
const DTYPES: &[(&str, Option<Product>)] = &[
    ("auto", None),
    ("f32", Some(Product::F32)),
    ("bf16", Some(Product::Bf16)),
];

const WEIGHTS: &[(&str, Weights)] = &[
    ("file", Weights::File),
    ("bf16", Weights::Bf16),
    ("int8", Weights::Int8),
    ("nf4", Weights::Nf4),
];

const LEVELS: &[(&str, Option<Level>)] = &[
    ("auto", None),
    ("plain", Some(Level::Plain)),
    ("avx2", Some(Level::Avx2)),
    ("avx512", Some(Level::Avx512)),
    ("avx512bf16", Some(Level::Avx512Bf16)),
    ("amx", Some(Level::Amx)),
];

/// One of some words, and what each stands for.
fn one_of<T: Copy + Send + Sync>(
    words: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|&(word, _)| word)).try_map(|chosen| {
        let found = words.iter().find(|&&(word, _)| word == chosen);
        found.map(|&(_, value)| value).ok_or("not one of the words")
    })
}

fn device(text: &str) -> Result<Choice, String> {
    let cuda = |number: &str| {
        number
            .parse()
            .map(Choice::Cuda)
            .map_err(|_| format!("{number:?} is no GPU's number"))
    };
    match text.split_once(':') {
        None if text == "auto" => Ok(Choice::Auto),
        None if text == "cpu" => Ok(Choice::Cpu),
        None if text == "cuda" => Ok(Choice::Cuda(0)),
        Some(("cuda", number)) => cuda(number),
        _ => Err("use auto, cpu, cuda or cuda:N".into()),
    }
}

/// A number of tokens, or no limit. clap would take a bare `Option` for a flag that may be missing.
pub type Cutoff = std::option::Option<usize>;

/// A list of groups is one value, so that a later list replaces an earlier one.
fn tune(text: &str) -> Result<Tune, String> {
    let mut tune = Tune::default();
    for word in text.split(',') {
        match Group::ALL
            .into_iter()
            .find(|group| group.name() == word.trim())
        {
            Some(group) => tune[group] = true,
            None => return Err("use softprompt, shift, wkv, or some of them with commas".into()),
        }
    }
    Ok(tune)
}

fn number(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("not a number".into()),
    }
}

pub fn positive(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 => Ok(number),
        _ => Err("must be above 0".into()),
    }
}

fn not_negative(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number >= 0.0 => Ok(number),
        _ => Err("must not be below 0".into()),
    }
}

/// A share of examples: some, and not all.
fn part(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 && number < 1.0 => Ok(number),
        _ => Err("must be between 0 and 1, such as 0.1".into()),
    }
}

/// 1 would never forget, and divide by zero.
fn beta(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("must be at least 0 and below 1".into()),
    }
}

fn steps(text: &str) -> Result<usize, String> {
    between(text, 0, 1_000_000_000)
}

/// A share of a mixture.
pub fn share(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("must be between 0 and 1".into()),
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number >= 0.0 => Ok(number),
        _ => Err("must be 0 or above".into()),
    }
}

fn top_p(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 && number <= 1.0 => Ok(number),
        _ => Err("must be above 0 and at most 1".into()),
    }
}

fn whole(text: &str) -> Result<i64, String> {
    text.trim().parse().map_err(|_| "not a whole number".into())
}

fn between(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match usize::try_from(whole(text)?) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("must be between {least} and {most}")),
    }
}

/// A count; beyond the limit it is a mistake, and would overflow sums.
fn count(text: &str) -> Result<usize, String> {
    between(text, 1, 1_000_000_000)
}

fn seed(text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("must be a whole number between 0 and {}", u64::MAX))
}

/// A step holds its whole batch in memory as a list.
fn batch_size(text: &str) -> Result<usize, String> {
    between(text, 1, 1_000_000)
}

fn threads(text: &str) -> Result<usize, String> {
    between(text, 1, 1024)
}

fn cutoff(text: &str, least: i64) -> Result<Cutoff, String> {
    match whole(text)? {
        -1 => Ok(None),
        number if number >= least => Ok(Some(number as usize)),
        _ => Err(format!("must be -1 (no cutoff) or at least {least}")),
    }
}

fn prompt_cutoff(text: &str) -> Result<Cutoff, String> {
    cutoff(text, 0)
}

fn completion_cutoff(text: &str) -> Result<Cutoff, String> {
    cutoff(text, 1)
}

/// Shells make it hard to type a newline; the two characters `\n` are one.
fn newlines(text: &str) -> String {
    text.replace("\\n", "\n")
}

pub fn text(text: &str) -> Result<String, String> {
    Ok(newlines(text))
}

pub fn template(text: &str) -> Result<Template, String> {
    Template::parse(&newlines(text)).map_err(|error| error.to_string())
}

fn prompt(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("is empty; give the model something to answer".into())
    } else {
        Ok(newlines(text))
    }
}
