//! Tile instructions for tests on machines that have none: there the processor refuses them with
//! SIGILL, and the handler of that signal does what the instruction says. All that comes before and
//! after them is the program's own code, whose order of tiles, panels and sums is so tested wherever
//! there is AVX-512 BF16. Of speed it says nothing. Emulated are those instructions that the program
//! has. (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: the encodings, and
//! what is computed.)

use std::cell::RefCell;
use std::sync::Once;
use std::{mem, ptr};

use super::{SIDE, WHOLE};

/// One tile: 16 rows of 16 32-bit numbers.
type Tile = [[u32; SIDE]; SIDE];

thread_local! {
    /// The tile registers of this thread while they have a shape, which is always whole.
    static TILES: RefCell<Option<[Tile; 8]>> = const { RefCell::new(None) };
}

/// From here on the process's tile instructions are emulated.
pub fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: an action of zeros is a valid one, and the handler has the signature that
        // SA_SIGINFO demands.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            let failed = libc::sigaction(libc::SIGILL, &raw const action, ptr::null_mut());
            assert_eq!(failed, 0, "no handler of SIGILL");
        }
    });
}

/// Does the instruction that the thread stands at, and has it go on behind it. A panic here ends the
/// process, with its message.
extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system passes the registers of the thread that the signal stopped.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let at = registers[libc::REG_RIP as usize] as *const u8;
    // SAFETY: the thread stands at an instruction.
    let instruction = unsafe { Instruction::at(at, registers) };
    TILES.with_borrow_mut(|tiles| instruction.run(tiles));
    registers[libc::REG_RIP as usize] += instruction.len as i64;
}

/// A tile instruction: three bytes of prefix (VEX), an opcode, and its operands.
struct Instruction {
    opcode: u8,
    /// Which of the instructions of an opcode it is.
    prefix: u8,
    has_memory: bool,
    /// Tile registers by the fields reg, r/m and vvvv: the one that is changed or stored, and a
    /// product's left and right factor.
    tiles: [usize; 3],
    /// The memory operand.
    address: usize,
    /// Bytes from row to row.
    stride: usize,
    len: usize,
}

const NONE: u8 = 0;
const F3: u8 = 2;
const F2: u8 = 3;

impl Instruction {
    /// # Safety
    ///
    /// An instruction of this process, at which a thread with these registers stands.
    unsafe fn at(at: *const u8, registers: &[libc::greg_t]) -> Self {
        // SAFETY: the caller vouches for an instruction. One that begins as tile instructions do has
        // five bytes at least, and more as the fifth and sixth say.
        let byte = |i: usize| unsafe { at.add(i).read() };
        assert!(
            byte(0) == 0xc4 && byte(1) & 0x1f == 2,
            "SIGILL at what is no tile instruction"
        );
        let (inverted_rxb, w_vvvv_l_pp) = (byte(1), byte(2));
        let [mode, reg, rm] = fields(byte(4));
        let mut made = Self {
            opcode: byte(3),
            prefix: w_vvvv_l_pp & 3,
            has_memory: mode != 3,
            tiles: [reg, rm, usize::from(!w_vvvv_l_pp >> 3 & 15)],
            address: 0,
            stride: 0,
            len: 5,
        };
        if mode == 3 {
            return made;
        }
        let (is_high_index, is_high_base) = (inverted_rxb & 0x40 == 0, inverted_rxb & 0x20 == 0);
        let register = |number: usize, is_high: bool| {
            registers[GENERAL[number + 8 * usize::from(is_high)] as usize] as usize
        };
        let mut base = rm;
        // The place of a fourth register says that a byte with scale, index and base follows, and in
        // that one's index that there is none.
        if rm == 4 {
            let [scale, index, its_base] = fields(byte(5));
            base = its_base;
            made.len += 1;
            if index != 4 || is_high_index {
                made.stride = register(index, is_high_index) << scale;
            }
        }
        assert!(base != 5 || mode != 0, "an address without a base");
        let displacement = match mode {
            0 => 0,
            1 => i32::from(byte(made.len) as i8),
            _ => i32::from_le_bytes([0, 1, 2, 3].map(|i| byte(made.len + i))),
        };
        made.len += [0, 1, 4][mode];
        made.address = register(base, is_high_base).wrapping_add(displacement as usize);
        made
    }

    fn run(&self, tiles: &mut Option<[Tile; 8]>) {
        if (self.opcode, self.prefix) == (0x49, NONE) {
            // LDTILECFG, or TILERELEASE.
            *tiles = self.has_memory.then(|| self.configured());
            return;
        }
        let tiles = tiles.as_mut();
        let tiles = tiles.expect("tiles have a shape before they are used");
        let [first, left, right] = self.tiles;
        match (self.opcode, self.prefix, self.has_memory) {
            // TILEZERO
            (0x49, F2, false) => tiles[first] = [[0; SIDE]; SIDE],
            // TILELOADD
            (0x4b, F2, true) => {
                for (row, numbers) in tiles[first].iter_mut().enumerate() {
                    // SAFETY: the instruction reads a row there.
                    *numbers = unsafe { self.row(row).read_unaligned() };
                }
            }
            // TILESTORED
            (0x4b, F3, true) => {
                for (row, numbers) in tiles[first].iter().enumerate() {
                    // SAFETY: the instruction writes a row there.
                    unsafe { self.row(row).write_unaligned(*numbers) };
                }
            }
            // TDPBF16PS
            (0x5c, F3, false) => {
                let (left, right) = (tiles[left], tiles[right]);
                // SAFETY: tests are given the level of tiles only where there is AVX-512.
                unsafe { multiply(&mut tiles[first], &left, &right) };
            }
            _ => panic!("SIGILL at a tile instruction that is not emulated"),
        }
    }

    /// The tiles after LDTILECFG.
    fn configured(&self) -> [Tile; 8] {
        // SAFETY: the instruction reads so many bytes there.
        let read = unsafe { (self.address as *const [u8; 64]).read_unaligned() };
        // SAFETY: a configuration has 64 bytes, and none between its fields.
        let whole = unsafe { (&raw const WHOLE).cast::<[u8; 64]>().read() };
        assert_eq!(read, whole, "only whole tiles are emulated");
        [[[0; SIDE]; SIDE]; 8]
    }

    /// Where a row of the memory operand is.
    fn row(&self, row: usize) -> *mut [u32; SIDE] {
        self.address.wrapping_add(row.wrapping_mul(self.stride)) as *mut [u32; SIDE]
    }
}

/// The general registers in the order of their numbers in instructions.
const GENERAL: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// The two, three and three bits of a byte that says where operands are: mod, reg and r/m, or scale,
/// index and base.
fn fields(byte: u8) -> [usize; 3] {
    [byte >> 6, byte >> 3 & 7, byte & 7].map(usize::from)
}

/// TDPBF16PS: sums of the pairs' first products and of their second ones, both added to `sums`.
#[target_feature(enable = "avx512f,avx512bw,fma")]
fn multiply(sums: &mut Tile, left: &Tile, right: &Tile) {
    let halves = |pair: u32| {
        [pair << 16, pair & 0xffff_0000].map(|bits| zero_if_subnormal(f32::from_bits(bits)))
    };
    for (sums, left) in sums.iter_mut().zip(left) {
        let mut made = [[0.0f32; SIDE]; 2];
        for (pair, row) in left.iter().zip(right) {
            let left = halves(*pair);
            for (column, pair) in row.iter().enumerate() {
                let right = halves(*pair);
                for half in [0, 1] {
                    let sum = left[half].mul_add(right[half], made[half][column]);
                    made[half][column] = zero_if_subnormal(sum);
                }
            }
        }
        for (column, sum) in sums.iter_mut().enumerate() {
            let made = zero_if_subnormal(made[0][column] + made[1][column]);
            let before = zero_if_subnormal(f32::from_bits(*sum));
            *sum = zero_if_subnormal(before + made).to_bits();
        }
    }
}

/// The instruction takes and gives subnormal numbers as zeros.
#[inline(always)]
fn zero_if_subnormal(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE {
        0.0f32.copysign(x)
    } else {
        x
    }
}
