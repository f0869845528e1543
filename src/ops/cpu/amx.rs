//! Intel's matrix extension (AMX): whether this process may use its bf16 tiles, and the tile
//! registers of a thread. In inline assembly, since Rust's own intrinsics for it are not stable.
//! (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.)

#[cfg(all(test, target_os = "linux"))]
mod emulated;

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;

use half::bf16;

/// Whether the processor has bf16 tiles, the system lets this process use them, and they multiply
/// as they should: a wrong product would go unnoticed, and the next lower level is there to fall
/// back on.
pub fn is_usable() -> bool {
    #[cfg(all(test, target_os = "linux"))]
    if !is_there() {
        emulated::start();
        assert!(multiplies(), "emulated tiles multiply wrongly");
        return true;
    }
    is_there() && multiplies()
}

/// The system saves a thread's eight kilobytes of tile registers only if the process has asked for
/// that.
fn is_there() -> bool {
    const TILE: u32 = 1 << 24;
    const BF16: u32 = 1 << 22;
    let most = __cpuid(0).eax;
    let features = if most >= 7 {
        __cpuid_count(7, 0).edx
    } else {
        0
    };
    features & TILE != 0 && features & BF16 != 0 && permitted()
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this request takes two numbers and touches no memory; kernels that do not know it
    // answer with an error.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        )
    };
    answer == 0
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Rows of a tile, and 32-bit numbers in each of them.
const SIDE: usize = 16;

/// Multiplies 32 rows by 32 columns of small whole numbers in all eight tiles, as the kernel of
/// products does; every order of sums gets such numbers exactly right.
fn multiplies() -> bool {
    const BOTH: usize = 2 * SIDE;
    let number = |i: usize| (i * 7 % 11) as f32 - 5.0;
    let half = |i: usize| u32::from(bf16::from_f32(number(i)).to_bits());
    let pair = |i: usize| half(2 * i) | half(2 * i + 1) << 16;
    let left: [u32; BOTH * SIDE] = std::array::from_fn(pair);
    let right: [u32; SIDE * BOTH] = std::array::from_fn(pair);
    let mut sums = [[f32::NAN; BOTH]; BOTH];
    // SAFETY: only called where the tiles are there. Two tiles of 16 rows of 64 bytes are read of
    // `left`, one below the other, and two of `right`, side by side; four are written to `sums`.
    unsafe {
        let _tiles = Configured::new();
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{left} + {short}*1]",
            "tileloadd tmm5, [{left} + {short}*1 + 1024]",
            "tileloadd tmm6, [{right} + {long}*1]",
            "tileloadd tmm7, [{right} + {long}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "tilestored [{sums} + {long}*1], tmm0",
            "tilestored [{sums} + {long}*1 + 64], tmm1",
            "tilestored [{sums} + {long}*1 + 2048], tmm2",
            "tilestored [{sums} + {long}*1 + 2112], tmm3",
            left = in(reg) left.as_ptr(),
            right = in(reg) right.as_ptr(),
            sums = in(reg) sums.as_mut_ptr(),
            short = in(reg) 4 * SIDE,
            long = in(reg) 4 * BOTH,
            options(nostack),
        );
    }
    let want = |row: usize, column: usize| -> f32 {
        let products = (0..SIDE).flat_map(|k| {
            let (left, right) = (row * SIDE + k, k * BOTH + column);
            [0, 1].map(|half| number(2 * left + half) * number(2 * right + half))
        });
        products.sum()
    };
    (0..BOTH).all(|row| (0..BOTH).all(|column| sums[row][column] == want(row, column)))
}

/// What LDTILECFG reads: the shape of each tile register.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles whole: sixteen rows of 64 bytes.
static WHOLE: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes_per_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Tile registers of this thread that have a shape, until it is dropped.
pub struct Configured {
    /// The registers are the thread's.
    _stays: PhantomData<*const ()>,
}

impl Configured {
    /// # Safety
    ///
    /// The processor must have the tiles and the system allow them: where [`is_usable`] says so,
    /// or in the test that it makes before it does.
    pub unsafe fn new() -> Self {
        // SAFETY: reads the 64 bytes of the configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack)) };
        Self {
            _stays: PhantomData,
        }
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: releases the tile registers that `new` configured.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::level::Level;

    /// They are emulated where the processor has none, so that the tests of every op go through them;
    /// what is tested at one level alone is tested at this one.
    #[test]
    #[cfg(target_os = "linux")]
    fn tests_have_tiles_wherever_there_is_avx512_bf16() {
        assert_ne!(
            Level::best(),
            Level::Avx512Bf16,
            "tiles are neither there nor emulated"
        );
    }

    #[test]
    #[ignore = "needs AMX"]
    fn tiles_multiply_where_they_are() {
        assert!(is_there(), "this machine has bf16 tiles");
        assert!(multiplies());
    }
}
