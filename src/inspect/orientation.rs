//! Which way a state's matrices stand, \[key, value\] or \[value, key\], told by the loss of
//! examples. Both are of the same shape, programs differ in which one they write, and a state that
//! is loaded the wrong way round does not fail: its answers are merely bad.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Against;
use crate::console::Console;
use crate::data::typed::AROUND_DATA;
use crate::data::{Example, Formats, dataset};
use crate::evaluate;
use crate::model::{Rwkv, State, with_way_out};
use crate::ops::linear::ProductType;
use crate::setting::{DATA_PATH, FORCE, FROM, MODEL, TO, TRANSPOSE};
use crate::state_file::{self, Format, Order};

/// Examples that are looked at, and about as many of their tokens.
const MOST_EXAMPLES: usize = 64;
const MOST_TOKENS: usize = 4096;

/// Two losses that differ by less than this share of the larger are taken for the same.
const CLEAR: f64 = 0.01;

/// What the losses say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    AsItIs,
    TurnedRound,
    /// Nothing, and why.
    Undecided(&'static str),
}

const SYMMETRIC: Verdict = Verdict::Undecided("either: the matrices are the same both ways round");
const NO_HELP: Verdict = Verdict::Undecided(
    "not told: neither way is better than the model without a state; give data like those that the \
     state was tuned on",
);
const CLOSE: Verdict = Verdict::Undecided(
    "not told: the losses of both ways are within 1 % of each other; give data like those that the \
     state was tuned on",
);

/// Says on `console` whether the state in `path` suits the model and, where there are examples,
/// which way its matrices stand. `format` is the file's; `None` where it could be time_state or
/// web-rwkv, which differ in nothing else.
pub fn tell(
    path: &Path,
    format: Option<Format>,
    against: &Against,
    console: &Console,
) -> Result<()> {
    let examples = match &against.data {
        Some(data) => Some(some_examples(
            data,
            &formats(path, against, console)?,
            console,
        )?),
        None => None,
    };
    let model = Rwkv::open(&against.model, ProductType::F32)
        .map_err(|error| with_way_out(error, "FILE"))?;
    for note in model.notes() {
        console.line(&format!("note         {note}"));
    }
    let read_as = format.unwrap_or(Format::TIME_STATE);
    let found = state_file::open_for(&model, path, Some(read_as), against.other_model)
        .with_context(|| format!("cannot use the state {}", path.display()))?;
    let is_of_another = found.check_model(model.fingerprint()).is_err();
    let (state, order) = (found.state, found.order);
    console.line(&format!(
        "fits         {} ({})",
        against.model.display(),
        model.config()
    ));
    let Some((mut examples, which)) = examples else {
        console.line(&format!(
            "note         {DATA_PATH} tells which way round its matrices stand"
        ));
        return Ok(());
    };
    if let Some(data) = &against.data {
        let on_bad_row = against.formats.on_bad_row;
        let left_out = evaluate::sift(&mut examples, model.config(), data, on_bad_row)?;
        if let Some(left_out) = left_out {
            console.line(&format!("note         {left_out}"));
        }
    }
    let turned = state.transposed()?;
    let loss = |of: String, state: &State| -> Result<f64> {
        let loss = evaluate::score(&model, &examples, state)?.loss();
        console.line(&format!("loss         {loss:.4} {of}"));
        // A number that is lost is worse than any.
        Ok(if loss.is_nan() { f64::INFINITY } else { loss })
    };
    // A state that is merged into the model may be the one that is looked at.
    let untuned = State::zeros(model.config())?;
    let by_model = format!("by the model without a state, on {which}");
    let from_it = |order: Order| format!("from the state, its matrices taken as {order}");
    let losses = [
        loss(by_model, &untuned)?,
        loss(from_it(order), &state)?,
        loss(from_it(order.other()), &turned)?,
    ];
    let verdict = match is_equal(&state, &turned)? {
        true => SYMMETRIC,
        false => verdict(losses),
    };
    let words = match (verdict, format) {
        (Verdict::Undecided(why), _) => why.to_string(),
        (Verdict::AsItIs, Some(format)) => format!("right: {order}, as {format} has them"),
        (Verdict::TurnedRound, Some(format)) => format!(
            "wrong: {}, where {format} has {order}; `state-tune convert {} OUT {TO} {format} {TRANSPOSE} \
             {MODEL} {}{}` turns them",
            order.other(),
            word(path),
            word(&against.model),
            if is_of_another {
                format!(" {FORCE}")
            } else {
                String::new()
            }
        ),
        (Verdict::AsItIs, None) => of_unclear(path, order, Format::TIME_STATE),
        (Verdict::TurnedRound, None) => of_unclear(path, order.other(), Format::WEB_RWKV),
    };
    console.line(&format!("orientation  {words}"));
    Ok(())
}

/// What to do with a file of which only the losses told the format.
fn of_unclear(path: &Path, order: Order, format: Format) -> String {
    format!(
        "{order}, as {format} has them; convert it by `state-tune convert {} OUT {TO} state \
         {FROM} {format}`",
        word(path)
    )
}

/// A path as a shell takes it for one word, and a command for none of its flags.
fn word(path: &Path) -> String {
    let path = match path.to_string_lossy().starts_with('-') {
        true => &Path::new(".").join(path),
        false => path,
    };
    let shown = path.display().to_string();
    // A word cannot hold a zero byte, and neither can a path.
    shlex::try_quote(&shown).map_or(shown.clone(), Into::into)
}

/// What the losses without a state, from the state as it is, and from the one turned round say.
fn verdict([alone, as_it_is, turned_round]: [f64; 3]) -> Verdict {
    let (better, worse) = (as_it_is.min(turned_round), as_it_is.max(turned_round));
    if better >= alone {
        NO_HELP
    } else if better >= worse * (1.0 - CLEAR) {
        CLOSE
    } else if as_it_is == better {
        Verdict::AsItIs
    } else {
        Verdict::TurnedRound
    }
}

fn is_equal(state: &State, turned: &State) -> Result<bool> {
    let apart = (&state.wkv - &turned.wkv)?.abs()?.max_all()?;
    Ok(apart.to_scalar::<f32>()? == 0.0)
}

/// How the examples become text: as what the state was tuned on did, but for what was typed.
fn formats(state: &Path, against: &Against, console: &Console) -> Result<Formats> {
    let mut formats = against.formats.clone();
    let texts = || -> Result<Vec<String>, state_file::Error> {
        match state_file::tag_of(state)?.and_then(|tag| tag.texts) {
            Some(texts) => texts.put_into(&mut formats, &AROUND_DATA, &against.typed),
            None => Ok(Vec::new()),
        }
    };
    let told = { texts }().with_context(|| format!("cannot use the state {}", state.display()))?;
    for line in told.into_iter().chain(formats.told(&AROUND_DATA)) {
        console.line(&format!("note         {line}"));
    }
    Ok(formats)
}

/// Some examples from all over a file, and which in words. Errors when none has a prompt: behind an
/// empty one a soft prompt alone predicts the first token, and there is nothing to compare it with.
fn some_examples(
    data: &Path,
    formats: &Formats,
    console: &Console,
) -> Result<(Vec<Example>, String)> {
    let read = dataset::read(data, formats)?;
    console.line(&read.notes.to_string());
    let mut examples = read.examples;
    let all = examples.len();
    examples.retain(Example::has_lead);
    let shown = data.display();
    ensure!(
        !examples.is_empty(),
        "{DATA_PATH} {shown} has no example with a prompt; the loss is told by such"
    );
    let count = examples.len().min(MOST_EXAMPLES);
    let mut tokens = 0;
    let chosen: Vec<Example> = (0..count)
        .map(|i| &examples[i * examples.len() / count])
        .take_while(|example| {
            let is_within = tokens < MOST_TOKENS;
            tokens += example.tokens.len();
            is_within
        })
        .cloned()
        .collect();
    let which = format!("{} of {all} examples in {shown}", chosen.len());
    Ok((chosen, which))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for (path, wanted) in [
            ("a/b-1.pth", "a/b-1.pth"),
            ("a b.pth", "'a b.pth'"),
            ("it's $HOME", r#""it's "'$HOME'"#),
            ("", "''"),
            ("-x", "./-x"),
        ] {
            assert_eq!(word(Path::new(path)), wanted);
        }
    }

    #[test]
    fn losses_decide_only_where_they_are_clear() {
        let lost = f64::INFINITY;
        for (losses, wanted) in [
            ([2.0, 0.1, 1.0], Verdict::AsItIs),
            ([2.0, 1.0, 0.1], Verdict::TurnedRound),
            ([2.0, 1.0, lost], Verdict::AsItIs),
            ([2.0, 0.1, 3.0], Verdict::AsItIs),
            ([2.0, 1.0, 0.995], CLOSE),
            ([2.0, 0.0, 0.0], CLOSE),
            ([2.0, 2.0, 3.0], NO_HELP),
            ([2.0, 9.0, 3.0], NO_HELP),
            ([2.0, lost, lost], NO_HELP),
            ([lost; 3], NO_HELP),
        ] {
            assert_eq!(verdict(losses), wanted, "{losses:?}");
        }
    }
}
