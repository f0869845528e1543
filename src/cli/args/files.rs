//! The flags under "Files": what is read, where it comes from when it is not there, and what is
//! written.

use std::path::PathBuf;

use clap::Args;

use super::DEFAULTS;
use crate::cli::values::{not_empty, rows_file};
use crate::cli::{Exit, usage};
use crate::fetch::{Address, AddressError, Dataset, Remote};
use crate::setting::{DATA_URL, MODEL_URL, Setting};
use crate::train::Options;

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Files")]
pub struct FileArgs {
    /// The frozen model, .pth or .safetensors; or the directory or *.index.json of one in several
    /// files
    #[arg(long, default_value_os_t = DEFAULTS.model.clone(), value_name = "FILE")]
    model_location: PathBuf,

    /// Where the model is to be had when the file is not there: https://, hf://owner/name or
    /// hf://owner/name/file, b2://bucket/file, file://
    #[arg(long, default_value = "", value_name = "URL")]
    model_url: String,

    /// The data: JSON lines, a JSON array, CSV or Parquet, or gzip or zstd of these; - is standard
    /// input
    #[arg(
        long, default_value_os_t = DEFAULTS.data.clone(), value_parser = rows_file(),
        value_name = "FILE"
    )]
    data_path: PathBuf,

    #[command(flatten)]
    source: DataSource,

    /// The state: written by training, read by testing
    #[arg(long, default_value_os_t = DEFAULTS.save.clone(), value_name = "FILE")]
    save_filename: PathBuf,

    /// Append one JSON object for each step to this file
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// Show the run as a web page in this file: curves, what was learnt, answers
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write what TensorBoard shows into this directory
    #[arg(long, value_name = "DIRECTORY")]
    tensorboard: Option<PathBuf>,
}

/// Where the data comes from when the file is not there.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct DataSource {
    /// Where the data is to be had when the file is not there: an address as for --model_url
    #[arg(long, default_value = "", value_name = "URL")]
    data_url: String,

    /// The dataset to use when the file is not there, owner/name[:config][@revision]; if given,
    /// before --data_url; the default only without --data_path
    #[arg(long, default_value = "lonestar108/naughty-chat", value_name = "NAME")]
    huggingface_dataset: String,

    /// The dataset's split to use
    #[arg(long, default_value = "train", value_name = "NAME")]
    dataset_split: String,
}

/// What the name of a dataset is there for.
#[derive(Clone, Copy, Debug)]
pub enum DatasetRole {
    /// It was typed.
    Named,
    /// It is the default, and so is the file's name.
    Fallback,
    /// It is the default, but the file has a name that was typed.
    Unused,
}

impl FileArgs {
    /// Puts in all but where the data comes from, which is returned: a test run does not look at
    /// it.
    pub fn put_into(self, options: &mut Options) -> Result<DataSource, Exit> {
        let Self {
            model_location,
            model_url,
            data_path,
            source,
            save_filename,
            log_file,
            report,
            tensorboard,
        } = self;
        options.model = model_location;
        options.model_remote = remote(MODEL_URL, model_url)?;
        options.data = data_path;
        options.save = save_filename;
        options.log_file = log_file;
        options.report = report;
        options.tensorboard = tensorboard;
        Ok(source)
    }
}

impl DataSource {
    /// A dataset that was named beats an address, and an address beats the default dataset.
    pub fn remote(self, role: DatasetRole) -> Result<Option<Remote>, Exit> {
        let Self {
            data_url,
            huggingface_dataset,
            dataset_split,
        } = self;
        let url = remote(DATA_URL, data_url)?;
        let dataset = match not_empty(huggingface_dataset) {
            Some(name) => Some(dataset(&name, dataset_split)?),
            None => None,
        };
        Ok(match role {
            DatasetRole::Named => dataset.or(url),
            DatasetRole::Fallback => url.or(dataset),
            DatasetRole::Unused => url,
        })
    }
}

fn remote(setting: Setting, address: String) -> Result<Option<Remote>, Exit> {
    let Some(address) = not_empty(address) else {
        return Ok(None);
    };
    match address.parse() {
        // Which of a repository's files is the model can be told, and nothing else.
        Ok(Address::HubModel { .. }) if setting != MODEL_URL => Err(usage(&format!(
            "--{}: {}",
            setting.name(),
            AddressError::HubPath
        ))),
        Ok(address) => Ok(Some(Remote::Url { setting, address })),
        // The text is not quoted, since it may hold a password.
        Err(error) => Err(usage(&format!("--{}: {error}", setting.name()))),
    }
}

fn dataset(name: &str, split: String) -> Result<Remote, Exit> {
    let dataset: Dataset = name.parse().map_err(|error| {
        // An address may hold a password.
        let name = if name.contains("://") {
            "an address"
        } else {
            name
        };
        usage(&format!("--huggingface_dataset takes no {name:?}: {error}"))
    })?;
    if split.is_empty() {
        return Err(usage(
            "--dataset_split is empty; name a split, such as train",
        ));
    }
    Ok(Remote::Dataset { dataset, split })
}
