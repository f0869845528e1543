//! What a person should be told of a row's texts as they are rendered: ends that are none here, and
//! what stands twice where it should once.

use super::format::{DataFormat, Shape};
use super::formats::Formats;
use super::rendered::{Remark, Rendered, RenderedTurn};
use crate::tokenizer::Text;

/// Signs that data sets have where an image, a film or a sound was.
const MEDIA_SIGNS: [&str; 3] = ["<image>", "<video>", "<audio>"];

impl Formats {
    /// Looks at all turns of a row.
    pub(super) fn remark_turns(&self, rendered: &mut Rendered) {
        let turns = std::mem::take(&mut rendered.turns);
        let texts = turns.iter();
        let texts = texts.flat_map(|turn| [&turn.prompt, &turn.completion]);
        self.remark_signs(rendered, texts);
        let prompts = turns.iter().map(|turn| &turn.prompt);
        self.remark_media(rendered, prompts);
        // What of the end is text may stand in the row already, and all of it in a formatter.
        let text: Text = self.end.parts().next().unwrap_or_default().into();
        let has_end = |turn: &RenderedTurn| {
            let has_text = !text.is_empty() && turn.completion.ends_with(&text);
            has_text || turn.completion.ends_with(&self.end)
        };
        let is_scripted = rendered.format == DataFormat::Shape(Shape::Text);
        if !self.end.is_empty() && !is_scripted && turns.iter().any(has_end) {
            rendered.remarks.insert(Remark::DoubleEnd);
        }
        let has_double_blank = |turn: &RenderedTurn| {
            let meet = turn.prompt.ends_blank() && turn.completion.starts_blank();
            let meets_end = turn.completion.ends_blank() && self.end.starts_blank();
            meet || (meets_end && !has_end(turn)) || turn.has_double_blank
        };
        if turns.iter().any(has_double_blank) {
            rendered.remarks.insert(Remark::DoubleBlank);
        }
        rendered.turns = turns;
    }

    /// Looks for signs of other tokenizers in a row's own texts; what was typed is told by itself.
    pub(super) fn remark_signs<'a>(
        &self,
        rendered: &mut Rendered,
        texts: impl IntoIterator<Item = &'a Text>,
    ) {
        let signs = texts.into_iter().flat_map(Text::foreign_signs);
        let mut signs = signs.peekable();
        if signs.peek().is_none() {
            return;
        }
        let typed = self.typed_texts();
        let typed = typed.iter().flat_map(|(_, text)| text.foreign_signs());
        let typed: Vec<&str> = typed.collect();
        if signs.any(|sign| !typed.contains(&sign)) {
            rendered.remarks.insert(Remark::ForeignSign);
        }
    }

    /// Looks for a sign of an image in prompts; an answer may well be code that has one.
    pub(super) fn remark_media<'a>(
        &self,
        rendered: &mut Rendered,
        prompts: impl IntoIterator<Item = &'a Text>,
    ) {
        let mut parts = prompts.into_iter().flat_map(Text::parts);
        let holds_one = |part: &str| MEDIA_SIGNS.iter().any(|sign| part.contains(sign));
        if parts.any(holds_one) {
            rendered.remarks.insert(Remark::MediaSign);
        }
    }
}
