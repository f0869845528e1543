//! Plain web servers, good and bad ones, by way of `fetch::obtain`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};
use state_tune::console::Console;
use state_tune::fetch::{self, Remote, RetryPolicy, Wanted};
use state_tune::setting::{MODEL_LOCATION, MODEL_URL};

use crate::common::Dir;
use crate::server::{Answer, Asked, Server, bytes};

const LEN: usize = 300_000;

const HASTY: RetryPolicy = RetryPolicy {
    connect: Duration::from_secs(5),
    stall: Duration::from_millis(500),
    first_delay: Duration::from_millis(10),
    tries: 4,
};

/// One try, as of a run that is cut off.
const ONCE: RetryPolicy = RetryPolicy { tries: 0, ..HASTY };

/// Fetches `address` to `file` in a directory.
fn get(dir: &Dir, address: &str, file: &str) -> Result<(), String> {
    get_with(dir, address, file, &HASTY)
}

fn get_with(dir: &Dir, address: &str, file: &str, policy: &RetryPolicy) -> Result<(), String> {
    let remote = Remote::Url {
        setting: MODEL_URL,
        address: address.parse().unwrap(),
    };
    let path = dir.path(file);
    let console = Console::silent();
    let wanted = Wanted {
        path: &path,
        named_by: MODEL_LOCATION,
        url: MODEL_URL,
        remote: Some(&remote),
    };
    fetch::obtain(&wanted, policy, &console).map_err(|error| format!("{error:#}"))
}

#[track_caller]
fn is_whole(dir: &Dir, content: &[u8]) {
    assert_eq!(dir.names(), ["model"], "nothing else is left");
    assert!(fs::read(dir.path("model")).unwrap() == content);
}

/// Nothing is at the target's name, and the parts are what `names` says.
#[track_caller]
fn is_not_there(dir: &Dir, names: &[&str]) {
    assert_eq!(dir.names(), names);
}

fn sha256(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_whole_file_arrives_once() {
    let content = bytes(LEN);
    let served = content.clone();
    let server = Server::start(move |asked| Answer::file(asked, &served, "\"1\""));
    let dir = Dir::new();
    let address = format!("{}/a/model?key=secret", server.url);
    get(&dir, &address, "model").unwrap();
    is_whole(&dir, &content);
    get(&dir, &address, "model").unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 1, "what is there is not asked for");
    assert_eq!(asked[0].path, "/a/model?key=secret");
    assert_eq!(asked[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn cut_at_ten_random_points_it_goes_on_each_time_where_it_stopped() {
    for seed in 0..3 {
        let content = bytes(LEN);
        let served = content.clone();
        let server = Server::start(move |asked| {
            let answer = Answer::file(asked, &served, "\"1\"");
            let mut random = StdRng::seed_from_u64(seed * 100 + asked.before as u64);
            match asked.before {
                0..10 => answer.cut(random.random_range(1..LEN / 11)),
                _ => answer,
            }
        });
        let dir = Dir::new();
        get(&dir, &format!("{}/model", server.url), "model").unwrap();
        is_whole(&dir, &content);
        let asked = server.asked();
        assert_eq!(asked.len(), 11);
        let starts: Vec<usize> = asked.iter().filter_map(Asked::range).collect();
        assert_eq!(starts.len(), 10, "all but the first ask for the rest");
        assert!(starts.is_sorted() && starts[0] > 0, "{starts:?}");
        assert!(
            asked[1..]
                .iter()
                .all(|asked| asked.header("if-range") == Some("\"1\"")),
            "guarded by the ETag"
        );
    }
}

#[test]
fn without_an_etag_the_date_guards_and_without_both_it_begins_anew() {
    for (mark, goes_on) in [
        (
            Some(("last-modified", "Tue, 24 Nov 2026 10:00:00 GMT")),
            true,
        ),
        (Some(("etag", "W/\"1\"")), false),
        (None, false),
    ] {
        let content = bytes(LEN);
        let served = content.clone();
        let server = Server::start(move |asked| {
            let len = served.len();
            let mut answer = match asked.range() {
                Some(from) => Answer::new(206, &served[from..])
                    .with("content-range", &format!("bytes {from}-{}/{len}", len - 1)),
                None => Answer::new(200, served.clone()),
            };
            if let Some((name, value)) = mark {
                answer = answer.with(name, value);
            }
            if asked.before == 0 {
                answer.cut(1000)
            } else {
                answer
            }
        });
        let dir = Dir::new();
        get(&dir, &format!("{}/model", server.url), "model").unwrap();
        is_whole(&dir, &content);
        let asked = server.asked();
        assert_eq!(asked[1].range().is_some(), goes_on, "{mark:?}");
        if goes_on {
            assert_eq!(asked[1].header("if-range"), mark.map(|(_, value)| value));
        }
    }
}

#[test]
fn a_server_that_ignores_ranges_starts_over() {
    let content = bytes(LEN);
    let served = content.clone();
    let server = Server::start(move |asked| {
        let answer = Answer::new(200, served.clone()).with("etag", "\"1\"");
        if asked.before == 0 {
            answer.cut(1000)
        } else {
            answer
        }
    });
    let dir = Dir::new();
    get(&dir, &format!("{}/model", server.url), "model").unwrap();
    is_whole(&dir, &content);
    assert_eq!(server.asked()[1].range(), Some(1000));
}

#[test]
fn a_server_that_never_comes_farther_is_given_up() {
    let served = bytes(LEN);
    let server = Server::start(move |_| Answer::new(200, served.clone()).cut(1000));
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("gave up after"), "{error}");
    is_not_there(&dir, &[]);
}

#[test]
fn a_file_that_changes_between_tries_is_begun_anew() {
    // One server looks at If-Range, the other sends the rest of whatever it has now.
    for careful in [true, false] {
        let (old, new) = (bytes(LEN), bytes(LEN + 1)[1..].to_vec());
        let wanted = new.clone();
        let server = Server::start(move |asked| match asked.before {
            0 => Answer::file(asked, &old, "\"1\"").cut(1000),
            _ if careful => Answer::file(asked, &new, "\"2\""),
            _ => match asked.range() {
                Some(from) => Answer::new(206, &new[from..])
                    .with("content-range", &format!("bytes {from}-{}/{LEN}", LEN - 1))
                    .with("etag", "\"2\""),
                None => Answer::file(asked, &new, "\"2\""),
            },
        });
        let dir = Dir::new();
        get(&dir, &format!("{}/model", server.url), "model").unwrap();
        is_whole(&dir, &wanted);
    }
}

#[test]
fn a_server_that_stalls_is_asked_again() {
    let content = bytes(LEN);
    let served = content.clone();
    let server = Server::start(move |asked| {
        let answer = Answer::file(asked, &served, "\"1\"");
        if asked.before == 0 {
            answer.stall(1000)
        } else {
            answer
        }
    });
    let dir = Dir::new();
    let begun = Instant::now();
    get(&dir, &format!("{}/model", server.url), "model").unwrap();
    assert!(begun.elapsed() >= HASTY.stall);
    is_whole(&dir, &content);
    assert_eq!(server.asked()[1].range(), Some(1000));
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() {
    let content = bytes(LEN);
    let served = content.clone();
    let server = Server::start(move |asked| match asked.before {
        0 => Answer::new(429, "").with("retry-after", "1"),
        1 => Answer::new(503, ""),
        2 => Answer::new(408, ""),
        _ => Answer::file(asked, &served, "\"1\""),
    });
    let dir = Dir::new();
    let begun = Instant::now();
    get(&dir, &format!("{}/model", server.url), "model").unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    is_whole(&dir, &content);

    let server = Server::start(|_| Answer::new(429, "").with("retry-after", "7200"));
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("wait for 120 minutes"), "{error}");
    assert_eq!(server.asked().len(), 1);
    is_not_there(&dir, &[]);
}

#[test]
fn a_refusal_ends_it_at_once_and_says_what_it_means() {
    for (status, words) in [
        (401, "wants a login"),
        (403, "does not let this address be read"),
        (404, "there is nothing at this address"),
        (410, "there is nothing at this address"),
        (400, "does not serve this"),
    ] {
        let server = Server::start(move |_| Answer::new(status, "no"));
        let dir = Dir::new();
        let error = get(&dir, &format!("{}/model?key=secret", server.url), "model").unwrap_err();
        let whole = error.contains(&status.to_string())
            && error.contains(words)
            && error.contains("127.0.0.1")
            && error.contains("model_url http://127.0.0.1");
        assert!(whole && !error.contains("secret"), "{status}: {error}");
        assert_eq!(server.asked().len(), 1, "{status}");
        is_not_there(&dir, &[]);
    }
}

#[test]
fn a_server_that_stays_broken_is_given_up() {
    let server = Server::start(|_| Answer::new(500, ""));
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(
        error.contains("500") && error.contains("gave up after 5 tries"),
        "{error}"
    );
    assert_eq!(server.asked().len(), 5);
}

#[test]
fn a_wrong_hash_is_not_kept() {
    let content = bytes(LEN);
    let served = content.clone();
    let wrong = format!("\"{}\"", sha256(b"something else"));
    let server = Server::start(move |asked| {
        Answer::file(asked, &served, "\"1\"").with("x-linked-etag", &wrong)
    });
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("do not have the hash"), "{error}");
    is_not_there(&dir, &[]);
    assert_eq!(server.asked().len(), 1, "the same bytes would come again");
}

#[test]
fn what_was_damaged_on_disk_is_found_by_its_hash_and_fetched_anew() {
    let content = bytes(LEN);
    let served = content.clone();
    let right = format!("\"{}\"", sha256(&content));
    let server = Server::start(move |asked| {
        let answer = Answer::file(asked, &served, "\"1\"").with("x-linked-etag", &right);
        if asked.before == 0 {
            answer.cut(1000)
        } else {
            answer
        }
    });
    let dir = Dir::new();
    let address = format!("{}/model", server.url);
    // One run is cut off and gives up, since the server does not exist for it any more.
    get_with(&dir, &address, "model", &ONCE).unwrap_err();
    is_not_there(&dir, &["model.part", "model.part.json"]);
    let mut part = fs::read(dir.path("model.part")).unwrap();
    assert_eq!(part.len(), 1000);
    part[500] ^= 1;
    fs::write(dir.path("model.part"), part).unwrap();

    get(&dir, &address, "model").unwrap();
    is_whole(&dir, &content);
    let ranges: Vec<_> = server.asked().iter().map(Asked::range).collect();
    assert_eq!(ranges, [None, Some(1000), None]);
}

#[test]
fn redirects_are_followed_and_the_login_stays_with_its_server() {
    let content = bytes(LEN);
    let served = content.clone();
    let other = Server::start(move |asked| Answer::file(asked, &served, "\"1\""));
    let place = format!("{}/there", other.url);
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/model" => Answer::new(302, "").with("location", "/near"),
        _ => Answer::new(307, "").with("location", &place),
    });
    let dir = Dir::new();
    let address = server.url.replace("http://", "http://me:pass@");
    get(&dir, &format!("{address}/model"), "model").unwrap();
    is_whole(&dir, &content);
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("authorization") == Some("Basic bWU6cGFzcw==")),
        "me:pass, in base64"
    );
    assert_eq!(other.asked()[0].header("authorization"), None);

    let server = Server::start(|_| Answer::new(302, "").with("location", "/again"));
    let error = get(&Dir::new(), &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("redirects more than"), "{error}");
    let server = Server::start(|_| Answer::new(302, "").with("location", "file:///etc/passwd"));
    let error = get(&Dir::new(), &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("redirects to nowhere"), "{error}");
}

#[test]
fn a_web_page_is_no_file() {
    let server = Server::start(|_| {
        Answer::new(200, "<html>Sign in").with("content-type", "text/html; charset=utf-8")
    });
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("web page"), "{error}");
    is_not_there(&dir, &[]);
}

#[test]
fn without_a_stated_length_the_end_is_the_end() {
    let content = bytes(LEN);
    let served = content.clone();
    let server = Server::start(move |_| Answer::new(200, served.clone()).unstated());
    let dir = Dir::new();
    get(&dir, &format!("{}/model", server.url), "model").unwrap();
    is_whole(&dir, &content);
}

#[test]
fn more_than_the_disk_holds_is_refused_before_it_comes() {
    let server = Server::start(|_| {
        Answer::new(200, "x")
            .stall(1)
            .with("content-length", "1000000000000000")
    });
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(
        error.contains("make room") && error.contains("1.00 PB"),
        "{error}"
    );
    is_not_there(&dir, &[]);
}

#[test]
fn nobody_there_is_said_with_the_host() {
    let dir = Dir::new();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("http://127.0.0.1:{port}/model?key=secret");
    let error = get(&dir, &address, "model").unwrap_err();
    let whole = error.contains("is the network there?")
        && error.contains(&format!("no answer from http://127.0.0.1:{port}/model"));
    assert!(whole && !error.contains("secret"), "{error}");
    is_not_there(&dir, &[]);
}

#[test]
fn a_file_address_is_copied() {
    let dir = Dir::new();
    dir.write("model source", b"abc");
    let from = dir.path("model source");
    let address = format!("file://{}", from.display()).replace(' ', "%20");
    get(&dir, &address, "model").unwrap();
    assert_eq!(fs::read(dir.path("model")).unwrap(), b"abc");
    for missing in [dir.path("nothing"), Path::new("/dev/null").to_path_buf()] {
        let error = get(&dir, &format!("file://{}", missing.display()), "other").unwrap_err();
        assert!(error.contains(&missing.display().to_string()), "{error}");
    }
    assert_eq!(dir.names(), ["model", "model source"]);
}

#[test]
fn a_rest_that_does_not_say_of_how_much_is_held_to_what_was_said_before() {
    for short in [false, true] {
        let content = bytes(LEN);
        let served = content.clone();
        let server = Server::start(move |asked| match asked.range() {
            None => Answer::file(asked, &served, "\"1\"").cut(1000),
            Some(from) => {
                // Once a rest that is too short as well.
                let end = if short && asked.before == 1 {
                    from + 10
                } else {
                    served.len()
                };
                Answer::new(206, &served[from..end])
                    .with("content-range", &format!("bytes {from}-{}/*", end - 1))
                    .with("etag", "\"1\"")
            }
        });
        let dir = Dir::new();
        get(&dir, &format!("{}/model", server.url), "model").unwrap();
        is_whole(&dir, &content);
        assert_eq!(server.asked().len(), 2 + usize::from(short));
    }
}

#[test]
fn compressed_bytes_are_not_the_file() {
    let server = Server::start(|_| Answer::new(200, "x").with("content-encoding", "gzip"));
    let dir = Dir::new();
    let error = get(&dir, &format!("{}/model", server.url), "model").unwrap_err();
    assert!(error.contains("compressed"), "{error}");
    is_not_there(&dir, &[]);
}

#[test]
fn a_part_with_all_its_bytes_is_still_asked_for() {
    for changed in [false, true] {
        let (old, new) = (bytes(LEN), bytes(LEN + 1)[1..].to_vec());
        let (first, second) = (old.clone(), new.clone());
        let server = Server::start(move |asked| match asked.before {
            0 => Answer::file(asked, &first, "\"1\"").cut(1000),
            _ if changed => Answer::file(asked, &second, "\"2\""),
            _ => Answer::file(asked, &first, "\"1\""),
        });
        let dir = Dir::new();
        let address = format!("{}/model", server.url);
        get_with(&dir, &address, "model", &ONCE).unwrap_err();
        // As a run leaves it that is killed between the last byte and the name.
        fs::write(dir.path("model.part"), &old).unwrap();
        get(&dir, &address, "model").unwrap();
        is_whole(&dir, if changed { &new } else { &old });
        assert_eq!(server.asked()[1].range(), Some(LEN - 1));
    }
}

#[test]
#[cfg(unix)]
fn a_link_to_where_nothing_is_yet_stays_a_link() {
    let content = bytes(LEN);
    let served = content.clone();
    let server = Server::start(move |asked| Answer::file(asked, &served, "\"1\""));
    let dir = Dir::new();
    fs::create_dir(dir.path("large")).unwrap();
    std::os::unix::fs::symlink("large/model", dir.path("model")).unwrap();
    get(&dir, &format!("{}/model", server.url), "model").unwrap();
    assert!(dir.path("model").is_symlink());
    assert!(fs::read(dir.path("large/model")).unwrap() == content);
}
