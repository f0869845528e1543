//! What counts as a change, how it is told, and what the first version's checkpoints say.

use super::*;

fn settings(change: impl FnOnce(&mut Options)) -> RunSettings {
    let mut options = Options::default();
    change(&mut options);
    RunSettings::of(&options)
}

#[test]
fn a_change_is_told_by_its_setting_and_both_values() {
    let then = settings(|options| options.max_epochs = 1.3);
    let now = settings(|options| {
        options.max_epochs = 3.0;
        options.micro_batch = Some(512);
        options.formats.end = "\n".into();
    });
    let change = |name, then: &str, now: &str| Change {
        setting: Setting::new(name),
        then: then.to_string(),
        now: now.to_string(),
    };
    let wanted = [
        change("max_epochs", "1.3", "3"),
        change("response_end", "", "\\n"),
        change("micro_batch", "", "512"),
    ];
    assert_eq!(then.changes(&now), wanted);
    assert_eq!(now.changes(&now), []);
}

#[test]
fn a_plan_depends_on_what_is_computed_at_once() {
    let default = RunSettings::default();
    assert!(default.has_same_plan(&settings(|options| options.schedule.learning_rate = 0.1)));
    assert!(!default.has_same_plan(&settings(|options| options.batch_size = 3)));
    assert!(!default.has_same_plan(&settings(|options| options.micro_batch = Some(9))));
}

#[test]
fn what_is_written_reads_back_and_what_is_missing_is_the_default() {
    let read = |json: &str| RunSettings::read(&mut serde_json::Deserializer::from_str(json));
    let some = settings(|options| {
        options.seed = u64::MAX;
        options.schedule.learning_rate = 0.1;
        options.micro_batch = Some(7);
    });
    let json = serde_json::to_string(&some).unwrap();
    assert_eq!(read(&json).unwrap(), some);
    let missing = read(r#"{"batchsize": 3, "of_a_later_version": 1}"#).unwrap();
    assert_eq!(missing, settings(|options| options.batch_size = 3));
    assert!(read(r#"{"batchsize": "three"}"#).is_err());
}

#[test]
fn flags_as_they_were_typed_are_read_by_value() {
    let flags = r#"[["--learningrate", "1e-1"], ["--seed", "007"], ["--lr_final", ""], ["--tune", "wkv, shift"],
        ["--prompt_formatter", "{a}\\n"], ["--prompt_cutoff", "-1"], ["--micro_batch", "9"], ["--gone", "1"]]"#;
    let read = RunSettings::read(&mut serde_json::Deserializer::from_str(flags)).unwrap();
    let wanted = RunSettings {
        learningrate: 0.1,
        seed: 7,
        tune: "shift,wkv".to_string(),
        prompt_formatter: "{a}\n".to_string(),
        micro_batch: Some(9),
        ..RunSettings::default()
    };
    assert_eq!(read, wanted);
}
