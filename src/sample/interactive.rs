//! `--interactive`: a conversation, one line a turn. Each turn goes on from where the last answer
//! ended, so that it costs its own tokens only. A blank line separates turns, as it separates those
//! of a prompt in training.

use std::io::{self, BufRead, Read};

use anyhow::{Context, Result};

use super::{Loaded, Options, show};
use crate::console::Console;
use crate::data::jsonl::Row;
use crate::data::typed;
use crate::generate::{FinishReason, Talk};
use crate::setting::INTERACTIVE;
use crate::tokenizer::{Text, Tokenizer};

/// The most bytes of a line, its end included: far more than anyone types, and a bound on memory
/// for a pipe without line ends.
const LONGEST: usize = 1 << 16;

/// Shown to a person who may type a line.
const PROMPT_SIGN: &str = "> ";

const COMMANDS: &str = "/reset (begin anew), /base and /tuned (who answers), /quit";

/// Answers the lines of standard input from the tuned state, until they end or one of them says
/// `/quit`. Each stands under `key` of the prompts' formatter.
pub fn run(loaded: &Loaded, key: &str, options: &Options, console: &Console) -> Result<()> {
    let settings = &options.settings;
    let tokenizer = Tokenizer::world();
    let mut input = io::stdin().lock();
    // What is told of a line is no part of the talk.
    let beside = console.beside_output();
    let begin = |state| Talk::new(&loaded.model, state, settings);
    let mut state = &loaded.tuned;
    let mut talk = begin(state)?;
    let mut between = Vec::new();
    console.prompt(&format!("The tuned state answers. Commands: {COMMANDS}\n"))?;
    for number in 1.. {
        console.prompt(PROMPT_SIGN)?;
        let line = match next_line(&mut input).context("cannot read standard input")? {
            None => {
                console.prompt("\n")?;
                break;
            }
            Some(Ok(line)) => line,
            Some(Err(fault)) => {
                console.error(&format!("line {number} {fault}; it is left out"));
                continue;
            }
        };
        match line.trim() {
            "" => continue,
            "/quit" => break,
            command @ ("/reset" | "/base" | "/tuned") => {
                state = match command {
                    "/base" => &loaded.base,
                    "/tuned" => &loaded.tuned,
                    _ => state,
                };
                talk = begin(state)?;
                between.clear();
                continue;
            }
            word if is_command(word) => {
                console.error(&format!(
                    "line {number}: {word} is none of {COMMANDS}; it is left out"
                ));
                continue;
            }
            _ => {}
        }
        let mut row = Row::of(key, line);
        row.change_line_ends(options.formats.line_ends);
        let new_line_ends = row
            .has_new_line_ends()
            .then(|| typed::new_line_ends(&[INTERACTIVE]));
        let text = Text::from(row.text(key)?);
        let sign = text.foreign_signs().next();
        let sign = sign.map(|sign| format!("{sign} is plain text here, and ends nothing"));
        for note in new_line_ends.flatten().into_iter().chain(sign) {
            beside.line(&format!("note   line {number}: {note}"));
        }
        let prompt = options.formats.prompt.render(&row)?;
        // Tokenised by itself, as the prompt is in training.
        between.extend(prompt.encode(tokenizer));
        let turn = between;
        // Turns are separated as in training: by the text that ends answers, or by a blank line if
        // there is none. An answer that ended with that text has read it already.
        let end = show(&loaded.model, &mut talk, &turn, settings, console)?;
        between = match (end, &settings.stop) {
            (FinishReason::Stop, _) => Vec::new(),
            (_, Some(stop)) => stop.encode(tokenizer),
            (_, None) => tokenizer.encode("\n\n"),
        };
    }
    Ok(())
}

/// Whether a line is a slash and a word, which is a command, mistyped perhaps, rather than a text.
fn is_command(line: &str) -> bool {
    line.strip_prefix('/')
        .is_some_and(|word| word.chars().all(|c| c.is_ascii_alphabetic()))
}

/// The next line without its end, or what is wrong with it in words; `None` after the last line.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, &'static str>>> {
    let mut bytes = Vec::new();
    input
        .by_ref()
        .take(LONGEST as u64)
        .read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() == LONGEST && !bytes.ends_with(b"\n") {
        input.skip_until(b'\n')?;
        return Ok(Some(Err("is too long")));
    }
    Ok(Some(match String::from_utf8(bytes) {
        Ok(line) => Ok(line.trim_end_matches(['\r', '\n']).to_string()),
        Err(_) => Err("is not UTF-8"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_faults_end_with_theirs() {
        let long = "x".repeat(LONGEST);
        let fits = &long[1..];
        let text = [
            b"a b \r\n\n\xff\n".as_slice(),
            long.as_bytes(),
            b"more\n",
            fits.as_bytes(),
            b"\nlast",
        ]
        .concat();
        let mut input = text.as_slice();
        let mut next = || next_line(&mut input).unwrap();
        for wanted in [
            Ok("a b "),
            Ok(""),
            Err("is not UTF-8"),
            Err("is too long"),
            Ok(fits),
            Ok("last"),
        ] {
            assert_eq!(next(), Some(wanted.map(str::to_string)));
        }
        assert_eq!(next(), None);
    }
}
