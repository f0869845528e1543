//! Where the model and the data come from.

use super::*;
use crate::fetch::Remote;
use crate::setting::DATA_URL;
use crate::setting::MODEL_URL;
use crate::setting::Setting;

pub fn dataset(name: &str) -> Option<Remote> {
    let dataset = name.parse().unwrap();
    let split = "train".to_string();
    Some(Remote::Dataset { dataset, split })
}

pub fn address(setting: Setting, url: &str) -> Option<Remote> {
    let address = url.parse().unwrap();
    Some(Remote::Url { setting, address })
}

#[test]
fn the_data_comes_from_a_named_dataset_then_an_address_then_the_default_dataset() {
    let from = |typed: &[&str]| train(typed).data_remote;
    let url = "--data_url=https://d";
    let named = "--huggingface_dataset=me/mine";
    let none = "--huggingface_dataset=";
    assert_eq!(from(&[]), dataset("lonestar108/naughty-chat"));
    assert_eq!(from(&[url]), address(DATA_URL, "https://d"));
    assert_eq!(from(&[named]), dataset("me/mine"));
    assert_eq!(from(&[url, named]), dataset("me/mine"));
    assert_eq!(from(&[none]), None, "an empty name is no dataset");
    assert_eq!(from(&[none, url]), address(DATA_URL, "https://d"));
    assert_eq!(from(&["--data_url=", none]), None);
    assert_eq!(
        from(&[url, "--huggingface_dataset=lonestar108/naughty-chat"]),
        dataset("lonestar108/naughty-chat"),
        "typed, the default's name is as explicit as another"
    );
    let variables = [
        ("STATE_TUNE_HUGGINGFACE_DATASET", "me/mine"),
        ("--data_url", "https://d"),
    ];
    assert_eq!(
        train_with(&[], &variables).data_remote,
        dataset("me/mine"),
        "the environment is explicit too"
    );
}

#[test]
fn the_default_dataset_is_taken_for_the_default_file_only() {
    let from = |typed: &[&str]| train(typed).data_remote;
    assert_eq!(from(&["--data_path=mine.jsonl"]), None);
    assert_eq!(from(&["--data_path=data.jsonl"]), None, "typed is typed");
    let url = ["--data_path=mine.jsonl", "--data_url=https://d"];
    assert_eq!(from(&url), address(DATA_URL, "https://d"));
    let named = ["--data-path=m", "--huggingface_dataset=me/mine"];
    assert_eq!(from(&named), dataset("me/mine"));
    let variables = [("STATE_TUNE_DATA_PATH", "mine.jsonl")];
    assert_eq!(train_with(&[], &variables).data_remote, None);
}

#[test]
fn a_split_belongs_to_the_dataset_and_a_dry_run_needs_no_value() {
    let typed = [
        "--huggingface_dataset=me/mine:one@v1",
        "--dataset-split",
        "test",
    ];
    let wanted = Remote::Dataset {
        dataset: "me/mine:one@v1".parse().unwrap(),
        split: "test".to_string(),
    };
    assert_eq!(train(&typed).data_remote, Some(wanted));
    assert!(matches!(
        parsed(&["--dry-run"], &[]),
        Ok(Command::DryRun { .. })
    ));
    assert!(matches!(
        parsed(&["--dry_run=false"], &[]),
        Ok(Command::Train { .. })
    ));
    for (typed, words) in [
        ("--huggingface_dataset=a/b/c", "owner/name:config"),
        ("--dataset_split=", "--dataset_split is empty"),
        ("--model_url=model.pth", "--model_url: not an address"),
        ("--data_url=ftp://x", "--data_url: ftp:// is not supported"),
    ] {
        let message = misuse(&[typed], &[]);
        assert!(message.contains(words), "{typed}: {message}");
    }
    let message = misuse(&["--dry_run", "--prompt=Hi"], &[]);
    assert!(message.contains("--dry_run"), "{message}");
}

#[test]
fn an_address_of_the_model_serves_training_and_answering() {
    let url = "--model_url=https://m";
    assert_eq!(train(&[url]).model_remote, address(MODEL_URL, "https://m"));
    assert_eq!(
        sample(&[url, "--prompt=x"]).model_remote,
        address(MODEL_URL, "https://m")
    );
    assert_eq!(train(&["--model_url="]).model_remote, None);
}
