//! Files: read by mapping them ([`Bytes`]), written by replacing them ([`replace()`]).

mod bytes;
mod paths;
mod replace;

pub use self::bytes::Bytes;
pub use self::paths::{directory_of, resolved};
pub use self::replace::{check_writable, publish, replace, sweep};
