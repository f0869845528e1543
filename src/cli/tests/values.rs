//! What values are taken and which are refused.

use super::*;
use crate::ops::device::DeviceChoice;
use crate::sample::Ask;

#[test]
fn negative_numbers_and_exponents_are_numbers() {
    for typed in [
        [
            "--learningrate=1e-2",
            "--exit_loss=-1",
            "--prompt_cutoff=-1",
        ]
        .as_slice(),
        &["--learningrate", "1e-2"],
        &["--learningrate", ".01", "--exit_loss", "-1.5e-3"],
        &["--prompt_cutoff", "-1", "--completion_cutoff", "-1"],
    ] {
        let options = train(typed);
        assert_eq!(options.schedule.learning_rate, 0.01);
        assert_eq!(options.formats.prompt_cutoff, None);
        assert_eq!(options.formats.completion_cutoff, None);
    }
    assert_eq!(
        train(&["--exit_loss", "-1.5e-3"]).exit_loss,
        -0.0015,
        "a loss is never below it, which is how never to stop by it"
    );
}

#[test]
fn the_two_characters_backslash_n_are_a_newline_and_a_newline_stays_one() {
    let typed = train(&[
        "--prompt_formatter",
        "a\\nb\n{c}",
        "--response_formatter=\\n",
    ]);
    assert_eq!(typed.formats.prompt, template("a\nb\n{c}"));
    assert_eq!(typed.formats.response, template("\n"));
    let prompt = Ask::Prompt("a\n\nb:".into());
    assert_eq!(sample(&["--prompt", "a\\n\\nb:"]).ask, prompt);
}

#[test]
fn a_value_out_of_range_is_refused_with_its_flag_and_its_value() {
    let wrong: [(&str, &[&str]); 26] = [
        (
            "learningrate",
            &["0", "-1", "nan", "inf", "1e999", "fast", " "],
        ),
        ("batchsize", &["0", "-1", "1.5", "1000000001", "1e3"]),
        ("exit_loss", &["nan", "-inf", "low"]),
        ("max_epochs", &["0", "-1", "nan", "inf"]),
        ("max_time", &["0", "-0.5", "nan", "1h"]),
        ("dataset_walk", &["backwards", "Shuffled"]),
        ("tune", &["all", "shift,all", "shift wkv"]),
        ("init", &["twos"]),
        ("seed", &["-1", "1.5", "18446744073709551616"]),
        ("prompt_formatter", &["{", "}", "{}", "{0}", "{a.b}"]),
        ("response_formatter", &["{a", "a}"]),
        ("system_formatter", &["{", "{}"]),
        ("prompt_cutoff", &["-2", "1.5", "all"]),
        ("completion_cutoff", &["0", "-2"]),
        ("device", &["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0"]),
        ("dtype", &["f16", "F32"]),
        ("weights", &["auto", "int4", "NF4"]),
        ("cpu", &["sse", "AVX2"]),
        ("recompute", &["sometimes"]),
        ("threads", &["0", "-1", "1025", "many"]),
        ("max_tokens", &["0", "-1", "1000000001"]),
        ("temperature", &["-0.1", "nan", "inf", "hot"]),
        ("top_p", &["0", "-0.5", "1.01", "nan", "most"]),
        ("interactive", &["perhaps"]),
        // Nothing can be said by these but that they are empty, which shows no value.
        ("prompt", &[""]),
        ("save_filename", &[""]),
    ];
    for (flag, values) in wrong {
        let (spelt, shouted) = (
            format!("--{flag}"),
            format!("STATE_TUNE_{}", flag.to_uppercase()),
        );
        for value in values {
            for message in [
                misuse(&[&spelt, value], &[]),
                misuse(&[&format!("{spelt}={value}")], &[]),
                misuse(&[], &[(&spelt, value)]),
                misuse(&[], &[(&shouted, value)]),
            ] {
                // Of a list the wrong item is enough.
                let item = value.split(',').next_back().unwrap_or(value);
                assert!(
                    message.contains(&spelt) && message.contains(item),
                    "{value}: {message}"
                );
            }
        }
    }
}

#[test]
fn empty_names_of_files_are_refused() {
    for flag in [
        "--model_location",
        "--data_path",
        "--save_filename",
        "--log_file",
        "--prompts",
    ] {
        let message = misuse(&[&format!("{flag}=")], &[]);
        assert!(message.contains(flag), "{message}");
    }
}

#[test]
fn devices_are_read() {
    for (text, device) in [
        ("auto", DeviceChoice::Auto),
        ("cpu", DeviceChoice::Cpu),
        ("cuda", DeviceChoice::Cuda(0)),
        ("cuda:0", DeviceChoice::Cuda(0)),
        ("cuda:11", DeviceChoice::Cuda(11)),
    ] {
        assert_eq!(train(&["--device", text]).device, device, "{text}");
    }
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_a_filename_or_wrong_usage_but_never_a_panic() {
    use std::os::unix::ffi::OsStringExt;
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let name = || OsString::from("state-tune");

    let file = os(b"--model_location=\xff.pth");
    let Ok(Command::Train { options, .. }) = parse([name(), file], []) else {
        panic!("a file's name need not be UTF-8");
    };
    assert_eq!(options.model.as_os_str(), os(b"\xff.pth"));
    let variable = (os(b"STATE_TUNE_SAVE_FILENAME"), os(b"\xff.pth"));
    let Ok(Command::Train { options, .. }) = parse([name()], [variable]) else {
        panic!("nor when it stands in the environment");
    };
    assert_eq!(options.save.as_os_str(), os(b"\xff.pth"));

    for bytes in [
        b"--prompt=\xff".as_slice(),
        b"--batchsize=\xff",
        b"--data_url=\xff",
        b"--\xff=1",
        b"\xff",
    ] {
        assert!(
            matches!(parse([name(), os(bytes)], []), Err(Exit::Usage(_))),
            "{bytes:?}"
        );
    }
    // No flag has such a name, so it cannot be meant for this program.
    assert!(parse([name()], [(os(b"\xff"), os(b"1"))]).is_ok());
}
