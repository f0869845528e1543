//! One request over HTTP, and what its answer means: bytes, a reason to try again, or a reason to
//! stop.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, anyhow};
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use reqwest::redirect::Policy;
use url::Url;

pub use super::address::without_secrets;
use super::failure::{self, Advice, Failure};
use super::origin::{Digest, Origin};
use super::proxy;
use super::retry::RetryPolicy;

/// The most redirects that are followed: as many as browsers follow.
const REDIRECTS: usize = 20;

/// How to ask for one file.
#[derive(Clone, Debug)]
pub struct Request {
    pub url: Url,
    /// The name of the file in messages and in the part's sidecar.
    pub address: String,
    /// Sent to the host of `url` alone.
    pub authorization: Option<HeaderValue>,
    /// What to do about a refusal.
    pub advice: Advice,
    /// Whether an ETag names the file's content, as the hub's do, and is its SHA-256 if it looks
    /// like one.
    pub is_hub: bool,
}

/// A server's answer that brings bytes.
pub struct Reply {
    /// What the bytes belong to.
    pub origin: Origin,
    /// The place in the file where they begin: what was asked for, or 0.
    pub from: u64,
    pub body: Response,
}

/// An HTTP client that follows no redirects by itself: what the hub says of a file stands in the
/// redirect.
///
/// Time-outs are for making a connection and for hearing nothing, none for the whole. Proxies come
/// from the environment. All requests of a program share one client.
pub fn client(policy: &RetryPolicy) -> Result<Client> {
    static SHARED: Mutex<Option<(RetryPolicy, Client)>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, client)) = &*shared
        && of == policy
    {
        return Ok(client.clone());
    }
    let client = new_client(policy)?;
    *shared = Some((*policy, client.clone()));
    Ok(client)
}

fn new_client(policy: &RetryPolicy) -> Result<Client> {
    let proxies = proxy::proxies()?;
    // An error says that there is one already: every client of this program takes the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder();
    let builder = proxies
        .into_iter()
        .fold(builder, |builder, proxy| builder.proxy(proxy));
    builder
        .user_agent(concat!("state-tune/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(policy.connect)
        .timeout(policy.stall)
        .redirect(Policy::none())
        .build()
        .map_err(|error| failure::no_https(&error))
}

/// Asks for a file, or for the rest of it: `have` bytes are here, and belong to the origin beside
/// them.
pub fn get(
    client: &Client,
    request: &Request,
    have: Option<(u64, &Origin)>,
) -> Result<Reply, Failure> {
    let mut headers = HeaderMap::new();
    // Length and hash are those of the file itself, not of a compressed transfer.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some((from, origin)) = have {
        headers.insert(RANGE, header(&format!("bytes={from}-"))?);
        // If there is a version, the answer is compared with it. If not, the server must compare.
        if let (None, Some(mark)) = (
            &origin.version,
            origin.etag.as_ref().or(origin.last_modified.as_ref()),
        ) {
            headers.insert(IF_RANGE, header(mark)?);
        }
    }
    let (reply, linked) = follow(client, request, &headers)?;
    let status = reply.status();
    let origin = origin(request, &reply, linked);
    match (status, have) {
        (StatusCode::OK | StatusCode::PARTIAL_CONTENT, _) if is_web_page(&reply) => {
            Err(Failure::Lasting(anyhow!(
                "{} sent a web page and not a file; open it in a browser to see why",
                without_secrets(reply.url())
            )))
        }
        (StatusCode::OK | StatusCode::PARTIAL_CONTENT, _) if is_encoded(&reply) => {
            Err(Failure::Lasting(anyhow!(
                "{} sent the file compressed, which was not asked for; download it yourself",
                without_secrets(reply.url())
            )))
        }
        (StatusCode::OK, _) => Ok(Reply {
            origin,
            from: 0,
            body: reply,
        }),
        (StatusCode::PARTIAL_CONTENT, Some((from, before))) => {
            let begins_right = content_range(&reply).is_some_and(|(start, _)| start == Some(from));
            // A part need not repeat what was said of the whole. Without its length, its end would
            // not be known.
            let whole = Origin {
                length: origin.length.or(before.length),
                digest: origin.digest.clone().or(before.digest.clone()),
                ..origin
            };
            if begins_right && before.is_same_content(&whole) && whole.length.is_some() {
                Ok(Reply {
                    origin: whole,
                    from,
                    body: reply,
                })
            } else {
                Err(Failure::Stale)
            }
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => Err(Failure::Stale),
        _ => Err(failure::refusal(&reply, &request.advice)),
    }
}

/// Asks for something that is no file, and gives the answer whatever its status.
pub fn answer(client: &Client, request: &Request) -> Result<Response, Failure> {
    follow(client, request, &HeaderMap::new()).map(|(reply, _)| reply)
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text)
        .map_err(|_| Failure::Lasting(anyhow!("{text:?} cannot be sent as a header")))
}

/// What a redirect of the hub says of the file it leads to.
#[derive(Default)]
struct Linked {
    etag: Option<String>,
    length: Option<u64>,
}

fn follow(
    client: &Client,
    request: &Request,
    headers: &HeaderMap,
) -> Result<(Response, Linked), Failure> {
    let mut url = request.url.clone();
    let mut linked = Linked::default();
    for _ in 0..=REDIRECTS {
        let mut get = client.get(url.clone()).headers(headers.clone());
        if let Some(authorization) = &request.authorization
            && url.origin() == request.url.origin()
        {
            get = get.header(AUTHORIZATION, authorization);
        }
        let reply = get
            .send()
            .map_err(|error| failure::unreachable(error, &url))?;
        let text = |name: &str| {
            let value = reply.headers().get(name)?;
            value.to_str().ok().map(str::to_string)
        };
        linked.etag = linked.etag.or_else(|| text("x-linked-etag"));
        linked.length = linked
            .length
            .or_else(|| text("x-linked-size")?.parse().ok());
        if !reply.status().is_redirection() {
            return Ok((reply, linked));
        }
        let next = text(LOCATION.as_str()).and_then(|place| url.join(&place).ok());
        url = match next {
            Some(next) if matches!(next.scheme(), "http" | "https") => next,
            _ => {
                return Err(Failure::Lasting(anyhow!(
                    "{} redirects to nowhere",
                    without_secrets(&url)
                )));
            }
        };
    }
    Err(Failure::Lasting(anyhow!(
        "{} redirects more than {REDIRECTS} times",
        without_secrets(&request.url)
    )))
}

fn origin(request: &Request, reply: &Response, linked: Linked) -> Origin {
    let text = |name: &str| {
        let value = reply.headers().get(name)?;
        value.to_str().ok().map(str::to_string)
    };
    let is_hex = |text: &String, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let hubs_own = request.is_hub.then(|| text(ETAG.as_str())).flatten();
    let linked_etag = linked
        .etag
        .or(hubs_own)
        .map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_string());
    let sha256 = linked_etag.clone().filter(|etag| is_hex(etag, 64));
    let sha1 = text("x-bz-content-sha1")
        .filter(|sha1| is_hex(sha1, 40))
        .or_else(|| text("x-bz-info-large_file_sha1").filter(|sha1| is_hex(sha1, 40)));
    let length = match reply.status() {
        StatusCode::PARTIAL_CONTENT => content_range(reply).and_then(|(_, whole)| whole),
        _ => reply.content_length(),
    };
    Origin {
        address: request.address.clone(),
        version: linked_etag.or_else(|| text("x-bz-file-id")),
        // A weak one does not promise the same bytes.
        etag: text(ETAG.as_str()).filter(|etag| !etag.starts_with("W/")),
        last_modified: text(LAST_MODIFIED.as_str()),
        length: length.or(linked.length),
        digest: sha256
            .map(Digest::Sha256)
            .or_else(|| sha1.map(Digest::Sha1)),
    }
}

/// The first byte's place and the whole length, each if stated: `bytes 5-9/10`.
fn content_range(reply: &Response) -> Option<(Option<u64>, Option<u64>)> {
    let text = reply.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-').and_then(|(a, _)| a.parse().ok());
    Some((start, whole.parse().ok()))
}

fn is_web_page(reply: &Response) -> bool {
    let kind = reply.headers().get(CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().starts_with("text/html"))
}

/// Whether the transfer is compressed, so that the bytes are not the file's own.
fn is_encoded(reply: &Response) -> bool {
    reply
        .headers()
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| encoding != "identity")
}
