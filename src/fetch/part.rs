//! A file on its way: `model.pth.part`, which becomes `model.pth` only when all of it is there.
//!
//! Beside it stands `model.pth.part.json`, which says what the bytes are a part of, so that another
//! run can go on, and that this program began it: another program's part is left alone. Whoever
//! fetches holds a lock on the part; a second process waits, and finds the file there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha1::Sha1;
use sha2::Sha256;

use super::origin::{Digest, Origin};
use crate::console::Console;
use crate::files;

/// How much of a file's beginning is looked at.
const LOOKED_AT: u64 = 1024;
/// How web pages begin, in lower case.
const PAGES: [&[u8]; 2] = [b"<!doctype", b"<html"];
/// Far more than a description of a file takes.
const LONGEST_SIDECAR: u64 = 1 << 20;

/// The part of a file, locked for as long as this lives.
pub struct Part {
    target: PathBuf,
    path: PathBuf,
    sidecar: PathBuf,
    /// What the sidecar says.
    origin: Origin,
    file: File,
    len: u64,
    is_sealed: bool,
}

impl Part {
    /// Opens the part of `target`, or begins one. Says so on `console` when another process holds
    /// it. `None` when another process brought `target` meanwhile. Errors when what is there is
    /// none of this program's, or a link.
    pub fn open(target: &Path, console: &Console) -> Result<Option<Self>> {
        let directory = files::directory_of(target);
        ensure!(
            directory.is_dir(),
            "there is no directory {}; make it first",
            directory.display()
        );
        let path = beside(target, ".part");
        let what = || format!("cannot write {}", path.display());
        loop {
            let file = open(&path, File::options().write(true).create(true)).with_context(what)?;
            lock(&file, target, console).with_context(what)?;
            // Whoever held the lock before may have renamed or removed what we opened.
            let is_still_there = files::leads_to(&path, &file).with_context(what)?;
            if target.exists() {
                if is_still_there {
                    fs::remove_file(&path).with_context(what)?;
                }
                return Ok(None);
            }
            if is_still_there {
                let len = file.metadata().with_context(what)?.len();
                let sidecar = beside(target, ".part.json");
                let origin = described(&sidecar)
                    .with_context(|| format!("cannot use {}", sidecar.display()))?;
                ensure!(
                    len == 0 || origin.is_some(),
                    "{} is there, and this program did not begin it; move it away",
                    path.display()
                );
                let mut part = Self {
                    target: target.to_path_buf(),
                    path: path.clone(),
                    sidecar,
                    origin: origin.unwrap_or_default(),
                    file,
                    len,
                    is_sealed: false,
                };
                if len == 0 {
                    part.clear().with_context(what)?;
                }
                return Ok(Some(part));
            }
        }
    }

    /// Bytes that are here.
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What to say of a part that stays: that the next run goes on from it, if it can.
    pub fn what_is_kept(&self) -> String {
        match self.origin() {
            Some(_) => format!("; {} is kept: start again to go on", self.path.display()),
            None => String::new(),
        }
    }

    /// What the bytes here belong to, if that is known and a change of the file would be noticed.
    pub fn origin(&self) -> Option<Origin> {
        let goes_on = self.origin.is_guarded() && self.len > 0;
        goes_on.then(|| self.origin.clone())
    }

    /// Begins anew, with bytes that will be of `origin`.
    pub fn begin(&mut self, origin: &Origin) -> io::Result<()> {
        self.clear()?;
        self.describe(origin)
    }

    fn describe(&mut self, origin: &Origin) -> io::Result<()> {
        let text = serde_json::to_vec(origin)?;
        files::replace(&self.sidecar, |file| file.write_all(&text))?;
        self.origin = origin.clone();
        Ok(())
    }

    /// Gives up the last byte, so that it can be asked for once more.
    pub fn shorten(&mut self) -> io::Result<()> {
        self.len = self.len.saturating_sub(1);
        self.file.set_len(self.len)
    }

    /// Throws away what is here.
    pub fn clear(&mut self) -> io::Result<()> {
        self.describe(&Origin::default())?;
        self.file.set_len(0)?;
        self.len = 0;
        Ok(())
    }

    /// Puts bytes behind those that are here.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.len))?;
        self.file.write_all(bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Errors when `length` bytes in all would not fit on the disk.
    pub fn check_room(&self, length: u64) -> Result<()> {
        let missing = length.saturating_sub(self.len);
        let checked = files::check_room(&self.target, missing, length);
        checked.with_context(|| format!("cannot write {}", self.target.display()))
    }

    /// Whether the bytes here have the hash that the server stated.
    pub fn has(&mut self, digest: &Digest) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(0))?;
        let (found, stated) = match digest {
            Digest::Sha1(stated) => (hash::<Sha1>(&self.file)?, stated),
            Digest::Sha256(stated) => (hash::<Sha256>(&self.file)?, stated),
        };
        Ok(found.eq_ignore_ascii_case(stated))
    }

    /// Errors when the file begins as a web page, which a server may send in place of what was asked
    /// for; then it is thrown away.
    pub fn refuse_page(&mut self) -> Result<()> {
        let start = self.start()?.to_ascii_lowercase();
        if PAGES.iter().any(|page| start.starts_with(page)) {
            self.clear()?;
            bail!(
                "the server sent a web page and not a file; open its address in a browser to see why"
            );
        }
        Ok(())
    }

    /// The first bytes that are not blank, behind a byte order mark.
    fn start(&mut self) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        self.file.seek(SeekFrom::Start(0))?;
        (&self.file).take(LOOKED_AT).read_to_end(&mut start)?;
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
        Ok(text.trim_ascii_start().to_vec())
    }

    /// Gives the whole file its name. Errors when it is empty or blank, and throws it away: nobody
    /// wants such a file, and once there it would not be fetched again.
    pub fn seal(mut self) -> Result<()> {
        ensure!(
            self.len > 0,
            "it is empty at its source; look there, or name another place"
        );
        if self.start()?.is_empty() {
            self.clear()?;
            bail!("it is blank at its source; look there, or name another place");
        }
        files::publish(&self.file, &self.path, &self.target)
            .with_context(|| format!("cannot write {}", self.target.display()))?;
        self.is_sealed = true;
        // If this fails, the next part replaces it.
        let _ = fs::remove_file(&self.sidecar);
        Ok(())
    }
}

/// Removes a part that no run could go on from.
impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_sealed && self.origin().is_none() {
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&self.sidecar);
        }
    }
}

/// So that rows can be written as they are converted.
impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a part's sidecar says, if it is there and one of this program's.
fn described(sidecar: &Path) -> io::Result<Option<Origin>> {
    let file = match open(sidecar, &mut File::options()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(LONGEST_SIDECAR).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

/// Opens a part or its sidecar. A link is not followed: what it leads to is another file. Nor is it
/// waited for, as a pipe would have it.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    if path.is_symlink() {
        return Err(io::Error::other("it is a link; move it away"));
    }
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(flags.bits() as i32);
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no file; move it away")),
    }
}

fn beside(target: &Path, suffix: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn lock(file: &File, target: &Path, console: &Console) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            console.line(&format!(
                "wait   another process is fetching {}",
                target.display()
            ));
            file.lock()
        }
        // There the user must not start two processes.
        Err(TryLockError::Error(error)) if files::has_no_locks(&error) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn hash<H: sha2::Digest>(mut file: &File) -> io::Result<String> {
    let mut hasher = H::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => hasher.update(&buffer[..n]),
        }
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests;
