//! An imitation of Backblaze B2: authorise with the key, then download by name with the token.

use std::process::Command;

use serde_json::json;

use crate::common::Dir;
use crate::hub::{LINE, run};
use crate::server::{Answer, Asked, Server};

/// `key:secret` in base64.
const LOGIN: &str = "Basic a2V5OnNlY3JldA==";

/// `printf '{"input": "hi", "output": "Arr"}\n' | sha1sum`
const SHA1: &str = "b2ce74c08625b7332b808b72f9aa118f0c9556ab";

/// Answers with files at the server's own address, which it does not know before it is started.
fn answer(asked: &Asked, sha1: &str) -> Answer {
    let host = asked.header("host").unwrap();
    match asked.path.as_str() {
        "/b2api/v3/b2_authorize_account" if asked.header("authorization") == Some(LOGIN) => {
            let answer = json!({
                "accountId": "a",
                "authorizationToken": "token_of_a_day",
                "apiInfo": {"storageApi": {"apiUrl": "unused", "downloadUrl": format!("http://{host}")}},
            });
            Answer::new(200, answer.to_string())
        }
        "/file/bucket/a/b%20c.jsonl" if asked.header("authorization") == Some("token_of_a_day") => {
            let answer = match asked.range() {
                Some(from) => Answer::new(206, &LINE.as_bytes()[from..]).with(
                    "content-range",
                    &format!("bytes {from}-{}/{}", LINE.len() - 1, LINE.len()),
                ),
                None => Answer::new(200, LINE),
            };
            answer
                .with(
                    "x-bz-file-id",
                    "4_z27c88f1d182b150646ff0b16_f1004ba650fe24e6b",
                )
                .with("x-bz-content-sha1", sha1)
        }
        "/file/bucket/none.jsonl" => Answer::new(404, ""),
        _ => Answer::new(401, ""),
    }
}

fn command(dir: &Dir, server: &Server, address: &str) -> Command {
    let url = format!("--data_url={address}");
    let mut command = dir.command(&["--dry_run", "--data_path=d.jsonl", &url]);
    for name in [
        "D2_ACCESS_KEY_ID",
        "D2_SECRET_ACCESS_KEY",
        "B2_APPLICATION_KEY_ID",
        "B2_APPLICATION_KEY",
    ] {
        command.env_remove(name);
    }
    command.env("B2_ENVIRONMENT", &server.url);
    command
}

#[test]
fn a_file_of_a_bucket_with_either_pair_of_keys() {
    for names in [
        ["D2_ACCESS_KEY_ID", "D2_SECRET_ACCESS_KEY"],
        ["B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"],
    ] {
        let server = Server::start(|asked| {
            let answer = answer(asked, SHA1);
            // Cut once, to see that the file's id guards the rest.
            if asked.before == 1 {
                answer.cut(10)
            } else {
                answer
            }
        });
        let dir = Dir::new();
        let mut command = command(&dir, &server, "b2://bucket/a/b c.jsonl");
        let (code, said) = run(command.env(names[0], "key").env(names[1], "secret"));
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("SHA-1 as stated") && !said.contains("secret"),
            "{said}"
        );
        assert!(!said.contains("token_of_a_day"), "{said}");
        assert_eq!(std::fs::read_to_string(dir.path("d.jsonl")).unwrap(), LINE);
        let asked = server.asked();
        assert_eq!(asked.len(), 4, "authorised for each try");
        assert_eq!(asked[3].range(), Some(10));
        assert_eq!(asked[3].header("if-range"), None, "b2 has no ETag");
    }
}

#[test]
fn what_b2_refuses_is_said() {
    let server = Server::start(|asked| answer(asked, &"0".repeat(40)));
    let dir = Dir::new();
    let address = "b2://bucket/a/b c.jsonl";
    let (code, said) = run(&mut command(&dir, &server, address));
    assert!(
        code == Some(1) && said.contains("set D2_ACCESS_KEY_ID and"),
        "{said}"
    );
    let (code, said) = run(command(&dir, &server, address).env("D2_ACCESS_KEY_ID", "key"));
    assert!(
        code == Some(1) && said.contains("D2_SECRET_ACCESS_KEY is not; set both"),
        "{said}"
    );
    let with_keys = |address: &str, secret: &str| {
        let mut command = command(&dir, &server, address);
        command.env("D2_ACCESS_KEY_ID", "key");
        run(command.env("D2_SECRET_ACCESS_KEY", secret))
    };
    let (code, said) = with_keys(address, "secret_but_wrong");
    assert!(
        code == Some(1) && said.contains("B2 does not take your key"),
        "{said}"
    );
    assert!(!said.contains("secret_but_wrong"), "{said}");
    let (code, said) = with_keys("b2://bucket/none.jsonl", "secret");
    assert!(
        code == Some(1) && said.contains("no such bucket or file"),
        "{said}"
    );
    let (code, said) = with_keys("b2://other/a.jsonl", "secret");
    assert!(code == Some(1) && said.contains("readFiles"), "{said}");
    let (code, said) = with_keys(address, "secret");
    assert!(
        code == Some(1) && said.contains("do not have the hash"),
        "{said}"
    );
    assert_eq!(dir.names(), Vec::<String>::new());
}
