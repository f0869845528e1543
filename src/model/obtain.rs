//! A model that is not there: fetched, and where what is fetched is the list of a model's parts, these
//! beside it.

use std::path::Path;

use anyhow::{Context, Result};

use crate::console::Console;
use crate::fetch::{self, Remote, RetryPolicy, Wanted};
use crate::setting::{MODEL_LOCATION, MODEL_URL};
use crate::tensors;

/// Whether [`obtain`] would have something to fetch.
pub fn must_fetch(path: &Path, remote: Option<&Remote>) -> bool {
    // What else is wrong with a list is told when the model is opened.
    let lacks_parts = || tensors::missing_parts(path).is_ok_and(|parts| !parts.is_empty());
    !path.exists() || (remote.is_some() && lacks_parts())
}

/// Fetches a model from `remote` unless it is there. The parts that a list names and that do not lie
/// beside it come from where the list comes from, so that a run which was broken off goes on with
/// those that are left. What is fetched is shown on `console`.
pub fn obtain(path: &Path, remote: Option<&Remote>, console: &Console) -> Result<()> {
    let fetch = |path: &Path, remote: Option<&Remote>| {
        let wanted = Wanted {
            path,
            named_by: MODEL_LOCATION,
            url: MODEL_URL,
            remote,
        };
        fetch::obtain(&wanted, &RetryPolicy::default(), console)
    };
    let named;
    let remote = match remote {
        Some(Remote::Url { setting, address }) if must_fetch(path, remote) => {
            let address = fetch::model_file(address, &RetryPolicy::default(), console);
            named = Remote::Url {
                setting: *setting,
                address: address.with_context(|| {
                    let path = path.display();
                    format!("cannot fetch {MODEL_LOCATION} {path} from {setting}")
                })?,
            };
            Some(&named)
        }
        remote => remote,
    };
    fetch(path, remote)?;
    let Some(Remote::Url { setting, address }) = remote else {
        return Ok(());
    };
    let parts = tensors::missing_parts(path)
        .with_context(|| format!("cannot read the model {}", path.display()))?;
    for (number, part) in (1..).zip(&parts) {
        let name = part.file_name().and_then(|name| name.to_str());
        let address = name
            .and_then(|name| address.beside(name))
            .with_context(|| format!("{} is no name that is fetched", part.display()))?;
        console.line(&format!("fetch  part {number} of {}", parts.len()));
        let remote = Remote::Url {
            setting: *setting,
            address,
        };
        fetch(part, Some(&remote))?;
    }
    Ok(())
}
