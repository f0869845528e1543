//! The hub's cache on this machine, to which its own tools write: a folder for each repository,
//! where branches and tags lead to commits, and each commit has the files that were fetched of it.

use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use super::environment::cache_dir;
use super::info::{RepoFile, RepoInfo};
use crate::fetch::address::RepoKind;

/// A repository at a revision, as far as the cache has it.
pub struct Cached<'a> {
    root: PathBuf,
    repo: CacheRepo,
    revision: &'a str,
}

impl<'a> Cached<'a> {
    /// A repository at a branch, tag or commit.
    pub fn new(kind: RepoKind, repo: &str, revision: &'a str) -> Self {
        let root = cache_dir();
        let kind = match kind {
            RepoKind::Model => RepoType::Model,
            RepoKind::Dataset => RepoType::Dataset,
        };
        let repo = Repo::with_revision(repo.to_string(), kind, revision.to_string());
        Self {
            repo: Cache::new(root.clone()).repo(repo),
            root,
            revision,
        }
    }

    /// A file of it.
    pub fn file(&self, path: &str) -> Option<PathBuf> {
        self.place(path).filter(|found| found.is_file())
    }

    /// Its commit and files. The cache holds no cards.
    pub fn info(&self) -> Option<RepoInfo> {
        let snapshot = self.place("")?;
        let mut siblings = Vec::new();
        list(&snapshot, "", &mut siblings);
        Some(RepoInfo {
            sha: snapshot.file_name()?.to_str().map(str::to_string),
            siblings,
            card: None,
        })
    }

    /// Where a path of the repository lies. The cache's files are links: their targets may be gone,
    /// and must lie in the cache.
    fn place(&self, path: &str) -> Option<PathBuf> {
        let is_commit =
            |text: &str| text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let found = match is_commit(self.revision) {
            true => self.repo.pointer_path(self.revision).join(path),
            false => self.repo.get(path)?,
        };
        let (found, root) = (found.canonicalize().ok()?, self.root.canonicalize().ok()?);
        found.starts_with(root).then_some(found)
    }
}

/// The files under a directory of the cache, by their paths in it.
fn list(directory: &Path, prefix: &str, files: &mut Vec<RepoFile>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        if path.is_dir() {
            list(&path, &format!("{prefix}{name}/"), files);
        } else {
            files.push(RepoFile {
                path: format!("{prefix}{name}"),
            });
        }
    }
}
