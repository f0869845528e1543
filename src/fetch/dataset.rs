//! A dataset on the Hugging Face hub: its name, which of its files are wanted, and the JSONL file they become.
//!
//! Taken are, in this order: the repository's own Parquet files; the hub's conversion of it to Parquet, which stands for
//! the main branch only; the repository's JSONL, JSON or CSV files.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use globset::GlobBuilder;
use hf_hub::repository::DatasetInfo;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::address::{HubFile, MAIN, RepoKind};
use super::convert::{self, Format};
use super::hub::{CONVERTED, Hub};
use super::part::Part;
use super::{Patience, bring};
use crate::report::say;

/// `owner/name[:config][@revision]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    pub repo: String,
    pub config: Option<String>,
    pub revision: String,
}

impl FromStr for Dataset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, revision) = match text.split_once('@') {
            Some((name, revision)) => (name, revision),
            None => (text, MAIN),
        };
        let (repo, config) = match name.split_once(':') {
            Some((repo, config)) => (repo, Some(config)),
            None => (name, None),
        };
        let is_name = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && part != ".." && part != "." && part.chars().all(plain)
        };
        let parts: Vec<&str> = repo.split('/').collect();
        let well = parts.len() <= 2
            && parts.iter().all(|part| is_name(part))
            && config.is_none_or(|config| !config.is_empty() && !config.contains('/'))
            && !revision.is_empty();
        if !well {
            return Err(
                "use owner/name, owner/name:config or owner/name:config@revision".to_string(),
            );
        }
        Ok(Self {
            repo: repo.to_string(),
            config: config.map(str::to_string),
            revision: revision.to_string(),
        })
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repo)?;
        if let Some(config) = &self.config {
            write!(f, ":{config}")?;
        }
        if self.revision != MAIN {
            write!(f, "@{}", self.revision)?;
        }
        Ok(())
    }
}

/// Paths by configuration and split, in the order in which their rows come.
type Layout = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// The files to be read, at a commit.
#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    revision: String,
    paths: Vec<String>,
}

/// Makes `target` of a split of a dataset, as JSON lines.
pub fn fetch(target: &Path, dataset: &Dataset, split: &str, patience: &Patience) -> Result<()> {
    let Some(mut part) = Part::open(target)? else {
        return Ok(());
    };
    let hub = Hub::open(patience)?;
    let Chosen { revision, paths } = choose(&hub, dataset, split)?;

    // The files as they are on the hub, kept until all of them have become rows: fetching goes on where it stopped.
    let mut shelf = target.as_os_str().to_owned();
    shelf.push(".shards");
    let shelf = Path::new(&shelf);
    let mut shards = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let file = HubFile {
            kind: RepoKind::Dataset,
            repo: dataset.repo.clone(),
            revision: revision.clone(),
            path: path.clone(),
        };
        let known = Sha256::digest(format!("{}@{revision}/{path}", dataset.repo));
        let known: String = known[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let shard = shelf.join(known);
        if !shard.exists() {
            fs::create_dir_all(shelf)
                .with_context(|| format!("cannot make the directory {}", shelf.display()))?;
            if paths.len() > 1 {
                say(&format!("fetch  file {} of {}", i + 1, paths.len()));
            }
            bring(&super::Address::Hub(file), &shard, Some(&hub), patience)?;
        }
        shards.push((path, shard));
    }

    let mut rows = 0;
    part.clear()
        .with_context(|| format!("cannot write {}", part.path().display()))?;
    {
        let mut out = BufWriter::new(&mut part);
        for (path, shard) in &shards {
            let format = Format::of(path).ok_or_else(|| anyhow!("{path} is no table"))?;
            let file =
                File::open(shard).with_context(|| format!("cannot read {}", shard.display()))?;
            rows += convert::to_lines(format, file, &mut out).with_context(|| {
                let shard = shard.display();
                format!("cannot make JSON lines of {path} of {dataset}, which is now {shard}")
            })?;
        }
        out.flush()
            .with_context(|| format!("cannot write {}", target.display()))?;
    }
    if rows > 0 {
        part.seal()?;
    }
    // What is left of it costs room and nothing else.
    let _ = fs::remove_dir_all(shelf);
    ensure!(rows > 0, "the split {split} of {dataset} has no rows");
    say(&format!("fetch  {}: {rows} rows", target.display()));
    Ok(())
}

fn choose(hub: &Hub, dataset: &Dataset, split: &str) -> Result<Chosen> {
    let info = hub.dataset(&dataset.repo, &dataset.revision)?;
    let commit = info.sha.clone().unwrap_or(dataset.revision.clone());
    let files = files(&info);
    let own = |format| layout(&info, &files, format);
    let mut layouts = vec![(commit.clone(), own(Format::Parquet))];
    if layouts[0].1.is_empty() && dataset.revision == MAIN {
        layouts.push((
            CONVERTED.to_string(),
            by_folders(&hub.converted(&dataset.repo)?),
        ));
    }
    for format in [Format::Json, Format::Csv] {
        layouts.push((commit.clone(), own(format)));
    }
    let found = layouts.into_iter().find(|(_, layout)| !layout.is_empty());
    let Some((revision, layout)) = found else {
        bail!(
            "{dataset} holds nothing that can be read as a table (.parquet, .jsonl, .json, .csv or .tsv); it has {}",
            some(files.iter().map(String::as_str))
        );
    };
    let paths = pick(layout, dataset, split, default_config(&info).as_deref())?;
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
            "{dataset} has no split {split:?}; it has {} (--dataset_split)",
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

fn files(info: &DatasetInfo) -> Vec<String> {
    let siblings = info.siblings.iter().flatten();
    let mut files: Vec<String> = siblings.map(|file| file.rfilename.clone()).collect();
    files.sort();
    files
}

/// The configurations that the dataset's card declares.
fn declared(info: &DatasetInfo) -> impl Iterator<Item = &Value> {
    let configs = info.card_data.as_ref().and_then(|card| card.get("configs"));
    configs.and_then(Value::as_array).into_iter().flatten()
}

fn default_config(info: &DatasetInfo) -> Option<String> {
    let default = declared(info).find(|config| config["default"] == Value::Bool(true))?;
    default["config_name"].as_str().map(str::to_string)
}

/// A repository's own files of one format, by what its card says of them, or else by their names.
fn layout(info: &DatasetInfo, files: &[String], format: Format) -> Layout {
    let tables = || {
        files
            .iter()
            .filter(move |path| Format::of(path) == Some(format) && !is_about(path))
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
            for path in tables().filter(inside) {
                let split = split_of(path).to_string();
                splits.entry(split).or_default().push(path.clone());
            }
        }
        for (split, pattern) in patterns(&config["data_files"]) {
            let pattern = match folder {
                Some(dir) => format!("{dir}/{pattern}"),
                None => pattern.trim_start_matches("./").to_string(),
            };
            let Ok(glob) = GlobBuilder::new(&pattern).literal_separator(true).build() else {
                continue; // the hub would not read it either
            };
            let matcher = glob.compile_matcher();
            let found = tables().filter(|path| matcher.is_match(path));
            splits.entry(split).or_default().extend(found.cloned());
        }
    }
    if layout.is_empty() {
        let splits = layout.entry("default".to_string()).or_default();
        for path in tables() {
            let split = split_of(path).to_string();
            splits.entry(split).or_default().push(path.clone());
        }
    }
    for splits in layout.values_mut() {
        splits.retain(|_, paths| !paths.is_empty());
    }
    layout.retain(|_, splits| !splits.is_empty());
    layout
}

/// What a card's `data_files` says, which may be a pattern, several, or patterns for each split.
fn patterns(value: &Value) -> Vec<(String, String)> {
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

/// The hub's conversion lies in folders: `config/split/0000.parquet`. Of a large dataset it holds the first gigabytes
/// only, as `partial-split`, which is not the split.
fn by_folders(paths: &[String]) -> Layout {
    let mut layout = Layout::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').collect();
        if let [config, split, file] = parts[..]
            && Format::of(file) == Some(Format::Parquet)
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

/// Files of these names tell of a dataset and are none of its tables.
fn is_about(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(
        name,
        "dataset_infos.json" | "dataset_info.json" | "state.json" | "config.json"
    ) || path.split('/').any(|part| part.starts_with('.'))
}

/// The split that a file's name or folder tells, as the hub guesses it: a word of the path, the last one first.
fn split_of(path: &str) -> &'static str {
    for part in path.rsplit('/') {
        for word in part.split(|c: char| !c.is_ascii_alphabetic()) {
            match word.to_ascii_lowercase().as_str() {
                "train" | "training" => return "train",
                "validation" | "valid" | "val" | "dev" => return "validation",
                "test" | "testing" | "eval" | "evaluation" => return "test",
                _ => {}
            }
        }
    }
    "train"
}

#[cfg(test)]
mod tests;
