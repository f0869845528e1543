//! What is replaced, what keeps its permissions, and what is swept.

use std::io::Write;

use super::*;
use crate::files::Bytes;

#[test]
fn a_failed_write_leaves_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    replace(&path, |f| f.write_all(b"old")).unwrap();
    let failed = replace(&path, |f| {
        f.write_all(b"ne")?;
        Err(io::Error::other("disk full"))
    });
    assert!(failed.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no temporary file stays behind"
    );
    assert_eq!(&*Bytes::map(&path).unwrap(), b"old");
}

#[cfg(unix)]
#[test]
fn permissions_and_links_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o7777;
    for wanted in [0o600, 0o640, 0o666, 0o755] {
        fs::write(path("real"), "old").unwrap();
        fs::set_permissions(path("real"), fs::Permissions::from_mode(wanted)).unwrap();
        replace(&path("real"), |f| f.write_all(b"new")).unwrap();
        assert_eq!(mode("real"), wanted);
    }
    // Through two links, one of them to a place that is empty so far.
    symlink("real", path("second")).unwrap();
    symlink("second", path("first")).unwrap();
    for there in [true, false] {
        if !there {
            fs::remove_file(path("real")).unwrap();
        }
        replace(&path("first"), |f| f.write_all(b"newer")).unwrap();
        assert!(path("first").is_symlink() && path("second").is_symlink());
        assert_eq!(fs::read(path("real")).unwrap(), b"newer");
    }
}

#[cfg(unix)]
#[test]
fn what_is_protected_is_not_writable_and_nothing_is_written_to_find_that_out() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    check_writable(&path).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    fs::write(&path, "old").unwrap();
    check_writable(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let error = check_writable(&path).unwrap_err().to_string();
    assert_eq!(error, "it is write-protected");
    let long = directory.path().join("x".repeat(240));
    assert!(
        check_writable(&long).is_err(),
        "its temporary file's name is too long"
    );
    let error = check_writable(&path.join("inside")).unwrap_err();
    assert!(error.to_string().contains("there is no directory"));
}

#[test]
fn what_a_killed_program_left_is_swept_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.pth");
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let age = |file: &File| {
        let two_hours_ago = SystemTime::now() - 2 * OLD;
        file.set_modified(two_hours_ago).unwrap();
    };
    let in_use = temporary_beside(&path).unwrap();
    age(in_use.as_file());
    let used = in_use
        .path()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_string();
    for name in [
        ".state-tune-state.pth-abc",
        ".state-tune-other.pth-abc",
        "state.pth-abc",
    ] {
        let file = File::create(directory.path().join(name)).unwrap();
        age(&file);
    }
    // Another program made one of these just now, and has not locked it yet.
    for name in [
        ".state-tune-state.pth-12-new",
        ".state-tune-state.pth-123-new",
    ] {
        File::create(directory.path().join(name)).unwrap();
    }
    sweep(&path, Some(12));
    let mut left = vec![
        ".state-tune-other.pth-abc".to_string(),
        ".state-tune-state.pth-123-new".to_string(),
        used,
        "state.pth-abc".to_string(),
    ];
    left.sort();
    assert_eq!(names(), left);
}
