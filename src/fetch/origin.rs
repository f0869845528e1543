//! What a server says of a file: by which marks and which hash its content is known.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the bytes of a part belong to, as the server told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Where from, without secrets.
    pub address: String,
    /// The server's own name for this very content: the hub's `X-Linked-Etag`, b2's file id.
    pub version: Option<String>,
    /// A strong ETag.
    pub etag: Option<String>,
    pub last_modified: Option<String>,
    /// Bytes of the whole file.
    pub length: Option<u64>,
    pub digest: Option<Digest>,
}

/// A hash of the whole file, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    Sha1(String),
    Sha256(String),
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha1(hash) => write!(f, "SHA-1 {hash}"),
            Self::Sha256(hash) => write!(f, "SHA-256 {hash}"),
        }
    }
}

impl Origin {
    /// Whether the server gave anything by which a change of the file would be noticed.
    pub fn is_guarded(&self) -> bool {
        self.version.is_some() || self.etag.is_some() || self.last_modified.is_some()
    }

    /// Whether both are surely the same content: the best mark that both carry is equal, and so are
    /// the lengths.
    pub fn is_same_content(&self, other: &Self) -> bool {
        let same = |a: &Option<String>, b: &Option<String>| Some(a.as_ref()? == b.as_ref()?);
        let by_mark = same(&self.version, &other.version)
            .or_else(|| same(&self.etag, &other.etag))
            .or_else(|| same(&self.last_modified, &other.last_modified));
        let lengths_agree = match (self.length, other.length) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        self.address == other.address && by_mark == Some(true) && lengths_agree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(etag: Option<&str>, length: Option<u64>) -> Origin {
        Origin {
            address: "https://example.org/a".to_string(),
            etag: etag.map(str::to_string),
            length,
            ..Origin::default()
        }
    }

    #[test]
    fn the_best_common_mark_decides() {
        let one = origin(Some("\"1\""), Some(6));
        assert!(one.is_same_content(&origin(Some("\"1\""), None)));
        assert!(!one.is_same_content(&origin(Some("\"2\""), Some(6))));
        assert!(!one.is_same_content(&origin(Some("\"1\""), Some(7))));
        assert!(
            !one.is_same_content(&origin(None, Some(6))),
            "nothing in common"
        );
        let versioned = |version: &str, etag| Origin {
            version: Some(version.to_string()),
            ..origin(etag, None)
        };
        assert!(versioned("v", Some("\"1\"")).is_same_content(&versioned("v", Some("\"2\""))));
        assert!(!versioned("v", Some("\"1\"")).is_same_content(&versioned("w", Some("\"1\""))));
    }
}
