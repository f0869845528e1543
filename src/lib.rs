//! placeholder
pub mod files;
pub mod ops;
