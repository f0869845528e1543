//! placeholder
pub mod data;
pub mod files;
pub mod model;
pub mod ops;
pub mod pth;
pub mod tokenizer;
