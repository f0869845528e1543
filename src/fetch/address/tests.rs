//! Addresses in every form that people paste, and what is said of those that are none.

use super::*;

fn shown(text: &str) -> String {
    text.parse::<Address>().map_or_else(
        |error| format!("error: {error}"),
        |address| address.to_string(),
    )
}

#[test]
fn addresses_and_how_they_are_shown() {
    for (text, wanted) in [
        ("https://example.org/a/b.pth", "https://example.org/a/b.pth"),
        ("HTTP://example.org:81/b", "http://example.org:81/b"),
        (
            "https://me:secret@example.org/b?X-Amz-Signature=secret#secret",
            "https://example.org/b?...",
        ),
        ("hf://me/mine/a.pth", "hf://me/mine/a.pth"),
        (
            "hf://datasets/me/mine/d/a.jsonl",
            "hf://datasets/me/mine/d/a.jsonl",
        ),
        ("hf://me/mine@v1/a.pth", "hf://me/mine@v1/a.pth"),
        ("hf://me/mine", "hf://me/mine"),
        ("hf://me/mine@v1", "hf://me/mine@v1"),
        ("https://huggingface.co/me/mine", "hf://me/mine"),
        ("https://huggingface.co/me/mine/", "hf://me/mine"),
        ("https://huggingface.co/me/mine/tree/main", "hf://me/mine"),
        ("https://hf.co/me/mine/tree/v1/", "hf://me/mine@v1"),
        (
            "https://huggingface.co/me/mine/tree/refs%2Fpr%2F1",
            "hf://me/mine@refs/pr/1",
        ),
        (
            "hf://me/mine@refs/pr/3/a.pth",
            "hf://me/mine@refs/pr/3/a.pth",
        ),
        (
            "https://huggingface.co/me/mine/resolve/main/a.pth?download=true",
            "hf://me/mine/a.pth",
        ),
        (
            "https://hf.co/me/mine/blob/v1/d/a.pth",
            "hf://me/mine@v1/d/a.pth",
        ),
        (
            "https://huggingface.co/datasets/me/mine/resolve/refs%2Fconvert%2Fparquet/default/train/0000.parquet",
            "hf://datasets/me/mine@refs/convert/parquet/default/train/0000.parquet",
        ),
        (
            "https://huggingface.co/datasets/me/mine/resolve/refs/pr/1/a%20b.csv",
            "hf://datasets/me/mine@refs/pr/1/a b.csv",
        ),
        ("b2://bucket/a/b.pth", "b2://bucket/a/b.pth"),
        ("file:///tmp/a%20b", "file:///tmp/a b"),
    ] {
        assert_eq!(shown(text), wanted, "{text}");
    }
}

#[test]
fn a_name_says_nothing_to_the_terminal() {
    for (text, name) in [
        ("https://example.org/a/b.pth?x=/y", "b.pth"),
        ("hf://me/mine/d/a.pth", "a.pth"),
        ("b2://bucket/d/a b", "a b"),
        ("file:///d/a%1b[31m", "a?[31m"),
        ("file:///d/a.pth", "a.pth"),
    ] {
        assert_eq!(text.parse::<Address>().unwrap().file_name(), name);
    }
}

#[test]
fn what_is_no_file_is_refused_without_being_quoted() {
    for (text, word) in [
        ("model.pth", "must begin with"),
        ("ftp://me:secret@example.org/b", "ftp:// is not supported"),
        ("s e c r e t://example.org", "must begin with"),
        ("https://", "not an address"),
        ("hf://me", "names no file"),
        ("hf://me/", "names no file"),
        ("hf://me/..", "names no file"),
        ("hf://me/mine@", "names no file"),
        ("hf://me/mine/", "names no file"),
        (
            "hf://datasets/me/mine@v1",
            "huggingface_dataset me/mine@v1, or a file of it by hf://datasets/me/mine@v1/file",
        ),
        ("https://huggingface.co/", "hf://owner/name/file"),
        ("https://huggingface.co/me", "hf://owner/name/file"),
        (
            "https://huggingface.co/me/mine/tree/main/d",
            "hf://owner/name/file",
        ),
        (
            "https://huggingface.co/me/mine/discussions",
            "hf://owner/name/file",
        ),
        (
            "https://huggingface.co/datasets/me/mine/tree/main",
            "huggingface_dataset me/mine, or a file of it by hf://datasets/me/mine/file",
        ),
        ("b2://bucket", "names no file"),
        ("b2://bucket/", "names no file"),
        ("b2://bucket/a/../b", "names no file"),
        ("hf://me/mine/../b", "names no file"),
        ("hf://me/mine//etc/passwd", "names no file"),
        ("hf://me/../b/c", "names no file"),
        ("hf://me/mine/a\\b", "names no file"),
        ("hf://me/mine/\u{1b}[31m", "names no file"),
        ("file:///", "names no file"),
    ] {
        let error = text.parse::<Address>().unwrap_err().to_string();
        assert!(error.contains(word), "{text}: {error}");
        assert!(!error.contains("secret"), "{text}: {error}");
    }
}
