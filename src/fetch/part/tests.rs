//! Parts that go on, that are not this program's, and that become files.

use super::*;

fn begun(target: &Path) -> Result<Option<Part>> {
    Part::open(target, &Console::silent())
}

fn origin(etag: Option<&str>, length: Option<u64>) -> Origin {
    Origin {
        address: "https://example.org/a".to_string(),
        etag: etag.map(str::to_string),
        length,
        ..Origin::default()
    }
}

#[test]
fn a_part_goes_on_and_becomes_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a");
    let mut part = begun(&target).unwrap().unwrap();
    let first = origin(Some("\"1\""), Some(6));
    part.begin(&first).unwrap();
    part.append(b"abc").unwrap();
    drop(part);
    assert!(!target.exists());

    let mut part = begun(&target).unwrap().unwrap();
    assert_eq!((part.len(), part.origin()), (3, Some(first)));
    part.append(b"def").unwrap();
    // Known from `printf abcdef | sha256sum` and `sha1sum`.
    let sha256 = "bef57ec7f53a6d40beb640a780a639c83bc29ac8a9816f1fc6c5c6dcd93c4721";
    let sha1 = "1F8AC10F23C5B5BC1167BDA84B833E5C057A77D2";
    assert!(part.has(&Digest::Sha256(sha256.to_string())).unwrap());
    assert!(part.has(&Digest::Sha1(sha1.to_string())).unwrap());
    assert!(!part.has(&Digest::Sha1(sha1.replace('1', "2"))).unwrap());
    part.seal().unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"abcdef");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    assert!(begun(&target).unwrap().is_none(), "the file is there");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_no_change_would_show_in_does_not_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut part = begun(&directory.path().join("a")).unwrap().unwrap();
    part.begin(&origin(None, Some(6))).unwrap();
    part.append(b"abc").unwrap();
    assert_eq!(part.origin(), None);
}

#[test]
fn what_this_program_did_not_begin_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a");
    let part = directory.path().join("a.part");
    fs::write(&part, "another program's").unwrap();
    assert!(begun(&target).is_err());
    assert_eq!(fs::read(&part).unwrap(), b"another program's");
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in ["a.part", "a.part.json"] {
            fs::remove_file(&part).unwrap_or_default();
            symlink("victim", directory.path().join(name)).unwrap();
            assert!(begun(&target).is_err(), "{name}");
            assert_eq!(fs::read(&victim).unwrap(), b"precious", "{name}");
        }
    }
}

#[test]
fn an_empty_file_gets_no_name() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a");
    let error = begun(&target).unwrap().unwrap().seal().unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn neither_does_a_blank_one_nor_a_web_page() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a");
    let blank = vec![b' '; 5000];
    for bytes in [
        b" \r\n\t\n".as_slice(),
        b"\xef\xbb\xbf\n",
        &blank,
        b"\n <!DOCTYPE html>\n<p>Log in",
        b"\xef\xbb\xbf<HTML><body>",
    ] {
        let mut part = begun(&target).unwrap().unwrap();
        part.begin(&origin(Some("\"1\""), None)).unwrap();
        part.append(bytes).unwrap();
        let refused = part.refuse_page().and_then(|()| part.seal());
        refused.unwrap_err();
        let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert!(names.is_empty(), "{names:?}");
    }
    let mut part = begun(&target).unwrap().unwrap();
    part.append(b"\n {\"input\": \"<html>\"}").unwrap();
    part.refuse_page().unwrap();
    part.seal().unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    for name in ["a.part", "a.part.json"] {
        for begun_before in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            if begun_before && name == "a.part.json" {
                fs::write(directory.path().join("a.part"), "abc").unwrap();
            }
            let pipe = directory.path().join(name);
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            assert!(made.unwrap().success());
            let error = begun(&directory.path().join("a")).err().unwrap();
            let error = format!("{error:#}");
            assert!(
                error.contains(name) && error.contains("move it away"),
                "{error}"
            );
            assert!(pipe.exists());
        }
    }
}

#[test]
fn more_than_the_disk_holds_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let part = begun(&directory.path().join("a")).unwrap().unwrap();
    part.check_room(1).unwrap();
    let error = format!("{:#}", part.check_room(u64::MAX).unwrap_err());
    assert!(error.contains("make room"), "{error}");
}
