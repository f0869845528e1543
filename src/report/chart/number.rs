//! Numbers as a person reads them.

/// A number with six significant digits at most: `0.3`, `1,250`, `2e-5`.
pub fn number(value: f64) -> String {
    let value = rounded(value, 6) + 0.0; // -0 becomes 0
    if value != 0.0 && value.is_finite() && !(1e-4..1e9).contains(&value.abs()) {
        return format!("{value:e}");
    }
    let text = value.to_string();
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    if value.is_finite() {
        grouped(whole) + fraction
    } else {
        text
    }
}

/// A number with four significant digits at most: enough to tell two runs apart.
pub fn figure(value: f64) -> String {
    number(rounded(value, 4))
}

/// A count with its thousands separated: `1,250`.
pub fn count(value: usize) -> String {
    grouped(&value.to_string())
}

fn rounded(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits - 1).parse().unwrap_or(value)
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, c) in digits.char_indices() {
        let left = digits.len() - at;
        if left.is_multiple_of(3) && text.ends_with(|c: char| c.is_ascii_digit()) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (999.0, "999"),
            (1250.0, "1,250"),
            (-1250.5, "-1,250.5"),
            (123456.0, "123,456"),
            (0.00002, "2e-5"),
            (3.4e38, "3.4e38"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(figure(0.229_149), "0.2291");
        assert_eq!(figure(0.009_118_9), "0.009119");
        assert_eq!(count(1_234_567), "1,234,567");
    }
}
