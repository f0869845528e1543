//! The layer rule of `src/lib.rs`, held against the source as text; `circles` holds its files to
//! having no circles.

mod circles;

use std::fs;
use std::path::{Path, PathBuf};

/// Modules from the bottom up; a module uses only modules of a lower rank.
const RANKS: [(&str, usize); 24] = [
    ("files", 0),
    ("system", 0),
    ("console", 0),
    ("setting", 0),
    ("container", 1),
    ("distributed", 1),
    ("tensors", 2),
    ("tokenizer", 2),
    ("fetch", 2),
    ("ops", 3),
    ("data", 4),
    ("model", 4),
    ("evaluate", 5),
    ("state_file", 5),
    ("generate", 6),
    ("report", 6),
    ("train", 7),
    ("sample", 7),
    ("convert", 7),
    ("inspect", 7),
    ("quickstart", 8),
    ("cli", 9),
    ("main", 10),
    ("lib", 10),
];

/// Words that only some modules may write, and why a program splits at all.
const OWNED: [(&str, &[&str]); 14] = [
    ("clap", &["cli"]),
    ("reqwest", &["fetch"]),
    ("hf_hub", &["fetch"]),
    ("std::env::var", &["main", "fetch"]),
    ("print!(", &["console"]),
    ("println!(", &["console"]),
    ("eprint!(", &["console"]),
    ("eprintln!(", &["console"]),
    ("io::stdout()", &["console"]),
    ("io::stderr()", &["console"]),
    ("Console::standard", &["main"]),
    ("ExitCode", &["main"]),
    ("process::exit", &[]),
    // `system` asks which signals are ignored, and says when there is no memory.
    ("unsafe", &["ops", "files", "distributed", "system"]),
];

/// Files outside `cli` that may write `--` before a word, and why: how a user writes a setting is
/// the command line's.
const DASHED: [(&str, &str); 3] = [
    ("ops/cuda/driver/mod.rs", "names a flag of cargo"),
    ("train/announce.rs", "names a flag of mpirun"),
    ("report/page/heat.rs", "sets a variable of the style sheet"),
];

/// Lines of code that write a flag as the command line spells it.
fn flags_written(text: &str) -> Vec<&str> {
    let is_flag = |line: &&str| {
        let starts_a_word = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase());
        line.split("--").skip(1).any(starts_a_word)
    };
    let lines = text.lines().map(str::trim);
    let code = lines.filter(|line| !line.starts_with("//"));
    code.filter(is_flag).collect()
}

fn rank(module: &str) -> Option<usize> {
    RANKS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|&(_, rank)| rank)
}

/// What is wrong with one file of `module`.
fn offences(module: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push("does not open with what it is".to_string());
    }
    let code: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
        .collect();
    for line in &code {
        for (word, owners) in OWNED {
            if line.contains(word) && !owners.contains(&module) {
                found.push(format!("{word:?} in {line:?}"));
            }
        }
    }
    // `use crate::{a, b::c}` may run over lines, so the words are looked at, not the lines.
    let code = code.join(" ");
    for rest in code.split("crate::").skip(1) {
        for name in modules_named(rest) {
            let (Some(below), Some(above)) = (rank(&name), rank(module)) else {
                found.push(format!("uses {name}, which is no module"));
                continue;
            };
            if name != module && below >= above {
                found.push(format!("uses {name}, which does not stand below it"));
            }
        }
    }
    found
}

/// The modules in what follows `crate::`: `a` of `a::b`, `a` and `d` of `{a::{b, c}, d}`.
fn modules_named(path: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    if !path.starts_with('{') {
        return vec![word(path)];
    }
    let (mut modules, mut depth) = (Vec::new(), 0);
    for (at, sign) in path.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        // A module's name follows the outer brace and each comma that lies in no inner one.
        if depth == 1 && matches!(sign, '{' | ',') {
            modules.push(word(&path[at + 1..]));
        }
    }
    modules.retain(|module| !module.is_empty()); // a comma may end the list
    modules
}

fn sources(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.file_name().is_some_and(|name| name == "tests.rs") {
            // Tests quote what they test, forbidden words included, and are no part of the program.
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Every file of the program by its name below `src/`, and where it is.
fn program() -> Vec<(String, PathBuf)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 40, "the source is where it is looked for");
    let named = files.into_iter().map(|path| {
        let inside = path.strip_prefix(&src).unwrap().to_str().unwrap();
        (inside.replace('\\', "/"), path)
    });
    named.collect()
}

#[test]
fn every_file_keeps_to_its_layer() {
    let mut all = Vec::new();
    for (file, path) in program() {
        let first = file.split('/').next().unwrap();
        let module = first.trim_end_matches(".rs");
        assert!(
            rank(module).is_some(),
            "{module} has no place in the layers"
        );
        let text = fs::read_to_string(&path).unwrap();
        if module != "cli" && !DASHED.iter().any(|(allowed, _)| *allowed == file) {
            let flags = flags_written(&text).into_iter();
            all.extend(flags.map(|line| format!("{file}: writes a flag: {line}")));
        }
        let found = offences(module, &text).into_iter();
        all.extend(found.map(|offence| format!("{file}: {offence}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn each_rule_can_be_broken() {
    assert_eq!(
        offences("model", "//! x\nuse crate::ops::norm;"),
        Vec::<String>::new()
    );
    let ops = "//! x\nuse crate::{ops::{norm, wkv}, tensors};";
    assert_eq!(offences("model", ops), Vec::<String>::new());
    for (module, text) in [
        ("ops", "use crate::files;"),
        ("ops", "//! x\nuse crate::model::State;"),
        ("tensors", "//! x\nuse crate::fetch;"),
        ("console", "//! x\nuse crate::fetch;"),
        ("model", "//! x\nuse crate::data::Example;"),
        ("data", "//! x\nuse crate::{ops,\n model::Config};"),
        ("data", "//! x\nuse crate::{ops::{a, b}, model};"),
        ("sample", "//! x\nuse crate::train;"),
        ("generate", "//! x\nuse crate::sample;"),
        ("files", "//! x\nfn f() { crate::tensors::pth::read() }"),
        ("train", "//! x\nuse crate::cellar;"),
    ] {
        assert!(!offences(module, text).is_empty(), "{module}: {text}");
    }
    let code = "//! --a\nlet a = \"a --b\n  --c\"; // -- d";
    assert_eq!(flags_written(code), ["let a = \"a --b", "--c\"; // -- d"]);
    for (word, owners) in OWNED {
        let text = format!("//! x\n{word}");
        for (module, _) in RANKS {
            let free = owners.contains(&module);
            assert_eq!(offences(module, &text).is_empty(), free, "{module}: {word}");
        }
    }
}
