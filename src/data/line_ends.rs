//! Line ends inside texts. Windows writes CR LF, the models know LF: every RWKV program replaces the
//! one by the other, or an answer that was learnt with CR LF ends nothing.

use crate::tokenizer::Text;

/// What becomes of CR LF and CR in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnds {
    /// Each becomes LF.
    Unify,
    /// They stay.
    Keep,
}

impl LineEnds {
    /// Does so, and says whether the text changed.
    pub fn apply(self, text: &mut String) -> bool {
        let changes = self == Self::Unify && text.contains('\r');
        if changes {
            *text = text.replace("\r\n", "\n").replace('\r', "\n");
        }
        changes
    }

    /// The same for a text that was typed.
    pub fn apply_to(self, text: &mut Text) {
        text.change(|part| {
            self.apply(part);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_end_becomes_one_line_feed() {
        for (text, unified) in [
            ("a\r\n\r\nb\rc\n\rd\r\r\n", "a\n\nb\nc\n\nd\n\n"),
            ("a\nb", "a\nb"),
            ("", ""),
        ] {
            let mut changed = text.to_owned();
            assert_eq!(LineEnds::Unify.apply(&mut changed), text != unified);
            assert_eq!(changed, unified);
            let mut kept = text.to_owned();
            assert!(!LineEnds::Keep.apply(&mut kept));
            assert_eq!(kept, text);
        }
    }
}
