//! What the hub says of a repository: one question, and its answer, which is bounded in bytes and
//! time.

use std::io::Read;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::blocking::Client;
use serde::Deserialize;
use serde_json::Value;

use crate::fetch::failure::{self, Failure};
use crate::fetch::web::{self, Request};

/// The most bytes of an answer. A repository of 100,000 files takes some ten million.
const MOST_BYTES: usize = 1 << 26;

/// The longest that an answer may take to arrive.
const LONGEST: Duration = Duration::from_secs(120);

/// Tries for a hub that does not answer at all: there may be no network.
const TRIES_WITHOUT_ANSWER: usize = 3;

/// A repository at a revision.
#[derive(Debug, Default, Deserialize)]
pub struct RepoInfo {
    /// The commit.
    pub sha: Option<String>,
    #[serde(default)]
    pub siblings: Vec<RepoFile>,
    /// What stands in the head of its README.
    #[serde(default, rename = "cardData")]
    pub card: Option<Value>,
}

/// A file of a repository.
#[derive(Debug, Deserialize)]
pub struct RepoFile {
    #[serde(rename = "rfilename")]
    pub path: String,
}

/// Why the hub said nothing of a repository.
#[derive(Debug)]
pub enum Refusal {
    Unauthorized,
    Forbidden,
    /// Not told of which kind.
    NotFound,
    NoRepository,
    NoRevision,
    /// The hub wants fewer requests, and may say how long to wait.
    TooMany {
        after: Option<Duration>,
    },
    Status(StatusCode),
    /// The answer is not a hub's.
    NoHub(String),
    /// No whole answer came, for this reason.
    NoAnswer(String),
}

impl Refusal {
    /// Whether a further try may end otherwise, after so many.
    pub fn may_pass(&self, tries: usize) -> bool {
        match self {
            Self::TooMany { after } => after.is_some(),
            Self::Status(status) => status.is_server_error(),
            Self::NoAnswer(_) => tries < TRIES_WITHOUT_ANSWER,
            _ => false,
        }
    }

    /// How long the hub asks to wait.
    pub fn asked_delay(&self) -> Option<Duration> {
        match self {
            Self::TooMany { after } => *after,
            _ => None,
        }
    }

    /// What is told before a further try.
    pub fn brief(&self) -> String {
        match self {
            Self::TooMany { .. } => "the hub wants fewer requests".to_string(),
            Self::Status(status) => format!("the hub answered {status}"),
            Self::NoAnswer(why) => why.clone(),
            other => format!("{other:?}"),
        }
    }
}

/// Asks for what `request` names.
pub fn ask(client: &Client, request: &Request) -> Result<RepoInfo, Refusal> {
    let began = Instant::now();
    let mut reply = match web::answer(client, request) {
        Ok(reply) => reply,
        Err(
            Failure::Passing { error, .. } | Failure::Unreachable(error) | Failure::Lasting(error),
        ) => return Err(Refusal::NoAnswer(error.to_string())),
        Err(Failure::Stale) => return Err(Refusal::NoHub("another version".to_string())),
    };
    match reply.status() {
        StatusCode::UNAUTHORIZED => return Err(Refusal::Unauthorized),
        StatusCode::FORBIDDEN => return Err(Refusal::Forbidden),
        StatusCode::NOT_FOUND => return Err(Refusal::NotFound),
        StatusCode::TOO_MANY_REQUESTS => {
            return Err(Refusal::TooMany {
                after: failure::retry_after(reply.headers()),
            });
        }
        status if !status.is_success() => return Err(Refusal::Status(status)),
        _ => {}
    }
    let mut body = Vec::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match reply.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => body.extend_from_slice(&piece[..n]),
            Err(error) => {
                let why = format!("the answer broke off: {}", failure::reasons(&error));
                return Err(Refusal::NoAnswer(why));
            }
        }
        if body.len() > MOST_BYTES {
            let why = format!("more than {} MB", MOST_BYTES >> 20);
            return Err(Refusal::NoHub(why));
        }
        if began.elapsed() > LONGEST {
            let why = format!("it has not ended after {} s", LONGEST.as_secs());
            return Err(Refusal::NoHub(why));
        }
    }
    serde_json::from_slice(&body).map_err(|error| Refusal::NoHub(error.to_string()))
}
