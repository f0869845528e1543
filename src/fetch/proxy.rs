//! Proxies that the environment names. The HTTP library passes over what it cannot use, and asks the
//! servers themselves instead: whoever set a proxy did not mean that.

use anyhow::{Result, ensure};
use url::Url;

/// The variables, as curl reads them too.
const VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What a proxy's address may begin with.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Errors when a variable names a proxy that cannot be used.
pub fn check() -> Result<()> {
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            // The value is not shown: it may hold a password.
            ensure!(
                value.to_str().is_some_and(is_usable),
                "{name} is no address of a proxy; use one such as http://host:3128 (it may also \
                 begin with {}), or unset it",
                SCHEMES[1..].join(", ")
            );
        }
    }
    Ok(())
}

/// Whether it is empty, which is no proxy, or the address of one.
fn is_usable(value: &str) -> bool {
    if value.is_empty() {
        return true;
    }
    let with_scheme = match value.contains("://") {
        true => value.to_string(),
        false => format!("http://{value}"),
    };
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    let is_clean = !value.contains(|c: char| c.is_whitespace() || c.is_control());
    is_clean
        && Url::parse(&with_scheme)
            .is_ok_and(|url| SCHEMES.contains(&url.scheme()) && has_host(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_what_would_be_passed_over() {
        for good in [
            "",
            "http://proxy:3128",
            "proxy",
            "proxy:3128/",
            "10.0.0.1:80",
            "https://user:p%40ss@proxy.example.org",
            "socks5h://localhost:1080",
            "http://[::1]:3128",
        ] {
            assert!(is_usable(good), "{good}");
        }
        for bad in [
            " ",
            "no proxy here",
            "ftp://proxy:21",
            "http://",
            "://proxy",
            "http://proxy:port",
            "http://proxy:99999",
            "file:///etc/passwd",
        ] {
            assert!(!is_usable(bad), "{bad}");
        }
    }
}
