//! Makes a file exist: from the web, the Hugging Face hub, b2 or a dataset. The only module that
//! touches the network.
//!
//! [`obtain`] is the way in. `address` reads addresses, `web` asks over HTTP, `part` holds what has
//! arrived, `transfer` fills it however often the line breaks; `hub` and `b2` know those services,
//! `model` finds the file of a repository's model, and `dataset` chooses a dataset's files, whose
//! rows [`crate::container`] reads. A file gets its name only when all of it is there.
//!
//! Other programs' settings (`HF_TOKEN`, `HTTPS_PROXY`, keys) are read here, and shown nowhere.

mod address;
mod b2;
mod dataset;
mod failure;
mod hub;
mod model;
mod origin;
mod part;
mod proxy;
mod retry;
mod transfer;
mod web;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub use address::{Address, AddressError, HubFile, RepoKind};
pub use dataset::{Dataset, files_of_split};
pub use model::model_file;
pub use retry::RetryPolicy;

use self::failure::Failure;
use self::hub::Hub;
use self::part::Part;
use self::transfer::Download;
use self::web::Request;
use crate::console::{Console, DecimalBytes};
use crate::files;
use crate::setting::{HUGGINGFACE_DATASET, Setting};

/// Where a file comes from when it is not on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remote {
    /// An address, and the setting that gave it.
    Url {
        /// The setting.
        setting: Setting,
        /// The address.
        address: Address,
    },
    /// A split of a dataset on the Hugging Face hub, which becomes JSON lines.
    Dataset {
        /// Which dataset.
        dataset: Dataset,
        /// The split's name, such as `train`.
        split: String,
    },
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { setting, address } => write!(f, "{setting} {address}"),
            Self::Dataset { dataset, split } => {
                write!(f, "{HUGGINGFACE_DATASET} {dataset}, split {split}")
            }
        }
    }
}

/// A file that must be there, and where it comes from if it is not.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The file.
    pub path: &'a Path,
    /// The setting that names the file.
    pub named_by: Setting,
    /// The setting that would name an address of it.
    pub url: Setting,
    /// Where it is fetched from; `None` if the user named nothing.
    pub remote: Option<&'a Remote>,
}

/// Fetches what is wanted unless it is there. What is fetched is shown on `console`.
pub fn obtain(wanted: &Wanted, policy: &RetryPolicy, console: &Console) -> Result<()> {
    let &Wanted {
        path,
        named_by,
        url,
        remote,
    } = wanted;
    if path.exists() {
        return Ok(());
    }
    let Some(remote) = remote else {
        bail!(
            "{named_by} {} does not exist; put the file there, name another with {named_by}, or \
             say with {url} where it is to be had",
            path.display()
        );
    };
    // A link to a file that does not exist yet stays a link.
    let resolved = path.is_symlink().then(|| files::resolved(path));
    let target = resolved.as_deref().unwrap_or(path);
    let fetched = match remote {
        Remote::Url { address, .. } => fetch_file(address, target, None, policy, console),
        Remote::Dataset { dataset, split } => {
            dataset::fetch(target, dataset, split, policy, console)
        }
    };
    fetched.with_context(|| format!("cannot fetch {named_by} {} from {remote}", path.display()))
}

/// Fetches one file to `target`. A connection to the hub is made if it is needed and there is none.
fn fetch_file(
    address: &Address,
    target: &Path,
    hub: Option<&Hub>,
    policy: &RetryPolicy,
    console: &Console,
) -> Result<()> {
    let name = &address.file_name();
    let client = &match hub {
        Some(hub) => hub.client().clone(),
        None => web::client(policy)?,
    };
    let download = |request: &dyn Fn() -> Result<Request, Failure>| {
        let download = Download {
            client,
            request,
            name,
            policy,
            console,
        };
        download.to(target)
    };
    match address {
        Address::Web(url) => {
            let request = Request {
                url: url.clone(),
                address: address.to_string(),
                authorization: None,
                advice: failure::PLAIN,
                is_hub: false,
            };
            download(&|| Ok(request.clone()))
        }
        Address::B2 { bucket, key } => download(&|| b2::request(client, bucket, key)),
        Address::Hub(file) => {
            let own;
            let hub = match hub {
                Some(hub) => hub,
                None => {
                    own = Hub::open(policy, console)?;
                    &own
                }
            };
            if let Some(cached) = hub.cached(file) {
                return copy(&cached, target, console);
            }
            let request = hub.request(file)?;
            download(&|| Ok(request.clone()))
        }
        Address::HubModel { .. } => {
            let file = model::model_file(address, policy, console)?;
            fetch_file(&file, target, hub, policy, console)
        }
        Address::File(path) => copy(path, target, console),
    }
}

fn copy(from: &Path, target: &Path, console: &Console) -> Result<()> {
    let found = fs::metadata(from).with_context(|| format!("cannot read {}", from.display()))?;
    if !found.is_file() {
        bail!("{} is not a file", from.display());
    }
    let Some(mut part) = Part::open(target, console)? else {
        return Ok(());
    };
    part.clear()
        .map(|()| part.check_room(found.len()))
        .with_context(|| format!("cannot write {}", target.display()))??;
    let copied = File::open(from).and_then(|mut file| io::copy(&mut file, &mut part));
    let bytes = copied
        .with_context(|| format!("cannot copy {} to {}", from.display(), target.display()))?;
    part.seal()?;
    console.line(&format!(
        "fetch  {}: {} copied",
        from.display(),
        DecimalBytes(bytes)
    ));
    Ok(())
}
