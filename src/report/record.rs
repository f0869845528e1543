//! What a run writes down for people and other programs, beside its state and its checkpoint.

use std::io;
use std::path::PathBuf;

use anyhow::Result;

use super::{Eval, History, Learnt, Step};
use crate::console::Console;

/// One kind of record: a log to be followed, a picture of the finished run.
pub trait Record {
    /// What the summary calls it.
    fn name(&self) -> &'static str;

    /// Where it is now.
    fn path(&self) -> PathBuf;

    /// Writes down a step.
    fn step(&mut self, _step: &Step) -> Result<()> {
        Ok(())
    }

    /// Writes down an evaluation.
    fn eval(&mut self, _eval: &Eval) -> Result<()> {
        Ok(())
    }

    /// Writes down the end of the run. Returns whether the run left a record.
    fn finish(&mut self, _run: &Finished) -> Result<bool> {
        Ok(true)
    }
}

/// A run that has ended.
pub struct Finished<'a> {
    /// What was made: `state.pth`.
    pub title: &'a str,
    /// Its steps and evaluations, from the first on.
    pub history: &'a History,
    /// The lines of the run's summary.
    pub summary: &'a str,
    /// Flags and their values.
    pub options: &'a [(String, String)],
    /// What the run ran on.
    pub machine: &'a [(String, String)],
    /// What was learnt; `None` if nothing was. To be called only by records that show it: the
    /// answers take a while.
    pub learnt: Option<&'a dyn Fn() -> Result<Learnt>>,
}

/// The records of a run.
///
/// A run is worth more than its records: when they cannot be written any more, that is said, and
/// the run goes on.
pub struct Records {
    all: Vec<Box<dyn Record>>,
    console: Console,
    failed: Option<anyhow::Error>,
}

impl Records {
    /// What goes wrong later is said on `console`.
    pub fn new(all: Vec<Box<dyn Record>>, console: Console) -> Self {
        Self {
            all,
            console,
            failed: None,
        }
    }

    /// Writes down a step.
    pub fn step(&mut self, step: &Step) {
        self.write(|record| record.step(step));
    }

    /// Writes down an evaluation.
    pub fn eval(&mut self, eval: &Eval) {
        self.write(|record| record.eval(eval));
    }

    /// The records one by one, to tell them the end.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut dyn Record> {
        self.all
            .iter_mut()
            .map(|record| &mut **record as &mut dyn Record)
    }

    /// What could not be written while the run went on, if anything.
    pub fn failure(self) -> Option<anyhow::Error> {
        self.failed
    }

    fn write(&mut self, write: impl Fn(&mut dyn Record) -> Result<()>) {
        if self.failed.is_some() {
            return;
        }
        for record in &mut self.all {
            let written = write(&mut **record);
            self.failed = self.failed.take().or(written.err());
        }
        if let Some(error) = &self.failed {
            let result = match is_by_limit(error) {
                true => "the limit on the size of files (`ulimit -f`) is reached; raise it",
                false => "the run goes on without its records",
            };
            self.console.line(&format!("note   {error:#}; {result}"));
        }
    }
}

/// Whether a file could not grow further. The signal that comes with it may stop the run.
fn is_by_limit(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &io::Error| cause.kind() == io::ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use anyhow::bail;

    use super::*;

    /// Counts the evaluations it is told of, and fails from the second on.
    struct Failing(Rc<RefCell<usize>>);

    impl Record for Failing {
        fn name(&self) -> &'static str {
            "failing"
        }

        fn path(&self) -> PathBuf {
            PathBuf::from("nowhere")
        }

        fn eval(&mut self, _eval: &Eval) -> Result<()> {
            *self.0.borrow_mut() += 1;
            match *self.0.borrow() {
                1 => Ok(()),
                _ => bail!("the disk is full"),
            }
        }
    }

    #[test]
    fn after_a_failure_nothing_more_is_written() {
        let told = [(); 2].map(|()| Rc::new(RefCell::new(0)));
        let records = told.each_ref().map(|told| Failing(Rc::clone(told)));
        let records = records.map(|record| Box::new(record) as Box<dyn Record>);
        let mut records = Records::new(records.into(), Console::silent());
        let eval = Eval {
            step: 0,
            loss: 1.0,
            accuracy: 0.0,
        };
        for _ in 0..3 {
            records.eval(&eval);
        }
        // The failure of one does not keep the same evaluation from the other.
        assert_eq!(told.map(|told| *told.borrow()), [2, 2]);
        assert_eq!(records.failure().unwrap().to_string(), "the disk is full");
    }
}
