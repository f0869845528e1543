//! JSON lines: each line as it stands, without its end.

use std::io::{BufRead, Read};

use super::Take;
use super::bounded::Bounded;
use super::error::ContainerError;

/// Gives each line that is not blank to `take`, with its number.
pub fn each<E: From<ContainerError>>(text: Box<dyn Read>, take: Take<'_, E>) -> Result<(), E> {
    let (mut text, budget) = Bounded::new(text);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        budget.renew();
        let read = text
            .read_until(b'\n', &mut line)
            .map_err(|error| ContainerError::reading(error, number))?;
        if read == 0 {
            break;
        }
        let line = line.trim_ascii_end();
        if !line.is_empty() {
            take(number, Ok(line))?;
        }
    }
    Ok(())
}
