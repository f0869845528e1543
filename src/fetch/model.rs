//! The model in a repository of the Hugging Face hub, of which no file was named.

use anyhow::{Context, Result, bail};

use super::address::{Address, HubFile, RepoKind};
use super::hub::Hub;
use super::retry::RetryPolicy;
use crate::console::Console;

/// What the hub's tools call a model, in the order in which they look: all of it in one file, or the
/// list of its parts.
const NAMES: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// How the name of a model ends that is called otherwise, as RWKV's own are.
const ENDS: [&str; 3] = [".pth", ".safetensors", ".st"];

/// Names in one message; the rest are counted.
const MOST_NAMED: usize = 3;

/// The address of a model's file: what the hub says for a repository alone, which is shown on
/// `console`; any other address itself.
pub fn model_file(address: &Address, policy: &RetryPolicy, console: &Console) -> Result<Address> {
    let Address::HubModel { repo, revision } = address else {
        return Ok(address.clone());
    };
    let info = Hub::open(policy, console)?.repository(RepoKind::Model, repo, revision)?;
    let files: Vec<&str> = info
        .siblings
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let path = choose(&files).with_context(|| address.to_string())?;
    console.line(&format!("fetch  {address} has its model in {path}"));
    let (repo, revision) = (repo.clone(), revision.clone());
    let file = HubFile::new(RepoKind::Model, repo, revision, path.to_string());
    let file = file.with_context(|| format!("{path:?} is no path that is fetched"))?;
    Ok(Address::Hub(file))
}

/// The file that leads to all of a repository's model.
fn choose<'f>(files: &[&'f str]) -> Result<&'f str> {
    let find = |name: &&str| files.iter().find(|file| *file == name);
    if let Some(found) = NAMES.iter().find_map(find) {
        return Ok(found);
    }
    let is_model = |file: &&&str| ENDS.iter().any(|end| file.ends_with(end));
    let models: Vec<&str> = files.iter().filter(is_model).copied().collect();
    match models[..] {
        [model] => Ok(model),
        [] => bail!("the repository has no file of a model; name one: hf://owner/name/file"),
        _ => {
            let named: Vec<String> = models
                .iter()
                .take(MOST_NAMED)
                .map(|model| format!("{model:?}"))
                .collect();
            let more = match models.len().saturating_sub(MOST_NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            bail!(
                "the repository has several models, {}{more}; name one: hf://owner/name/file",
                named.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hubs_own_names_come_first_and_otherwise_there_must_be_one() {
        let list = "model.safetensors.index.json";
        let parts = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        for (files, wanted) in [
            (&["README.md", "rwkv.pth"][..], "rwkv.pth"),
            (&["rng_state.pth", "model.safetensors"], "model.safetensors"),
            (&[parts[0], parts[1], "config.json", list], list),
            (
                &["pytorch_model.bin", "training_args.bin"],
                "pytorch_model.bin",
            ),
            (&["model.st"], "model.st"),
        ] {
            assert_eq!(choose(files).unwrap(), wanted);
        }
        let several = ["a.pth", "b.pth", "c.pth", "d.pth"];
        for (files, words) in [
            (&several[..], &["\"c.pth\" and 1 more", "name one"][..]),
            (
                &["README.md", "d/model.safetensors.index.json"],
                &["no file of a model"],
            ),
            (&[], &["no file of a model", "name one"]),
        ] {
            let error = choose(files).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
    }
}
