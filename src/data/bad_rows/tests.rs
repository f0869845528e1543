//! Which rows are named, how, and when a file is refused.

use std::fs;

use super::*;

/// Reads lines, of which those that begin with `x` are bad for what follows it.
fn read_lines(lines: &[&str], on_bad_row: OnBadRow) -> Result<Rows<String>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), lines.join("\n")).unwrap();
    read(file.path(), on_bad_row, |line, bytes| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        match text.strip_prefix('x') {
            None if text == "none" => Ok(None),
            None => Ok(Some(text)),
            Some("") => Err(DataError::EmptyPrompt { line }),
            Some(key) => Err(DataError::EmptyAnswer {
                line,
                key: key.to_owned(),
            }),
        }
    })
}

fn refused(lines: &[&str], on_bad_row: OnBadRow) -> String {
    read_lines(lines, on_bad_row).err().unwrap().to_string()
}

#[test]
fn all_are_found_and_those_with_the_same_fault_stand_together() {
    let error = refused(&["a", "x", "", "xb", "c", "x"], OnBadRow::Refuse);
    assert_eq!(
        error,
        "3 rows cannot be used (skip_bad leaves them out): lines 2, 6: the prompt is empty; give \
         the model something to answer; line 4: the answer in `b` is empty, so there is nothing \
         to learn from it; write one, or remove the line"
    );
    let error = refused(&["a", "x"], OnBadRow::Refuse);
    assert_eq!(
        error,
        "line 2: the prompt is empty; give the model something to answer; skip_bad leaves such \
         rows out"
    );
}

#[test]
fn the_first_ten_are_named_and_the_rest_are_counted() {
    let lines = ["x"; 25];
    let error = refused(&lines, OnBadRow::Refuse);
    assert!(
        error.starts_with("none of 25 rows can be used: lines 1, "),
        "{error}"
    );
    assert!(
        error.contains("lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10: the prompt"),
        "{error}"
    );
    assert!(error.ends_with("; and 15 more"), "{error}");
    assert!(!error.contains("11"), "{error}");
}

#[test]
fn they_can_be_left_out_but_not_all() {
    let rows = read_lines(&["x", "a", "", "none", "xb"], OnBadRow::Skip).unwrap();
    assert_eq!((rows.used, rows.blank), (vec!["a".to_owned()], 1));
    assert_eq!(rows.bad.count(), 2);
    let told = rows.bad.left_out();
    assert!(
        told.starts_with("2 rows left out (skip_bad): line 1: the prompt"),
        "{told}"
    );
    assert!(told.contains("; line 5: the answer in `b`"), "{told}");
    let error = refused(&["x", "x"], OnBadRow::Skip);
    let wanted = "none of 2 rows can be used: lines 1, 2: the prompt is empty";
    assert!(error.starts_with(wanted), "{error}");
    // Then leaving rows out is no help.
    assert!(!error.contains("skip_bad"), "{error}");
    let alone = refused(&["x"], OnBadRow::Refuse);
    assert!(!alone.contains("skip_bad"), "{alone}");
}

#[test]
fn what_a_file_says_is_shortened_and_speaks_to_no_terminal() {
    let long = format!("x\u{1b}[31m{}", "é".repeat(5000));
    let error = refused(&[&long, "x"], OnBadRow::Refuse);
    assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
    assert!(error.contains("..."), "{error}");
}
