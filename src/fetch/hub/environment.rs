//! The hub's settings in the environment, as its own tools read them.

use std::path::PathBuf;

/// A variable that is set to something.
fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// Where the hub is.
pub fn endpoint() -> String {
    let set = std::env::var("HF_ENDPOINT").ok();
    set.filter(|endpoint| !endpoint.is_empty())
        .unwrap_or_else(|| "https://huggingface.co".to_string())
}

/// The folder of the hub's tools.
fn home() -> PathBuf {
    set("HF_HOME").unwrap_or_else(|| {
        set("XDG_CACHE_HOME")
            .unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".cache"))
            .join("huggingface")
    })
}

/// The cache of the hub's tools.
pub fn cache_dir() -> PathBuf {
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .unwrap_or_else(|| home().join("hub"))
}

/// The token, found where the hub's own tools look for it.
pub fn token() -> Option<String> {
    if is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return None;
    }
    let not_empty = |text: String| {
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_string())
    };
    let stored = |path: PathBuf| std::fs::read_to_string(path).ok().and_then(not_empty);
    std::env::var("HF_TOKEN")
        .ok()
        .and_then(not_empty)
        .or_else(|| stored(std::env::var_os("HF_TOKEN_PATH")?.into()))
        .or_else(|| stored(home().join("token")))
}

/// Whether a variable is set to anything that does not mean no.
pub fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| {
        let value = value.trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "false" | "no" | "off")
    })
}
