//! How a row of data becomes prompts and completions: which of the formats it is of, and the
//! templates that its texts go through.

use std::collections::BTreeSet;

use super::advice;
use super::bad_rows::OnBadRow;
use super::chat::{AnswerRole, Chat, MEDIA, Turn, WEIGHTS};
use super::error::DataError;
use super::format::{Content, DataFormat, Purpose, Shape};
use super::jsonl::Row;
use super::line_ends::LineEnds;
use super::rendered::{Remark, Rendered, RenderedTurn};
use super::template::Template;
use crate::setting::{SYSTEM_FORMATTER, Setting};
use crate::tokenizer::Text;

/// What stands between an answer and the next question of a conversation, unless answers have an
/// end of their own.
pub const BETWEEN: &str = "\n\n";

/// How a row of data becomes a prompt and a completion, or a conversation's prompts and
/// completions in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Formats {
    /// What the keys of each row mean; `None` goes by the keys that it has.
    pub format: Option<DataFormat>,
    /// Text of a system message, the key `system`; it is part of the first prompt.
    pub system: Template,
    /// Text of a prompt; a conversation's question is the key `input`.
    pub prompt: Template,
    /// Text of a completion; a conversation's answer is the key `output`.
    pub response: Template,
    /// Follows every whole completion, and is learnt with it; may be empty.
    pub end: Text,
    /// Keep only so many of each prompt's last tokens.
    pub prompt_cutoff: Option<usize>,
    /// Keep only so many of each completion's first tokens.
    pub completion_cutoff: Option<usize>,
    /// What becomes of line ends inside values.
    pub line_ends: LineEnds,
    /// Which of these texts had other line ends when they were typed.
    pub changed: Vec<Setting>,
    /// What becomes of a file with rows that cannot be used.
    pub on_bad_row: OnBadRow,
}

impl Default for Formats {
    fn default() -> Self {
        let template =
            |text| Template::parse(text).expect("a template that is written here is one");
        Self {
            format: None,
            system: template("system: {system}\n\n"),
            prompt: template("user: {input}\n\nassistant:"),
            response: template(" {output}"),
            end: Text::default(),
            prompt_cutoff: None,
            completion_cutoff: None,
            line_ends: LineEnds::Unify,
            changed: Vec::new(),
            on_bad_row: OnBadRow::Refuse,
        }
    }
}

impl Formats {
    /// Reads a row, with the line ends that its values are to have.
    pub fn row(&self, line: usize, bytes: &[u8]) -> Result<Row, DataError> {
        let mut row = Row::parse(line, bytes)?;
        row.change_line_ends(self.line_ends);
        Ok(row)
    }

    /// The prompts and completions of a row. A conversation's last question is nothing to learn
    /// from unless it is answered.
    pub fn render(&self, row: &Row) -> Result<Rendered, DataError> {
        self.rendered(row).map_err(|error| self.advised(error))
    }

    /// An error, with what to type in place of the templates if it is about a key that they name.
    fn advised(&self, mut error: DataError) -> DataError {
        let is_of_system = |key: &str| self.system.keys().any(|of| of == key);
        if let DataError::MissingKey {
            key, keys, renamed, ..
        } = &mut error
        {
            if is_of_system(key) {
                *renamed = Some(format!(
                    "{SYSTEM_FORMATTER} names it; a system message's own key is {{system}}"
                ));
                return error;
            }
            let renamed_system = |system: &str| self.system.with_only_key(system);
            *renamed = advice::formatters(keys, renamed_system, |question, answer| {
                let prompt = self.prompt.with_only_key(question)?;
                Some([prompt, self.response.with_only_key(answer)?])
            });
        }
        error
    }

    fn rendered(&self, row: &Row) -> Result<Rendered, DataError> {
        let line = row.line();
        let mut rendered = self.unread(row, Purpose::Learn);
        // They say it of the whole row, unless a template has them.
        for key in WEIGHTS {
            let weight = row.text_of(key).filter(|_| is_weight(row, key));
            match weight
                .filter(|_| !self.uses(key, &rendered))
                .map(AnswerRole::by_weight)
            {
                Some(Some(AnswerRole::Read)) => return Err(DataError::NothingLearnt { line }),
                Some(None) => {
                    rendered.remarks.insert(Remark::OddWeight);
                }
                Some(Some(AnswerRole::Learnt)) | None => {}
            }
        }
        let DataFormat::Shape(shape) = rendered.format else {
            rendered.turns.push(self.turn(row)?);
            if self.prompt.keys().next().is_some() && self.prompt.is_blank(row) {
                rendered.remarks.insert(Remark::EmptyQuestion);
            }
            self.remark_turns(&mut rendered);
            return Ok(rendered);
        };
        self.check_no_media(row, &rendered)?;
        match shape.read(row, Purpose::Learn)? {
            Content::Chat(mut chat) => {
                self.read_chat(row, &mut chat, &mut rendered);
                if chat
                    .turns
                    .iter()
                    .any(|turn| turn.question.trim().is_empty())
                {
                    rendered.remarks.insert(Remark::EmptyQuestion);
                }
                rendered.turns = self.turns(row, shape, &chat)?;
                rendered.left_out = chat.left_out;
            }
            Content::Script(script) => {
                rendered.left_out = usize::from(script.open.is_some());
                let told = [
                    (Remark::OtherSpeaker, script.has_other_speaker),
                    (Remark::NoQuestion, script.begins_with_answer),
                    (Remark::OtherAnswer, script.has_other_answer),
                ];
                let told = told.into_iter().filter(|(_, is_so)| *is_so);
                rendered.remarks.extend(told.map(|(remark, _)| remark));
                rendered.turns = self.lines(script);
                let is_empty = |turn: &RenderedTurn| {
                    let plain = turn.completion.as_plain();
                    plain.is_some_and(|text| text.trim().is_empty())
                };
                if rendered.turns.iter().any(is_empty) {
                    return Err(DataError::EmptyAnswer {
                        line,
                        key: "text".to_owned(),
                    });
                }
            }
        }
        self.remark_turns(&mut rendered);
        let key = shape.keys()[0];
        if rendered.turns.is_empty() {
            return Err(DataError::NoAnswer { line, key });
        }
        match rendered
            .turns
            .iter()
            .all(|turn| turn.role == AnswerRole::Read)
        {
            true => Err(DataError::NothingLearnt { line }),
            false => Ok(rendered),
        }
    }

    /// Whether the value of a key went into what was rendered of its row.
    pub fn uses(&self, key: &str, rendered: &Rendered) -> bool {
        let names = |template: &Template| template.keys().any(|named| named == key);
        match rendered.format {
            DataFormat::Template => names(&self.prompt) || names(&self.response),
            DataFormat::Shape(shape) if shape.reads(key) => true,
            DataFormat::Shape(Shape::Text) => false,
            // Of these, what is said takes the place.
            DataFormat::Shape(_) => match key {
                "system" => rendered.has_system,
                "input" | "output" => false,
                _ => [&self.system, &self.prompt, &self.response]
                    .into_iter()
                    .any(names),
            },
        }
    }

    /// The texts of a row up to where it is to be answered: its prompt, or its conversation up to
    /// the last question. They are tokenised one by one, as in training. Beside them stands how the
    /// row was read, without turns.
    pub fn prompt(&self, row: &Row) -> Result<(Vec<Text>, Rendered), DataError> {
        let mut rendered = self.unread(row, Purpose::Answer);
        let remark = |texts: Vec<Text>, mut rendered: Rendered| {
            self.remark_signs(&mut rendered, &texts);
            self.remark_media(&mut rendered, &texts);
            Ok((texts, rendered))
        };
        let DataFormat::Shape(shape) = rendered.format else {
            if self.prompt.doubles_blank(|key| row.text_of(key)) {
                rendered.remarks.insert(Remark::DoubleBlank);
            }
            let prompt = self
                .prompt
                .render(row)
                .map_err(|error| self.advised(error))?;
            return remark(vec![prompt], rendered);
        };
        self.check_no_media(row, &rendered)?;
        let turns = match shape.read(row, Purpose::Answer)? {
            Content::Chat(mut chat) => {
                // An open question is the prompt of an answer to come.
                chat.turns.extend(chat.question.take().map(Turn::open));
                self.read_chat(row, &mut chat, &mut rendered);
                self.turns(row, shape, &chat)?
            }
            Content::Script(mut script) => {
                let open = script.open.take().map(|prompt| (prompt, String::new()));
                script.turns.extend(open);
                self.lines(script)
            }
        };
        if turns.iter().any(|turn| turn.has_double_blank) {
            rendered.remarks.insert(Remark::DoubleBlank);
        }
        let between = match self.end.is_empty() {
            true => &BETWEEN.into(),
            false => &self.end,
        };
        let mut texts = Vec::new();
        for turn in turns {
            texts.extend([turn.prompt, turn.completion, between.clone()]);
        }
        // The last completion, and what would follow it, is what is asked for.
        texts.truncate(texts.len().saturating_sub(2));
        match texts.is_empty() {
            true => Err(DataError::NoAnswer {
                line: row.line(),
                key: shape.keys()[0],
            }),
            false => remark(texts, rendered),
        }
    }

    /// Errors for a row of a shape with an image beside its texts, which are most likely about it.
    fn check_no_media(&self, row: &Row, rendered: &Rendered) -> Result<(), DataError> {
        let is_there = |key: &&str| row.says_something(key) && !self.uses(key, rendered);
        match MEDIA.into_iter().find(is_there) {
            Some(key) => Err(DataError::Media {
                line: row.line(),
                key,
            }),
            None => Ok(()),
        }
    }

    /// What is known of a row before its content is read.
    fn unread(&self, row: &Row, purpose: Purpose) -> Rendered {
        let remarks = [
            (Remark::NewLineEnds, row.has_new_line_ends()),
            (Remark::RepeatedKeys, row.has_repeated_keys()),
        ];
        let remarks = remarks.into_iter().filter(|(_, is_so)| *is_so);
        Rendered {
            format: self.format_of(row, purpose),
            turns: Vec::new(),
            left_out: 0,
            unused_in_messages: BTreeSet::new(),
            has_system: false,
            remarks: remarks.map(|(remark, _)| remark).collect(),
        }
    }

    /// Changes the line ends of a conversation, and notes what of it goes nowhere.
    fn read_chat(&self, row: &Row, chat: &mut Chat, rendered: &mut Rendered) {
        if chat.change_line_ends(self.line_ends) {
            rendered.remarks.insert(Remark::NewLineEnds);
        }
        let has_place = self.system.keys().any(|key| key == "system");
        rendered.has_system = has_place && system_of(row, chat).is_some();
        let told = [
            (Remark::RepeatedKeys, chat.has_repeated_keys),
            (Remark::OddWeight, chat.has_odd_weight),
        ];
        let told = told.into_iter().filter(|(_, is_so)| *is_so);
        rendered.remarks.extend(told.map(|(remark, _)| remark));
        rendered.unused_in_messages = std::mem::take(&mut chat.unused);
        if !has_place && !chat.system.is_empty() {
            rendered.unused_in_messages.insert("system".to_owned());
        }
    }

    /// What the keys of a row mean. Templates of whose keys all are there count first, whatever
    /// else a row holds; but Alpaca's rows have `input` and `output`, too, and templates that name
    /// no more would drop the instruction.
    fn format_of(&self, row: &Row, purpose: Purpose) -> DataFormat {
        if let Some(format) = self.format {
            return format;
        }
        let mut named = self.templates(purpose).flat_map(Template::keys);
        let is_shape = |shape: &Shape| {
            let is_named = |key: &&str| {
                let mut named = self.templates(purpose).flat_map(Template::keys);
                named.any(|k| k == *key)
            };
            shape.fits(row, purpose) && !shape.keys().iter().any(is_named)
        };
        let mut keys = self.templates(purpose).flat_map(Template::required_keys);
        let shape = match keys.all(|key| row.has_text(key)) {
            true => Some(Shape::Alpaca)
                .filter(is_shape)
                .filter(|_| named.all(|key| ["input", "output"].contains(&key))),
            false => Shape::ALL.into_iter().find(is_shape),
        };
        shape.map_or(DataFormat::Template, DataFormat::Shape)
    }

    /// The keys of parts of the templates that may be left out.
    pub fn optional_keys(&self) -> impl Iterator<Item = &str> {
        let templates = [&self.system, &self.prompt, &self.response];
        templates.into_iter().flat_map(Template::optional_keys)
    }

    /// The templates that a row's keys go through, but for the system message's.
    fn templates(&self, purpose: Purpose) -> impl Iterator<Item = &Template> {
        let response = (purpose == Purpose::Learn).then_some(&self.response);
        [&self.prompt].into_iter().chain(response)
    }
}

/// Whether a row says by a key that it is learnt from, or not. A word, as of a split, does not;
/// in CSV numbers are strings.
pub fn is_weight(row: &Row, key: &str) -> bool {
    let is_weight = |text| !row.has_string(key) || AnswerRole::by_weight(text).is_some();
    WEIGHTS.contains(&key) && row.text_of(key).is_some_and(is_weight)
}

/// The system message that a row has beside a conversation without one.
pub(super) fn system_of<'a>(row: &'a Row, chat: &Chat) -> Option<&'a str> {
    let text = row.text_of("system").filter(|_| chat.system.is_empty());
    text.filter(|text| !text.trim().is_empty())
}
