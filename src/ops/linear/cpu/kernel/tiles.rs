//! Products of bf16 tiles by Intel's matrix extension (AMX), in inline assembly: Rust's own intrinsics for it are not
//! stable. (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.)

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::marker::PhantomData;

use super::tile::{Block, HEIGHT, NEXT, Pass, Place, Tile, WIDTH};
use crate::ops::cpu::level::Level;
use crate::ops::cpu::numbers::round;
use crate::ops::cpu::roofs;

/// Whether the processor has bf16 tiles, the system lets this process use them, and they multiply as they should: a
/// wrong product would go unnoticed, and the next lower level is there to fall back on.
pub fn is_usable() -> bool {
    is_there() && multiplies()
}

/// The tiles' eight kilobytes of registers are saved for a thread only if its process has asked for that.
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

/// Multiplies one block of small whole numbers, which every order of sums gets exactly right.
fn multiplies() -> bool {
    const UNITS: usize = 32;
    let number = |i: usize| (i * 7 % 11) as f32 - 5.0;
    let pair = |i: usize| round(number(2 * i)) | round(number(2 * i + 1)) << 16;
    let left: Vec<u32> = (0..HEIGHT * UNITS).map(pair).collect();
    let panel: Vec<u32> = (0..UNITS * WIDTH).map(pair).collect();
    let mut got = Tile([[f32::NAN; WIDTH]; HEIGHT]);
    let block = Block {
        left: &left,
        stride: UNITS,
        rows: HEIGHT,
        k: UNITS,
        panel: &panel,
        passes: &[Pass { left: 0, panel: 0 }],
        next: &left,
    };
    // SAFETY: only called where the tiles are there; the block is 32 rows of two steps of 16 units.
    unsafe {
        let _tiles = Configured::new();
        tile(&block, None, got.place());
    }
    let want = |row: usize, column: usize| -> f32 {
        let products = (0..UNITS).flat_map(|k| {
            let (left, right) = (row * UNITS + k, k * WIDTH + column);
            [0, 1].map(|half| number(2 * left + half) * number(2 * right + half))
        });
        products.sum()
    };
    let rows = got.0.iter().enumerate();
    rows.flat_map(|(row, sums)| sums.iter().enumerate().map(move |(c, sum)| (row, c, sum)))
        .all(|(row, column, &sum)| sum == want(row, column))
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: this request takes two numbers and touches no memory; kernels that do not know it answer with an error.
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

/// What LDTILECFG reads: the shape of each tile register.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles whole: sixteen rows of 64 bytes.
static WHOLE: Config = Config {
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
    /// Only where [`is_usable`], or where that is being found out.
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
        // SAFETY: tile registers that were configured are let go of.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Units that a block of rows and a panel are gone through at once: 48 KB of either, so that the rows are found in the
/// innermost two caches again, panel after panel.
pub const DEPTH: usize = 384;

/// 32 rows by 32 columns as two by two tiles. The left tile's row is 16 units (32 bf16) of a row; the right tile's is
/// 16 units of a panel's row, which is the order that the instruction wants. Panels come from the second cache, which is
/// too far for the tiles' loads to wait for: each step asks for the 2 KB of the panel that are 8 KB ahead, and has some of
/// the rows that come after these brought to the second cache.
///
/// The tiles are handed from one of these blocks of assembly to the next. They are no operands, so that the compiler is not
/// told; it has no values in tiles unless a program is compiled for them, which this function is not.
///
/// # Safety
///
/// Only while this thread has [`Configured`] tiles, and as `Running::run` demands and checks.
pub unsafe fn tile(block: &Block, from: Option<Place>, to: Place) {
    const { assert!(NEXT == 4, "rows that the loop asks for") };
    let stride = block.stride;
    for pass in block.passes {
        assert!(
            block.left.len() >= 31 * stride + pass.left + block.k,
            "32 rows are read"
        );
    }
    match from {
        // SAFETY: the caller vouches for 32 floats of 32 rows.
        Some(from) => unsafe {
            asm!(
                "tileloadd tmm0, [{upper} + {stride}*1]",
                "tileloadd tmm1, [{upper} + {stride}*1 + 64]",
                "tileloadd tmm2, [{lower} + {stride}*1]",
                "tileloadd tmm3, [{lower} + {stride}*1 + 64]",
                upper = in(reg) from.start,
                lower = in(reg) from.start.add(16 * from.stride),
                stride = in(reg) from.stride * 4,
                options(nostack, readonly),
            );
        },
        // SAFETY: tiles are cleared.
        None => unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem),
            );
        },
    }
    for pass in block.passes {
        // SAFETY: the loop reads k units of 32 rows and k rows of the panel, which are there by the assert above and those
        // of `Running::run`. Asking ahead for what is not there does no harm.
        unsafe {
            let left = block.left.as_ptr().add(pass.left);
            let next = block.next.as_ptr().wrapping_add(pass.left);
            asm!(
                "2:",
                "tileloadd tmm4, [{upper} + {left_stride}*1]",
                ".irp at,8192,8256,8320,8384,8448,8512,8576,8640",
                "prefetcht0 [{panel} + \\at]",
                ".endr",
                "tileloadd tmm6, [{panel} + {stride}*1]",
                ".irp at,8704,8768,8832,8896,8960,9024,9088,9152",
                "prefetcht0 [{panel} + \\at]",
                ".endr",
                "tileloadd tmm7, [{panel} + {stride}*1 + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                ".irp at,9216,9280,9344,9408,9472,9536,9600,9664",
                "prefetcht0 [{panel} + \\at]",
                ".endr",
                "tileloadd tmm5, [{lower} + {left_stride}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                ".irp at,9728,9792,9856,9920,9984,10048,10112,10176",
                "prefetcht0 [{panel} + \\at]",
                ".endr",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "prefetcht1 [{next}]",
                "prefetcht1 [{next} + {left_stride}*1]",
                "prefetcht1 [{next} + {left_stride}*2]",
                "prefetcht1 [{last}]",
                "add {next}, 64",
                "add {last}, 64",
                "add {upper}, 64",
                "add {lower}, 64",
                "add {panel}, 2048",
                "dec {steps}",
                "jnz 2b",
                upper = inout(reg) left => _,
                lower = inout(reg) left.add(16 * stride) => _,
                left_stride = in(reg) stride * 4,
                panel = inout(reg) block.panel.as_ptr().add(pass.panel) => _,
                stride = in(reg) WIDTH * 4,
                next = inout(reg) next => _,
                last = inout(reg) next.wrapping_add((NEXT - 1) * stride) => _,
                steps = inout(reg) block.k / 16 => _,
                options(nostack, readonly),
            );
        }
    }
    // SAFETY: the caller vouches for 32 floats of 32 rows.
    unsafe {
        asm!(
            "tilestored [{upper} + {stride}*1], tmm0",
            "tilestored [{upper} + {stride}*1 + 64], tmm1",
            "tilestored [{lower} + {stride}*1], tmm2",
            "tilestored [{lower} + {stride}*1 + 64], tmm3",
            upper = in(reg) to.start,
            lower = in(reg) to.start.add(16 * to.stride),
            stride = in(reg) to.stride * 4,
            options(nostack),
        );
    }
}

/// Floating-point operations of one step of [`tile`], which is four products of tiles.
const STEP: usize = 4 * 2 * 16 * 16 * 32;

/// The tiles' own rate on one thread: operations a second of products alone, whose factors stay in their registers.
/// `None` where the level has no tiles.
pub fn peak() -> Option<f64> {
    const STEPS: usize = 1 << 14;
    (Level::current() == Level::Amx).then(|| {
        // Zeros might be multiplied with less power, and so faster.
        let numbers = vec![0x3f80_3f80u32; 16 * 16];
        // SAFETY: the level has tiles; a tile of 16 rows of 16 units is read.
        rate(STEPS, || unsafe {
            asm!(
                "tileloadd tmm4, [{numbers} + {stride}*1]",
                "tileloadd tmm5, [{numbers} + {stride}*1]",
                "tileloadd tmm6, [{numbers} + {stride}*1]",
                "tileloadd tmm7, [{numbers} + {stride}*1]",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {steps}",
                "jnz 2b",
                numbers = in(reg) numbers.as_ptr(),
                stride = in(reg) 64usize,
                steps = inout(reg) STEPS => _,
                options(nostack, readonly),
            );
        })
    })
}

/// The rate of [`tile`] on one thread where rows and panels lie in the second cache, and nothing else is moved.
pub fn from_cache() -> Option<f64> {
    const PANELS: usize = 8;
    /// Units from one row to the next.
    const STRIDE: usize = DEPTH + 16;
    (Level::current() == Level::Amx).then(|| {
        let left = vec![0x3f80_3f80; HEIGHT * STRIDE];
        let panels = vec![0x3f80_3f80; PANELS * DEPTH * WIDTH];
        let mut sums = Tile::ZERO;
        rate(PANELS * DEPTH / 16, || {
            for panel in panels.chunks(DEPTH * WIDTH) {
                let block = Block {
                    left: &left,
                    stride: STRIDE,
                    rows: HEIGHT,
                    k: DEPTH,
                    panel,
                    passes: &[Pass { left: 0, panel: 0 }],
                    next: &left,
                };
                // SAFETY: the level has tiles, which `rate` configured; the block is whole.
                unsafe { tile(&block, None, sums.place()) };
            }
        })
    })
}

/// Operations a second of some steps: the median of many short runs.
fn rate(steps: usize, run: impl FnMut()) -> f64 {
    // SAFETY: only called where the level has tiles.
    let _tiles = unsafe { Configured::new() };
    (steps * STEP) as f64 / roofs::median_seconds(run)
}

#[cfg(test)]
mod tests;
