//! One request over HTTP, and what its answer means: bytes, a reason to try again, or a reason to stop.

use std::error::Error;
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use reqwest::blocking::{Client, Response};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use super::RetryPolicy;
pub use super::address::without_secrets;
use super::part::{Digest, Origin};

/// As many as browsers follow.
const REDIRECTS: usize = 20;

/// How to ask for one file.
#[derive(Clone, Debug)]
pub struct Request {
    pub url: Url,
    /// How it is called in messages and in the part's sidecar.
    pub address: String,
    /// Sent to the host of `url` alone.
    pub authorization: Option<HeaderValue>,
    /// What to do about a refusal.
    pub advice: Advice,
    /// Whether an ETag names the file's content, as the hub's do, and is its SHA-256 if it looks like one.
    pub is_hub: bool,
}

/// What to tell whom a server refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    pub unauthorized: &'static str,
    pub forbidden: &'static str,
    pub not_found: &'static str,
}

/// For servers about which nothing is known.
pub const PLAIN: Advice = Advice {
    unauthorized: "the server wants a login; put it into the address, https://user:password@host/..., or download the file yourself",
    forbidden: "the server does not let this address be read; a signed link may be too old",
    not_found: "there is nothing at this address; look for a typing error",
};

/// What to say when nobody answers.
pub const IS_IT_THERE: &str =
    "is the network there? (proxies are taken from HTTPS_PROXY and HTTP_PROXY)";

/// A server's answer that brings bytes.
pub struct Reply {
    /// What the bytes belong to.
    pub origin: Origin,
    /// The place in the file where they begin: what was asked for, or 0.
    pub from: u64,
    pub body: Response,
}

/// Why a request brought nothing.
#[derive(Debug)]
pub enum Failure {
    /// It may be better in a while, which the server may have stated.
    Passing {
        error: anyhow::Error,
        after: Option<Duration>,
    },
    /// No connection came about.
    Unreachable(anyhow::Error),
    /// What is here is not part of the file any more, or all of it.
    Stale,
    Lasting(anyhow::Error),
}

/// An HTTP client that follows no redirects by itself: what the hub says of a file stands in the redirect.
///
/// Time-outs are for making a connection and for hearing nothing, none for the whole. Proxies come from the environment.
pub fn client(policy: &RetryPolicy) -> Result<Client> {
    Client::builder()
        .user_agent(concat!("state-tune/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(policy.connect)
        .timeout(policy.stall)
        .redirect(Policy::none())
        .build()
        .map_err(|error| no_https(&error))
}

/// The one reason that was ever seen: a bare container knows no certificate authorities.
pub fn no_https(error: &reqwest::Error) -> anyhow::Error {
    anyhow!(
        "cannot set up HTTPS: {}; install CA certificates (in most containers the package ca-certificates), or set \
         SSL_CERT_FILE to a file of them",
        reasons(error)
    )
}

/// Asks for a file, or for the rest of it: `have` bytes are here, and belong to the origin beside them.
pub fn get(
    client: &Client,
    request: &Request,
    have: Option<(u64, &Origin)>,
) -> Result<Reply, Failure> {
    let mut headers = HeaderMap::new();
    // What is counted and hashed are the file's own bytes.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some((from, origin)) = have {
        headers.insert(RANGE, header(&format!("bytes={from}-"))?);
        // With a version, the answer shows whether it is the same; without, the server has to look.
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
            // A part need not repeat what was said of the whole. Without its length, its end would not be known.
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
        _ => Err(refusal(&reply, request)),
    }
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
        let reply = get.send().map_err(|error| unreachable(error, &url))?;
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

/// Whether the bytes that come are not the file's own.
fn is_encoded(reply: &Response) -> bool {
    reply
        .headers()
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|encoding| encoding != "identity")
}

fn refusal(reply: &Response, request: &Request) -> Failure {
    let status = reply.status();
    let host = reply.url().host_str().unwrap_or("the server");
    let Advice {
        unauthorized,
        forbidden,
        not_found,
    } = request.advice;
    let advice = match status {
        StatusCode::UNAUTHORIZED => unauthorized,
        StatusCode::FORBIDDEN => forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => not_found,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "the proxy wants a login; put it into HTTPS_PROXY or HTTP_PROXY, http://user:password@proxy"
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => "",
        _ if status.is_server_error() => "",
        _ => "the server does not serve this",
    };
    // The hub says what is the matter.
    let said = reply.headers().get("x-error-message");
    let said = said.and_then(|said| said.to_str().ok()).map(|said| {
        let brief: String = said.chars().take(200).collect();
        format!(" ({brief})")
    });
    let answered = format!("{host} answered {status}{}", said.unwrap_or_default());
    if advice.is_empty() {
        Failure::Passing {
            error: anyhow!(answered),
            after: retry_after(reply.headers()),
        }
    } else {
        Failure::Lasting(anyhow!("{answered}: {advice}"))
    }
}

/// Seconds or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// An error of a request that got no answer.
fn unreachable(error: reqwest::Error, url: &Url) -> Failure {
    let host = without_secrets(url);
    let is_connect = error.is_connect();
    // Its text would hold the whole address, keys included.
    let error = anyhow!("no answer from {host}: {}", reasons(&error.without_url()));
    if is_connect {
        Failure::Unreachable(error)
    } else {
        Failure::Passing { error, after: None }
    }
}

/// An error's causes without the general words above them.
pub fn reasons(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_stated_in_seconds_or_as_a_date() {
        let after = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers)
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            after("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO),
            "a date that is past"
        );
        assert!(after("Fri, 31 Dec 9999 23:59:59 GMT").unwrap() > Duration::from_secs(1 << 30));
        assert_eq!(after("soon"), None);
    }
}
