//! Parses, runs, prints what went wrong once, and sets the exit code: 0 done, 1 failed, 2 wrong
//! usage, 128 and its number when a signal ended a run whose state is saved, or an answer. What the
//! program did not foresee, a panic or a lack of memory, is told in one line as well, and is 1.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use state_tune::cli::{self, Command};
use state_tune::console::{self, Console};
use state_tune::distributed::{self, Failure, Ranks, Role};
use state_tune::ops::cpu::Processor;
use state_tune::system::{self, allocator::Telling, signals};
use state_tune::train::{self, Stop};
use state_tune::{convert, inspect, ops, quickstart, sample};

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: Telling<mimalloc::MiMalloc> = Telling(mimalloc::MiMalloc);

fn main() -> ExitCode {
    cli::write_settings_as_flags();
    if system::output_was_closed() {
        console::output_is_closed();
    }
    let variable = |name: &str| std::env::var_os(name);
    let (console, role) = distributed::console_of(variable, &Console::standard());
    console.tell_panics();
    let command = match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => command,
        Err(cli::Exit::Shown(text)) => {
            if role == Role::First {
                console.line(text.trim_end());
            }
            return done(&console);
        }
        Err(cli::Exit::Usage(message)) => {
            console.error(&format!("error: {message}"));
            return ExitCode::from(2);
        }
    };
    if let Command::Train { .. } | Command::Sample { .. } | Command::Quickstart { .. } = command {
        // Ranks that join have threads that wait.
        ops::cpu::buffers::keep();
    }
    let ranks = match distributed::join(variable, &console) {
        Ok(ranks) => ranks,
        Err(error) => {
            console.error(&format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    // From here on by the rank that it is of.
    ranks.own(&console).tell_panics();
    let ran = ranks.unless_panicked(|| run(command, &ranks, &console));
    let code = match ran {
        Some(ended) => end(ended, &ranks, &console),
        None => ExitCode::FAILURE,
    };
    ranks.finish();
    code
}

/// Tells how it ended, as an exit code and where it went wrong in a line.
fn end(ended: anyhow::Result<Option<i32>>, ranks: &Ranks, console: &Console) -> ExitCode {
    match ended {
        // A terminal that went away shows nothing, and the signal says so.
        Ok(Some(signal)) => ExitCode::from(128 + signal as u8),
        Ok(None) => done(console),
        // The reader of a pipe, such as `head`, has read as much as it wanted.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        // The first rank tells it for all.
        Err(error) if Failure::is(&error) && ranks.role() == Role::Other => ExitCode::FAILURE,
        Err(error) => {
            ranks.own(console).error(&format!("error: {error:#}"));
            if !Failure::is(&error) && ranks.count() > 1 {
                ranks.abort(1);
            }
            ExitCode::FAILURE
        }
    }
}

/// Does what is asked for. Returns the signal that ended it, if one did.
fn run(command: Command, ranks: &Ranks, console: &Console) -> anyhow::Result<Option<i32>> {
    let of_rank = |processor: Processor| Processor {
        threads: ranks.threads(processor.threads),
        ..processor
    };
    match command {
        Command::Train { options } => {
            let train = || with_signals(|| train::run_on(ranks, &options, console));
            of_rank(options.processor).run(train).map(signal_of)
        }
        Command::Sample { options } => {
            let answer = || with_signals(|| sample::run_on(ranks, &options, console));
            of_rank(options.processor).run(answer)
        }
        // The others are for one process.
        _ if ranks.role() == Role::Other => Ok(None),
        Command::DryRun { options } => {
            with_signals(|| train::dry_run(ranks, &options, console))?;
            Ok(None)
        }
        Command::Convert { options } => {
            let convert = || with_signals(|| convert::run(&options, console));
            ops::cpu::threads::with_threads(None, convert)??;
            Ok(None)
        }
        Command::Quickstart { options } => {
            let show = || with_signals(|| quickstart::run(&options, console));
            Processor::default().run(show).map(signal_of)
        }
        Command::Inspect { options } => {
            let inspect = || with_signals(|| inspect::run(&options, console));
            ops::cpu::threads::with_threads(None, inspect)??;
            Ok(None)
        }
    }
}

fn signal_of(stop: Stop) -> Option<i32> {
    match stop {
        Stop::Signal(signal) => Some(signal),
        Stop::ExitLoss { .. }
        | Stop::MaxEpochs { .. }
        | Stop::MaxTime { .. }
        | Stop::Patience { .. } => None,
    }
}

/// Success, unless something could not be shown: then that is told, and is a failure.
fn done(console: &Console) -> ExitCode {
    match console.failure() {
        None => ExitCode::SUCCESS,
        Some(error) => {
            console.error(&format!("error: cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Does `work` while signals end the program, also where the system would ignore them: as process 1
/// of a container. Not before `Processor::run`, since it starts a thread.
fn with_signals<R>(work: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
    signals::catch().context("cannot listen for signals")?;
    work()
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
