//! Which of the processor's instructions the kernels use: found when the program runs, so that one
//! binary is fast on every machine.
//!
//! Products have kernels written for each level (`linear/cpu/kernel`). Every other loop is plain
//! Rust, compiled once for each vector width by `vectorised!`.

use std::fmt;
use std::sync::OnceLock;

use crate::setting::{self, CPU};

/// Levels from the lowest up; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What every processor of this architecture can do.
    Plain,
    /// 8 floats at a time, with fused multiply-add.
    Avx2,
    /// 16 floats at a time.
    Avx512,
    /// The same, and products of bf16 pairs.
    Avx512Bf16,
    /// The same, and products of bf16 matrix tiles.
    Amx,
}

impl Level {
    /// Each with its word, from the lowest up.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("plain", Self::Plain),
        ("avx2", Self::Avx2),
        ("avx512", Self::Avx512),
        ("avx512bf16", Self::Avx512Bf16),
        ("amx", Self::Amx),
    ];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(setting::word(&Self::NAMES, self))
    }
}

/// The level of this process, once it is decided.
static CHOSEN: OnceLock<Level> = OnceLock::new();

impl Level {
    /// The highest level of this machine.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(detect)
    }

    /// The level to compute with: what [`Self::limit`] said, or else the best.
    pub fn current() -> Self {
        #[cfg(test)]
        if let Some(level) = tests::FORCED.get() {
            return level;
        }
        *CHOSEN.get_or_init(Self::best)
    }

    /// Sets the level for the whole process, before the first op. Errors when this machine does not
    /// have it.
    pub fn limit(self) -> anyhow::Result<()> {
        let best = Self::best();
        anyhow::ensure!(
            self <= best,
            "{CPU} {self}: this machine has no more than {best}"
        );
        let chosen = *CHOSEN.get_or_init(|| self);
        anyhow::ensure!(
            chosen == self,
            "{CPU} {self}: computing has begun with {chosen}"
        );
        Ok(())
    }

    /// Whether bf16 products cost less than f32 ones.
    pub fn has_bf16(self) -> bool {
        self >= Self::Avx512Bf16
    }
}

/// Compiles a function once for each vector type, and calls the one of the level that it is given.
///
/// The function is written `fn name<V: Vector>(level: Level, ...)`: in its body V is the vector
/// type and the level, by which V was chosen, is not to be seen. What the body calls must be
/// `#[inline(always)]` to be compiled along with it; closures passed to other functions mostly are
/// not.
macro_rules! vectorised {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$vector:ident: Vector>(
            $level:ident: Level, $($arg:ident: $type:ty),* $(,)?
        ) $(-> $result:ty)? $body:block
    ) => {
        $(#[$meta])*
        $vis fn $name(
            $level: $crate::ops::cpu::level::Level, $($arg: $type),*
        ) $(-> $result)? {
            use $crate::ops::cpu::{level, vector};

            debug_assert!($level <= level::Level::best());
            #[inline(always)]
            fn body<$vector: vector::Vector>($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $type),*) $(-> $result)? {
                body::<vector::Avx2>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $type),*) $(-> $result)? {
                body::<vector::Avx512>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $level {
                level::Level::Plain => body::<vector::Plain>($($arg),*),
                // SAFETY: a level above `Plain` is given out only where `detect` found its
                // features.
                level::Level::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                _ => unsafe { avx512($($arg),*) },
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = $level;
                body::<vector::Plain>($($arg),*)
            }
        }
    };
}
pub(crate) use vectorised;

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Plain
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl");
    let bf16 = avx512 && is_x86_feature_detected!("avx512bf16");
    if bf16 && super::amx::is_usable() {
        Level::Amx
    } else if bf16 {
        Level::Avx512Bf16
    } else if avx512 {
        Level::Avx512
    } else if avx2 {
        Level::Avx2
    } else {
        Level::Plain
    }
}

#[cfg(test)]
pub(crate) mod tests;
