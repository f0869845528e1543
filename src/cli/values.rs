//! How the values of flags are read, and how defaults are shown: as they would be typed.

use std::fmt;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, PossibleValuesParser, TypedValueParser};

use crate::data::template::Template;
use crate::model::Group;
use crate::ops::device::DeviceChoice;
use crate::state_file::OtherModel;
use crate::tokenizer::Text;
use crate::train::{Init, MOST_EXAMPLES, Tune};

/// One of some words, and what each stands for.
pub fn one_of<T: Copy + Send + Sync>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(names.iter().map(|&(name, _)| name))
        .try_map(|chosen| value_of(names, &chosen).ok_or("not one of the words"))
}

/// One of some words, or `auto`.
pub fn one_of_or_auto<T: Copy + Send + Sync>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = Auto<T>> {
    let names_of_values = names.iter().map(|&(name, _)| name);
    PossibleValuesParser::new([AUTO].into_iter().chain(names_of_values))
        .map(|chosen| Auto(value_of(names, &chosen)))
}

fn value_of<T: Clone>(names: &[(&str, T)], chosen: &str) -> Option<T> {
    let found = names.iter().find(|(name, _)| *name == chosen);
    found.map(|(_, value)| value.clone())
}

const AUTO: &str = "auto";

/// A value that the program chooses where it is `auto`.
#[derive(Clone, Copy, Debug)]
pub struct Auto<T>(pub Option<T>);

impl<T: fmt::Display> fmt::Display for Auto<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str(AUTO),
        }
    }
}

/// Most tokens that are kept of a text; `None`, which is -1, keeps all.
#[derive(Clone, Copy, Debug)]
pub struct Cutoff(pub Option<usize>);

impl fmt::Display for Cutoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(tokens) => tokens.fmt(f),
            None => f.write_str("-1"),
        }
    }
}

/// A text as it would be typed: [`text`] undone.
pub fn typed(text: impl fmt::Display) -> String {
    text.to_string().replace('\n', "\\n")
}

/// What `--force` says.
pub fn other_model(force: bool) -> OtherModel {
    match force {
        true => OtherModel::Accept,
        false => OtherModel::Refuse,
    }
}

/// A file of rows; `-` is standard input.
pub fn rows_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().map(|path| match path.as_os_str() == "-" {
        true => "/dev/stdin".into(),
        false => path,
    })
}

/// A text unless it is empty, which many flags take for none.
pub fn not_empty(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

pub fn device(text: &str) -> Result<DeviceChoice, String> {
    let cuda = |number: &str| {
        number
            .parse()
            .map(DeviceChoice::Cuda)
            .map_err(|_| format!("{number:?} is no GPU's number"))
    };
    match text.split_once(':') {
        None if text == "auto" => Ok(DeviceChoice::Auto),
        None if text == "cpu" => Ok(DeviceChoice::Cpu),
        None if text == "cuda" => Ok(DeviceChoice::Cuda(0)),
        Some(("cuda", number)) => cuda(number),
        _ => Err("use auto, cpu, cuda or cuda:N".into()),
    }
}

/// A list of groups is one value, so that a later list replaces an earlier one.
pub fn tune(text: &str) -> Result<Tune, String> {
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

/// One of the words, or the file of a state, which has a dot or a slash in its name: a word that is
/// typed wrong is no file.
pub fn init() -> impl TypedValueParser<Value = Init> {
    PathBufValueParser::new().try_map(|path| {
        let text = path.to_string_lossy();
        match value_of(&Init::NAMES, &text) {
            Some(word) => Ok(word),
            None if text.contains(['.', '/']) => Ok(Init::File(path)),
            None => Err("use zeros, ones, random, model, or a state's file, such as ./state.pth"),
        }
    })
}

pub fn number(text: &str) -> Result<f64, String> {
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

pub fn not_negative(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number >= 0.0 => Ok(number),
        _ => Err("must not be below 0".into()),
    }
}

/// A share of examples: some, and not all.
pub fn part(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number > 0.0 && number < 1.0 => Ok(number),
        _ => Err("must be between 0 and 1, such as 0.1".into()),
    }
}

/// 1 would never forget, and divide by zero.
pub fn beta(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("must be at least 0 and below 1".into()),
    }
}

pub fn steps(text: &str) -> Result<usize, String> {
    between(text, 0, 1_000_000_000)
}

/// A share of a mixture.
pub fn share(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("must be between 0 and 1".into()),
    }
}

pub fn temperature(text: &str) -> Result<f64, String> {
    match number(text)? {
        number if number >= 0.0 => Ok(number),
        _ => Err("must be 0 or above".into()),
    }
}

pub fn top_p(text: &str) -> Result<f64, String> {
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
pub fn count(text: &str) -> Result<usize, String> {
    between(text, 1, 1_000_000_000)
}

pub fn seed(text: &str) -> Result<u64, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("must be a whole number between 0 and {}", u64::MAX))
}

/// A step holds its whole batch in memory as a list.
pub fn batch_size(text: &str) -> Result<usize, String> {
    between(text, 1, MOST_EXAMPLES)
}

pub fn threads(text: &str) -> Result<usize, String> {
    between(text, 1, 1024)
}

fn cutoff(text: &str, least: i64) -> Result<Cutoff, String> {
    match whole(text)? {
        -1 => Ok(Cutoff(None)),
        number if number >= least => Ok(Cutoff(Some(number as usize))),
        _ => Err(format!("must be -1 (no cutoff) or at least {least}")),
    }
}

pub fn prompt_cutoff(text: &str) -> Result<Cutoff, String> {
    cutoff(text, 0)
}

pub fn completion_cutoff(text: &str) -> Result<Cutoff, String> {
    cutoff(text, 1)
}

/// Shells make it hard to type a newline; the two characters `\n` are one.
fn newlines(text: &str) -> String {
    text.replace("\\n", "\n")
}

pub fn text(text: &str) -> Result<Text, String> {
    Ok(Text::typed(&newlines(text)))
}

pub fn template(text: &str) -> Result<Template, String> {
    Template::parse(&newlines(text)).map_err(|error| error.to_string())
}

pub fn prompt(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Err("is empty; give the model something to answer".into())
    } else {
        Ok(newlines(text))
    }
}
