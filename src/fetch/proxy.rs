//! Proxies that the environment names. The HTTP library passes over what it cannot use, and asks the
//! servers themselves instead: whoever set a proxy did not mean that. So the variables are read here,
//! and the library is handed what it is known to use.

use std::env;

use anyhow::{Context, Result};
use http::Uri;
use reqwest::{NoProxy, Proxy};
use url::Url;

/// The variables for each kind of address, as curl has them; the first that is set holds.
const HTTP: [&str; 2] = ["HTTP_PROXY", "http_proxy"];
const HTTPS: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
/// For addresses of both kinds that have none of their own.
const ALL: [&str; 2] = ["ALL_PROXY", "all_proxy"];

/// What a proxy's address may begin with.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The proxies to use. Errors when a variable names one that cannot be used.
pub fn proxies() -> Result<Vec<Proxy>> {
    let all = named(ALL)?;
    let http = named(HTTP)?.or_else(|| all.clone()).map(Proxy::http);
    let https = named(HTTPS)?.or(all).map(Proxy::https);
    let mut proxies = Vec::new();
    for proxy in http.into_iter().chain(https) {
        let proxy = proxy.map_err(reqwest::Error::without_url)?;
        proxies.push(proxy.no_proxy(NoProxy::from_env()));
    }
    Ok(proxies)
}

/// The proxy that the first of these variables names which is set. All of them must be usable.
fn named(variables: [&str; 2]) -> Result<Option<Url>> {
    let mut values = Vec::new();
    for name in variables {
        if let Some(value) = env::var_os(name) {
            let value = value.to_str().and_then(usable);
            // The value is not shown: it may hold a password.
            values.push(value.with_context(|| {
                format!(
                    "{name} is no address of a proxy; use one such as http://host:3128 (it may also \
                     begin with {}), or unset it",
                    SCHEMES[1..].join(", ")
                )
            })?);
        }
    }
    Ok(values.into_iter().next().flatten())
}

/// The address of a proxy in the spelling that the HTTP library understands; `Some(None)` if it is
/// empty, which is no proxy.
fn usable(value: &str) -> Option<Option<Url>> {
    if value.is_empty() {
        return Some(None);
    }
    let with_scheme = match value.contains("://") {
        true => value.to_string(),
        // Slashes were left out, and the scheme would be taken for a host.
        false
            if value
                .split_once(':')
                .is_some_and(|(start, _)| is_scheme(start)) =>
        {
            return None;
        }
        false => format!("http://{value}"),
    };
    let is_clean = !value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\');
    let url = Url::parse(&with_scheme).ok().filter(|_| is_clean)?;
    // What the library does with it when it connects.
    let understood: Uri = url.as_str().parse().ok()?;
    let has_host = understood.host().is_some_and(|host| !host.is_empty());
    (has_host && is_scheme(url.scheme())).then_some(Some(url))
}

fn is_scheme(text: &str) -> bool {
    SCHEMES
        .iter()
        .any(|scheme| scheme.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_would_be_passed_over() {
        assert_eq!(usable(""), Some(None));
        for (good, understood) in [
            ("http://proxy:3128", "http://proxy:3128/"),
            ("proxy", "http://proxy/"),
            ("proxy:3128/", "http://proxy:3128/"),
            ("10.0.0.1:80", "http://10.0.0.1/"),
            (
                "https://user:p%40ss@proxy.example.org",
                "https://user:p%40ss@proxy.example.org/",
            ),
            ("socks5h://localhost:1080", "socks5h://localhost:1080"),
            ("http://[::1]:3128", "http://[::1]:3128/"),
            // What the library itself would not understand.
            (
                "http://user:p\u{e4}@proxy:1",
                "http://user:p%C3%A4@proxy:1/",
            ),
            ("http://{user}:p@proxy:1", "http://%7Buser%7D:p@proxy:1/"),
            ("http://a\"b:c@proxy:1", "http://a%22b:c@proxy:1/"),
            ("socks5h://{u}@10.0.0.1:1", "socks5h://%7Bu%7D@10.0.0.1:1"),
            ("SOCKS5://10.0.0.1:1", "socks5://10.0.0.1:1"),
            ("//proxy:1", "http://proxy:1/"),
            ("http:///proxy:1", "http://proxy:1/"),
            ("http://10.0.0.1%2e:1", "http://10.0.0.1:1/"),
        ] {
            let found = usable(good).flatten();
            assert_eq!(found.as_ref().map(Url::as_str), Some(understood), "{good}");
        }
        let in_unicode = usable("http://pr\u{f6}xy:1").flatten().unwrap();
        assert!(in_unicode.as_str().is_ascii(), "{in_unicode}");
        for bad in [
            " ",
            "no proxy here",
            "ftp://proxy:21",
            "http://",
            "://proxy",
            "http://proxy:port",
            "http://proxy:99999",
            "file:///etc/passwd",
            "http:\\\\proxy:1",
            "http:/proxy:1",
            "HTTP:3128",
            "http://proxy:1\\x",
            "socks5://10.0.0.1%2e:1",
            "socks5://pr\u{f6}xy:1",
        ] {
            assert_eq!(usable(bad), None, "{bad}");
        }
    }
}
