//! A dataset on the Hugging Face hub: its name, and the JSONL file that one of its splits becomes.
//! [`layout`] chooses the files.

mod layout;
mod pattern;
mod table_format;

use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::address::{Address, AddressError, HubFile, MAIN, RepoKind};
use super::fetch_file;
use super::hub::Hub;
use super::part::Part;
use super::retry::RetryPolicy;
use crate::console::Console;
use crate::container::Container;

/// `owner/name[:config][@revision]`, or the dataset's address on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The repository, `owner/name`.
    pub repo: String,
    /// One of the repository's configurations; `None` is its only one, or `default`.
    pub config: Option<String>,
    /// A branch, tag or commit.
    pub revision: String,
}

impl FromStr for Dataset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The address that a browser shows, or that other tools of the hub take.
        if let Err(AddressError::HubDataset { repo, revision }) = text.parse::<Address>() {
            return Ok(Self {
                repo,
                config: None,
                revision,
            });
        }
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

/// The files of a split, in the order of their rows, by what a hub says of the dataset's repository:
/// the JSON object of its `/api/datasets/...`. Errors when the dataset has no such split, or its
/// card asks for more work than any should.
pub fn files_of_split(description: &[u8], dataset: &Dataset, split: &str) -> Result<Vec<String>> {
    layout::of_description(description, dataset, split)
}

/// Makes `target` of a split of a dataset, as JSON lines.
pub fn fetch(
    target: &Path,
    dataset: &Dataset,
    split: &str,
    policy: &RetryPolicy,
    console: &Console,
) -> Result<()> {
    let Some(mut part) = Part::open(target, console)? else {
        return Ok(());
    };
    let hub = Hub::open(policy, console)?;
    let layout::Chosen { revision, paths } = layout::choose(&hub, dataset, split)?;

    // The files as they are on the hub, kept until all of them have become rows: fetching goes on
    // where it stopped.
    let shards_dir = ShardDir::beside(target);
    let mut shards = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        let file = HubFile::new(
            RepoKind::Dataset,
            dataset.repo.clone(),
            revision.clone(),
            path.clone(),
        )
        .with_context(|| format!("{path:?} of {dataset} is no path that is fetched"))?;
        let shard = shards_dir.place(&file)?;
        if !shard.exists() {
            if paths.len() > 1 {
                console.line(&format!("fetch  file {} of {}", i + 1, paths.len()));
            }
            let brought = fetch_file(&Address::Hub(file), &shard, Some(&hub), policy, console);
            brought.inspect_err(|_| shards_dir.clear([]))?;
        }
        shards.push((path, shard));
    }

    let mut rows = 0;
    part.clear()
        .with_context(|| format!("cannot write {}", part.path().display()))?;
    let mut out = BufWriter::new(&mut part);
    for (path, shard) in &shards {
        match write_rows(shard, &mut out) {
            Ok(more) => rows += more,
            Err(error) if is_disk_full(&error) => bail!(
                "the disk is full; make room and start again (what was fetched is kept in {})",
                shards_dir.0.display()
            ),
            Err(error) => {
                // Kept, it would be read again instead of being fetched again.
                let _ = fs::remove_file(shard);
                shards_dir.clear([]);
                return Err(error.context(format!(
                    "{path} of {dataset} cannot be read as a table; name another split or file"
                )));
            }
        }
    }
    let written = out.flush();
    drop(out);
    written.with_context(|| format!("cannot write {}", target.display()))?;
    if rows > 0 {
        part.seal()?;
    }
    shards_dir.clear(shards.iter().map(|(_, shard)| shard.as_path()));
    ensure!(rows > 0, "the split {split} of {dataset} has no rows");
    console.line(&format!("fetch  {}: {rows} rows", target.display()));
    if shards_dir.0.exists() {
        console.line(&format!(
            "note   {} still holds files: an earlier fetch's, unless they are yours",
            shards_dir.0.display()
        ));
    }
    Ok(())
}

/// Writes each row of a file on a line. Returns how many there were.
fn write_rows(path: &Path, out: &mut impl Write) -> Result<u64> {
    let file = Container::open(path)?;
    let place = match file.is_numbered_by_line() {
        true => "line",
        false => "row",
    };
    let mut rows = 0;
    file.each(|number, row| -> Result<()> {
        let row = row?.trim_ascii_start();
        ensure!(row.starts_with(b"{"), "{place} {number} is no JSON object");
        serde_json::from_slice::<IgnoredAny>(row).with_context(|| format!("{place} {number}"))?;
        out.write_all(row)?;
        out.write_all(b"\n")?;
        rows += 1;
        Ok(())
    })?;
    Ok(rows)
}

/// The directory where a dataset's files lie until they are rows: `data.jsonl.shards`.
struct ShardDir(PathBuf);

impl ShardDir {
    fn beside(target: &Path) -> Self {
        let mut path = target.as_os_str().to_owned();
        path.push(".shards");
        Self(PathBuf::from(path))
    }

    /// Where a file is put, by a name that is another one for another version of the file.
    fn place(&self, file: &HubFile) -> Result<PathBuf> {
        let directory = &self.0;
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        let HubFile {
            repo,
            revision,
            path,
            ..
        } = file;
        let known = Sha256::digest(format!("{repo}@{revision}/{path}"));
        let known: String = known[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(directory.join(known))
    }

    /// Removes the shards, and the directory if nothing else is in it.
    fn clear<'a>(&self, shards: impl IntoIterator<Item = &'a Path>) {
        // Failing leaves files that take up space and do no other harm.
        for shard in shards {
            let _ = fs::remove_file(shard);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

fn is_disk_full(error: &anyhow::Error) -> bool {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        // Some of the crates in between keep only the error's text.
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        kind == Some(io::ErrorKind::StorageFull) || cause.to_string().contains("os error 28")
    };
    error.chain().any(full)
}
