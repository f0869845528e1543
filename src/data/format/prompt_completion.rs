//! Rows of a `prompt` and a `completion`: texts, as OpenAI's older files have them, or lists of
//! messages (as JSON text, too), as TRL has them. Answers among the prompt's messages are read and not learnt.

use super::conversation::messages;
use super::{Purpose, Shape};
use crate::data::chat::{AnswerRole, Chat, Extent, Turn};
use crate::data::error::{DataError, MessageError};
use crate::data::jsonl::Row;

/// The prompt as a conversation's last question, and the completion as its answer.
pub fn read(row: &Row, purpose: Purpose) -> Result<Chat, DataError> {
    let line = row.line();
    let mut chat = Chat::default();
    match messages(row, "prompt")? {
        Some(messages) => chat.add(line, messages, Extent::All, AnswerRole::Read)?,
        None => chat.question = Some(Shape::PromptCompletion.text(row, "prompt")?.to_owned()),
    }
    if purpose == Purpose::Answer {
        return Ok(chat);
    }
    let before = chat.turns.len();
    match messages(row, "completion")? {
        Some(messages) => chat.add(line, messages, Extent::LastAnswer, AnswerRole::Learnt)?,
        None => {
            let answer = super::answer(row, Shape::PromptCompletion, "completion")?;
            let no_question = DataError::Message {
                line,
                number: chat.messages() + 1,
                reason: MessageError::AnswerToNothing,
            };
            let question = chat.question.take().ok_or(no_question)?;
            chat.turns.push(Turn {
                question,
                answer,
                role: AnswerRole::Learnt,
            });
        }
    }
    match chat.turns.len() == before {
        true => Err(DataError::NoAnswer {
            line,
            key: "completion",
        }),
        false => Ok(chat),
    }
}
