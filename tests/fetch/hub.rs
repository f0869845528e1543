//! An imitation of the Hugging Face hub: the addresses that the program and its hub crate really
//! ask for.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::{Dir, tiny};
use crate::server::{Answer, Asked, Server, bytes};

/// The hub's commit of everything here.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// The commit of every conversion to Parquet.
pub const CONVERTED: &str = "fedcba9876543210fedcba9876543210fedcba98";

/// What the imitation holds.
#[derive(Clone, Default)]
pub struct Shelf {
    /// By `owner/name/path` or `datasets/owner/name/path`; of the conversion with
    /// `@refs/convert/parquet` after the name.
    files: BTreeMap<String, Vec<u8>>,
    /// Cards of datasets, by `owner/name`.
    cards: BTreeMap<String, Value>,
    /// Needed for everything.
    token: Option<&'static str>,
}

impl Shelf {
    pub fn file(mut self, place: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(place.to_string(), content.into());
        self
    }

    pub fn card(mut self, repo: &str, card: Value) -> Self {
        self.cards.insert(repo.to_string(), card);
        self
    }

    pub fn token(mut self, token: &'static str) -> Self {
        self.token = Some(token);
        self
    }

    pub fn serve(self) -> Server {
        Server::start(move |asked| self.answer(asked))
    }

    pub fn answer(&self, asked: &Asked) -> Answer {
        let path = asked.path.split('?').next().unwrap();
        let path = percent_encoding::percent_decode_str(path)
            .decode_utf8()
            .unwrap();
        // Where the hub's files really lie, to which it sends with no login.
        if let Some(place) = path.strip_prefix("/cdn/") {
            return Answer::file(asked, &self.files[place], "\"cdn\"");
        }
        let wanted = self.token.map(|token| format!("Bearer {token}"));
        if wanted.is_some() && asked.header("authorization") != wanted.as_deref() {
            return Answer::new(401, "{\"error\": \"Invalid username or password.\"}")
                .with("x-error-message", "Invalid username or password.");
        }
        if let Some(rest) = path.strip_prefix("/api/datasets/") {
            if let Some((repo, revision)) = rest.split_once("/revision/") {
                return self.info(repo, revision);
            }
            return self.info(rest, "main");
        }
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let repo = rest.split("/revision/").next().unwrap();
            let files = self.paths(&format!("{repo}/")).into_iter();
            let files: Vec<Value> = files.map(|file| json!({"rfilename": file})).collect();
            return json_answer(&json!({"id": repo, "sha": COMMIT, "siblings": files}));
        }
        if let Some((repo, rest)) = path[1..].split_once("/resolve/") {
            for (revision, at) in [
                ("main", ""),
                (COMMIT, ""),
                (CONVERTED, "@refs/convert/parquet"),
            ] {
                if let Some(file) = rest.strip_prefix(&format!("{revision}/")) {
                    return self.resolve(&format!("{repo}{at}/{file}"));
                }
            }
        }
        Answer::new(404, "{\"error\": \"Not found\"}").with("x-error-code", "RepoNotFound")
    }

    fn resolve(&self, place: &str) -> Answer {
        let Some(content) = self.files.get(place) else {
            return Answer::new(404, "Entry not found").with("x-error-code", "EntryNotFound");
        };
        let hash: String = Sha256::digest(content)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        Answer::new(302, "")
            .with("location", &format!("/cdn/{place}"))
            .with("x-repo-commit", COMMIT)
            .with("x-linked-etag", &format!("\"{hash}\""))
            .with("x-linked-size", &content.len().to_string())
    }

    fn paths(&self, start: &str) -> Vec<&str> {
        let paths = self.files.keys();
        paths.filter_map(|path| path.strip_prefix(start)).collect()
    }

    fn info(&self, repo: &str, revision: &str) -> Answer {
        let missing =
            |what: &str| Answer::new(404, "{\"error\": \"not found\"}").with("x-error-code", what);
        let (commit, files) = match revision {
            "main" | COMMIT => (COMMIT, self.paths(&format!("datasets/{repo}/"))),
            other => (CONVERTED, self.paths(&format!("datasets/{repo}@{other}/"))),
        };
        if files.is_empty() {
            let what = if revision == "main" {
                "RepoNotFound"
            } else {
                "RevisionNotFound"
            };
            return missing(what);
        }
        let siblings: Vec<Value> = files
            .iter()
            .map(|file| json!({"rfilename": file}))
            .collect();
        let info = json!({
            "_id": "621ffdd236468d709f181d58",
            "id": repo,
            "sha": commit,
            "private": false,
            "gated": false,
            "siblings": siblings,
            "cardData": self.cards.get(repo),
        });
        json_answer(&info)
    }
}

fn json_answer(value: &Value) -> Answer {
    Answer::new(200, value.to_string()).with("content-type", "application/json")
}

/// The program with only these settings of the hub's, its cache in the directory itself.
pub fn command(dir: &Dir, server: &Server, flags: &[&str]) -> Command {
    let mut command = dir.command(flags);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_uppercase();
        if text.starts_with("HF_") || text.ends_with("_PROXY") || text.starts_with("HUGGINGFACE") {
            command.env_remove(&name);
        }
    }
    command
        .env("HF_ENDPOINT", &server.url)
        .env("HF_HOME", dir.path(".hub"));
    command
}

/// Runs it, and gives back its exit code and all that it said.
pub fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let said = [stdout, stderr].concat();
    (status.code(), String::from_utf8(said).unwrap())
}

/// A line of data that the tiny model's templates understand.
pub const LINE: &str = "{\"input\": \"hi\", \"output\": \"Arr\"}\n";

const DATA: &[&str] = &["--dry_run", "--data_path=d.jsonl"];

#[test]
fn a_file_of_the_hub_by_every_spelling() {
    for address in [
        "hf://me/mine/a b.jsonl",
        "https://huggingface.co/me/mine/blob/main/a%20b.jsonl",
        "https://huggingface.co/me/mine/resolve/main/a%20b.jsonl?download=true",
    ] {
        let server = Shelf::default().file("me/mine/a b.jsonl", LINE).serve();
        let dir = Dir::new();
        let url = format!("--data_url={address}");
        let (code, said) = run(&mut command(&dir, &server, &[DATA, &[&url]].concat()));
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("SHA-256 as stated"), "{said}");
        let first = said.lines().next().unwrap();
        assert_eq!(
            first,
            "data   d.jsonl, from --data_url hf://me/mine/a b.jsonl"
        );
        assert_eq!(fs::read_to_string(dir.path("d.jsonl")).unwrap(), LINE);
    }
}

#[test]
fn a_token_is_sent_for_files_and_for_questions_and_shown_nowhere() {
    let shelf = Shelf::default()
        .file("datasets/me/mine/a.jsonl", LINE)
        .token("hf_secret");
    let server = shelf.serve();
    let url = "--data_url=hf://datasets/me/mine/a.jsonl";
    let flags = [DATA, &[url]].concat();

    let dir = Dir::new();
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert!(
        code == Some(1) && said.contains("401") && said.contains("set HF_TOKEN"),
        "{said}"
    );
    let (code, said) = run(command(&dir, &server, &flags).env("HF_TOKEN", "hf_wrong"));
    assert!(
        code == Some(1) && said.contains("does not take your token"),
        "{said}"
    );
    assert!(!said.contains("hf_wrong"), "{said}");
    assert_eq!(
        dir.names(),
        Vec::<String>::new(),
        "no empty part stays behind"
    );

    let (code, said) = run(command(&dir, &server, &flags).env("HF_TOKEN", "hf_secret"));
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("hf_secret"), "{said}");
    let asked = server.asked();
    let cdn = asked
        .iter()
        .find(|asked| asked.path.starts_with("/cdn/"))
        .unwrap();
    // The imitation's files lie on the same host; a real hub's do not, and `web` tests that a login
    // stays at home.
    assert!(cdn.header("authorization").is_some());

    // What `hf auth login` leaves; and a line's end is no part of a token, for the list of files
    // neither.
    let dir = Dir::new();
    fs::create_dir(dir.path(".hub")).unwrap();
    dir.write(".hub/token", "hf_secret\n");
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    let flags = [
        "--dry_run",
        "--data_path=e.jsonl",
        "--huggingface_dataset=me/mine",
    ];
    let (code, said) = run(command(&dir, &server, &flags).env("HF_TOKEN", "hf_secret\n"));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_login_in_the_hubs_address_is_shown_nowhere() {
    let server = Shelf::default().file("me/mine/a.jsonl", LINE).serve();
    let dir = Dir::new();
    for endpoint in ["http://me:sesame@127.0.0.1:9", "me:sesame@127.0.0.1:9"] {
        for flag in [
            "--data_url=hf://me/mine/a.jsonl",
            "--huggingface_dataset=me/mine",
        ] {
            let mut command = command(&dir, &server, &["--dry_run", "--data_path=d.jsonl", flag]);
            let (code, said) = run(command.env("HF_ENDPOINT", endpoint));
            assert!(code == Some(1) && !said.contains("sesame"), "{said}");
        }
    }
    let address = "--huggingface_dataset=https://me:sesame@huggingface.co/me/mine";
    let (code, said) = run(&mut command(&dir, &server, &["--dry_run", address]));
    assert!(code == Some(2) && !said.contains("sesame"), "{said}");
}

/// Puts a file into the cache of the directory as the hub's tools do, at a commit to which `main`
/// leads.
fn cache(dir: &Dir, repo: &str, file: &str, content: &str, commit: &str) {
    let cache = dir.path(".hub/hub").join(repo);
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::create_dir_all(cache.join("blobs")).unwrap();
    let snapshot = cache.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(cache.join("refs/main"), commit).unwrap();
    fs::write(cache.join("blobs/b"), content).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../../blobs/b", snapshot.join(file)).unwrap();
}

#[test]
#[cfg(unix)]
fn what_the_cache_holds_is_copied_and_offline_nothing_is_asked() {
    let server = Shelf::default().file("me/mine/a.jsonl", LINE).serve();
    let dir = Dir::new();
    cache(&dir, "models--me--mine", "a.jsonl", LINE, COMMIT);
    cache(&dir, "datasets--me--rows", "train.jsonl", LINE, COMMIT);
    let url = |file: &str| format!("--data_url=hf://me/mine/{file}");
    let offline = |flags: &[&str]| run(command(&dir, &server, flags).env("HF_HUB_OFFLINE", "1"));

    let (code, said) = offline(&["--dry_run", "--data_path=d.jsonl", &url("a.jsonl")]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(dir.path("d.jsonl")).unwrap(), LINE);
    fs::write(dir.path("d.jsonl"), "edited").unwrap();
    let blob = dir.path(".hub/hub/models--me--mine/blobs/b");
    assert_eq!(
        fs::read_to_string(blob).unwrap(),
        LINE,
        "the cache is the hub's"
    );
    let rows = [
        "--dry_run",
        "--data_path=r.jsonl",
        "--huggingface_dataset=me/rows",
    ];
    let (code, said) = offline(&rows);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(dir.path("r.jsonl")).unwrap(), LINE);
    for flag in [&url("b.jsonl"), "--huggingface_dataset=me/none"] {
        let (code, said) = offline(&["--dry_run", "--data_path=e.jsonl", flag]);
        assert!(
            code == Some(1) && said.contains("HF_HUB_OFFLINE is set"),
            "{said}"
        );
    }
    assert!(server.asked().is_empty(), "offline, nobody is asked");

    // Where the hub may be asked, it is used if the hub has no newer one.
    let flags = ["--dry_run", "--data_path=f.jsonl", &url("a.jsonl")];
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        server
            .asked()
            .iter()
            .all(|asked| asked.path.starts_with("/api/")),
        "{said}"
    );
    let old = "0000000000000000000000000000000000000000";
    let dir = Dir::new();
    cache(&dir, "models--me--mine", "a.jsonl", "old", old);
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read_to_string(dir.path("f.jsonl")).unwrap(), LINE);
}

#[test]
fn a_missing_file_and_a_hub_that_is_not_there() {
    let server = Shelf::default().file("me/mine/a.jsonl", LINE).serve();
    let dir = Dir::new();
    let flags = [DATA, &["--data_url=hf://me/mine/b.jsonl"]].concat();
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert!(
        code == Some(1) && said.contains("there is no such file"),
        "{said}"
    );

    // The default dataset stands in for the default file alone, so this one names no file.
    let mut default = Command::new(env!("CARGO_BIN_EXE_state-tune"));
    default
        .env_clear()
        .env("HF_HOME", dir.path(".hub"))
        .current_dir(dir.path("."))
        .args(["--dry_run", "--model_location"])
        .arg(tiny("model.pth"));
    for mut away in [command(&dir, &server, &flags), default] {
        let (code, said) = run(away.env("HF_ENDPOINT", "http://127.0.0.1:9"));
        let error = said.lines().last().unwrap();
        let whole = error.contains("http://127.0.0.1:9") && error.contains("is the network there?");
        assert!(code == Some(1) && whole, "{said}");
        assert!(error.contains("--data_url hf://") || error.contains("--huggingface_dataset"));
    }
    assert_eq!(dir.names(), Vec::<String>::new());
}

#[test]
fn a_description_without_an_end_is_no_hubs() {
    let endless = "{\"id\": \"".to_string() + &"x".repeat(65 << 20);
    let server = Server::start(move |_| Answer::new(200, endless.clone()));
    let dir = Dir::new();
    let flags = [DATA, &["--huggingface_dataset=me/mine"]].concat();
    let (code, said) = run(&mut command(&dir, &server, &flags));
    let why = "answered something else than a hub does: more than 64 MB";
    assert!(code == Some(1) && said.contains(why), "{said}");
}

#[test]
fn a_large_file_goes_on_across_the_hubs_redirect() {
    let mut content = Vec::new();
    for _ in 0..5000 {
        content.extend_from_slice(LINE.as_bytes());
    }
    let shelf = Shelf::default().file("me/mine/a.jsonl", content.clone());
    let cut_at = bytes(1)[0] as usize + 70_000;
    let server = Server::start(move |asked| {
        let answer = shelf.answer(asked);
        let is_first = asked.path.starts_with("/cdn/") && asked.range().is_none();
        if is_first { answer.cut(cut_at) } else { answer }
    });
    let dir = Dir::new();
    let flags = [DATA, &["--data_url=hf://me/mine/a.jsonl"]].concat();
    let (code, said) = run(&mut command(&dir, &server, &flags));
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(dir.path("d.jsonl")).unwrap() == content);
    let asked = server.asked();
    assert_eq!(asked.last().unwrap().range(), Some(cut_at));
}
