//! RWKV's own rows: a `text` in which paragraphs begin with who speaks,
//! `User: ...\n\nAssistant: ...`. It stands as it is; what the assistant says is learnt.

use super::Purpose;
use crate::data::error::DataError;
use crate::data::jsonl::Row;

/// Who answers, and whose paragraphs are read. Of those of which a text has the answer, the first whose
/// question opens it counts, or the first.
const SPEAKERS: [(&str, &[&str]); 6] = [
    ("Assistant", &["User", "Human", "System"]),
    ("Answer", &["Question"]),
    ("Response", &["Instruction", "Input"]),
    ("Alice", &["Bob"]),
    ("Bot", &["User", "Human", "System"]),
    ("A", &["Q"]),
];

/// A text, taken apart where an answer begins and ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What is read, up to the colon after who answers, and the answer. What stands between two
    /// turns, a blank line, is in neither.
    pub turns: Vec<(String, String)>,
    /// What follows the last answer, with who answers written after it; or nothing.
    pub open: Option<String>,
    /// Whether it begins with an answer, to no question.
    pub begins_with_answer: bool,
    /// Whether an answer holds a line that begins as another speaker's does.
    pub has_other_speaker: bool,
    /// Whether a paragraph begins as another pair's answer does.
    pub has_other_answer: bool,
}

/// Who speaks in no pair's place, and of whom a model should not learn to speak.
const OTHERS: [&str; 4] = ["System", "Tool", "Function", "Observation"];

impl Script {
    /// Takes the text of a row apart. Where it is a prompt, it need not hold an answer.
    pub fn read(row: &Row, purpose: Purpose) -> Result<Self, DataError> {
        let text = row.text("text")?;
        let line = row.line();
        // The pair whose question opens the text, before one that merely occurs in it.
        let start = text.trim_start();
        let opens =
            |(_, others): &&(&str, &[&str])| speaker(start, others, heading(start)).is_some();
        let mut opening = SPEAKERS.iter().filter(opens);
        let first = opening.clone().next();
        let found = opening
            .by_ref()
            .chain(SPEAKERS.iter().filter(|pair| !opens(pair)))
            .find_map(|(answer, others)| Self::of(text, answer, others));
        match (found, first, purpose) {
            (Some(script), ..) => Ok(script),
            (None, Some((answer, _)), Purpose::Answer) => Ok(Self {
                open: Some(asked(text, &format!("{}{answer}", heading(start)))),
                ..Self::default()
            }),
            _ => Err(DataError::NoMarkedAnswer { line }),
        }
    }

    /// `None` if nobody of the name `answer` speaks.
    fn of(text: &str, answer: &str, others: &[&str]) -> Option<Self> {
        // Marked as its beginning is, or its first answer: what an answer has under headings of its own is
        // its text.
        let opening = text.trim_start();
        let mut starts = paragraphs(text).map(|at| &text[at..]);
        let marked = match speaker(opening, others, heading(opening)) {
            Some(_) => heading(opening),
            None => {
                heading(starts.find(|start| speaker(start, &[answer], heading(start)).is_some())?)
            }
        };
        let mut script = Self::default();
        let mut mark = None;
        // Where what is read now began, and where an answer did, if one is being read.
        let (mut start, mut answer_start) = (0, None);
        for at in paragraphs(text) {
            if let Some(name) = speaker(&text[at..], &[answer], marked) {
                // A second answer in a row is one more paragraph of the first.
                if answer_start.is_none() {
                    answer_start = Some(at + name.len() + 1);
                    mark = Some(name);
                }
            } else if speaker(&text[at..], others, marked).is_some()
                && let Some(from) = answer_start.take()
            {
                let answer = text[from..at].trim_end_matches(['\n', '\r']);
                script.turns.push((text[start..from].into(), answer.into()));
                start = at;
            }
        }
        let mark = mark?;
        script.begins_with_answer = speaker(text.trim_start(), &[answer], marked).is_some();
        let begins_as_another = |line: &str| {
            let pair = speaker(line, others, marked).or_else(|| speaker(line, &[answer], marked));
            pair.or_else(|| speaker(line, &OTHERS, marked)).is_some()
        };
        match answer_start {
            Some(from) => {
                let turn = (text[start..from].to_owned(), text[from..].to_owned());
                script.turns.push(turn);
            }
            None => {
                script.open = Some(asked(&text[start..], mark));
            }
        }
        let is_answer = |at: usize| {
            let mut names = SPEAKERS
                .iter()
                .map(|(name, _)| *name)
                .filter(|name| *name != answer);
            names.any(|name| speaker(&text[at..], &[name], marked).is_some())
        };
        script.has_other_answer = paragraphs(text).any(is_answer);
        let answers = script.turns.iter().map(|(_, answer)| answer);
        script.has_other_speaker = answers
            .flat_map(|answer| answer.lines().skip(1))
            .any(begins_as_another);
        Some(script)
    }
}

/// A question as it is to be answered.
fn asked(question: &str, answer: &str) -> String {
    let question = question.trim_end_matches(['\n', '\r']);
    format!("{question}\n\n{answer}:")
}

/// Where the paragraphs of a text begin: at its start, and after a line with nothing but blanks.
fn paragraphs(text: &str) -> impl Iterator<Item = usize> {
    let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
    let begins = move |&at: &usize| {
        let before = text[..at - 1].trim_end_matches([' ', '\t', '\r']);
        before.ends_with('\n')
    };
    std::iter::once(0).chain(breaks.filter(begins))
}

/// What makes a heading of a paragraph's first line, as `### ` does.
fn heading(paragraph: &str) -> &str {
    let bare = paragraph.trim_start_matches('#');
    match bare.len() < paragraph.len() {
        true => &paragraph[..paragraph.len() - bare.trim_start_matches(' ').len()],
        false => "",
    }
}

/// The name at the start of a paragraph, as it stands there with what it is marked by, if it is one of
/// `names`.
fn speaker<'a>(paragraph: &'a str, names: &[&str], marked: &str) -> Option<&'a str> {
    let bare = paragraph.strip_prefix(marked)?;
    names.iter().find_map(|name| {
        let (start, rest) = bare.split_at_checked(name.len())?;
        let is_named = start.eq_ignore_ascii_case(name) && rest.starts_with(':');
        is_named.then(|| &paragraph[..marked.len() + name.len()])
    })
}
