//! The flags under "Data": how a line of data becomes what is read and what is learnt.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};

use super::DEFAULTS;
use crate::cli::values::{
    Auto, Cutoff, completion_cutoff, one_of_or_auto, prompt_cutoff, template, text, typed,
};
use crate::data::Formats;
use crate::data::bad_rows::OnBadRow;
use crate::data::format::DataFormat;
use crate::data::line_ends::LineEnds;
use crate::data::template::Template;
use crate::data::typed::AROUND_DATA;
use crate::setting::{
    PROMPT_FORMATTER, RESPONSE_END, RESPONSE_FORMATTER, SYSTEM_FORMATTER, Setting,
};
use crate::tokenizer::Text;
use crate::train::Options;

#[derive(Args, Debug)]
#[command(rename_all = "snake_case", next_help_heading = "Data")]
pub struct DataArgs {
    #[command(flatten)]
    formatters: Formatters,

    /// Keep only this many of the prompt's last tokens; -1 keeps all
    #[arg(
        long, default_value_t = Cutoff(DEFAULTS.formats.prompt_cutoff),
        value_parser = prompt_cutoff, value_name = "N"
    )]
    prompt_cutoff: Cutoff,

    /// Keep only this many of the completion's first tokens; -1 keeps all
    #[arg(
        long, default_value_t = Cutoff(DEFAULTS.formats.completion_cutoff),
        value_parser = completion_cutoff, value_name = "N"
    )]
    completion_cutoff: Cutoff,
}

/// The texts around what a line of data holds; `convert` takes them too.
#[derive(Args, Debug)]
#[command(rename_all = "snake_case")]
pub struct Formatters {
    /// What the keys of a row mean: template (those of the formatters), messages, sharegpt, alpaca,
    /// prompt_completion, text; auto goes by the keys of each row
    #[arg(
        long, default_value_t = Auto(DEFAULTS.formats.format),
        value_parser = one_of_or_auto(&DataFormat::NAMES), value_name = "FORMAT"
    )]
    data_format: Auto<DataFormat>,

    /// Leave rows out that cannot be used, instead of refusing the file
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL"
    )]
    skip_bad: bool,

    /// Keep CR LF and CR inside texts and formatters, which otherwise become LF
    #[arg(
        long,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new(),
        value_name = "BOOL"
    )]
    keep_cr: bool,

    /// The prompt's text; {key} is that key's value in the line of data, and {?text {key} text} is
    /// left out where it has none
    #[arg(
        long, default_value = typed(&DEFAULTS.formats.prompt), value_parser = template,
        allow_hyphen_values = true, value_name = "TEXT"
    )]
    prompt_formatter: Template,

    /// The completion's text, which is learnt
    #[arg(
        long, default_value = typed(&DEFAULTS.formats.response), value_parser = template,
        allow_hyphen_values = true, value_name = "TEXT"
    )]
    response_formatter: Template,

    /// A system message's text, before a conversation's first prompt
    #[arg(
        long, default_value = typed(&DEFAULTS.formats.system), value_parser = template,
        allow_hyphen_values = true, value_name = "TEXT"
    )]
    system_formatter: Template,

    /// Text that ends every completion and is learnt with it; answers end there, too, instead of at
    /// a blank line; without it, where the state was tuned to end. <|rwkv_tokenizer_end_of_text|> is
    /// the end-of-text token, here as in formatters
    #[arg(
        long, default_value = typed(&DEFAULTS.formats.end), value_parser = text,
        allow_hyphen_values = true, value_name = "TEXT"
    )]
    response_end: Text,
}

impl DataArgs {
    pub fn put_into(self, options: &mut Options) {
        let Self {
            formatters,
            prompt_cutoff: Cutoff(prompt_cutoff),
            completion_cutoff: Cutoff(completion_cutoff),
        } = self;
        options.formats = Formats {
            prompt_cutoff,
            completion_cutoff,
            ..formatters.formats()
        };
    }
}

impl Formatters {
    /// Which of the texts were typed.
    pub fn typed(matches: &ArgMatches) -> Vec<Setting> {
        let is_typed =
            |of: &Setting| matches.value_source(of.name()) != Some(ValueSource::DefaultValue);
        AROUND_DATA.into_iter().filter(is_typed).collect()
    }

    /// Formats that cut nothing.
    pub fn formats(self) -> Formats {
        let Self {
            data_format: Auto(format),
            skip_bad,
            keep_cr,
            prompt_formatter,
            response_formatter,
            system_formatter,
            response_end,
        } = self;
        let line_ends = match keep_cr {
            true => LineEnds::Keep,
            false => LineEnds::Unify,
        };
        let mut end = response_end.clone();
        line_ends.apply_to(&mut end);
        let mut changed = Vec::new();
        let mut with_line_ends = |setting, typed: Template| {
            let template = typed.clone().with_line_ends(line_ends);
            changed.extend((template != typed).then_some(setting));
            template
        };
        let [prompt, response, system] = [
            (PROMPT_FORMATTER, prompt_formatter),
            (RESPONSE_FORMATTER, response_formatter),
            (SYSTEM_FORMATTER, system_formatter),
        ]
        .map(|(setting, typed)| with_line_ends(setting, typed));
        changed.extend((end != response_end).then_some(RESPONSE_END));
        Formats {
            format,
            system,
            prompt,
            response,
            end,
            changed,
            prompt_cutoff: None,
            completion_cutoff: None,
            line_ends,
            on_bad_row: match skip_bad {
                true => OnBadRow::Skip,
                false => OnBadRow::Refuse,
            },
        }
    }
}
