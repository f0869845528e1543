//! The README against the program: its table of flags is clap's, its commands are the ones that CI
//! runs.

use std::path::Path;

use state_tune::cli;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The README's table as clap's description of the flags makes it.
fn table() -> String {
    let mut table = String::from("| flag | default | what it does |\n| --- | --- | --- |\n");
    for arg in cli::command().get_arguments() {
        let (Some(flag), Some(help)) = (arg.get_long(), arg.get_help()) else {
            continue;
        };
        if ["help", "version"].contains(&flag) {
            continue;
        }
        let default = arg
            .get_default_values()
            .first()
            .map(|value| format!("`{}`", value.to_string_lossy()));
        // Markdown takes a bare `|` for a cell's border; an empty default has nothing between its
        // quotes.
        let default = default.unwrap_or_default().replace("``", "`\"\"`");
        table.push_str(&format!(
            "| `--{flag}` | {default} | {} |\n",
            help.to_string().replace('|', "\\|")
        ));
    }
    table
}

#[test]
fn the_table_of_flags_is_the_programs() {
    let table = table();
    assert!(
        read("README.md").contains(&table),
        "the README's table should read:\n\n{table}"
    );
}

#[test]
fn ci_runs_the_readmes_test_command() {
    let readme = read("README.md");
    let commands: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("cargo "))
        .collect();
    assert!(
        commands.contains(&"cargo run --release --example quickstart"),
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
fn every_file_the_readme_links_to_is_there() {
    let readme = read("README.md");
    let links: Vec<&str> = readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect();
    assert!(links.len() > 3);
    for link in links.into_iter().filter(|link| !link.starts_with("http")) {
        assert!(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(),
            "{link}"
        );
    }
}
