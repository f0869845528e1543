//! What became of a row: its prompts and completions, and what a person should be told of it.

use std::collections::BTreeSet;

use super::chat::AnswerRole;
use super::format::{DataFormat, Shape};
use super::formats::Formats;
use crate::setting::{KEEP_CR, RESPONSE_END};
use crate::tokenizer::{END_OF_TEXT, Text};

/// A row as text.
#[derive(Debug)]
pub struct Rendered {
    /// What its keys were taken for.
    pub format: DataFormat,
    /// At least one, of which at least one is learnt.
    pub turns: Vec<RenderedTurn>,
    /// How many messages follow the last answer.
    pub left_out: usize,
    /// Keys of its messages whose values go nowhere.
    pub unused_in_messages: BTreeSet<String>,
    /// Whether its own `system` is the system message.
    pub(super) has_system: bool,
    /// What else should be told of it.
    pub remarks: BTreeSet<Remark>,
}

impl Rendered {
    /// Looks for ends of texts that are none here, and for what stands twice where it should once.
    pub(super) fn remark_texts(&mut self, formats: &Formats) {
        let turns = std::mem::take(&mut self.turns);
        let texts = turns.iter();
        self.remark_signs(formats, texts.flat_map(|turn| [&turn.prompt, &turn.completion]));
        // What of the end is text may stand there already; the token cannot.
        let end = formats.end.parts().next().unwrap_or_default();
        let has_end = |turn: &RenderedTurn| turn.completion.ends_with(end);
        let is_scripted = self.format == DataFormat::Shape(Shape::Text);
        if !end.is_empty() && !is_scripted && turns.iter().any(has_end) {
            self.remarks.insert(Remark::DoubleEnd);
        }
        let has_double_blank = |turn: &RenderedTurn| {
            let meet = turn.prompt.ends_with(" ") && turn.completion.starts_with(" ");
            meet || turn.has_double_blank
        };
        if turns.iter().any(has_double_blank) {
            self.remarks.insert(Remark::DoubleBlank);
        }
        self.turns = turns;
    }

    /// Looks for signs of other tokenizers in a row's own texts; what was typed is told by itself.
    pub(super) fn remark_signs<'a>(
        &mut self,
        formats: &Formats,
        texts: impl IntoIterator<Item = &'a Text>,
    ) {
        let mut signs = texts.into_iter().flat_map(Text::foreign_signs).peekable();
        if signs.peek().is_none() {
            return;
        }
        let typed = formats.typed_texts();
        let typed: Vec<&str> = typed.iter().flat_map(|(_, text)| text.foreign_signs()).collect();
        if signs.any(|sign| !typed.contains(&sign)) {
            self.remarks.insert(Remark::ForeignSign);
        }
    }
}

/// What a person should be told of a row, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// Line ends in it were changed.
    NewLineEnds,
    /// A key stands in it more than once, of which the last counts.
    RepeatedKeys,
    /// Its weight says neither that it is learnt nor that it is not.
    OddWeight,
    /// It asks nothing.
    EmptyQuestion,
    /// An answer of a `text` holds a line that begins as another speaker's does.
    OtherSpeaker,
    /// A sign of another tokenizer, such as an end of text, stands in it as plain text.
    ForeignSign,
    /// An answer ends already in what is put behind it.
    DoubleEnd,
    /// A blank of a formatter and one of the row stand side by side.
    DoubleBlank,
}

impl Remark {
    /// What is said of `rows`, such as "3 rows, from line 7 on".
    pub fn told(self, rows: &str) -> String {
        match self {
            Self::NewLineEnds => {
                format!("CR LF and CR became LF in {rows}; {KEEP_CR} keeps them")
            }
            Self::RepeatedKeys => {
                format!("a key stands more than once in {rows}: the last one counts, as in Python")
            }
            Self::OddWeight => format!(
                "`weight`, `train`, `training` or `loss` is neither 0 nor 1 in {rows}: learnt like all others"
            ),
            Self::EmptyQuestion => {
                format!("the question is empty in {rows}: learnt like all others")
            }
            Self::OtherSpeaker => format!(
                "an answer holds a line that begins as another speaker's in {rows}: it is learnt with \
                 the answer; a blank line before \"User:\" begins a question"
            ),
            Self::DoubleEnd => format!(
                "an answer ends in the {RESPONSE_END} already in {rows}: it is learnt with that twice; \
                 take it out of the data, or leave {RESPONSE_END} out"
            ),
            Self::DoubleBlank => format!(
                "a blank of a formatter and another stand side by side in {rows}: two blanks are \
                 other tokens than one; take one out of the formatter or of the data"
            ),
            Self::ForeignSign => format!(
                "a sign of another tokenizer, such as </s> or <|endoftext|>, stands in {rows}: it is plain \
                 text; take it out, and give {RESPONSE_END} '{END_OF_TEXT}' if it is to end answers"
            ),
        }
    }
}

/// A prompt and its completion.
#[derive(Debug)]
pub struct RenderedTurn {
    /// What is read.
    pub prompt: Text,
    /// What is said.
    pub completion: Text,
    /// Whether the completion is learnt.
    pub role: AnswerRole,
    /// Whether a blank of a template and one of a value stand side by side in it.
    pub has_double_blank: bool,
}
