//! Tile instructions for the tests of machines that have none: there the processor refuses them with
//! SIGILL, and the handler of that signal does what the instruction says. What goes before them and
//! after is the program's own code, so that its order of tiles, panels and sums is tested anywhere
//! where there is AVX-512; their speed is not. (Intel 64 and IA-32 Architectures Software Developer's
//! Manual, volume 2: the encodings and what is computed.)

use std::arch::asm;
use std::cell::RefCell;
use std::sync::Once;
use std::{mem, ptr};

use half::bf16;

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
    // SAFETY: the instructions of this program are longer than two bytes, and an instruction that
    // begins as these do has all the others.
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
    /// Tile registers: the one that is changed or stored, and a product's left and right factor.
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
        // SAFETY: as the caller vouches.
        let byte = |i: usize| unsafe { at.add(i).read() };
        let (high, low) = (!byte(1), byte(2));
        assert!(
            byte(0) == 0xc4 && byte(1) & 0x1f == 2,
            "SIGILL at an instruction that is none of tiles"
        );
        let (mode, middle, last) = fields(byte(4));
        let mut made = Self {
            opcode: byte(3),
            prefix: low & 3,
            has_memory: mode != 3,
            tiles: [middle, last, usize::from(!low >> 3 & 15)],
            address: 0,
            stride: 0,
            len: 5,
        };
        if mode == 3 {
            return made;
        }
        let register = |number: usize, extended: bool| {
            registers[GENERAL[number + 8 * usize::from(extended)] as usize] as usize
        };
        let mut base = last;
        if last == 4 {
            let (scale, index, of_both) = fields(byte(5));
            base = of_both;
            made.len += 1;
            if index != 4 || high & 0x40 != 0 {
                made.stride = register(index, high & 0x40 != 0) << scale;
            }
        }
        assert!(base != 5 || mode != 0, "an address without a base");
        let displacement = match mode {
            0 => 0,
            1 => i32::from(byte(made.len) as i8),
            _ => i32::from_le_bytes([0, 1, 2, 3].map(|i| byte(made.len + i))),
        };
        made.len += [0, 1, 4][mode];
        made.address = register(base, high & 0x20 != 0).wrapping_add(displacement as usize);
        made
    }

    fn run(&self, tiles: &mut Option<[Tile; 8]>) {
        let [first, left, right] = self.tiles;
        match (self.opcode, self.prefix, self.has_memory) {
            (0x49, NONE, true) => {
                // SAFETY: LDTILECFG reads so many bytes there.
                let read = unsafe { (self.address as *const [u8; 64]).read_unaligned() };
                // SAFETY: a configuration has 64 bytes, and none between its fields.
                let whole = unsafe { (&raw const WHOLE).cast::<[u8; 64]>().read() };
                assert_eq!(read, whole, "only whole tiles are emulated");
                *tiles = Some([[[0; SIDE]; SIDE]; 8]);
            }
            (0x49, NONE, false) => *tiles = None,
            _ => {
                let tiles = tiles
                    .as_mut()
                    .expect("tiles have a shape before they are used");
                match (self.opcode, self.prefix, self.has_memory) {
                    (0x49, F2, false) => tiles[first] = [[0; SIDE]; SIDE],
                    (0x4b, F2, true) => {
                        for (row, numbers) in tiles[first].iter_mut().enumerate() {
                            // SAFETY: TILELOADD reads a row there.
                            *numbers = unsafe { self.row(row).read_unaligned() };
                        }
                    }
                    (0x4b, F3, true) => {
                        for (row, numbers) in tiles[first].iter().enumerate() {
                            // SAFETY: TILESTORED writes a row there.
                            unsafe { self.row(row).write_unaligned(*numbers) };
                        }
                    }
                    (0x5c, F3, false) => {
                        let (left, right) = (tiles[left], tiles[right]);
                        // SAFETY: tests are given the level of tiles only where there is AVX-512.
                        unsafe { multiply(&mut tiles[first], &left, &right) };
                    }
                    _ => panic!("SIGILL at an instruction of tiles that is not emulated"),
                }
            }
        }
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

/// Two, three and three bits of a byte that says where operands are.
fn fields(byte: u8) -> (usize, usize, usize) {
    let [mode, middle, last] = [byte >> 6, byte >> 3 & 7, byte & 7].map(usize::from);
    (mode, middle, last)
}

/// TDPBF16PS: sums of the pairs' first products and of their second ones, both added to `sums`, with
/// subnormal numbers taken and given as zeros.
#[target_feature(enable = "avx512f,avx512bw,fma")]
fn multiply(sums: &mut Tile, left: &Tile, right: &Tile) {
    static ZEROS_FOR_SUBNORMALS: u32 = 0x1f80 | 0x8040;
    // SAFETY: loads a control register, which the system sets back when the handler returns.
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &raw const ZEROS_FOR_SUBNORMALS, options(nostack, readonly));
    }
    let halves = |pair: u32| {
        [pair as u16, (pair >> 16) as u16].map(|bits| bf16::from_bits(bits).to_f32_const())
    };
    for (sums, left) in sums.iter_mut().zip(left) {
        let mut made = [[0.0f32; SIDE]; 2];
        for (pair, row) in left.iter().zip(right) {
            let left = halves(*pair);
            for (column, pair) in row.iter().enumerate() {
                let right = halves(*pair);
                for half in [0, 1] {
                    made[half][column] = left[half].mul_add(right[half], made[half][column]);
                }
            }
        }
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum = (f32::from_bits(*sum) + (made[0][column] + made[1][column])).to_bits();
        }
    }
}
