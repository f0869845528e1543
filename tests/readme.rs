//! The README and the pages under docs against the program: the tables of flags are clap's, the
//! README's commands are the ones that CI runs, and no link leads nowhere.

use std::path::Path;

use clap::Command;
use state_tune::cli;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

const BEGIN: &str =
    "<!-- tables: tests/readme.rs makes them of the command line's description -->\n";
const END: &str = "<!-- end of the tables -->\n";

/// The flags of a command as clap describes them, a table for each heading.
fn tables(command: &Command) -> String {
    let mut headings: Vec<(&str, String)> = Vec::new();
    for arg in command.get_arguments() {
        let Some(help) = arg.get_help() else { continue };
        let name = match (arg.get_long(), arg.get_value_names()) {
            (Some("help" | "version"), _) => continue,
            (Some(flag), _) => format!("--{flag}"),
            (None, Some(names)) => names.join(" "),
            (None, None) => continue,
        };
        let default = arg
            .get_default_values()
            .first()
            .map(|value| format!("`{}`", value.to_string_lossy()));
        // Markdown takes a bare `|` for a cell's border; an empty default has nothing between its
        // quotes.
        let default = default.unwrap_or_default().replace("``", "`\"\"`");
        let help = help.to_string().replace('|', "\\|");
        let line = format!("| `{name}` | {default} | {help} |\n");
        let heading = arg.get_help_heading().unwrap_or_default();
        match headings.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, lines)) => lines.push_str(&line),
            None => headings.push((heading, line)),
        }
    }
    let mut text = String::new();
    for (heading, lines) in headings {
        if !heading.is_empty() {
            text.push_str(&format!("### {heading}\n\n"));
        }
        text.push_str("| flag | default | what it does |\n| --- | --- | --- |\n");
        text.push_str(&format!("{lines}\n"));
    }
    text
}

/// All tables of docs/FLAGS.md: the program's own flags, then each subcommand's.
fn all_tables() -> String {
    let command = cli::command();
    let mut text = format!("\n## Training and answering\n\n{}", tables(&command));
    for tool in command.get_subcommands() {
        let about = tool
            .get_about()
            .map(ToString::to_string)
            .unwrap_or_default();
        let name = tool.get_name();
        text.push_str(&format!(
            "## `state-tune {name}`\n\n{about}.\n\n{}",
            tables(tool)
        ));
    }
    text
}

#[test]
fn the_tables_of_flags_are_the_programs() {
    let file = read("docs/FLAGS.md");
    let (before, rest) = file.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let wanted = format!("{before}{BEGIN}{}{END}{after}", all_tables());
    if file != wanted {
        let made = concat!(env!("CARGO_TARGET_TMPDIR"), "/FLAGS.md");
        std::fs::write(made, wanted).unwrap();
        panic!("docs/FLAGS.md is not what the program says; cp {made} docs/FLAGS.md");
    }
}

#[test]
fn ci_runs_the_readmes_test_command() {
    let readme = read("README.md");
    let commands: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("cargo "))
        .collect();
    assert!(
        commands.contains(&"cargo run --release -- quickstart"),
        "{commands:?}"
    );
    assert!(commands.contains(&"cargo test"), "{commands:?}");
    assert!(
        read(".ci/run")
            .lines()
            .any(|line| line.trim() == "cargo test")
    );
}

#[test]
fn what_a_page_links_to_is_there() {
    for page in [
        "README.md",
        "docs/GUIDE.md",
        "docs/FORMATS.md",
        "docs/FLAGS.md",
    ] {
        links_lead_somewhere(page);
    }
}

fn links_lead_somewhere(page: &str) {
    let text = read(page);
    let links: Vec<&str> = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert!(!links.is_empty());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let folder = folder.parent().unwrap();
    for link in links.into_iter().filter(|link| !link.starts_with("http")) {
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let target = match file {
            "" => Path::new(env!("CARGO_MANIFEST_DIR")).join(page),
            file => folder.join(file),
        };
        assert!(target.exists(), "{page}: {link}");
        if !heading.is_empty() {
            let text = std::fs::read_to_string(&target).unwrap();
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            assert!(
                headings.any(|line| anchor(line) == heading),
                "{page}: {link}"
            );
        }
    }
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || "-_".contains(c) => Some(c),
        _ => None,
    });
    kept.collect()
}

#[test]
fn the_readme_is_short() {
    let words = read("README.md").split_whitespace().count();
    assert!(words <= 1500, "{words} words");
}
