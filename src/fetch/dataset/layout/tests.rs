//! Names of datasets, and which of a repository's files are meant. `tests/fetch` fetches them.

use super::*;

#[test]
fn names() {
    let dataset = |repo: &str, config: Option<&str>, revision: &str| Dataset {
        repo: repo.to_string(),
        config: config.map(str::to_string),
        revision: revision.to_string(),
    };
    for (text, wanted) in [
        ("me/mine", dataset("me/mine", None, "main")),
        ("squad", dataset("squad", None, "main")),
        ("me/mine:one", dataset("me/mine", Some("one"), "main")),
        ("me/mine@v1.0", dataset("me/mine", None, "v1.0")),
        (
            "me/mine:20220301.en@refs/pr/1",
            dataset("me/mine", Some("20220301.en"), "refs/pr/1"),
        ),
    ] {
        let parsed: Dataset = text.parse().unwrap();
        assert_eq!(parsed, wanted);
        assert_eq!(parsed.to_string(), text);
    }
    for text in [
        "",
        "/",
        "me/",
        "/mine",
        "a/b/c",
        "../x",
        "me/..",
        "me/mine:",
        "me/mine@",
        "me mine",
        "https://x",
    ] {
        assert!(text.parse::<Dataset>().is_err(), "{text}");
    }
}

#[test]
fn splits_by_names() {
    for (path, split) in [
        ("train/a.parquet", Some("train")),
        ("validation.csv", Some("validation")),
        ("my_dev_set.jsonl", Some("validation")),
        ("val/a.jsonl", Some("validation")),
        ("test_1.json", Some("test")),
        ("EVAL/x.json", Some("test")),
        // The file's own name counts more than its folder's, and a word is whole.
        ("test/train.json", Some("train")),
        ("contest.json", None),
    ] {
        assert_eq!(split_of_word(path), split, "{path}");
    }
    for (path, split) in [
        ("data/train-00000-of-00002.parquet", Some("train")),
        (
            "data/train_sft-00001-of-00002-abc.parquet",
            Some("train_sft"),
        ),
        ("data/train-0-of-2.parquet", None),
        ("train-00000-of-00002.parquet", None),
    ] {
        assert_eq!(split_of_shard(path), split, "{path}");
    }
}

#[test]
fn the_first_rule_that_finds_any_file_decides_for_all() {
    let splits = |paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|path| path.to_string()).collect();
        let splits = by_names(paths.iter()).into_iter();
        let splits: Vec<String> = splits
            .map(|(split, paths)| format!("{split}: {}", paths.join(" ")))
            .collect();
        splits.join("; ")
    };
    assert_eq!(splits(&["a.json", "b.json"]), "train: a.json b.json");
    // What no rule names is left out once another file is named.
    assert_eq!(
        splits(&["other.json", "test.json", "train.json"]),
        "test: test.json; train: train.json"
    );
    assert_eq!(
        splits(&[
            "data/train_gen-00000-of-00001.json",
            "data/train_sft-00000-of-00001.json",
            "test.json"
        ]),
        "train_gen: data/train_gen-00000-of-00001.json; train_sft: \
         data/train_sft-00000-of-00001.json"
    );
    assert_eq!(splits(&[]), "");
}

#[test]
fn the_conversions_folders_are_configurations_and_splits() {
    let paths = [
        "default/train/0001.parquet",
        "default/train/0000.parquet",
        "default/partial-test/0000.parquet",
        "other/train/0000.parquet",
        ".gitattributes",
        "default/train/readme.md",
    ];
    let layout = by_folders(&paths.map(str::to_string));
    let train = &layout["default"]["train"];
    assert_eq!(
        train,
        &["default/train/0000.parquet", "default/train/0001.parquet"]
    );
    assert_eq!(
        layout["default"].len(),
        1,
        "a part of a split is not the split"
    );
    assert_eq!(layout.len(), 2);
}

#[test]
fn patterns_of_a_card_in_every_form() {
    let found = |json: &str| data_files(&serde_json::from_str(json).unwrap());
    let pair = |split: &str, pattern: &str| (split.to_string(), pattern.to_string());
    assert_eq!(found(r#""a*.csv""#), [pair("train", "a*.csv")]);
    assert_eq!(
        found(r#"["a", "b"]"#),
        [pair("train", "a"), pair("train", "b")]
    );
    assert_eq!(
        found(r#"[{"split": "test", "path": ["a", "b"]}, {"path": "c"}]"#),
        [pair("test", "a"), pair("test", "b"), pair("train", "c")]
    );
    assert_eq!(
        found(r#"{"test": "a", "train": ["b", "c"]}"#),
        [pair("test", "a"), pair("train", "b"), pair("train", "c")]
    );
    assert_eq!(found(r#"{"path": "a"}"#), [pair("train", "a")]);
    assert_eq!(found("null"), []);
}
