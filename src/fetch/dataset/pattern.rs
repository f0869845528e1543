//! Patterns by which a dataset's card names files. Anyone may write a card, so the work that one asks
//! for is bounded: a pattern becomes a regular expression, and is held against every file.

use anyhow::{Result, ensure};
use globset::{GlobBuilder, GlobMatcher};

use crate::console::harmless;

/// The most bytes of a pattern with wildcards, and of braces in it. Paths have some hundred bytes.
const LONGEST: usize = 1000;
const MOST_BRACES: usize = 20;
/// The most times that a pattern is held against a file, over all patterns of a card: seconds.
const MOST_LOOKS: usize = 20_000_000;

/// The patterns of a card, one after another.
pub struct Patterns {
    /// How many files there are, of any format.
    files: usize,
    looks: usize,
}

/// What a pattern matches.
pub enum Matcher {
    /// This path alone.
    Path(String),
    Glob(GlobMatcher),
}

impl Patterns {
    /// Of a repository with so many files.
    pub fn new(files: usize) -> Self {
        Self { files, looks: 0 }
    }

    /// Reads one. Errors when it asks for too much work.
    pub fn matcher(&mut self, pattern: &str) -> Result<Matcher> {
        self.looks = self.looks.saturating_add(self.files.max(1));
        ensure!(
            self.looks <= MOST_LOOKS,
            "the dataset's card has too many patterns for its {} files; name its files by addresses",
            self.files
        );
        if !pattern.contains(['*', '?', '[', '{', '\\']) {
            return Ok(Matcher::Path(pattern.to_string()));
        }
        ensure!(
            pattern.len() <= LONGEST && pattern.matches('{').count() <= MOST_BRACES,
            "the dataset's card names files by {:?}..., a pattern of {} bytes and {} braces, where \
             {LONGEST} and {MOST_BRACES} are allowed; name its files by addresses",
            shown(pattern),
            pattern.len(),
            pattern.matches('{').count()
        );
        Ok(
            match GlobBuilder::new(pattern).literal_separator(true).build() {
                Ok(glob) => Matcher::Glob(glob.compile_matcher()),
                // As the hub has it: a file may be called so.
                Err(_) => Matcher::Path(pattern.to_string()),
            },
        )
    }
}

impl Matcher {
    pub fn is_match(&self, path: &str) -> bool {
        match self {
            Self::Path(wanted) => wanted == path,
            Self::Glob(glob) => glob.is_match(path),
        }
    }
}

/// The start of a pattern.
fn shown(pattern: &str) -> String {
    harmless(&pattern.chars().take(60).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_plain_paths_match() {
        let mut patterns = Patterns::new(1);
        for (pattern, path, wanted) in [
            ("data/a.parquet", "data/a.parquet", true),
            ("data/a.parquet", "data/a+parquet", false),
            ("data/*.parquet", "data/a.parquet", true),
            ("data/*.parquet", "data/b/a.parquet", false),
            ("**/*.parquet", "data/b/a.parquet", true),
            ("{train,dev}-?.json[l]", "dev-1.jsonl", true),
            ("data [1.json", "data [1.json", true),
        ] {
            let matcher = patterns.matcher(pattern).unwrap();
            assert_eq!(matcher.is_match(path), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn what_asks_for_too_much_work_is_refused() {
        let nested = format!("{}a{}", "{".repeat(250), "}".repeat(250));
        let alternatives = format!("{{{}}}", vec!["abcdef"; 20_000].join(","));
        let stars = "*a".repeat(LONGEST);
        for pattern in [nested, alternatives, stars] {
            assert!(Patterns::new(1).matcher(&pattern).is_err(), "{pattern}");
        }
        let most = format!("{}a{}", "{".repeat(MOST_BRACES), "}".repeat(MOST_BRACES));
        let matcher = Patterns::new(1).matcher(&most).unwrap();
        assert!(matcher.is_match("a"));
        let mut patterns = Patterns::new(1_000_000);
        assert!((0..30).any(|_| patterns.matcher("*").is_err()));
    }
}
