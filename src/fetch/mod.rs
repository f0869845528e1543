//! Making a file exist. For now that means seeing that it does: what would have to be fetched is named in the error.

use std::path::Path;

use anyhow::{Result, bail};

/// Where a file comes from when it is not on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// An address, from `--model_url` or `--data_url`.
    Url { flag: &'static str, url: String },
    /// A dataset on the Hugging Face hub, from `--huggingface_dataset`.
    Dataset(String),
}

/// Errors unless `path` exists, saying what `flag` named it and where it would come from.
pub fn ensure(path: &Path, flag: &str, remote: Option<&Remote>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let path = path.display();
    match remote {
        Some(Remote::Url {
            flag: url_flag,
            url,
        }) => bail!(
            "{flag} {path} does not exist, and this version cannot fetch {url_flag} {url} yet; download it to {path}"
        ),
        Some(Remote::Dataset(name)) => bail!(
            "{flag} {path} does not exist, and this version cannot fetch the dataset {name} yet; save it as JSON lines \
             in {path}, or name a file of yours with {flag}"
        ),
        None => {
            bail!("{flag} {path} does not exist; put the file there or name another with {flag}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_fetched_and_what_is_not_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.jsonl");
        let remote = Remote::Url {
            flag: "--data_url",
            url: "https://example.org/d".into(),
        };
        let error = ensure(&path, "--data_path", Some(&remote))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("--data_url https://example.org/d") && error.contains("data.jsonl"),
            "{error}"
        );
        std::fs::write(&path, "{}").unwrap();
        ensure(&path, "--data_path", Some(&remote)).unwrap();
    }
}
