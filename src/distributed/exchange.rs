//! How ranks tell each other where they are and whether they failed, so that what ends one ends all.

use anyhow::{Result, anyhow, bail};

use super::watchdog::Wait;
use super::{Engine, Ranks};
use crate::console::harmless;

/// A few numbers of a rank's. Sums of them with zeros are exact.
pub type Row = [f64; 8];

/// What is exchanged before a row: the stage, and the length of an error's text.
const HEAD: usize = 2;
const WIDTH: usize = HEAD + 8;

/// Bytes in one number: whole numbers of 24 bits are exact.
const PACKED: usize = 3;

/// The longest text of an error that is told to the others, in bytes.
const LONGEST: usize = 4000;

/// Where in a run ranks meet. All must be at the same point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before the first step.
    Start,
    /// Held-out examples are evaluated.
    Evaluation,
    /// Forward and backward of a step are done.
    Step,
    /// There is no further step.
    End,
    /// Some prompts are answered.
    Prompts,
}

impl Stage {
    fn wait(self) -> Wait {
        match self {
            Self::Step => Wait::Share,
            Self::Start | Self::Evaluation | Self::End | Self::Prompts => Wait::Work,
        }
    }
}

/// An error that every rank knows of: the first rank tells it, for all.
#[derive(Debug)]
pub struct Failure(anyhow::Error);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl Failure {
    /// Whether all ranks know of an error.
    pub fn is(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Self>().is_some()
    }
}

impl Ranks {
    /// Tells all ranks this one's numbers, or that it failed. Gives back every rank's numbers in order,
    /// and what this one has beside them. Errors on all ranks when one failed, or when they are not at
    /// the same stage. A rank alone gets back what it gave.
    pub fn exchange<T>(&self, stage: Stage, own: Result<(Row, T)>) -> Result<(Vec<Row>, T)> {
        if self.count() == 1 {
            return own.map(|(row, kept)| (vec![row], kept));
        }
        let mut all = vec![0.0; WIDTH * self.count()];
        let mine = &mut all[WIDTH * self.rank()..][..WIDTH];
        mine[0] = stage as usize as f64;
        let text = match &own {
            Ok((row, _)) => {
                mine[HEAD..].copy_from_slice(row);
                String::new()
            }
            Err(error) => {
                let mut text = format!("{error:#}");
                text.truncate(text.floor_char_boundary(LONGEST));
                mine[1] = text.len() as f64;
                text
            }
        };
        self.wait(stage.wait(), |engine| engine.sum_f64(&mut all));
        let rows: Vec<&[f64]> = all.chunks(WIDTH).collect();
        if let Some(failed) = rows.iter().position(|row| row[1] > 0.0) {
            let lengths: Vec<usize> = rows.iter().map(|row| row[1] as usize).collect();
            let texts = self.all_bytes(&lengths, text.as_bytes());
            let error = match own {
                Err(error) if failed == 0 && self.rank() == 0 => error,
                _ if failed == 0 => anyhow!("{}", String::from_utf8_lossy(&texts[0])),
                _ => {
                    let text = String::from_utf8_lossy(&texts[failed]);
                    anyhow!("{}: {text}", self.name(failed))
                }
            };
            return Err(Failure(error).into());
        }
        if let Some(other) = rows.iter().position(|row| row[0] != rows[0][0]) {
            let error = anyhow!(
                "{} and {} are not at the same point of the run; start all ranks with the same command \
                 (if they were, it is an error of this program)",
                self.name(0),
                self.name(other)
            );
            return Err(Failure(error).into());
        }
        let (_, kept) = own?;
        let row = |row: &[f64]| std::array::from_fn(|i| row[HEAD + i]);
        Ok((rows.into_iter().map(row).collect(), kept))
    }

    /// Makes one rank's error every rank's, and waits until all are here. An error that all know of
    /// stays as it is: they pass it on alike.
    pub fn agree<T>(&self, own: Result<T>) -> Result<T> {
        match own {
            Err(error) if Failure::is(&error) => Err(error),
            own => {
                let own = own.map(|kept| (Row::default(), kept));
                Ok(self.exchange(Stage::End, own)?.1)
            }
        }
    }

    /// Errors when a number that all ranks told of `what` is not the same on each.
    pub fn ensure_same(&self, what: &str, numbers: impl Iterator<Item = f64>) -> Result<()> {
        let numbers: Vec<f64> = numbers.collect();
        match numbers.iter().position(|number| *number != numbers[0]) {
            None => Ok(()),
            Some(other) => bail!(
                "{} has not the same {what} as {} any more, so one of them computes or receives what is \
                 wrong; look for broken memory, and start again from the last checkpoint",
                self.name(other),
                self.name(0)
            ),
        }
    }

    /// Errors on all ranks when one has another value of something than the first. `own` is what it is
    /// and its value, the same things in the same order on each. Where what it is ends in a bracket,
    /// which says where it comes from, the value is a checksum and is not shown.
    pub fn ensure_alike(&self, stage: Stage, own: Result<Vec<(String, String)>>) -> Result<()> {
        let own = own.and_then(|own| Ok(serde_json::to_vec(&own)?));
        let gathered = self.gather(stage, own)?;
        let read = |bytes: &Vec<u8>| serde_json::from_slice::<Vec<(String, String)>>(bytes);
        let first = read(&gathered[0])?;
        for (rank, bytes) in gathered.iter().enumerate() {
            let other = read(bytes)?;
            let mut pairs = first.iter().zip(&other);
            if let Some(((what, first), (_, other))) = pairs.find(|(first, other)| first != other) {
                let values = match what.ends_with(')') {
                    true => String::new(),
                    false => format!(" ({other:?}, not {first:?})"),
                };
                bail!(
                    "{} has another {what} than {}{values}; give all ranks the same",
                    self.name(rank),
                    self.name(0)
                );
            }
        }
        Ok(())
    }

    /// Gives every rank's bytes to all ranks, in order. Errors on all ranks when one failed.
    pub fn gather(&self, stage: Stage, own: Result<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let own = own.map(|bytes| {
            let mut row = Row::default();
            row[0] = bytes.len() as f64;
            (row, bytes)
        });
        let (rows, own) = self.exchange(stage, own)?;
        if self.count() == 1 {
            return Ok(vec![own]);
        }
        let lengths: Vec<usize> = rows.iter().map(|row| row[0] as usize).collect();
        Ok(self.all_bytes(&lengths, &own))
    }

    /// Every rank's bytes, of which each knows all lengths.
    fn all_bytes(&self, lengths: &[usize], own: &[u8]) -> Vec<Vec<u8>> {
        let packed: Vec<usize> = lengths
            .iter()
            .map(|length| length.div_ceil(PACKED))
            .collect();
        let before = packed[..self.rank()].iter().sum::<usize>();
        let mut all = vec![0.0; packed.iter().sum()];
        for (number, bytes) in all[before..].iter_mut().zip(own.chunks(PACKED)) {
            let whole = bytes
                .iter()
                .rev()
                .fold(0u32, |whole, &byte| whole << 8 | u32::from(byte));
            *number = whole as f32;
        }
        self.wait(Wait::Work, |engine| engine.sum_f32(&mut all));
        let mut rest = all.as_slice();
        let mut next = |(length, packed): (&usize, &usize)| {
            let (own, others) = rest.split_at(*packed);
            rest = others;
            let bytes = own
                .iter()
                .flat_map(|&number| (number as u32).to_le_bytes().into_iter().take(PACKED));
            bytes.take(*length).collect()
        };
        lengths.iter().zip(&packed).map(&mut next).collect()
    }
}

/// A short text of each rank, before there is anything else to tell.
pub fn names(engine: &dyn Engine, own: &str) -> Vec<String> {
    /// In bytes; the rest is left out.
    const LONGEST: usize = 64;
    let mut all = vec![0.0; LONGEST * engine.size()];
    let mine = &mut all[LONGEST * engine.rank()..][..LONGEST];
    mine.iter_mut()
        .zip(own.bytes())
        .for_each(|(to, from)| *to = f64::from(from));
    engine.sum_f64(&mut all);
    let name = |bytes: &[f64]| {
        let bytes: Vec<u8> = bytes
            .iter()
            .map(|&byte| byte as u8)
            .filter(|&byte| byte > 0)
            .collect();
        harmless(&String::from_utf8_lossy(&bytes))
    };
    all.chunks(LONGEST).map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::distributed::threads;

    /// What `work` gives on each of some ranks.
    fn on<T: Send>(count: usize, work: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
        let work = &work;
        thread::scope(|scope| {
            let ranks = threads(count).into_iter().map(|engine| {
                scope.spawn(move || {
                    let host = if engine.rank() < 2 { "a" } else { "b" };
                    work(&Ranks::new(engine, host))
                })
            });
            let ranks: Vec<_> = ranks.collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_get_what_each_has() {
        for count in [1, 2, 3, 5] {
            let gathered = on(count, |ranks| {
                let rank = ranks.rank();
                let row = [rank as f64, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, -1.5];
                let (rows, kept) = ranks.exchange(Stage::Step, Ok((row, rank))).unwrap();
                assert_eq!((kept, rows[rank]), (rank, row));
                let bytes: Vec<u8> = (0..=255).cycle().skip(rank).take(rank * 101).collect();
                let all = ranks.gather(Stage::Start, Ok(bytes.clone())).unwrap();
                assert!(all[rank] == bytes);
                (rows, all)
            });
            assert!(gathered.iter().all(|all| *all == gathered[0]));
        }
    }

    #[test]
    fn places_are_counted_on_each_machine() {
        let local = on(5, |ranks| {
            (ranks.local_rank(), ranks.local_count(), ranks.describe())
        });
        let counts: Vec<_> = local
            .iter()
            .map(|(rank, count, _)| (*rank, *count))
            .collect();
        assert_eq!(counts, [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]);
        assert_eq!(local[0].2, "5 ranks on 2 hosts, by threads");
    }

    #[test]
    fn one_error_is_every_ranks_wherever_it_happens() {
        let ended = on(3, |ranks| {
            let work = || {
                ranks.exchange(Stage::Start, Ok((Row::default(), ())))?;
                if ranks.rank() == 2 {
                    bail!("the disk is\nlost");
                }
                ranks.exchange(Stage::Evaluation, Ok((Row::default(), ())))?;
                bail!("nobody comes here")
            };
            let error = ranks.agree::<()>(work()).unwrap_err();
            assert!(Failure::is(&error));
            // It is told once.
            let again = ranks.agree::<()>(Err(error)).unwrap_err();
            format!("{again:#}")
        });
        assert_eq!(ended, ["rank 2 (host b): the disk is\nlost"; 3]);
        // Of several, the first rank's is told, and nobody's name before it.
        let ended = on(2, |ranks| {
            let own = anyhow!("of rank {}", ranks.rank()).context("outside");
            let error = ranks.agree::<()>(Err(own)).unwrap_err();
            (format!("{error:#}"), error.chain().count())
        });
        assert_eq!(ended[0], ("outside: of rank 0".to_string(), 2));
        assert_eq!(ended[1].0, "outside: of rank 0");
    }

    #[test]
    fn ranks_that_lost_each_other_are_told() {
        let errors = on(2, |ranks| {
            let stage = [Stage::Step, Stage::Evaluation][ranks.rank()];
            ranks
                .exchange(stage, Ok((Row::default(), ())))
                .unwrap_err()
                .to_string()
        });
        for error in errors {
            assert!(error.contains("not at the same point"), "{error}");
        }
    }
}
