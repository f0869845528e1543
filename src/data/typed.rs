//! What a user typed round the data, and what should be told of it: line ends that were changed, and
//! signs of other tokenizers, which are plain text here.

use super::formats::Formats;
use super::words::joined;
use crate::setting::{
    KEEP_CR, PROMPT_FORMATTER, RESPONSE_END, RESPONSE_FORMATTER, SYSTEM_FORMATTER, Setting,
};
use crate::tokenizer::{END_OF_TEXT, Text, Tokenizer};

/// The settings of all texts round the data.
pub const AROUND_DATA: [Setting; 4] = [
    PROMPT_FORMATTER,
    RESPONSE_FORMATTER,
    SYSTEM_FORMATTER,
    RESPONSE_END,
];

impl Formats {
    /// The texts that were typed, with their settings.
    pub fn typed_texts(&self) -> Vec<(Setting, &Text)> {
        let templates = [
            (PROMPT_FORMATTER, &self.prompt),
            (RESPONSE_FORMATTER, &self.response),
            (SYSTEM_FORMATTER, &self.system),
        ];
        let own = templates
            .into_iter()
            .flat_map(|(setting, template)| template.own_texts().map(move |text| (setting, text)));
        own.chain([(RESPONSE_END, &self.end)]).collect()
    }

    /// What to tell of those under these settings, a line each.
    pub fn told(&self, settings: &[Setting]) -> Vec<String> {
        let changed = self.changed.iter().filter(|of| settings.contains(of));
        let changed: Vec<Setting> = changed.copied().collect();
        let texts = self.typed_texts().into_iter();
        let texts = texts.filter(|(setting, _)| settings.contains(setting));
        new_line_ends(&changed)
            .into_iter()
            .chain(signs(texts))
            .chain(
                Some(&self.end)
                    .filter(|_| settings.contains(&RESPONSE_END))
                    .and_then(unsaid_end),
            )
            .collect()
    }
}

/// What to tell of signs in texts that were typed, which their author may take for something else.
pub fn signs<'a>(texts: impl IntoIterator<Item = (Setting, &'a Text)>) -> Vec<String> {
    let texts: Vec<_> = texts.into_iter().collect();
    let told = [foreign_signs(&texts), unread_escapes(&texts)];
    told.into_iter().flatten().collect()
}

/// What to tell of backslashes that stay what they are, where other programs read an escape.
fn unread_escapes(texts: &[(Setting, &Text)]) -> Option<String> {
    let (mut settings, mut found) = (Vec::new(), Vec::new());
    for &(setting, text) in texts {
        for escape in text.parts().flat_map(escapes) {
            if !settings.contains(&setting) {
                settings.push(setting);
            }
            if !found.contains(&escape) {
                found.push(escape);
            }
        }
    }
    (!found.is_empty()).then(|| {
        format!(
            "{} in {}: a backslash and what follows it; \\n alone is read as the sign that it means, and the shell \
             types others, as $'\\t' in bash",
            joined(&found),
            joined(&settings)
        )
    })
}

/// What would be an escape to others. A backslash before a line end was typed twice.
fn escapes(text: &str) -> impl Iterator<Item = String> {
    text.match_indices('\\').filter_map(|(at, _)| {
        let rest = &text[at + 1..];
        let is_hex = |digits: usize| {
            let digits = rest.get(1..=digits);
            digits.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
        };
        match rest.chars().next()? {
            sign @ ('r' | 't' | '0') => Some(format!("\\{sign}")),
            'x' if is_hex(2) => Some(format!("\\{}", &rest[..3])),
            'u' if is_hex(4) => Some(format!("\\{}", &rest[..5])),
            '\n' => Some("\\\\n".to_owned()),
            _ => None,
        }
    })
}

/// What to tell of an end that goes on behind the token at which answers end.
fn unsaid_end(end: &Text) -> Option<String> {
    let behind = end.parts().skip(1).any(|part| !part.is_empty());
    behind.then(|| {
        format!(
            "{RESPONSE_END} goes on behind {END_OF_TEXT}, where answers end: that is learnt and never said"
        )
    })
}

/// What to tell of settings whose line ends were changed, if there are any.
pub fn new_line_ends(settings: &[Setting]) -> Option<String> {
    let named = joined(settings);
    (!settings.is_empty())
        .then(|| format!("CR LF and CR became LF in {named}; {KEEP_CR} keeps them"))
}

/// What to tell of signs of other tokenizers in texts that were typed, if there are any.
fn foreign_signs(texts: &[(Setting, &Text)]) -> Option<String> {
    let (mut settings, mut signs) = (Vec::new(), Vec::new());
    for &(setting, text) in texts {
        for sign in text.foreign_signs() {
            if !settings.contains(&setting) {
                settings.push(setting);
            }
            if !signs.contains(&sign) {
                signs.push(sign);
            }
        }
    }
    let shown = |sign: &&str| {
        let tokens = Tokenizer::world().encode(sign).len();
        format!("{sign} ({tokens} tokens)")
    };
    (!signs.is_empty()).then(|| {
        format!(
            "{} in {}: other tokenizers' signs, which are plain text here and end nothing by themselves; \
             the end-of-text token is typed {END_OF_TEXT}",
            joined(&signs.iter().map(shown).collect::<Vec<_>>()),
            joined(&settings)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::template::Template;

    #[test]
    fn typed_signs_of_other_tokenizers_are_told_with_their_setting() {
        let template = |text| Template::parse(text).unwrap();
        let formats = Formats {
            prompt: template("<|im_start|>user\n{input}<|im_end|>{?</s>{more}}"),
            end: Text::typed("</s>"),
            ..Formats::default()
        };
        let told = formats.told(&AROUND_DATA);
        let wanted = "<|im_start|> (7 tokens), <|im_end|> (7 tokens) and </s> (3 tokens) in \
                      prompt_formatter and response_end: ";
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(wanted), "{told:?}");
        assert!(told[0].ends_with(END_OF_TEXT), "{told:?}");
        let told = formats.told(&[RESPONSE_END]);
        assert!(
            told[0].starts_with("</s> (3 tokens) in response_end: "),
            "{told:?}"
        );
        let own = Formats {
            end: Text::typed(END_OF_TEXT),
            ..Formats::default()
        };
        assert!(own.told(&AROUND_DATA).is_empty());
    }

    #[test]
    fn escapes_that_are_none_are_told() {
        let formats = Formats {
            prompt: Template::parse("Q:\\t\\x16\\u00e9{input}\\\n").unwrap(),
            end: Text::typed("\\r\\0"),
            ..Formats::default()
        };
        let told = formats.told(&AROUND_DATA);
        let wanted = "\\t, \\x16, \\u00e9, \\\\n, \\r and \\0 in prompt_formatter and response_end: a backslash";
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(wanted), "{told:?}");
        let read = Formats {
            prompt: Template::parse("Q:\t{input}\n \\xi \\user \\").unwrap(),
            ..Formats::default()
        };
        assert!(read.told(&AROUND_DATA).is_empty());
    }

    #[test]
    fn an_end_that_goes_on_behind_the_token_is_told() {
        let told = |end: &str| {
            let end = Text::typed(end);
            let formats = Formats {
                end,
                ..Formats::default()
            };
            formats.told(&[RESPONSE_END]).len()
        };
        assert_eq!(told("x<|rwkv_tokenizer_end_of_text|>y"), 1);
        assert_eq!(told("x<|rwkv_tokenizer_end_of_text|>"), 0);
    }
}
