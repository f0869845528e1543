//! A way for the tests of every op to run at each level, and tests of the levels themselves.

use std::cell::Cell;

use super::*;

thread_local! {
    /// A level for the ops that this thread starts.
    pub static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// Runs a test once at each level that this machine has.
pub fn at_each_level(test: impl Fn(Level) -> candle_core::Result<()>) -> candle_core::Result<()> {
    let levels = Level::NAMES.map(|(_, level)| level);
    for level in levels.into_iter().filter(|&level| level <= Level::best()) {
        FORCED.set(Some(level));
        test(level)?;
    }
    FORCED.set(None);
    Ok(())
}

#[test]
fn levels_are_in_order_and_named() {
    assert!(Level::NAMES.map(|(_, level)| level).is_sorted());
    assert_eq!(Level::Avx512Bf16.to_string(), "avx512bf16");
}
