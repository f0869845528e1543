//! No circle between the files of `src/`: whoever reads one file must not need another that needs
//! the first.
//!
//! A file uses another where a path in it (in a `use`, or written out in code) leads to a module or
//! an item of the other. A name that a `mod.rs` only passes on (`pub use`) leads to the file that
//! has it.
//!
//! Not counted, since it is how Rust's modules are built:
//! - what a file takes from the `mod.rs` above it, at any depth: a parent's code stands on its
//!   children, and what it defines for them (an op's inputs, a format's error) belongs to the
//!   folder as a whole;
//! - `mod x;` and `pub use`: passing a name on is no use of it.
//!
//! Tests are no part of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A module's name from the crate's root: `ops`, `linear`.
type Name = Vec<String>;

/// What one file writes.
struct Source {
    /// Its name below `src/`.
    file: String,
    /// What it declares with `use`, by the name that the file gives to it.
    imports: BTreeMap<String, Name>,
    /// Absolute paths of what it uses.
    uses: Vec<Name>,
}

/// The circles of some files, given by their names below `src/` and their texts.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    let names: BTreeSet<Name> = files.iter().map(|(file, _)| name(file)).collect();
    let sources: BTreeMap<Name, Source> = files
        .iter()
        .map(|(file, text)| (name(file), source(file, text, &names)))
        .collect();
    let edges: BTreeMap<&Name, BTreeSet<&Name>> = sources
        .iter()
        .map(|(from, source)| {
            let to = source.uses.iter().filter_map(|path| owner(path, &sources));
            (from, to.filter(|to| !from.starts_with(to)).collect())
        })
        .collect();
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for &start in edges.keys() {
        walk(start, &edges, &mut Vec::new(), &mut done, &mut |circle| {
            let files = circle.iter().map(|name| sources[*name].file.as_str());
            found.push(files.collect::<Vec<_>>().join(" -> "));
        });
    }
    found
}

/// Depth first: a module that is met again on the way to itself closes a circle.
fn walk<'a>(
    name: &'a Name,
    edges: &BTreeMap<&'a Name, BTreeSet<&'a Name>>,
    way: &mut Vec<&'a Name>,
    done: &mut BTreeSet<&'a Name>,
    found: &mut impl FnMut(&[&Name]),
) {
    if let Some(at) = way.iter().position(|&before| before == name) {
        way.push(name);
        found(&way[at..]);
        way.pop();
        return;
    }
    if done.contains(name) {
        return;
    }
    way.push(name);
    for to in &edges[name] {
        walk(to, edges, way, done, found);
    }
    way.pop();
    done.insert(name);
}

/// `ops/linear/mod.rs` and `ops/linear.rs` are the module `ops::linear`, and `lib.rs` is the root.
fn name(file: &str) -> Name {
    let file = file.trim_end_matches(".rs");
    let mut name: Name = file.split('/').map(str::to_owned).collect();
    if matches!(name.last().map(String::as_str), Some("mod" | "lib")) {
        name.pop();
    }
    name
}

/// The module that has what a path leads to: the deepest one on its way, or where that one has the
/// next name from.
fn owner<'a>(path: &[String], sources: &'a BTreeMap<Name, Source>) -> Option<&'a Name> {
    let mut path = path.to_vec();
    // As often as names are passed on, at most.
    for _ in 0..8 {
        let depth = (0..=path.len()).rev();
        let (found, source) = depth
            .filter_map(|depth| sources.get_key_value(&path[..depth]))
            .next()?;
        match path
            .get(found.len())
            .and_then(|item| source.imports.get(item))
        {
            Some(import) => path = import.clone(),
            None => return Some(found),
        }
    }
    None
}

fn source(file: &str, text: &str, names: &BTreeSet<Name>) -> Source {
    let own = name(file);
    let (mut imports, mut uses) = (BTreeMap::new(), Vec::new());
    let mut rest = String::new();
    for statement in code(text).split_inclusive(';') {
        let Some((before, visibility, tree)) = import(statement) else {
            rest += statement;
            continue;
        };
        rest += before;
        for leaf in leaves(tree) {
            let (path, alias) = leaf.split_once(" as ").unwrap_or((&leaf, ""));
            let Some(path) = absolute(path, &own, names) else {
                continue;
            };
            // Otherwise a parent passes on what its child has.
            if visibility.is_empty() || !path.starts_with(&own) {
                uses.push(path.clone());
            }
            let item = match alias.trim() {
                "" => path.last().cloned(),
                alias => Some(alias.to_owned()),
            };
            imports.extend(item.map(|item| (item, path)));
        }
    }
    let paths = rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = paths.filter(|path| path.contains("::"));
    uses.extend(paths.filter_map(|path| absolute(path, &own, names)));
    Source {
        file: file.to_owned(),
        imports,
        uses,
    }
}

/// The text without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) if line[..at].trim().is_empty() || line[..at].ends_with(' ') => &line[..at],
        _ => line, // an address in a string
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What stands before a `use`, its visibility, and the paths that it names.
fn import(statement: &str) -> Option<(&str, &str, &str)> {
    let (before, tree) = statement.strip_suffix(';')?.rsplit_once("use ")?;
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    let (before, visibility) = before.split_at(line);
    let visibility = visibility.trim();
    let is_import = visibility.is_empty() || visibility.starts_with("pub");
    is_import.then_some((before, visibility, tree))
}

/// The paths of a tree: `a::b` and `a::c::d` of `a::{b, c::d}`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((head, tail)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = tail.rfind('}').map_or(tail, |end| &tail[..end]);
    let (mut branches, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, sign) in inner.char_indices().chain([(inner.len(), ',')]) {
        match sign {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                branches.push(inner[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let branches = branches.into_iter().filter(|branch| !branch.is_empty());
    branches
        .flat_map(leaves)
        .map(|leaf| match leaf.strip_prefix("self") {
            Some(alias) => head.trim().trim_end_matches("::").to_owned() + alias,
            None => head.trim().to_owned() + &leaf,
        })
        .collect()
}

/// A path from the crate's root, if it stays in the crate.
fn absolute(path: &str, own: &Name, names: &BTreeSet<Name>) -> Option<Name> {
    let mut parts = path.split("::").map(str::trim).peekable();
    let mut name = own.clone();
    match *parts.peek()? {
        "crate" => {
            name.clear();
            parts.next();
        }
        "self" => {
            parts.next();
        }
        "super" => {
            while parts.next_if_eq(&"super").is_some() {
                name.pop();
            }
        }
        child => {
            let mut below = own.clone();
            below.push(child.to_owned());
            if !names.contains(&below) {
                return None;
            }
        }
    }
    name.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    Some(name)
}

#[test]
fn no_file_uses_one_that_uses_it() {
    let files: Vec<(String, String)> = super::program()
        .into_iter()
        .map(|(file, path)| (file, fs::read_to_string(path).unwrap()))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(f, t)| (f.as_str(), t.as_str()))
        .collect();
    let found = circles(&files);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn what_is_a_circle_and_what_is_none() {
    let none: [&[(&str, &str)]; 5] = [
        // A parent stands on its children, which take from it what it defines for them.
        &[
            (
                "op/mod.rs",
                "mod cpu;\npub struct Inputs;\nfn f() { cpu::forward() }",
            ),
            ("op/cpu.rs", "use super::Inputs;\npub fn forward() {}"),
        ],
        &[
            (
                "op/mod.rs",
                "pub use self::cpu::Packed;\npub use self::gpu::launch;",
            ),
            ("op/cpu.rs", "use crate::op::launch;"),
            ("op/gpu.rs", ""),
        ],
        &[
            ("a.rs", "use crate::b::B;"),
            (
                "b.rs",
                "//! See `crate::a`.\n#[cfg(test)]\nmod tests { use crate::a::A; }",
            ),
        ],
        &[
            ("a.rs", "use super::b;"),
            ("b.rs", "use std::a::x; use half::a;"),
        ],
        &[
            ("a.rs", "use crate::b::{C, d::D as E};"),
            ("b/mod.rs", "mod d;"),
            ("b/d.rs", ""),
        ],
    ];
    for files in none {
        assert_eq!(circles(files), Vec::<String>::new(), "{files:?}");
    }
    let some: [&[(&str, &str)]; 6] = [
        &[
            ("data/chat.rs", "use super::jsonl::{DataError, kind};"),
            ("data/jsonl.rs", "use super::chat::{Chat, MessageError};"),
        ],
        &[
            (
                "ops/cpu/level.rs",
                "fn f() -> bool { x && crate::ops::linear::amx::is_usable() }",
            ),
            ("ops/linear/amx.rs", "use super::tile::Block;"),
            ("ops/linear/tile.rs", "use super::rows::Unit;"),
            ("ops/linear/rows.rs", "use crate::ops::cpu::level::Level;"),
        ],
        // However a name is passed on.
        &[
            (
                "op/mod.rs",
                "pub use self::a::A;\npub(crate) use self::b::{B, C as D};",
            ),
            ("op/a.rs", "use super::D;"),
            ("op/b.rs", "use crate::op::A;"),
        ],
        // Into another folder and back.
        &[
            ("op/mod.rs", "mod cpu;\nfn f() { cpu::g() }"),
            ("op/cpu.rs", "use crate::other::x;"),
            ("other.rs", "fn y() { crate::op::f() }"),
        ],
        &[
            ("op/mod.rs", "pub mod kind;\nuse self::table::{self, row};"),
            ("op/kind.rs", "use super::table;"),
            ("op/table.rs", "fn f(k: super::kind::Kind) {}"),
        ],
        &[
            ("a.rs", "use crate::{\n    b::C,\n};"),
            ("b.rs", "use super::a::{self};"),
        ],
    ];
    for files in some {
        assert!(!circles(files).is_empty(), "{files:?}");
    }
}
