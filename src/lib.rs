//! state-tune: teach a frozen RWKV-5 model a new manner by learning only the state it starts from.
//!
//! # The map
//!
//! ```text
//! main.rs        parse, run, print the error once, exit code
//! cli/           the only place that knows clap, flags and their environment variables; ends in plain option structs
//! train/         the training story: mod.rs is the loop; options, learner, plan, stop rules, target
//! sample/        test mode, base and tuned: one prompt, a file of prompts, a talk
//! convert        a state from one format to another; inspect: what a file is
//! generate/      text from a model token by token: what is drawn, what ends it
//! state_file/    the state's formats, in and out
//! model/         RWKV-5: config (read off tensor shapes), checkpoint, time_mix, channel_mix, head, state
//! data/          jsonl, chat, template, example (tokens and which are learnt), survey, walk, batch (packed flat)
//! ops/           one folder for each op with its own gradient: mod.rs (maths, shapes), reference.rs, cpu.rs, and for NVIDIA
//!                cards cuda.rs with a .cu; beside them cuda (kernels found and launched), device (which one computes),
//!                level (which instructions), vector (sixteen floats at a time), buffers (memory that stays),
//!                output (memory that is written once), numbers (f32 or bf16 in memory, f32 to compute with), quantise
//!                (frozen numbers in fewer bits), roofs (how fast this machine could be)
//! tokenizer/     the World vocabulary
//! pth/           PyTorch's zip and pickle, read and written
//! fetch/         make a file exist: the web, the Hugging Face hub, b2, datasets; the only room that touches the network
//! report/        everything printed or plotted
//! files, memory  the memory map and atomic replacement; how much memory there is
//! ```
//!
//! # The layer rule
//!
//! A module uses only what stands below it:
//!
//! ```text
//! main > cli > convert, inspect, train, sample > generate > state_file > model > data > ops, tokenizer, pth, fetch > report >
//!     files, memory
//! ```
//!
//! clap only in `cli`, the network only in `fetch`, printing only in `report`, exit codes only in `main`, `unsafe` only
//! in `ops` and `files`. `tests/layers.rs` holds the source to it.

pub mod cli;
pub mod convert;
pub mod data;
pub mod fetch;
pub mod files;
pub mod generate;
pub mod inspect;
pub mod memory;
pub mod model;
pub mod ops;
pub mod pth;
pub mod report;
pub mod sample;
pub mod state_file;
pub mod tokenizer;
pub mod train;
