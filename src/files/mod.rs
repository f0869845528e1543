//! Files the program reads by mapping ([`Bytes`]) and writes by replacing ([`replace()`]).

mod bytes;
mod paths;
mod replace;

pub use self::bytes::Bytes;
pub use self::paths::{directory_of, settled};
pub use self::replace::{check_writable, publish, replace, sweep};
