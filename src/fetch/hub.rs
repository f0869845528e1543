//! The Hugging Face hub: what it says of its repositories, how their files are asked for, and what
//! its cache on this machine holds. The hf-hub crate knows the cache's layout; the bytes of a file
//! come by `transfer`, which can go on where it stopped.

mod cache;
mod environment;
mod info;

use std::path::PathBuf;
use std::thread;

use anyhow::{Result, anyhow, ensure};
use reqwest::blocking::Client;
use reqwest::header::HeaderValue;
use url::Url;

use self::cache::Cached;
use self::environment::{cache_dir, endpoint, is_set, token};
use self::info::Refusal;
pub use self::info::RepoInfo;
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
    client: Client,
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
        let endpoint = Url::parse(&endpoint())
            .map_err(|error| anyhow!("HF_ENDPOINT is not an address: {error}"))?;
        ensure!(
            matches!(endpoint.scheme(), "http" | "https"),
            "HF_ENDPOINT is not an address; it begins with https:// or http://"
        );
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
            client: web::client(policy)?,
            endpoint,
            authorization,
            offline: is_set("HF_HUB_OFFLINE"),
            policy: *policy,
            console: console.clone(),
        })
    }

    /// The HTTP client of this connection, for the files' bytes.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The file in the hub's cache on this machine, if it is there and, unless the hub must not be
    /// asked, the hub says that it is the current version.
    pub fn cached(&self, file: &HubFile) -> Option<PathBuf> {
        let in_cache = |revision| Cached::new(file.kind, &file.repo, revision).file(&file.path);
        let found = in_cache(&file.revision)?;
        if self.offline {
            return Some(found);
        }
        let info = self.ask(file.kind, &file.repo, &file.revision).ok()?;
        in_cache(&info.sha?)
    }

    /// How to ask for a file. Errors when the hub may not be asked.
    pub fn request(&self, file: &HubFile) -> Result<Request> {
        self.check_online()?;
        let kind = file.kind.prefix().split_terminator('/');
        let place = kind
            .chain(file.repo.split('/'))
            .chain(["resolve", file.revision.as_str()])
            .chain(file.path.split('/'));
        Ok(Request {
            url: self.url(place),
            address: Address::Hub(file.clone()).to_string(),
            authorization: self.authorization.clone(),
            advice: self.advice(),
            is_hub: true,
        })
    }

    /// An address of the hub. A slash within a piece, as a revision may have one, is encoded, as
    /// the hub wants it.
    fn url<'a>(&self, pieces: impl Iterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        let mut segments = url.path_segments_mut().expect("an http address has a path");
        segments.pop_if_empty().extend(pieces);
        drop(segments);
        url
    }

    /// What the hub says of a repository at a revision: its commit, its files, its card. Offline,
    /// what the cache holds of it.
    pub fn repository(&self, kind: RepoKind, repo: &str, revision: &str) -> Result<RepoInfo> {
        if self.offline {
            let cached = Cached::new(kind, repo, revision).info();
            return cached.ok_or_else(|| self.offline_error());
        }
        let info = self.ask(kind, repo, revision);
        info.map_err(|refusal| self.explain(refusal, kind, repo, revision))
    }

    /// The same of the hub's own conversion of a dataset to Parquet; `None` if there is no such
    /// conversion.
    pub fn converted(&self, repo: &str) -> Result<Option<RepoInfo>> {
        if self.offline {
            return Ok(Cached::new(RepoKind::Dataset, repo, CONVERTED).info());
        }
        match self.ask(RepoKind::Dataset, repo, CONVERTED) {
            Ok(info) => Ok(Some(info)),
            Err(Refusal::NoRevision | Refusal::NoRepository) => Ok(None),
            Err(refusal) => Err(self.explain(refusal, RepoKind::Dataset, repo, CONVERTED)),
        }
    }

    /// Asks, and asks again after a failure that may pass, or when the hub wants to be asked later.
    fn ask(&self, kind: RepoKind, repo: &str, revision: &str) -> Result<RepoInfo, Refusal> {
        // Only if no revision is asked for does the hub tell a missing dataset from a missing
        // revision.
        let other = (revision != MAIN).then_some(["revision", revision]);
        let pieces = ["api", kind.plural()].into_iter().chain(repo.split('/'));
        let request = Request {
            url: self.url(pieces.chain(other.into_iter().flatten())),
            address: repo.to_string(),
            authorization: self.authorization.clone(),
            advice: self.advice(),
            is_hub: true,
        };
        let mut delays = Delays::new(&self.policy);
        for tries in 1.. {
            let refusal = match info::ask(&self.client, &request) {
                Err(Refusal::NotFound) if other.is_some() => return Err(Refusal::NoRevision),
                Err(Refusal::NotFound) => return Err(Refusal::NoRepository),
                Err(refusal) if refusal.may_pass(tries) => refusal,
                answer => return answer,
            };
            let AfterFailure::TryAfter(delay) = delays.next(refusal.asked_delay()) else {
                return Err(refusal);
            };
            self.console.line(&format!(
                "fetch  {repo}: {}; trying again in {delay:.0?}",
                refusal.brief()
            ));
            thread::sleep(delay);
        }
        unreachable!("the delays end")
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
            cache_dir().display()
        )
    }

    fn advice(&self) -> Advice {
        if self.authorization.is_some() {
            WITH_TOKEN
        } else {
            NO_TOKEN
        }
    }

    fn explain(
        &self,
        refusal: Refusal,
        kind: RepoKind,
        repo: &str,
        revision: &str,
    ) -> anyhow::Error {
        let what = kind.word();
        let endpoint = web::without_secrets(&self.endpoint);
        let endpoint = endpoint.trim_end_matches('/');
        let has_token = self.authorization.is_some();
        match refusal {
            Refusal::Unauthorized | Refusal::NotFound | Refusal::NoRepository if !has_token => {
                anyhow!(
                    "{endpoint} knows no {what} {repo} that everyone may read; look for a typing \
                     error, or set HF_TOKEN to a token of yours"
                )
            }
            Refusal::Unauthorized => anyhow!(
                "{endpoint} does not take your token (HF_TOKEN, or what `hf auth login` stored), \
                 or knows no {what} {repo}"
            ),
            Refusal::NotFound | Refusal::NoRepository => anyhow!(
                "{endpoint} knows no {what} {repo}, or your token may not read it; look for a \
                 typing error"
            ),
            Refusal::NoRevision => {
                anyhow!("the {what} {repo} has no branch, tag or commit {revision}")
            }
            Refusal::Forbidden => anyhow!(
                "the {what} {repo} may not be read: accept its terms at \
                 {endpoint}/{}{repo}, and set HF_TOKEN to a token that may",
                kind.prefix()
            ),
            Refusal::TooMany { .. } => {
                anyhow!("{endpoint} wants fewer requests; try again in a while, or set HF_TOKEN")
            }
            Refusal::Status(status) => {
                anyhow!("{endpoint} answered {status}; try again in a while")
            }
            Refusal::NoHub(why) => {
                anyhow!("{endpoint} answered something else than a hub does: {why}")
            }
            Refusal::NoAnswer(why) => {
                anyhow!("{why}; {}", failure::IS_IT_THERE)
            }
        }
    }
}
