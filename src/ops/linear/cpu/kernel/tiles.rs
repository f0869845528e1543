//! The kernel that multiplies bf16 tiles (AMX), in inline assembly.

use std::arch::asm;

use super::block::{Factors, NEXT, Pass, Place, WIDTH};

/// Units that a block of rows and a panel are gone through at once: 48 KB of a panel and of each run
/// of the rows, so that the rows are found in the innermost two caches again, panel after panel.
pub const DEPTH: usize = 384;

/// 32 rows by 32 columns as two by two tiles. The left tile's row is 16 units (32 bf16) of a row;
/// the right tile's is 16 units of a panel's row, which is the order that the instruction wants.
/// Panels come from the second cache, which is too far for the tiles' loads to wait for: each step
/// asks for the 2 KB of the panel that are 4 KB ahead, and has some of the rows that come after
/// these brought to the second cache.
///
/// The tiles are handed from one of these blocks of assembly to the next, those of [`add`] among
/// them. They are no operands, so that the compiler is not told; it has no values in tiles unless a
/// program is compiled for them, which these functions are not.
///
/// # Safety
///
/// Only while this thread has `Configured` tiles, and as `Running::run` demands and checks.
pub unsafe fn tiles(factors: &Factors, from: Option<Place>, to: Place) {
    const { assert!(NEXT == 4, "rows that the loop asks for") };
    let stride = factors.stride;
    for pass in factors.passes {
        assert!(
            factors.left.len() >= 31 * stride + pass.left + factors.k,
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
    for passes in factors.passes.chunk_by(|a, b| a.panel == b.panel) {
        // SAFETY: the assert above holds the units of 32 rows inside, for every pass, and
        // `Running::run` those of the panel.
        unsafe {
            match passes.len() {
                1 => add::<1>(factors, passes),
                2 => add::<2>(factors, passes),
                3 => add::<3>(factors, passes),
                _ => unreachable!("a number has three parts"),
            }
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

/// Adds the products of N passes that have the same part of a panel: it is loaded once for all. The
/// first pass loads it between its own products and asks for what is ahead there; loading it before
/// them took up to 1.2 times as long (docs/KERNELS.md).
///
/// # Safety
///
/// As [`tiles`]: the first four tiles have the sums, before and after. The units of all passes must
/// be there.
unsafe fn add<const N: usize>(factors: &Factors, passes: &[Pass]) {
    let stride = factors.stride;
    // How far the units of one pass are from those of the next.
    let part = match passes {
        [one, next, ..] => one.left.saturating_sub(next.left),
        _ => 0,
    };
    assert!(
        passes.len() == N
            && passes
                .windows(2)
                .all(|two| two[0].left.checked_sub(two[1].left) == Some(part)),
        "each pass is as far before the next"
    );
    // SAFETY: the loop reads k units of 32 rows for each pass and k rows of the panel, which are there
    // as the caller says. Asking ahead for what is not there does no harm.
    unsafe {
        let left = factors.left.as_ptr().add(passes[0].left);
        let next = factors.next.as_ptr().wrapping_add(passes[0].left);
        asm!(
            "2:",
            "tileloadd tmm4, [{upper} + {left_stride}*1]",
            ".irp at,4096,4160,4224,4288,4352,4416,4480,4544",
            "prefetcht0 [{panel} + \\at]",
            ".endr",
            "tileloadd tmm6, [{panel} + {stride}*1]",
            ".irp at,4608,4672,4736,4800,4864,4928,4992,5056",
            "prefetcht0 [{panel} + \\at]",
            ".endr",
            "tileloadd tmm7, [{panel} + {stride}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            ".irp at,5120,5184,5248,5312,5376,5440,5504,5568",
            "prefetcht0 [{panel} + \\at]",
            ".endr",
            "tileloadd tmm5, [{lower} + {left_stride}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            ".irp at,5632,5696,5760,5824,5888,5952,6016,6080",
            "prefetcht0 [{panel} + \\at]",
            ".endr",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht1 [{next}]",
            "prefetcht1 [{next} + {left_stride}*1]",
            "prefetcht1 [{next} + {left_stride}*2]",
            "prefetcht1 [{last}]",
            ".rept {more}",
            "sub {upper}, {part}",
            "sub {lower}, {part}",
            "sub {next}, {part}",
            "sub {last}, {part}",
            "tileloadd tmm4, [{upper} + {left_stride}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {left_stride}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht1 [{next}]",
            "prefetcht1 [{next} + {left_stride}*1]",
            "prefetcht1 [{next} + {left_stride}*2]",
            "prefetcht1 [{last}]",
            ".endr",
            "add {upper}, {on}",
            "add {lower}, {on}",
            "add {next}, {on}",
            "add {last}, {on}",
            "add {panel}, 2048",
            "dec {steps}",
            "jnz 2b",
            upper = inout(reg) left => _,
            lower = inout(reg) left.add(16 * stride) => _,
            left_stride = in(reg) stride * 4,
            panel = inout(reg) factors.panel.as_ptr().add(passes[0].panel) => _,
            stride = in(reg) WIDTH * 4,
            next = inout(reg) next => _,
            last = inout(reg) next.wrapping_add((NEXT - 1) * stride) => _,
            part = in(reg) part * 4,
            on = in(reg) part * 4 * (N - 1) + 64,
            steps = inout(reg) factors.k / 16 => _,
            more = const N - 1,
            options(nostack, readonly),
        );
    }
}
