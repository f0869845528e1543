//! Products of bf16 tiles by Intel's matrix extension (AMX), in inline assembly: Rust's own intrinsics for it are not
//! stable. (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.)

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};

use super::rows::round;
use super::tile::{Block, HEIGHT, Tile, WIDTH};

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
    };
    // SAFETY: only called where the tiles are there; the block is 32 rows of two steps of 16 units.
    unsafe { tile(&block, &mut got) };
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

/// 32 rows by 32 columns as two by two tiles. The left tile's row is 16 units (32 bf16) of a row; the right tile's is
/// 16 units of a panel's row, which is the order that the instruction wants.
///
/// # Safety
///
/// Only where [`is_usable`], and as `Kernel::run` checks.
pub unsafe fn tile(block: &Block, tile: &mut Tile) {
    let (left, stride) = (block.left, block.stride);
    assert!(left.len() >= 31 * stride + block.k, "32 rows are read");
    let panel = block.panel.as_ptr();
    // SAFETY: the loop reads k units of 32 rows and k rows of the panel, which are there by the assert above and those
    // of `Kernel::run`; it writes the 32 x 32 floats of the tile. Tile registers are left released.
    unsafe {
        asm!(
            "ldtilecfg [{config}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{upper} + {left_stride}*1]",
            "tileloadd tmm6, [{panel} + {stride}*1]",
            "tileloadd tmm7, [{panel} + {stride}*1 + 64]",
            "tileloadd tmm5, [{lower} + {left_stride}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {panel}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{out} + {stride}*1], tmm0",
            "tilestored [{out} + {stride}*1 + 64], tmm1",
            "tilestored [{out} + {stride}*1 + 2048], tmm2",
            "tilestored [{out} + {stride}*1 + 2112], tmm3",
            "tilerelease",
            config = in(reg) &raw const WHOLE,
            upper = inout(reg) left.as_ptr() => _,
            lower = inout(reg) left.as_ptr().add(16 * stride) => _,
            left_stride = in(reg) stride * 4,
            panel = inout(reg) panel => _,
            stride = in(reg) WIDTH * 4,
            steps = inout(reg) block.k / 16 => _,
            out = in(reg) tile.0.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests;
