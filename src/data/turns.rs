//! The turns of a row: its questions and answers as they go through the templates.

use super::chat::{AnswerRole, Chat, Turn};
use super::error::DataError;
use super::format::{Script, Shape};
use super::formats::{Formats, system_of};
use super::jsonl::Row;
use super::rendered::RenderedTurn;
use super::template::Template;
use crate::setting::{PROMPT_FORMATTER, RESPONSE_FORMATTER};
use crate::tokenizer::Text;

impl Formats {
    /// The only turn of a row that has the templates' keys.
    pub(super) fn turn(&self, row: &Row) -> Result<RenderedTurn, DataError> {
        let turn = RenderedTurn {
            prompt: self.prompt.render(row)?,
            completion: self.response.render(row)?,
            role: AnswerRole::Learnt,
            has_double_blank: [&self.prompt, &self.response]
                .into_iter()
                .any(|template| template.doubles_blank(|key| row.text_of(key))),
        };
        // A response without a key may be what is wanted.
        match self.response.keys().next() {
            Some(key) if self.response.is_blank(row) => Err(DataError::EmptyAnswer {
                line: row.line(),
                key: key.to_owned(),
            }),
            _ => Ok(turn),
        }
    }

    /// The prompt and the completion of each turn of a conversation.
    pub(super) fn turns(
        &self,
        row: &Row,
        shape: Shape,
        chat: &Chat,
    ) -> Result<Vec<RenderedTurn>, DataError> {
        for (setting, template, key) in [
            (PROMPT_FORMATTER, &self.prompt, "input"),
            (RESPONSE_FORMATTER, &self.response, "output"),
        ] {
            // Otherwise the message would be left out without a word.
            if !template.keys().any(|found| found == key) {
                return Err(DataError::NoPlace {
                    line: row.line(),
                    has: shape.keys()[0],
                    setting,
                    key,
                });
            }
        }
        let mut lead = Text::default();
        let own = chat.system.iter().map(String::as_str);
        for system in system_of(row, chat).into_iter().chain(own) {
            lead.push(&self.system.render_with(row, "system", system)?);
        }
        let turn = |turn: &Turn| {
            let mut prompt = std::mem::take(&mut lead);
            prompt.push(&self.prompt.render_with(row, "input", &turn.question)?);
            let doubles = |template: &Template, own: &str, value: &str| {
                template.doubles_blank(|key| match key == own {
                    true => Some(value),
                    false => row.text_of(key),
                })
            };
            Ok(RenderedTurn {
                prompt,
                completion: self.response.render_with(row, "output", &turn.answer)?,
                role: turn.role,
                has_double_blank: doubles(&self.prompt, "input", &turn.question)
                    || doubles(&self.response, "output", &turn.answer),
            })
        };
        chat.turns.iter().map(turn).collect()
    }

    /// The turns of a text, without the ends that it has already.
    pub(super) fn lines(&self, script: Script) -> Vec<RenderedTurn> {
        let turn = |(prompt, answer): (String, String)| {
            // What of the end is text may stand there already; the token cannot.
            let end = self.end.parts().next().unwrap_or_default();
            let bare = answer.strip_suffix(end).unwrap_or(&answer);
            RenderedTurn {
                prompt: prompt.into(),
                completion: bare.into(),
                role: AnswerRole::Learnt,
                has_double_blank: false,
            }
        };
        script.turns.into_iter().map(turn).collect()
    }
}
