//! The tiles on a machine that has them.

use super::*;

#[test]
fn tiles_multiply_where_they_are() {
    if is_there() {
        assert!(multiplies());
    } else {
        println!("skipped: this machine has no bf16 tiles");
    }
}
