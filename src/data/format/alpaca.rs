//! Alpaca's rows: an `instruction`, an `input` that it is about (often empty, or not there), and the
//! `output`.

use super::{Purpose, Shape, answer};
use crate::data::chat::{AnswerRole, Chat, Turn};
use crate::data::error::DataError;
use crate::data::jsonl::Row;

/// One question, the input on a line after the instruction.
pub fn read(row: &Row, purpose: Purpose) -> Result<Chat, DataError> {
    let mut question = Shape::Alpaca.text(row, "instruction")?.to_owned();
    let input = match row.has("input") {
        true => row.text("input")?,
        false => "",
    };
    if !input.trim().is_empty() {
        if !question.is_empty() {
            question.push('\n');
        }
        question.push_str(input);
    }
    let mut chat = Chat::default();
    match purpose {
        Purpose::Answer => chat.question = Some(question),
        Purpose::Learn => chat.turns.push(Turn {
            question,
            answer: answer(row, Shape::Alpaca, "output")?,
            role: AnswerRole::Learnt,
        }),
    }
    Ok(chat)
}
