//! The program itself, killed, started twice, and on a full disk.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use state_tune::console::Console;
use state_tune::distributed::{self, Ranks};
use state_tune::fetch::Remote;
use state_tune::setting::{DATA_URL, MODEL_URL};
use state_tune::train::{self, Options};

use crate::common::{Dir, tiny};
use crate::hub::{LINE, run};
use crate::server::{Answer, Asked, Server};

fn lines() -> Vec<u8> {
    LINE.repeat(10_000).into_bytes()
}

fn command(dir: &Dir, server: &Server) -> Command {
    let url = format!("--data_url={}/d.jsonl", server.url);
    dir.command(&["--dry_run", "--data_path=d.jsonl", &url])
}

/// Waits until `file` holds `len` bytes.
fn wait_for(dir: &Dir, file: &str, len: u64, run: &mut Child) {
    let begun = Instant::now();
    while !fs::metadata(dir.path(file)).is_ok_and(|found| found.len() >= len) {
        assert!(run.try_wait().unwrap().is_none(), "it ended too soon");
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn killed_half_way_it_goes_on() {
    let content = lines();
    let half = content.len() / 2;
    let served = content.clone();
    let server = Server::start(move |asked| {
        let answer = Answer::file(asked, &served, "\"1\"");
        if asked.before == 0 {
            answer.stall(half)
        } else {
            answer
        }
    });
    let dir = Dir::new();
    let mut first = command(&dir, &server)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&dir, "d.jsonl.part", half as u64, &mut first);
    first.kill().unwrap(); // SIGKILL
    first.wait().unwrap();
    assert_eq!(dir.names(), ["d.jsonl.part", "d.jsonl.part.json"]);

    let (code, said) = run(&mut command(&dir, &server));
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(dir.path("d.jsonl")).unwrap() == content);
    assert_eq!(dir.names(), ["d.jsonl"]);
    assert_eq!(server.asked()[1].range(), Some(half));
}

#[test]
fn two_at_once_fetch_once() {
    let content = lines();
    let served = content.clone();
    let server =
        Server::start(move |asked| Answer::file(asked, &served, "\"1\"").slow(served.len() / 40));
    let dir = Dir::new();
    let mut first = command(&dir, &server)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&dir, "d.jsonl.part", 1, &mut first);
    let (code, said) = run(&mut command(&dir, &server));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("wait   another process is fetching d.jsonl"),
        "{said}"
    );
    assert!(first.wait().unwrap().success());
    assert!(fs::read(dir.path("d.jsonl")).unwrap() == content);
    assert_eq!(dir.names(), ["d.jsonl"]);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn ranks_of_one_machine_fetch_model_and_data_once() {
    let [model, data] = ["model.pth", "train.jsonl"].map(|file| fs::read(tiny(file)).unwrap());
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/m.pth" => Answer::file(asked, &model, "\"1\"").slow(model.len() / 20),
        _ => Answer::file(asked, &data, "\"2\"").slow(data.len() / 20),
    });
    let dir = Dir::new();
    let url = |setting, file: &str| Remote::Url {
        setting,
        address: format!("{}/{file}", server.url).parse().unwrap(),
    };
    let options = Options {
        model: dir.path("m.pth"),
        model_remote: Some(url(MODEL_URL, "m.pth")),
        data: dir.path("d.jsonl"),
        data_remote: Some(url(DATA_URL, "d.jsonl")),
        save: dir.path("state.pth"),
        max_epochs: 0.0,
        ..Options::default()
    };
    thread::scope(|scope| {
        for engine in distributed::threads(3) {
            let options = &options;
            scope.spawn(move || {
                let ranks = Ranks::new(engine, "host");
                train::run_on(&ranks, options, &Console::silent()).unwrap();
            });
        }
    });
    let mut asked: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    asked.sort();
    assert_eq!(asked, ["/d.jsonl", "/m.pth"]);
}

/// Runs the program where `disk` is a file system of 256 KiB.
#[cfg(target_os = "linux")]
fn on_a_small_disk(dir: &Dir, server: &Server, rounds: &str) -> (Option<i32>, String) {
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "--user", "sh", "-c", script]);
        command
    };
    let mount = "mount -t tmpfs -o size=256k tmpfs disk";
    fs::create_dir(dir.path("disk")).unwrap();
    let program = env!("CARGO_BIN_EXE_state-tune");
    let one = format!(
        "'{program}' --dry_run --data_path=disk/d.jsonl --data_url={}/d.jsonl",
        server.url
    );
    let script = format!(
        "{mount} && {} ; code=$?; ls -a disk; exit $code",
        rounds.replace("RUN", &one)
    );
    run(inside(&script).current_dir(dir.path("")))
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "needs user namespaces, for a small disk"]
fn a_disk_that_is_too_small_is_seen_before_and_one_that_fills_keeps_the_part() {
    let served = lines();
    assert!(served.len() > 300_000);
    let stated = served.clone();
    let server = Server::start(move |asked| Answer::file(asked, &stated, "\"1\""));
    let dir = Dir::new();
    let (code, said) = on_a_small_disk(&dir, &server, "RUN");
    assert!(code == Some(1) && said.contains("make room"), "{said}");
    assert!(!said.contains("d.jsonl.part\n"), "{said}");

    // No length, so that nothing shows before the disk is full. Then something else makes room.
    let unstated = served.clone();
    let server = Server::start(move |asked| Answer::file(asked, &unstated, "\"1\"").unstated());
    let dir = Dir::new();
    let rounds = "dd if=/dev/zero of=disk/other bs=1k count=100 2>/dev/null && RUN ; ls -a disk; rm disk/other; \
                  mount -o remount,size=1m disk && RUN && cmp disk/d.jsonl wanted";
    dir.write("wanted", &served);
    let (code, said) = on_a_small_disk(&dir, &server, rounds);
    assert!(said.contains("the disk is full after"), "{said}");
    assert!(said.contains("d.jsonl.part is kept"), "{said}");
    assert_eq!(code, Some(0), "{said}");
    let ranges: Vec<_> = server.asked().iter().map(Asked::range).collect();
    assert!(ranges.len() == 2 && ranges[1].is_some(), "{ranges:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_container_without_certificates_is_told_what_it_lacks() {
    let dir = Dir::new();
    for url in [
        "--data_url=https://127.0.0.1:9/d.jsonl",
        "--data_url=hf://me/mine/d.jsonl",
    ] {
        let mut command = dir.command(&["--dry_run", "--data_path=d.jsonl", url]);
        let nowhere = dir.path("nowhere");
        let (code, said) = run(command
            .env("SSL_CERT_FILE", &nowhere)
            .env("SSL_CERT_DIR", &nowhere));
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("install CA certificates"), "{said}");
    }
}

#[test]
fn what_is_secret_in_an_address_is_shown_nowhere() {
    let dir = Dir::new();
    for url in [
        "ftp://me:sesame@example.org/d.jsonl",
        "me:sesame@example.org",
        "http://me:sesame@127.0.0.1:9/d.jsonl?key=sesame",
    ] {
        for flag in ["--data_url", "--model_url"] {
            let flag = format!("{flag}={url}");
            let (code, said) = run(&mut dir.command(&[
                "--dry_run",
                "--data_path=d.jsonl",
                "--model_location=m.pth",
                "--huggingface_dataset=",
                &flag,
            ]));
            assert!(matches!(code, Some(1 | 2)), "{said}");
            assert!(!said.contains("sesame"), "{said}");
        }
    }
    assert_eq!(dir.names(), Vec::<String>::new());
}

#[test]
fn a_proxy_is_taken_from_the_environment() {
    let proxy = Server::start(|asked| {
        assert!(asked.path.ends_with("/d.jsonl"), "{}", asked.path);
        Answer::file(asked, LINE.as_bytes(), "\"1\"")
    });
    let dir = Dir::new();
    let url = "--data_url=http://nowhere.invalid/d.jsonl";
    let mut command = dir.command(&["--dry_run", "--data_path=d.jsonl", url]);
    let command = command.env_remove("NO_PROXY").env_remove("no_proxy");
    let host = proxy.url.strip_prefix("http://").unwrap();
    // The last is a login that the HTTP library does not understand as it stands.
    for url in [&proxy.url, host, &format!("http://{{user}}:p\u{e4}@{host}")] {
        let (code, said) = run(command
            .env("HTTP_PROXY", url)
            .env("http_proxy", url)
            // A web server's, which would have the HTTP library use no proxy.
            .env("REQUEST_METHOD", "GET"));
        assert_eq!(code, Some(0), "{url}: {said}");
        std::fs::remove_file(dir.path("d.jsonl")).unwrap();
    }
    let asked = proxy.asked();
    assert_eq!(asked.len(), 3);
    for asked in &asked {
        assert_eq!(asked.header("host"), Some("nowhere.invalid"));
    }
    // `printf '{user}:p\303\244' | base64`
    let login = asked[2].header("proxy-authorization");
    assert_eq!(login, Some("Basic e3VzZXJ9OnDDpA=="));
}
