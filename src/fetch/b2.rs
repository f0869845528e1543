//! Backblaze B2, by its native API: authorise, then download by name.

use anyhow::{Context, Result, anyhow, bail};
use reqwest::blocking::Client;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use url::Url;

use super::address::Address;
use super::failure::{self, Advice, Failure};
use super::web::{self, Request};

/// The names that the original program read, then those of B2's own tools.
const KEYS: [(&str, &str); 2] = [
    ("D2_ACCESS_KEY_ID", "D2_SECRET_ACCESS_KEY"),
    ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"),
];

/// The variable in which B2's own tools find another address of the service.
const ENVIRONMENT: &str = "B2_ENVIRONMENT";

const SERVICE: &str = "https://api.backblazeb2.com";

const KEY_ADVICE: Advice = Advice {
    unauthorized: "B2 does not take your key (D2_ACCESS_KEY_ID and D2_SECRET_ACCESS_KEY, or B2_APPLICATION_KEY_ID and \
                   B2_APPLICATION_KEY); make one at Backblaze and set both",
    forbidden: "B2 does not let this account in; look at its page at Backblaze",
    not_found: "this is no B2 service; look at B2_ENVIRONMENT",
};

const FILE_ADVICE: Advice = Advice {
    unauthorized: "the key may not read this bucket; give it the capability readFiles",
    forbidden: "B2 refuses: the account's cap on downloads may be reached",
    not_found: "there is no such bucket or file, or the key may not read it; look for a typing error",
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorized {
    authorization_token: String,
    api_info: ApiInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiInfo {
    storage_api: StorageApi,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StorageApi {
    download_url: String,
}

/// How to ask for a file of a bucket, with a token that B2 gives for the keys in the environment.
/// It is good for a day.
pub fn request(client: &Client, bucket: &str, key: &str) -> Result<Request, Failure> {
    let authorized = authorize(client)?;
    let place = authorized.api_info.storage_api.download_url;
    let mut url = at(&place).map_err(Failure::Lasting)?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty()
            .push("file")
            .push(bucket)
            .extend(key.split('/'));
    }
    let mut authorization = HeaderValue::from_str(&authorized.authorization_token)
        .map_err(|_| Failure::Lasting(anyhow!("B2 gave a token that cannot be sent")))?;
    authorization.set_sensitive(true);
    let address = Address::B2 {
        bucket: bucket.to_string(),
        key: key.to_string(),
    };
    Ok(Request {
        url,
        address: address.to_string(),
        authorization: Some(authorization),
        advice: FILE_ADVICE,
        is_hub: false,
    })
}

fn authorize(client: &Client) -> Result<Authorized, Failure> {
    let (id, secret) = keys().map_err(Failure::Lasting)?;
    let service = service(std::env::var(ENVIRONMENT).ok()).map_err(Failure::Lasting)?;
    let mut url = at(&service).map_err(Failure::Lasting)?;
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty()
            .extend(["b2api", "v3", "b2_authorize_account"]);
    }
    // Sent as HTTP's basic login, which every http address can hold.
    let _ = url.set_username(&id);
    let _ = url.set_password(Some(&secret));
    let request = Request {
        address: web::without_secrets(&url),
        url,
        authorization: None,
        advice: KEY_ADVICE,
        is_hub: false,
    };
    let reply = web::get(client, &request, None)?;
    reply.body.json().map_err(|error| {
        let error = error.without_url();
        Failure::Lasting(anyhow!(
            "{} gave no authorization: {}",
            request.address,
            failure::reasons(&error)
        ))
    })
}

/// The service's address, from what B2's own tools take for it.
fn service(environment: Option<String>) -> Result<String> {
    match environment.as_deref() {
        None | Some("" | "production") => Ok(SERVICE.to_string()),
        Some(address) if address.starts_with("http") => Ok(address.to_string()),
        Some(_) => bail!("{ENVIRONMENT} is neither an http address nor production; unset it"),
    }
}

/// A web address that a path can be put to.
fn at(text: &str) -> Result<Url> {
    // Not quoted: it may hold a login.
    let url = Url::parse(text).context("not an address of B2 (is B2_ENVIRONMENT set?)")?;
    if url.cannot_be_a_base() {
        bail!("not an address of B2 (is B2_ENVIRONMENT set?)");
    }
    Ok(url)
}

fn keys() -> Result<(String, String)> {
    let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    for (id_name, secret_name) in KEYS {
        match (read(id_name), read(secret_name)) {
            (Some(id), Some(secret)) => return Ok((id, secret)),
            (None, None) => {}
            (Some(_), None) => bail!("{id_name} is set, but {secret_name} is not; set both"),
            (None, Some(_)) => bail!("{secret_name} is set, but {id_name} is not; set both"),
        }
    }
    bail!(
        "a b2:// address needs a key: set {} and {} (or {} and {})",
        KEYS[0].0,
        KEYS[0].1,
        KEYS[1].0,
        KEYS[1].1
    )
}
