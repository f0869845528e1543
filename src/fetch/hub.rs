//! The Hugging Face hub. The hf-hub crate knows its cache, its settings and its lists of files; the bytes of a file come
//! by `transfer`, which can go on where it stopped.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use hf_hub::repository::{DatasetInfo, RepoTreeEntry};
use hf_hub::{HFClientBuilder, HFClientSync, HFError, HFRepositorySync, RepoTypeDataset, split_id};
use reqwest::header::HeaderValue;
use reqwest::{StatusCode, Url};

use super::Patience;
use super::address::{Address, HubFile, MAIN, RepoKind};
use super::web::{self, Advice, Request};

/// The hub's branch to which it converts every dataset.
pub const CONVERTED: &str = "refs/convert/parquet";

const NO_TOKEN: Advice = Advice {
    unauthorized: "there is no such file, or it may not be read by everyone: look for a typing error, or set HF_TOKEN to a \
                   token of yours (and accept the repository's terms on its page)",
    forbidden: "it may not be read by everyone: accept the terms on the repository's page, and set HF_TOKEN to a token of \
                yours",
    not_found: "there is no such file; look for a typing error (a private repository answers so too: set HF_TOKEN)",
};

const WITH_TOKEN: Advice = Advice {
    unauthorized: "the hub does not take your token (HF_TOKEN, or what `hf auth login` stored), or there is no such file",
    forbidden: "your token may not read it: accept the terms on the repository's page, or set HF_TOKEN to one that may",
    not_found: "there is no such file; look for a typing error (a repository that your token may not read answers so too)",
};

/// A connection to the hub.
pub struct Hub {
    client: HFClientSync,
    /// The hub's address, without a slash at its end.
    endpoint: String,
    authorization: Option<HeaderValue>,
    offline: bool,
}

impl Hub {
    /// Reads the hub's usual settings: `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` and their kin.
    pub fn open(patience: &Patience) -> Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("state-tune/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.connect)
            .read_timeout(patience.stall)
            .build()
            .map_err(|error| web::no_https(&error))?;
        let client = HFClientBuilder::new().client(client).build();
        let (endpoint, client) = client
            .and_then(|client| {
                let endpoint = client.endpoint().to_string();
                Ok((endpoint, HFClientSync::from_inner(client)?))
            })
            .map_err(|error| match error {
                HFError::Url(error) => anyhow!("HF_ENDPOINT is not an address: {error}"),
                error => anyhow!("cannot set up the hub's client: {}", web::reasons(&error)),
            })?;
        let authorization = match token() {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| anyhow!("the hub's token (HF_TOKEN) holds what no token holds"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Self {
            client,
            endpoint,
            authorization,
            offline: is_set("HF_HUB_OFFLINE"),
        })
    }

    /// Where the hub's cache on this machine holds a file, if it does.
    pub fn cached(&self, file: &HubFile) -> Option<PathBuf> {
        let (owner, name) = split_id(&file.repo);
        let HubFile { revision, path, .. } = file;
        let found = match file.kind {
            RepoKind::Model => self
                .client
                .model(owner, name)
                .download_file()
                .filename(path)
                .revision(revision)
                .local_files_only(true)
                .send(),
            RepoKind::Dataset => self
                .client
                .dataset(owner, name)
                .download_file()
                .filename(path)
                .revision(revision)
                .local_files_only(true)
                .send(),
        };
        // The cache's names are links; what they lead to may be gone.
        found.ok()?.canonicalize().ok()
    }

    /// How to ask for a file. Errors when the hub may not be asked.
    pub fn request(&self, file: &HubFile) -> Result<Request> {
        self.check_online()?;
        let mut url = Url::parse(&self.endpoint).context("HF_ENDPOINT is not an address")?;
        url.path_segments_mut()
            .map_err(|()| anyhow!("HF_ENDPOINT is not an address"))?
            .pop_if_empty()
            .extend(file.kind.prefix().split_terminator('/'))
            .extend(file.repo.split('/'))
            .push("resolve")
            .push(&file.revision) // with its slashes encoded, as the hub wants it
            .extend(file.path.split('/'));
        Ok(Request {
            url,
            address: Address::Hub(file.clone()).to_string(),
            authorization: self.authorization.clone(),
            advice: self.advice(),
        })
    }

    /// What the hub says of a dataset at a revision: its commit, its files, its card.
    pub fn dataset(&self, repo: &str, revision: &str) -> Result<DatasetInfo> {
        self.check_online()?;
        // Asked for no revision, the hub tells a dataset that is missing from a revision that is.
        let other = (revision != MAIN).then_some(revision);
        let info = self.repository(repo).info().maybe_revision(other).send();
        info.map_err(|error| self.explain(error, repo, revision))
    }

    /// The paths of the hub's own conversion of a dataset to Parquet; none if there is no such conversion.
    pub fn converted(&self, repo: &str) -> Result<Vec<String>> {
        let tree = self
            .repository(repo)
            .list_tree()
            .revision(CONVERTED)
            .recursive(true)
            .send();
        match tree {
            Ok(entries) => Ok(entries
                .into_iter()
                .filter_map(|entry| match entry {
                    RepoTreeEntry::File { path, .. } => Some(path),
                    RepoTreeEntry::Directory { .. } => None,
                })
                .collect()),
            Err(
                HFError::RevisionNotFound { .. }
                | HFError::RepoNotFound { .. }
                | HFError::EntryNotFound { .. },
            ) => Ok(Vec::new()),
            Err(HFError::Http { context }) if context.status == StatusCode::NOT_FOUND => {
                Ok(Vec::new())
            }
            Err(error) => Err(self.explain(error, repo, CONVERTED)),
        }
    }

    fn repository(&self, repo: &str) -> HFRepositorySync<RepoTypeDataset> {
        let (owner, name) = split_id(repo);
        self.client.dataset(owner, name)
    }

    fn check_online(&self) -> Result<()> {
        if self.offline {
            bail!(
                "HF_HUB_OFFLINE is set, and the hub's cache {} does not hold it; unset HF_HUB_OFFLINE, or put the file \
                 there yourself",
                hf_hub::resolve_cache_dir().display()
            );
        }
        Ok(())
    }

    fn advice(&self) -> Advice {
        if self.authorization.is_some() {
            WITH_TOKEN
        } else {
            NO_TOKEN
        }
    }

    fn explain(&self, error: HFError, repo: &str, revision: &str) -> anyhow::Error {
        let endpoint = &self.endpoint;
        let has_token = self.authorization.is_some();
        match error {
            HFError::AuthRequired { .. } | HFError::RepoNotFound { .. } if !has_token => anyhow!(
                "{endpoint} knows no dataset {repo} that everyone may read; look for a typing error, or set HF_TOKEN to \
                 a token of yours"
            ),
            HFError::AuthRequired { .. } => anyhow!(
                "{endpoint} does not take your token (HF_TOKEN, or what `hf auth login` stored), or knows no dataset \
                 {repo}"
            ),
            HFError::RepoNotFound { .. } => anyhow!(
                "{endpoint} knows no dataset {repo}, or your token may not read it; look for a typing error"
            ),
            HFError::Forbidden { .. } => anyhow!(
                "the dataset {repo} may not be read: accept its terms at {endpoint}/datasets/{repo}, and set HF_TOKEN to \
                 a token that may"
            ),
            HFError::RevisionNotFound { .. } => {
                anyhow!("the dataset {repo} has no branch, tag or commit {revision}")
            }
            HFError::RateLimited { .. } => {
                anyhow!("{endpoint} wants fewer requests; try again in a while, or set HF_TOKEN")
            }
            HFError::Http { context } => anyhow!("{endpoint} answered {}", context.status),
            HFError::Request { source, .. } if source.is_decode() => anyhow!(
                "{endpoint} answered something else than a hub does: {}",
                web::reasons(&source.without_url())
            ),
            HFError::Request { source, .. } => {
                let source = source.without_url();
                anyhow!(
                    "no answer from {endpoint}: {}; {}",
                    web::reasons(&source),
                    web::IS_IT_THERE
                )
            }
            error => anyhow!("{endpoint}: {}", web::reasons(&error)),
        }
    }
}

/// The token that hf-hub uses too, by the same rules; it does not give it away.
fn token() -> Option<String> {
    if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    let not_empty = |text: String| {
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_string())
    };
    let stored = |path: PathBuf| std::fs::read_to_string(path).ok().and_then(not_empty);
    std::env::var("HF_TOKEN")
        .ok()
        .and_then(not_empty)
        .or_else(|| stored(std::env::var_os("HF_TOKEN_PATH")?.into()))
        .or_else(|| stored(hf_hub::hf_home().join("token")))
}

/// Set to anything but a no.
fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| {
        let value = value.trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "false" | "no" | "off")
    })
}
