//! state-tune: teach a frozen RWKV-5 or RWKV-7 model a new manner by learning only the state it starts
//! from.
//!
//! # From Rust
//!
//! The command line is one way in; this is another. It tunes a state on the small model that comes
//! with the source, and finds that the model likes the answers better from there:
//!
//! ```
//! use state_tune::console::Console;
//! use state_tune::data::dataset;
//! use state_tune::model::{Rwkv, State};
//! use state_tune::ops::linear::ProductType;
//! use state_tune::train::{self, Options};
//! use state_tune::{evaluate, state_file};
//!
//! # fn main() -> anyhow::Result<()> {
//! let folder = tempfile::tempdir()?;
//! let mut options = Options {
//!     model: "examples/tiny/model.pth".into(),
//!     data: "examples/tiny/train.jsonl".into(),
//!     save: folder.path().join("state.pth"),
//!     max_epochs: 0.25,
//!     exit_loss: 0.0, // the model knows the answers; only their manner is new to it
//!     ..Options::default()
//! };
//! options.schedule.learning_rate = 0.1;
//! train::run(&options, &Console::silent())?;
//!
//! let model = Rwkv::open(&options.model, ProductType::F32)?;
//! let base = State::zeros(model.config())?;
//! let tuned = state_file::read(&options.save, model.config())?;
//! let unseen = dataset::read("examples/tiny/eval.jsonl".as_ref(), &options.formats)?.examples;
//! let loss = |state: &State| evaluate::score(&model, &unseen, state).map(|score| score.loss());
//! assert!(loss(&tuned)? < loss(&base)?);
//! # Ok(())
//! # }
//! ```
//!
//! # The map
//!
//! ```text
//! main.rs        parse, run, print the error once, exit code
//! cli/           the only place that knows clap, flags and their environment variables; ends in
//!                plain option structs
//! quickstart     all of it on a small model that is part of the program
//! train/         the training story: mod.rs is the loop; options, settings (what a checkpoint
//!                compares), places and outputs (what may be written), run_state, checkpoint and
//!                run_record, step, gradient and share (on several ranks), learner, memory_plan,
//!                model_files, limits, signals, ranks, finish (what is written)
//! sample/        test mode, base and tuned: one prompt, a file of prompts, a conversation
//! convert        a state from one format to another; inspect: what a file is, and which way a
//!                state's matrices stand
//! report/        what a run leaves, a Record each: log, TensorBoard, curve, page; history,
//!                summary, chart/
//! generate/      text from a model token by token: what is drawn, what ends it
//! state_file/    the state's formats, one file each: recognised, read, written
//! evaluate       the loss of examples, and how many of their tokens a model finds likeliest
//! model/         the RWKV model: config (read off tensor shapes), weights, batch (sequences packed
//!                flat), block (time_mix, channel_mix, each with a file a version), head, state
//!                (its groups are named and mapped over), memory
//! data/          jsonl, format/ (shapes of rows, one file each), formats (rows as text), template,
//!                example (tokens and which are learnt), dataset (a file), notes and survey (what is
//!                told of it), walk
//! ops/           one folder for each op with its own gradient: mod.rs (maths, shapes),
//!                reference.rs, cpu.rs, and for NVIDIA GPUs cuda.rs with a .cu; beside them cpu/
//!                (instructions, vectors, memory, threads), cuda/ (kernels and how they
//!                are launched; driver/ alone calls NVIDIA's libraries), device (which one computes)
//! tensors/       files of tensors: what they hold, the types of number, safetensors, PyTorch's zip
//!                and pickle, models in several files; names (other programs' as RWKV's own)
//! tokenizer/     the World vocabulary
//! fetch/         make a file exist: the web, the Hugging Face hub, b2, datasets; the only module
//!                that touches the network
//! distributed/   several ranks of one run: the exchange in which they agree; the engines that connect
//!                them: MPI, opened at run time, and threads for tests
//! console/       what a person sees: lines, progress bars, messages; handed to whoever has
//!                something to say
//! setting        the names by which messages call what a user can set
//! container      files of rows (JSON, CSV, Parquet, compressed or not), recognised and read row by
//!                row
//! files, system  the memory map, atomic replacement, locks; this machine's processor, memory and
//!                signals
//! ```
//!
//! # The layer rule
//!
//! A module uses only what stands below it:
//!
//! ```text
//! main > cli > quickstart > convert, inspect, train, sample > report, generate > evaluate,
//!     state_file > model, data > ops > tensors, tokenizer, fetch > container, distributed > console,
//!     files, setting, system
//! ```
//!
//! clap only in `cli`, the network only in `fetch`, printing only in `console`, exit codes only in
//! `main`, `unsafe` only in `ops`, `files`, `distributed` and `system`. `tests/layers` holds the source to
//! it.

pub mod cli;
pub mod console;
pub mod container;
pub mod convert;
pub mod data;
pub mod distributed;
pub mod evaluate;
pub mod fetch;
pub mod files;
pub mod generate;
pub mod inspect;
pub mod model;
pub mod ops;
pub mod quickstart;
pub mod report;
pub mod sample;
pub mod setting;
pub mod state_file;
pub mod system;
pub mod tensors;
pub mod tokenizer;
pub mod train;
