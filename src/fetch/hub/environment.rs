//! The hub's settings in the environment, as its own tools read them.

use std::path::PathBuf;

/// The token, found by the rules of hf-hub, which does not make it public.
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
        .or_else(|| stored(hf_hub::hf_home().join("token")))
}

/// Whether a variable is set to anything that does not mean no.
pub fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| {
        let value = value.trim().to_ascii_lowercase();
        !matches!(value.as_str(), "" | "0" | "false" | "no" | "off")
    })
}
