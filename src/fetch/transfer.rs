//! Downloads one file, going on after every broken connection.

use std::io::{self, Read};
use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow, bail};
use reqwest::blocking::Client;

use super::failure::{self, Failure};
use super::origin::Digest;
use super::part::Part;
use super::retry::{AfterFailure, Delays, RetryPolicy};
use super::web::{self, Reply, Request};
use crate::console::{Console, DecimalBytes, Transfer};

/// Tries for a server that never answered: there may be no network at all.
const FIRST_TRIES: usize = 3;

/// How one attempt ended that failed.
enum Attempt {
    /// Bytes came, then the line broke.
    Broken(String),
    Failed(Failure),
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A file to download, and how.
pub struct Download<'a> {
    pub client: &'a Client,
    /// Made for each try, since what authorises it may age.
    pub request: &'a dyn Fn() -> Result<Request, Failure>,
    /// What it is called in what is shown.
    pub name: &'a str,
    pub policy: &'a RetryPolicy,
    pub console: &'a Console,
}

impl Download<'_> {
    /// Downloads the file to `target`, going on from what was fetched of it before.
    pub fn to(&self, target: &Path) -> Result<()> {
        let Some(mut part) = Part::open(target, self.console)? else {
            return Ok(());
        };
        let digest = self.complete(&mut part)?;
        let len = DecimalBytes(part.len());
        let how = match &digest {
            Some(Digest::Sha256(_)) => ", SHA-256 as stated",
            Some(Digest::Sha1(_)) => ", SHA-1 as stated",
            None => "",
        };
        if digest.is_none() {
            part.refuse_page()?;
        }
        part.seal()?;
        self.say(&format!("{len}, all here{how}"));
        Ok(())
    }

    fn say(&self, what: &str) {
        self.console.line(&format!("fetch  {}: {what}", self.name));
    }

    /// Fills `part` until the file is whole and has the hash that the server states, which is given
    /// back.
    fn complete(&self, part: &mut Part) -> Result<Option<Digest>> {
        let mut delays = Delays::new(self.policy);
        let mut went_on = part.origin().is_some();
        // A retry counts as progress, after which delays begin anew, only if it got further than
        // all before it: a server that sends the same beginning each time makes no progress.
        let mut farthest = part.len();
        let (mut met, mut tries) = (false, 0);
        loop {
            tries += 1;
            let (why, after) = match self.attempt(part) {
                Ok(digest) => match digest {
                    Some(digest) if !part.has(&digest)? => {
                        part.clear()?;
                        if !went_on {
                            bail!(
                                "the bytes that arrived do not have the hash that the server \
                                 states ({digest}) and were \
                                 thrown away; try again, and if it stays so the file is damaged \
                                 at its source"
                            );
                        }
                        // The bytes that an earlier run left may be wrong.
                        went_on = false;
                        self.say("the hash is wrong; beginning anew");
                        continue;
                    }
                    digest => return Ok(digest),
                },
                Err(Attempt::Broken(why)) => {
                    (met, went_on) = (true, true);
                    if part.len() > farthest {
                        farthest = part.len();
                        delays.begin_anew();
                        tries = 0;
                    }
                    (format!("{why} after {}", DecimalBytes(part.len())), None)
                }
                Err(Attempt::Failed(Failure::Stale)) => {
                    part.clear()?;
                    self.say("it has changed at its source; beginning anew");
                    continue;
                }
                Err(Attempt::Failed(Failure::Lasting(error))) => return Err(error),
                Err(Attempt::Failed(Failure::Passing { error, after })) => {
                    met = true;
                    (error.to_string(), after)
                }
                Err(Attempt::Failed(Failure::Unreachable(error))) => {
                    if !met && tries >= FIRST_TRIES {
                        bail!("{error}; {}", failure::IS_IT_THERE);
                    }
                    (error.to_string(), None)
                }
            };
            let kept = part.what_is_kept();
            match delays.next(after) {
                AfterFailure::TryAfter(delay) => {
                    self.say(&format!("{why}; trying again in {delay:.0?}"));
                    thread::sleep(delay);
                }
                AfterFailure::GiveUp => bail!("{why}; gave up after {tries} tries{kept}"),
                AfterFailure::TooLong(delay) => bail!(
                    "{why} and asks to wait for {} minutes; start again then{kept}",
                    delay.as_secs().div_ceil(60)
                ),
            }
        }
    }

    /// One request, and its bytes into the part.
    fn attempt(&self, part: &mut Part) -> Result<Option<Digest>, Attempt> {
        let request = (self.request)()?;
        let known = part
            .origin()
            .filter(|origin| origin.address == request.address);
        if known
            .as_ref()
            .is_some_and(|origin| origin.length == Some(part.len()))
        {
            // An earlier run ended after the last byte and before the file got its name. The last
            // byte is asked for again, so that the server tells whether it is still this file.
            part.shorten().map_err(|error| disk(error, part))?;
        }
        let have = known.as_ref().map(|origin| (part.len(), origin));
        let Reply {
            origin,
            from,
            mut body,
        } = web::get(self.client, &request, have)?;
        if from == 0 {
            part.begin(&origin).map_err(|error| disk(error, part))?;
        }
        if let Some(length) = origin.length {
            part.check_room(length).map_err(Failure::Lasting)?;
        }
        let mut transfer = Transfer::new(self.console, self.name, origin.length, part.len());
        let mut buffer = vec![0; 1 << 17];
        let mut came = false;
        let ended = loop {
            match body.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    part.append(&buffer[..n])
                        .map_err(|error| disk(error, part))?;
                    transfer.advance(n as u64);
                    came = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(format!("the line broke ({})", failure::reasons(&error))),
            }
        };
        transfer.finish();
        let ended = ended.and_then(|()| match origin.length {
            Some(length) if part.len() < length => Err("the line broke".to_string()),
            _ => Ok(()),
        });
        match ended {
            Ok(()) => match origin.length {
                Some(length) if part.len() > length => {
                    part.clear().map_err(|error| disk(error, part))?;
                    let error = anyhow!(
                        "the server sent more than the {length} bytes that it stated; download \
                         the file yourself"
                    );
                    Err(Failure::Lasting(error).into())
                }
                _ => Ok(origin.digest),
            },
            Err(why) if came => Err(Attempt::Broken(why)),
            Err(why) => Err(Failure::Passing {
                error: anyhow!(why),
                after: None,
            }
            .into()),
        }
    }
}

fn disk(error: io::Error, part: &Part) -> Failure {
    let path = part.path().display();
    Failure::Lasting(match error.kind() {
        io::ErrorKind::StorageFull => anyhow!(
            "the disk is full after {}; make room{}",
            DecimalBytes(part.len()),
            part.what_is_kept()
        ),
        _ => anyhow!("cannot write {path}: {error}"),
    })
}
