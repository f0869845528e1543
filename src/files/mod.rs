//! Files: read by mapping them ([`Bytes`]), written by replacing them ([`replace()`]), by one
//! program at a time ([`Lock`]) where there is room ([`check_room()`]), and where their directory is by then ([`Target`]).

mod bytes;
mod lock;
mod lost;
mod mapping;
mod paths;
mod replace;
mod room;
mod target;

pub use self::bytes::Bytes;
pub use self::lock::{Lock, Taken, has_no_locks};
pub use self::lost::Survival;
pub use self::mapping::{Fate, Mapping};
pub use self::paths::{directory_of, followed, is_same, leads_to, resolved};
pub use self::replace::{check_writable, publish, replace, sweep};
pub use self::room::check_room;
pub use self::target::{Found, Target};
