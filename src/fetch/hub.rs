//! The Hugging Face hub. The hf-hub crate knows its cache, its settings and its lists of files; the
//! bytes of a file come by `transfer`, which can go on where it stopped.

mod environment;

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use hf_hub::repository::DatasetInfo;
use hf_hub::{HFClientBuilder, HFClientSync, HFError, HFRepositorySync, RepoTypeDataset, split_id};
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use url::Url;

use self::environment::{is_set, token};
use super::address::{Address, HubFile, MAIN, RepoKind};
use super::failure::{self, Advice};
use super::retry::{AfterFailure, Delays, RetryPolicy};
use super::web::{self, Request};
use crate::console::Console;

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
    endpoint: Url,
    authorization: Option<HeaderValue>,
    offline: bool,
    policy: RetryPolicy,
    console: Console,
}

impl Hub {
    /// Reads the hub's usual settings: `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE` and
    /// their kin. Waiting is shown on `console`.
    pub fn open(policy: &RetryPolicy, console: &Console) -> Result<Self> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("state-tune/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(policy.connect)
            .read_timeout(policy.stall)
            .build()
            .map_err(|error| failure::no_https(&error))?;
        let token = token();
        let mut builder = HFClientBuilder::new().client(client);
        // hf-hub would take an empty HF_ENDPOINT for an address, and the line end after a token for
        // a part of it.
        if std::env::var("HF_ENDPOINT").is_ok_and(|endpoint| endpoint.is_empty()) {
            builder = builder.endpoint("https://huggingface.co");
        }
        if let Some(token) = &token {
            builder = builder.token(token);
        }
        let client = builder.build();
        let (endpoint, client) = client
            .and_then(|client| {
                let endpoint = Url::parse(client.endpoint())?;
                Ok((endpoint, HFClientSync::from_inner(client)?))
            })
            .map_err(|error| match error {
                HFError::Url(error) => anyhow!("HF_ENDPOINT is not an address: {error}"),
                error => anyhow!(
                    "cannot set up the hub's client: {}",
                    failure::reasons(&error)
                ),
            })?;
        let authorization = match &token {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| anyhow!("the hub's token (HF_TOKEN) holds what no token holds"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        ensure!(
            matches!(endpoint.scheme(), "http" | "https"),
            "HF_ENDPOINT is not an address; it begins with https:// or http://"
        );
        Ok(Self {
            client,
            endpoint,
            authorization,
            offline: is_set("HF_HUB_OFFLINE"),
            policy: *policy,
            console: console.clone(),
        })
    }

    /// The file in the hub's cache on this machine, if it is there and, unless the hub must not be
    /// asked, the hub says that it is the current version.
    pub fn cached(&self, file: &HubFile) -> Option<PathBuf> {
        let found = self.in_cache(file)?;
        if self.offline {
            return Some(found);
        }
        let (owner, name) = split_id(&file.repo);
        let commit = match file.kind {
            RepoKind::Model => {
                let model = self.client.model(owner, name);
                model.info().revision(&file.revision).send().ok()?.sha?
            }
            RepoKind::Dataset => self.dataset(&file.repo, &file.revision).ok()?.sha?,
        };
        self.in_cache(&HubFile {
            revision: commit,
            ..file.clone()
        })
    }

    fn in_cache(&self, file: &HubFile) -> Option<PathBuf> {
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
        // The cache's files are links. Their targets may be gone, and must lie in the cache.
        let found = found.ok()?.canonicalize().ok()?;
        let cache = hf_hub::resolve_cache_dir().canonicalize().ok()?;
        (found.is_file() && found.starts_with(cache)).then_some(found)
    }

    /// How to ask for a file. Errors when the hub may not be asked.
    pub fn request(&self, file: &HubFile) -> Result<Request> {
        self.check_online()?;
        let mut url = self.endpoint.clone();
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
            is_hub: true,
        })
    }

    /// What the hub says of a dataset at a revision: its commit, its files, its card. Offline, what
    /// the cache holds of it.
    pub fn dataset(&self, repo: &str, revision: &str) -> Result<DatasetInfo> {
        if self.offline {
            return self.cached_dataset(repo, revision);
        }
        let info = self.ask(repo, revision);
        info.map_err(|error| self.explain(error, repo, revision))
    }

    /// The same of the hub's own conversion of a dataset to Parquet; `None` if there is no such
    /// conversion.
    pub fn converted(&self, repo: &str) -> Result<Option<DatasetInfo>> {
        if self.offline {
            return Ok(self.cached_dataset(repo, CONVERTED).ok());
        }
        match self.ask(repo, CONVERTED) {
            Ok(info) => Ok(Some(info)),
            Err(HFError::RevisionNotFound { .. } | HFError::RepoNotFound { .. }) => Ok(None),
            Err(error) => Err(self.explain(error, repo, CONVERTED)),
        }
    }

    /// Asks, and waits if the hub wants fewer requests and says for how long.
    fn ask(&self, repo: &str, revision: &str) -> Result<DatasetInfo, HFError> {
        // Only if no revision is asked for does the hub tell a missing dataset from a missing
        // revision.
        let other = (revision != MAIN).then_some(revision);
        let mut delays = Delays::new(&self.policy);
        loop {
            let answer = self.repository(repo).info().maybe_revision(other).send();
            let asked = match &answer {
                Err(HFError::RateLimited { retry_after, .. }) => *retry_after,
                _ => None,
            };
            let Some(AfterFailure::TryAfter(delay)) = asked.map(|asked| delays.next(Some(asked)))
            else {
                return answer;
            };
            self.console.line(&format!(
                "fetch  {repo}: the hub wants fewer requests; trying again in {delay:.0?}"
            ));
            thread::sleep(delay);
        }
    }

    fn cached_dataset(&self, repo: &str, revision: &str) -> Result<DatasetInfo> {
        let snapshot = self
            .repository(repo)
            .snapshot_download()
            .revision(revision)
            .local_files_only(true)
            .send();
        let Ok(snapshot) = snapshot else {
            return Err(self.offline_error());
        };
        let mut files = Vec::new();
        list(&snapshot, "", &mut files);
        let siblings: Vec<Value> = files
            .iter()
            .map(|file| json!({"rfilename": file}))
            .collect();
        let commit = snapshot.file_name().and_then(|name| name.to_str());
        let info = json!({"id": repo, "sha": commit, "siblings": siblings});
        serde_json::from_value(info).context("cannot read the hub's cache")
    }

    fn repository(&self, repo: &str) -> HFRepositorySync<RepoTypeDataset> {
        let (owner, name) = split_id(repo);
        self.client.dataset(owner, name)
    }

    fn check_online(&self) -> Result<()> {
        if self.offline {
            return Err(self.offline_error());
        }
        Ok(())
    }

    fn offline_error(&self) -> anyhow::Error {
        anyhow!(
            "HF_HUB_OFFLINE is set, and the hub's cache {} does not hold it; unset \
             HF_HUB_OFFLINE, or put the file \
             there yourself",
            hf_hub::resolve_cache_dir().display()
        )
    }

    fn advice(&self) -> Advice {
        if self.authorization.is_some() {
            WITH_TOKEN
        } else {
            NO_TOKEN
        }
    }

    fn explain(&self, error: HFError, repo: &str, revision: &str) -> anyhow::Error {
        let endpoint = web::without_secrets(&self.endpoint);
        let endpoint = endpoint.trim_end_matches('/');
        let has_token = self.authorization.is_some();
        match error {
            HFError::AuthRequired { .. } | HFError::RepoNotFound { .. } if !has_token => anyhow!(
                "{endpoint} knows no dataset {repo} that everyone may read; look for a typing \
                 error, or set HF_TOKEN to \
                 a token of yours"
            ),
            HFError::AuthRequired { .. } => anyhow!(
                "{endpoint} does not take your token (HF_TOKEN, or what `hf auth login` stored), \
                 or knows no dataset \
                 {repo}"
            ),
            HFError::RepoNotFound { .. } => anyhow!(
                "{endpoint} knows no dataset {repo}, or your token may not read it; look for a \
                 typing error"
            ),
            HFError::Forbidden { .. } => anyhow!(
                "the dataset {repo} may not be read: accept its terms at \
                 {endpoint}/datasets/{repo}, and set HF_TOKEN to \
                 a token that may"
            ),
            HFError::RevisionNotFound { .. } => {
                anyhow!("the dataset {repo} has no branch, tag or commit {revision}")
            }
            HFError::RateLimited { .. } => {
                anyhow!("{endpoint} wants fewer requests; try again in a while, or set HF_TOKEN")
            }
            HFError::Http { context } => {
                anyhow!(
                    "{endpoint} answered {}; try again in a while",
                    context.status
                )
            }
            HFError::Request { source, .. } if source.is_decode() => anyhow!(
                "{endpoint} answered something else than a hub does: {}",
                failure::reasons(&source.without_url())
            ),
            HFError::Request { source, .. } => {
                let source = source.without_url();
                anyhow!(
                    "no answer from {endpoint}: {}; {}",
                    failure::reasons(&source),
                    failure::IS_IT_THERE
                )
            }
            error => anyhow!("{endpoint}: {}", failure::reasons(&error)),
        }
    }
}

/// The files under a directory of the cache, by their paths in it.
fn list(directory: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        if path.is_dir() {
            list(&path, &format!("{prefix}{name}/"), files);
        } else {
            files.push(format!("{prefix}{name}"));
        }
    }
}
