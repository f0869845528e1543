//! JSON lines: each line as it stands, without its end.

use std::io::{BufRead, Read};

use super::bounded::Bounded;
use super::error::ContainerError;
use super::{BYTE_ORDER_MARK, Take};

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
        // Files that were put one behind another keep theirs.
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if !line.is_empty() {
            take(number, Ok(line))?;
        }
    }
    Ok(())
}
