//! Addresses on the Hugging Face hub: its own kind, and those of the pages that a browser shows.

use percent_encoding::percent_decode_str;
use url::Url;

use super::{Address, AddressError, HubFile, MAIN, RepoKind, is_plain};

/// `[datasets/]owner/name[@revision]/path`, as other tools of the hub spell it; or a repository alone.
pub fn path(text: &str) -> Result<Address, AddressError> {
    let (kind, text) = match text.strip_prefix("datasets/") {
        Some(rest) => (RepoKind::Dataset, rest),
        None => (RepoKind::Model, text),
    };
    let mut parts = text.split('/');
    let (owner, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let (name, revision) = match name.split_once('@') {
        Some((name, start)) => (name, revision(start, &mut parts)),
        None => (name, MAIN.to_string()),
    };
    let path: Vec<&str> = parts.collect();
    if path.is_empty() {
        return repository(kind, owner, name, revision).unwrap_or(Err(AddressError::HubPath));
    }
    let found = file(kind, owner, name, revision, &path);
    found.map(Address::Hub).ok_or(AddressError::HubPath)
}

/// `/[datasets/]owner/name/resolve/revision/path`; what a browser shows under `blob` is fetched
/// under `resolve`. A model's repository has the pages `/owner/name` and `/owner/name/tree/revision`.
pub fn page(url: &Url) -> Result<Address, AddressError> {
    let mut decoded: Vec<String> = url
        .path_segments()
        .into_iter()
        .flatten()
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    // An address may end in a slash.
    decoded.pop_if(|last| last.is_empty());
    let mut parts = decoded.iter().map(String::as_str).peekable();
    let kind = if parts.next_if_eq(&"datasets").is_some() {
        RepoKind::Dataset
    } else {
        RepoKind::Model
    };
    let (owner, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let page = parts.next();
    let revision = match page {
        None => MAIN.to_string(),
        Some("tree" | "resolve" | "blob" | "raw") => {
            revision(parts.next().unwrap_or(MAIN), &mut parts)
        }
        Some(_) => return Err(AddressError::HubPage),
    };
    if matches!(page, None | Some("tree")) && parts.peek().is_none() {
        return repository(kind, owner, name, revision).unwrap_or(Err(AddressError::HubPage));
    }
    if page == Some("tree") {
        return Err(AddressError::HubPage);
    }
    file(kind, owner, name, revision, &parts.collect::<Vec<_>>())
        .map(Address::Hub)
        .ok_or(AddressError::HubPage)
}

/// A whole repository, of which only a model's is an address; `None` where a name is no plain one.
fn repository(
    kind: RepoKind,
    owner: &str,
    name: &str,
    revision: String,
) -> Option<Result<Address, AddressError>> {
    let repo = format!("{owner}/{name}");
    let is_named = is_plain(&repo) && is_plain(&revision);
    is_named.then_some(match kind {
        RepoKind::Model => Ok(Address::HubModel { repo, revision }),
        RepoKind::Dataset => Err(AddressError::HubDataset { repo, revision }),
    })
}

/// A revision is one part of the address, but for `refs/pr/1` and `refs/convert/parquet`.
fn revision<'a>(start: &str, rest: &mut impl Iterator<Item = &'a str>) -> String {
    if start != "refs" {
        return start.to_string();
    }
    let (kind, name) = (rest.next().unwrap_or(""), rest.next().unwrap_or(""));
    format!("refs/{kind}/{name}")
}

fn file(
    kind: RepoKind,
    owner: &str,
    name: &str,
    revision: String,
    path: &[&str],
) -> Option<HubFile> {
    HubFile::new(kind, format!("{owner}/{name}"), revision, path.join("/"))
}
