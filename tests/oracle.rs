//! The real Python packages, where there are some: runs `oracle/compare.py` on this build.
//!
//! ```text
//! ORACLE_PYTHON=venv/bin/python cargo test --release --test oracle
//! ```
//!
//! with the packages of `oracle/requirements.txt` in that venv. The golden files hold the program
//! to the same reference without any Python; this makes fresh random models and data for it.

use std::path::Path;
use std::process::Command;

#[test]
fn the_float64_reference_agrees_on_random_models() {
    let Some(python) = std::env::var_os("ORACLE_PYTHON") else {
        println!("skipped: ORACLE_PYTHON names no Python with torch and rwkv");
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/compare.py");
    let status = Command::new(python)
        .arg(script)
        .args(["--quick", "--binary", env!("CARGO_BIN_EXE_state-tune")])
        .status()
        .expect("ORACLE_PYTHON can be run");
    assert!(
        status.success(),
        "the lines above say which figures are off"
    );
}
