//! The story of a fresh container: an empty directory, environment variables alone, no arguments.

use std::fs;

use crate::common::{Dir, take_environment, tiny};
use crate::hub::{Shelf, command, run};

#[test]
fn it_fetches_trains_and_writes() {
    let model = fs::read(tiny("model.pth")).unwrap();
    let data = fs::read(tiny("train.jsonl")).unwrap();
    let server = Shelf::default()
        .file("me/tiny/model.pth", model.clone())
        .file(
            "datasets/lonestar108/naughty-chat/train.jsonl",
            data.clone(),
        )
        .serve();
    let dir = Dir::new();
    let job = || {
        let mut job = command(&dir, &server, &[]);
        let mut bare = std::process::Command::new(job.get_program());
        take_environment(&mut bare, &job);
        bare.env_remove("STATE_TUNE_DATA_PATH");
        bare.env_remove("STATE_TUNE_EXIT_LOSS");
        bare.current_dir(dir.path(""));
        bare.env(
            "STATE_TUNE_MODEL_URL",
            "https://huggingface.co/me/tiny/blob/main/model.pth",
        );
        bare.env("STATE_TUNE_MAX_EPOCHS", "0.1");
        bare.env("--exit_loss", "0");
        job = bare;
        job
    };
    let (code, said) = run(&mut job());
    assert_eq!(code, Some(0), "{said}");
    let first = said.lines().next().unwrap();
    assert_eq!(
        first,
        "data   data.jsonl, from --huggingface_dataset lonestar108/naughty-chat, split train"
    );
    assert!(fs::read(dir.path("model.pth")).unwrap() == model);
    assert!(fs::read(dir.path("data.jsonl")).unwrap() == data);
    let wanted = [
        "data.jsonl",
        "model.pth",
        "state.loss.svg",
        "state.pth",
        "state.pth.ckpt",
    ];
    assert_eq!(dir.names(), wanted, "{said}");

    // Once more: what is there is used, and nobody is asked.
    let before = server.asked().len();
    let (code, said) = run(&mut job());
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("data   data.jsonl, the file that is there\n"),
        "{said}"
    );
    assert_eq!(server.asked().len(), before);
}
