//! The real Python packages: runs `oracle/compare.py` on this build.
//!
//! ```text
//! ORACLE_PYTHON=venv/bin/python cargo test --release --test oracle -- --ignored
//! ```
//!
//! with the packages of `oracle/requirements.txt` in that venv. The golden files hold the program
//! to the same reference without any Python; this makes fresh random models and data for it.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "needs ORACLE_PYTHON, a Python with torch and rwkv"]
fn the_float64_reference_in_python_agrees_on_random_models() {
    let python = std::env::var_os("ORACLE_PYTHON").expect("ORACLE_PYTHON names a Python");
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
