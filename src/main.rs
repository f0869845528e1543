//! Parses, runs, prints what went wrong once, and sets the exit code: 0 done, 1 failed, 2 wrong
//! usage, 128 and its number when a signal ended a run whose state is saved, or an answer.

use std::io;
use std::process::ExitCode;

use state_tune::cli::{self, Command};
use state_tune::console::Console;
use state_tune::ops::cpu::Processor;
use state_tune::train::{self, Stop};
use state_tune::{convert, inspect, ops, quickstart, sample};

/// `ops::cpu::buffers` says why.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::write_settings_as_flags();
    let console = Console::standard();
    let command = match cli::parse(std::env::args_os(), std::env::vars_os()) {
        Ok(command) => command,
        Err(cli::Exit::Shown(text)) => {
            console.line(text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(cli::Exit::Usage(message)) => {
            console.error(&format!("error: {message}"));
            return ExitCode::from(2);
        }
    };
    match run(command, &console) {
        Ok(code) => code,
        // The reader of a pipe, such as `head`, has read as much as it wanted.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            console.error(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, console: &Console) -> anyhow::Result<ExitCode> {
    match command {
        Command::Train { options } => {
            let stop = options.processor.run(|| train::run(&options, console))?;
            Ok(exit_code(stop))
        }
        Command::DryRun { options } => {
            train::dry_run(&options, console)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Convert { options } => {
            ops::cpu::threads::with_threads(None, || convert::run(&options, console))??;
            Ok(ExitCode::SUCCESS)
        }
        Command::Quickstart { options } => {
            let stop = Processor::default().run(|| quickstart::run(&options, console))?;
            Ok(exit_code(stop))
        }
        Command::Inspect { path } => {
            inspect::run(&path, console)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Sample { options } => {
            let processor = options.processor;
            Ok(match processor.run(|| sample::run(&options, console))? {
                Some(signal) => ExitCode::from(128 + signal as u8),
                None => ExitCode::SUCCESS,
            })
        }
    }
}

fn exit_code(stop: Stop) -> ExitCode {
    match stop {
        Stop::Signal(signal) => ExitCode::from(128 + signal as u8),
        Stop::ExitLoss { .. }
        | Stop::MaxEpochs { .. }
        | Stop::MaxTime { .. }
        | Stop::Patience { .. } => ExitCode::SUCCESS,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
