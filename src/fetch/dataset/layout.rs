//! Which files of a dataset's repository are the split that is wanted, by what its card says or by
//! their names.
//!
//! Chosen are, in this order: the repository's own Parquet files; the hub's conversion of it to
//! Parquet, which exists for the main branch only; the repository's JSONL, JSON or CSV files.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::Dataset;
use super::pattern::Patterns;
use super::table_format::TableFormat;
use crate::fetch::address::{MAIN, RepoKind};
use crate::fetch::hub::{CONVERTED, Hub, RepoInfo};
use crate::setting::DATASET_SPLIT;

/// Paths by configuration and split, in the order in which their rows come.
type Layout = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The files to be read, at a commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Chosen {
    pub revision: String,
    pub paths: Vec<String>,
}

/// Chooses the files of a split.
pub fn choose(hub: &Hub, dataset: &Dataset, split: &str) -> Result<Chosen> {
    let info = hub.repository(RepoKind::Dataset, &dataset.repo, &dataset.revision)?;
    chosen(&info, dataset, split, || hub.converted(&dataset.repo))
}

/// The same from what a hub says of the repository, without its conversion: a JSON object.
pub fn of_description(json: &[u8], dataset: &Dataset, split: &str) -> Result<Vec<String>> {
    let info = serde_json::from_slice(json).context("no description of a repository")?;
    Ok(chosen(&info, dataset, split, || Ok(None))?.paths)
}

fn chosen(
    info: &RepoInfo,
    dataset: &Dataset,
    split: &str,
    converted: impl FnOnce() -> Result<Option<RepoInfo>>,
) -> Result<Chosen> {
    let commit = commit(info, &dataset.revision)?;
    let files = files(info);
    let mut patterns = Patterns::new(files.len());
    let mut own = |format| layout(info, &files, format, &mut patterns);
    let mut layouts = vec![(commit.clone(), own(TableFormat::Parquet)?)];
    if layouts[0].1.is_empty() && dataset.revision == MAIN {
        // At its commit too, or files of two conversions could meet.
        if let Some(converted) = converted()? {
            let folders = by_folders(&self::files(&converted));
            layouts.push((self::commit(&converted, CONVERTED)?, folders));
        }
    }
    for format in [TableFormat::Json, TableFormat::Csv] {
        layouts.push((commit.clone(), own(format)?));
    }
    let found = layouts.into_iter().find(|(_, layout)| !layout.is_empty());
    let Some((revision, layout)) = found else {
        bail!(
            "{dataset} holds nothing that can be read as a table (.parquet, .jsonl, .json, .csv \
             or .tsv); it has {}",
            some(files.iter().map(String::as_str))
        );
    };
    let paths = pick(layout, dataset, split, default_config(info).as_deref())?;
    Ok(Chosen { revision, paths })
}

/// One configuration's one split; what exists is named where it is not the one that was asked for.
fn pick(
    mut layout: Layout,
    dataset: &Dataset,
    split: &str,
    default: Option<&str>,
) -> Result<Vec<String>> {
    let configs = || layout.keys().map(String::as_str);
    let config = match (&dataset.config, default) {
        (Some(config), _) if layout.contains_key(config) => config.clone(),
        (Some(config), _) => bail!(
            "{} has no configuration {config:?}; it has {}",
            dataset.repo,
            some(configs())
        ),
        (None, _) if layout.len() == 1 => configs().collect(),
        (None, Some(default)) if layout.contains_key(default) => default.to_string(),
        (None, _) if layout.contains_key("default") => "default".to_string(),
        (None, _) => bail!(
            "{} has several configurations; name one as {}:NAME: {}",
            dataset.repo,
            dataset.repo,
            some(configs())
        ),
    };
    let mut splits = layout.remove(&config).unwrap_or_default();
    splits.remove(split).ok_or_else(|| {
        anyhow!(
            "{dataset} has no split {split:?}; it has {} ({DATASET_SPLIT})",
            some(splits.keys().map(String::as_str))
        )
    })
}

fn some<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 30;
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => "none".to_string(),
        n if n > MOST => format!("{}, and {} more", names[..MOST].join(", "), n - MOST),
        _ => names.join(", "),
    }
}

/// The commit that the hub names for a revision.
fn commit(info: &RepoInfo, revision: &str) -> Result<String> {
    let commit = info.sha.as_deref().unwrap_or(revision);
    ensure!(
        info.sha.is_none() || commit.chars().all(|c| c.is_ascii_hexdigit()),
        "the hub names a commit that is none: {commit:?}"
    );
    Ok(commit.to_string())
}

fn files(info: &RepoInfo) -> Vec<String> {
    let siblings = info.siblings.iter();
    let mut files: Vec<String> = siblings.map(|file| file.path.clone()).collect();
    files.sort();
    files
}

/// The configurations that the dataset's card declares.
fn declared(info: &RepoInfo) -> impl Iterator<Item = &Value> {
    let configs = info.card.as_ref().and_then(|card| card.get("configs"));
    configs.and_then(Value::as_array).into_iter().flatten()
}

fn default_config(info: &RepoInfo) -> Option<String> {
    let default = declared(info).find(|config| config["default"] == Value::Bool(true))?;
    default["config_name"].as_str().map(str::to_string)
}

/// A repository's own files of one format, by what its card says of them, or else by their names.
/// Errors when the card asks for more work than any card should.
fn layout(
    info: &RepoInfo,
    files: &[String],
    format: TableFormat,
    patterns: &mut Patterns,
) -> Result<Layout> {
    let tables = || {
        files
            .iter()
            .filter(move |path| TableFormat::of(path) == Some(format) && !is_about(path))
    };
    let mut layout = Layout::new();
    for config in declared(info) {
        let name = config["config_name"].as_str().unwrap_or("default");
        let folder = config["data_dir"].as_str().map(|dir| dir.trim_matches('/'));
        let splits = layout.entry(name.to_string()).or_default();
        if config["data_files"].is_null() {
            let inside = |path: &&String| {
                let rest = folder.map_or(Some(path.as_str()), |dir| path.strip_prefix(dir));
                rest.is_some_and(|rest| folder.is_none() || rest.starts_with('/'))
            };
            *splits = by_names(tables().filter(inside));
        }
        for (split, pattern) in data_files(&config["data_files"]) {
            let pattern = match folder {
                Some(dir) => format!("{dir}/{pattern}"),
                None => pattern.trim_start_matches("./").to_string(),
            };
            let matcher = patterns.matcher(&pattern)?;
            let found = tables().filter(|path| matcher.is_match(path));
            splits.entry(split).or_default().extend(found.cloned());
        }
    }
    if layout.is_empty() {
        layout.insert("default".to_string(), by_names(tables()));
    }
    for splits in layout.values_mut() {
        splits.retain(|_, paths| !paths.is_empty());
    }
    layout.retain(|_, splits| !splits.is_empty());
    Ok(layout)
}

/// What a card's `data_files` says, which may be a pattern, several, or patterns for each split.
fn data_files(value: &Value) -> Vec<(String, String)> {
    let texts = |value: &Value| -> Vec<String> {
        match value {
            Value::String(text) => vec![text.clone()],
            Value::Array(texts) => texts
                .iter()
                .filter_map(|t| Some(t.as_str()?.into()))
                .collect(),
            _ => Vec::new(),
        }
    };
    let mut found = Vec::new();
    if let Value::Object(splits) = value
        && !splits.contains_key("path")
    {
        for (split, value) in splits {
            found.extend(texts(value).into_iter().map(|text| (split.clone(), text)));
        }
        return found;
    }
    let entries = match value {
        Value::Array(entries) => entries.as_slice(),
        other => std::slice::from_ref(other),
    };
    for entry in entries {
        let (split, value) = match entry {
            Value::Object(entry) => (
                entry
                    .get("split")
                    .and_then(Value::as_str)
                    .unwrap_or("train"),
                entry.get("path").unwrap_or(&Value::Null),
            ),
            plain => ("train", plain),
        };
        found.extend(
            texts(value)
                .into_iter()
                .map(|text| (split.to_string(), text)),
        );
    }
    found
}

/// The hub's conversion lies in folders: `config/split/0000.parquet`. Of a large dataset it holds
/// the first gigabytes only, as `partial-split`, which is left out: it is not the split.
fn by_folders(paths: &[String]) -> Layout {
    let mut layout = Layout::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').collect();
        if let [config, split, file] = parts[..]
            && !split.starts_with("partial-")
            && TableFormat::of(file) == Some(TableFormat::Parquet)
        {
            let splits = layout.entry(config.to_string()).or_default();
            splits
                .entry(split.to_string())
                .or_default()
                .push(path.clone());
        }
    }
    for paths in layout.values_mut().flat_map(BTreeMap::values_mut) {
        paths.sort();
    }
    layout
}

/// Whether a file describes the dataset, and so is none of its tables.
fn is_about(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "dataset_infos.json" | "dataset_info.json" | "state.json" | "config.json"
    ) || path.split('/').any(|part| part.starts_with('.'))
}

/// Splits by the files' names, as the hub guesses them, by the first of three rules that finds any:
/// shards under `data` are of the split they name, `data/any_name-00000-of-00002.parquet`; a word
/// such as `test` in a path; or else all of them are for training.
fn by_names<'a>(paths: impl Iterator<Item = &'a String> + Clone) -> BTreeMap<String, Vec<String>> {
    let rules: [fn(&str) -> Option<&str>; 3] = [split_of_shard, split_of_word, |_| Some("train")];
    for rule in rules {
        let mut splits: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in paths.clone() {
            if let Some(split) = rule(path) {
                splits
                    .entry(split.to_string())
                    .or_default()
                    .push(path.clone());
            }
        }
        if !splits.is_empty() {
            return splits;
        }
    }
    BTreeMap::new()
}

fn split_of_shard(path: &str) -> Option<&str> {
    let (start, of) = path.strip_prefix("data/")?.split_once("-of-")?;
    let (split, number) = start.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let plain = split
        .chars()
        .all(|c| c.is_alphanumeric() || "_.".contains(c));
    (is_number(number) && of.get(..5).is_some_and(is_number) && plain).then_some(split)
}

/// The last word of the path that names a split, the file's own name first.
fn split_of_word(path: &str) -> Option<&str> {
    for part in path.rsplit('/') {
        for word in part.split(|c: char| !c.is_ascii_alphabetic()) {
            match word.to_ascii_lowercase().as_str() {
                "train" | "training" => return Some("train"),
                "validation" | "valid" | "val" | "dev" => return Some("validation"),
                "test" | "testing" | "eval" | "evaluation" => return Some("test"),
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
