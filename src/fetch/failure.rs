//! Why a request brought nothing, whether another try may bring more, and what the user can do
//! about it.

use std::error::Error;
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use url::Url;

use super::address::without_secrets;

/// Why a request brought nothing.
#[derive(Debug)]
pub enum Failure {
    /// Another try may succeed later; the server may have said after how long.
    Passing {
        error: anyhow::Error,
        after: Option<Duration>,
    },
    /// No connection could be made.
    Unreachable(anyhow::Error),
    /// What was fetched so far is of another version of the file.
    Stale,
    Lasting(anyhow::Error),
}

/// What the user can do about each kind of refusal.
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

/// Advice for when no server answers.
pub const IS_IT_THERE: &str =
    "is the network there? (proxies are taken from HTTPS_PROXY and HTTP_PROXY)";

pub fn refusal(reply: &Response, advice: &Advice) -> Failure {
    let status = reply.status();
    let host = reply.url().host_str().unwrap_or("the server");
    let Advice {
        unauthorized,
        forbidden,
        not_found,
    } = *advice;
    let advice = match status {
        StatusCode::UNAUTHORIZED => unauthorized,
        StatusCode::FORBIDDEN => forbidden,
        StatusCode::NOT_FOUND | StatusCode::GONE => not_found,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            "the proxy wants a login; put it into HTTPS_PROXY or HTTP_PROXY, \
             http://user:password@proxy"
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => "",
        _ if status.is_server_error() => "",
        _ => "the server does not serve this",
    };
    // The hub's own words for the reason.
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

/// How long the server asks to wait: it gives seconds or a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The failure of a request that got no answer.
pub fn unreachable(error: reqwest::Error, url: &Url) -> Failure {
    let host = without_secrets(url);
    let is_connect = error.is_connect();
    // With the address, the error's text would show keys that the address holds.
    let error = anyhow!("no answer from {host}: {}", reasons(&error.without_url()));
    if is_connect {
        Failure::Unreachable(error)
    } else {
        Failure::Passing { error, after: None }
    }
}

/// The deepest cause of an error; what stands above it is general.
pub fn reasons(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// The error of a client that cannot be built. The only cause seen so far is a system without CA
/// certificates, as a bare container is.
pub fn no_https(error: &reqwest::Error) -> anyhow::Error {
    anyhow!(
        "cannot set up HTTPS: {}; install CA certificates (in most containers the package \
         ca-certificates), or set \
         SSL_CERT_FILE to a file of them",
        reasons(error)
    )
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

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
