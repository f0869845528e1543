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
fn more_than_the_disk_holds_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let part = begun(&directory.path().join("a")).unwrap().unwrap();
    part.check_room(1).unwrap();
    let error = format!("{:#}", part.check_room(u64::MAX).unwrap_err());
    assert!(error.contains("make room"), "{error}");
}
