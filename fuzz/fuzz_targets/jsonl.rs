//! Any line is an example or an error; it holds what serde_json finds in it, and no more tokens
//! than its length allows.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use state_tune::data::jsonl::Row;
use state_tune::data::{Example, Formats};
use state_tune::model::{Batch, FirstRow, Sequence};
use state_tune::tokenizer::Tokenizer;

static FORMATS: LazyLock<[Formats; 2]> = LazyLock::new(|| {
    let whole = Formats {
        end: "\n\n".into(),
        ..Formats::default()
    };
    let cut = Formats {
        prompt_cutoff: Some(3),
        completion_cutoff: Some(2),
        ..whole.clone()
    };
    [whole, cut]
});

fuzz_target!(|data: &[u8]| {
    let row = Row::parse(1, data);
    if let Ok(Value::Object(values)) = serde_json::from_slice(data) {
        let row = row.as_ref().expect("it is an object");
        for (key, value) in &values {
            let text = row.text(key);
            match value {
                Value::String(value) => assert_eq!(text.unwrap(), value),
                Value::Bool(_) | Value::Number(_) => assert!(text.is_ok()),
                _ => assert!(text.is_err()),
            }
        }
    }
    let Ok(row) = row else { return };
    let examples = FORMATS.each_ref().map(|formats| {
        let example = Example::new(&row, formats, Tokenizer::world()).ok()?;
        check(&example, data);
        Some(example)
    });
    if let [Some(whole), Some(cut)] = examples {
        assert_eq!(whole.learnt.len(), cut.learnt.len());
        assert!(cut.learnt_len() <= whole.learnt_len());
    }
});

fn check(example: &Example, data: &[u8]) {
    // A message takes more letters in JSON than the formats add to it.
    assert!(example.tokens.len() <= 2 * data.len() + 40);
    assert!(example.learnt.iter().all(|part| part.start < part.end));
    assert!(example.learnt.is_sorted_by(|a, b| a.end <= b.start));
    assert_eq!(example.learnt.last().unwrap().end, example.tokens.len());
    for first_row in [FirstRow::SoftPrompt, FirstRow::Token] {
        let batch = Batch::pack([example], first_row);
        let sequence = Sequence::from(example);
        assert_eq!(batch.tokens.len(), sequence.rows(first_row));
        assert_eq!(batch.targets.len(), sequence.targets(first_row));
        for (&row, &target) in batch.scored.iter().zip(&batch.targets) {
            let at = row as usize + usize::from(first_row == FirstRow::Token);
            assert_eq!(example.tokens[at], target);
        }
    }
}
