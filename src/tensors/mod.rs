//! What tensor files hold, and the formats that hold it.

pub mod pth;
