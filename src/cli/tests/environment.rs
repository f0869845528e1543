//! Environment variables beside the command line.

use super::*;

#[test]
fn the_command_line_beats_a_spelt_variable_and_that_a_shouted_one() {
    let shouted = ("STATE_TUNE_BATCHSIZE", "1");
    let spelt = ("--batchsize", "2");
    assert_eq!(train_with(&[], &[shouted]).batch_size, 1);
    assert_eq!(train_with(&[], &[shouted, spelt]).batch_size, 2);
    assert_eq!(train_with(&[], &[spelt, shouted]).batch_size, 2);
    let typed = train_with(&["--batchsize", "3"], &[spelt, shouted]);
    assert_eq!(typed.batch_size, 3);
    // However each of them is spelt.
    let dashes = train_with(&["--max-time=3"], &[("STATE_TUNE_MAX_TIME", "1")]);
    assert_eq!(dashes.max_time, 3.0);
    let dashes = train_with(&[], &[("--max_time", "2"), ("STATE_TUNE_MAX-TIME", "1")]);
    assert_eq!(dashes.max_time, 2.0);
}

#[test]
fn an_unknown_setting_in_the_environment_is_named_as_such() {
    for name in ["--typo", "STATE_TUNE_TYPO", "STATE_TUNE_Typo"] {
        let message = misuse(&["--batchsize", "2"], &[(name, "1")]);
        assert!(
            message.contains("environment") && message.contains("--typo"),
            "{message}"
        );
    }
    misuse(&[], &[("STATE_TUNE_", "1")]);
    misuse(&[], &[("--", "1")]);
}

#[test]
fn other_variables_are_none_of_its_business() {
    let variables = [
        ("BATCHSIZE", "1"),
        ("-batchsize", "1"),
        ("state_tune_batchsize", "1"),
        ("MY_STATE_TUNE_BATCHSIZE", "1"),
        ("STATE_TUNER", "1"),
        ("STATE_TUNE_MPI", "/usr/lib/libmpi.so.40"),
        ("STATE_TUNE_MPI_PATIENCE", "60"),
    ];
    assert_eq!(train_with(&[], &variables).batch_size, 8);
}
