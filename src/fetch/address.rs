//! Addresses of files: what `--model_url` and `--data_url` take.

mod hub;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

use crate::setting::HUGGINGFACE_DATASET;

/// Where one file is to be had.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// `http://` or `https://`.
    Web(Url),
    /// `hf://owner/name/path`, or the page of a file on the Hugging Face hub.
    Hub(HubFile),
    /// `hf://owner/name`, or the repository's page: the model in it, whatever its file is called.
    HubModel {
        /// `owner/name`.
        repo: String,
        /// A branch, tag or commit.
        revision: String,
    },
    /// `b2://bucket/key`.
    B2 {
        /// The bucket's name.
        bucket: String,
        /// The file's name in the bucket, which may have slashes.
        key: String,
    },
    /// `file:///path`.
    File(PathBuf),
}

/// A file in a repository of the Hugging Face hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubFile {
    /// Whether the repository is one of a model or of a dataset.
    pub kind: RepoKind,
    /// `owner/name`.
    pub repo: String,
    /// A branch, tag or commit.
    pub revision: String,
    /// The file in the repository.
    pub path: String,
}

/// The kind of a repository on the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepoKind {
    /// What `hf://owner/name` is.
    Model,
    /// What `hf://datasets/owner/name` is.
    Dataset,
}

impl RepoKind {
    /// What stands before `owner/name` in the hub's addresses.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }

    /// What the hub calls one.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// What the hub calls several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// Why a text is no address. The text is not quoted: it may hold a password.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AddressError {
    /// It has no `scheme://` in front, as a path has none.
    #[error(
        "not an address; it must begin with https://, http://, hf://, b2:// or file:// (a file \
         that is there already needs none)"
    )]
    NoScheme,
    /// This scheme is another than those that can be fetched.
    #[error("{0}:// is not supported; use https://, http://, hf://, b2:// or file://")]
    Scheme(String),
    /// It has the scheme of a web address, and is none.
    #[error("not an address: {0}")]
    Url(#[from] url::ParseError),
    /// `hf://` is followed by less than a repository.
    #[error(
        "names no file of the repository; use hf://owner/name/file or hf://datasets/owner/name/file"
    )]
    HubPath,
    /// An address of the hub that is neither of a file nor of a model's repository.
    #[error(
        "is the page of no file; name the file by hf://owner/name/file or hf://datasets/owner/name/file"
    )]
    HubPage,
    /// The repository of a dataset, or its page.
    #[error(
        "is the address of a dataset; name it by {HUGGINGFACE_DATASET} {repo}{at}, or a file of it by \
         hf://datasets/{repo}{at}/file", at = at_revision(.revision)
    )]
    HubDataset {
        /// `owner/name`.
        repo: String,
        /// A branch, tag or commit.
        revision: String,
    },
    /// `b2://` is followed by a bucket alone, or by nothing.
    #[error("names no file; use b2://bucket/file")]
    B2,
    /// `file://` is followed by something else than a whole path.
    #[error("names no file; use file:///path/to/file")]
    File,
}

/// The revision that is meant when none is named.
pub const MAIN: &str = "main";

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::NoScheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => {
                let url = Url::parse(text)?;
                match url.host_str() {
                    Some("huggingface.co" | "www.huggingface.co" | "hf.co") => hub::page(&url),
                    _ => Ok(Self::Web(url)),
                }
            }
            "hf" => hub::path(rest),
            "b2" => match rest.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && is_plain(key) => Ok(Self::B2 {
                    bucket: bucket.to_string(),
                    key: key.to_string(),
                }),
                _ => Err(AddressError::B2),
            },
            "file" => match Url::parse(text)?.to_file_path() {
                Ok(path) if path.file_name().is_some() => Ok(Self::File(path)),
                _ => Err(AddressError::File),
            },
            _ if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => {
                Err(AddressError::Scheme(scheme.to_string()))
            }
            _ => Err(AddressError::NoScheme),
        }
    }
}

/// Whether every part of a path is a plain name, so that the path cannot leave its directory.
fn is_plain(path: &str) -> bool {
    let is_name = |part: &str| {
        !matches!(part, "" | "." | "..") && !part.contains(|c: char| c == '\\' || c.is_control())
    };
    path.split('/').all(is_name)
}

impl HubFile {
    /// `None` where one of them is no plain path.
    pub fn new(kind: RepoKind, repo: String, revision: String, path: String) -> Option<Self> {
        let plain = [&repo, &revision, &path]
            .into_iter()
            .all(|part| is_plain(part));
        plain.then_some(Self {
            kind,
            repo,
            revision,
            path,
        })
    }
}

impl Address {
    /// The address of another file in the same directory; `None` if the name is no plain one.
    pub fn beside(&self, name: &str) -> Option<Self> {
        if name.contains('/') || !is_plain(name) {
            return None;
        }
        let in_place = |path: &str| match path.rsplit_once('/') {
            Some((directory, _)) => format!("{directory}/{name}"),
            None => name.to_string(),
        };
        Some(match self {
            Self::Web(url) => {
                let mut url = url.clone();
                url.path_segments_mut().ok()?.pop().push(name);
                Self::Web(url)
            }
            Self::Hub(file) => Self::Hub(HubFile {
                path: in_place(&file.path),
                ..file.clone()
            }),
            // Which file it is is yet to be found out.
            Self::HubModel { .. } => return None,
            Self::B2 { bucket, key } => Self::B2 {
                bucket: bucket.clone(),
                key: in_place(key),
            },
            Self::File(path) => Self::File(path.with_file_name(name)),
        })
    }

    /// The last part of the path, for progress lines. It may come from a stranger's repository, so
    /// control characters are replaced.
    pub fn file_name(&self) -> String {
        let path = match self {
            Self::Web(url) => url.path().to_string(),
            Self::Hub(file) => file.path.clone(),
            Self::HubModel { repo, .. } => repo.clone(),
            Self::B2 { key, .. } => key.clone(),
            Self::File(path) => path.display().to_string(),
        };
        let name = path.rsplit('/').next().unwrap_or(&path);
        name.replace(char::is_control, "?")
    }
}

/// A revision in an address, unless it is the one that is meant anyway.
fn at_revision(revision: &str) -> String {
    match revision {
        MAIN => String::new(),
        other => format!("@{other}"),
    }
}

/// Without what may be secret: user, password, and the query, where signed addresses carry their
/// key.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(url) => write!(f, "{}", without_secrets(url)),
            Self::Hub(HubFile {
                kind,
                repo,
                revision,
                path,
            }) => {
                let at = at_revision(revision);
                write!(f, "hf://{}{repo}{at}/{path}", kind.prefix())
            }
            Self::HubModel { repo, revision } => {
                write!(f, "hf://{repo}{}", at_revision(revision))
            }
            Self::B2 { bucket, key } => write!(f, "b2://{bucket}/{key}"),
            Self::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// A web address as it may be shown.
pub fn without_secrets(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let cut = if url.query().is_some() { "?..." } else { "" };
    format!("{}://{host}{port}{}{cut}", url.scheme(), url.path())
}

#[cfg(test)]
mod tests;
