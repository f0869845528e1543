//! MPI, by a library that is opened at run time: whichever belongs to the launcher, so that one binary
//! runs on any cluster, and alone without MPI.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::ptr;

use anyhow::{Context, Result, anyhow, bail, ensure};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::Engine;
use super::abi::{self, Constants, Family, Functions, VERSION_LENGTH};
use super::launcher::{LIBRARY, Launcher};
use crate::console::harmless;

/// What MPI is initialised and asked by.
struct Mpi<H> {
    functions: Functions<H>,
    constants: Constants<H>,
    rank: usize,
    size: usize,
}

/// Numbers of one call: a count is a C int.
const AT_ONCE: usize = 1 << 24;

/// The ranks that a launcher started, and the library that connects them, in words.
pub fn join(launcher: &Launcher) -> Result<(Box<dyn Engine>, String)> {
    let (library, path) = open(&launcher.libraries).with_context(|| {
        let Launcher { variable, size, .. } = launcher;
        format!(
            "the launcher started {size} ranks ({variable}), and no MPI library can be opened to \
             connect them; install the one that belongs to the launcher on every machine, or name its \
             file in {LIBRARY}"
        )
    })?;
    let named = || format!("the MPI library {}", path.display());
    let version = version(&library)
        .with_context(|| format!("{} cannot be used; name another in {LIBRARY}", named()))?;
    let family = abi::family(&version, standard(&library)).with_context(|| {
        format!(
            "{} says that it is {:?}, which this program does not know; it knows Open MPI 4 and 5, \
             MPICH and its kin, and the standard interface of MPI 5 (libmpi_abi)",
            named(),
            shortened(&version)
        )
    })?;
    // Once it is initialised, MPI's threads and handlers run its code as long as the process lives.
    let library = ManuallyDrop::new(library);
    let engine: Box<dyn Engine> = match family {
        Family::OpenMpi => {
            let Constants {
                world,
                f32,
                f64,
                sum,
                in_place,
                serialized,
            } = abi::OPEN_MPI;
            let address = |name: &str| address(&library, name);
            let constants = Constants {
                world: address(world)?,
                f32: address(f32)?,
                f64: address(f64)?,
                sum: address(sum)?,
                in_place,
                serialized,
            };
            Box::new(Mpi::begin(&library, constants, launcher).with_context(named)?)
        }
        Family::Mpich => Box::new(Mpi::begin(&library, abi::MPICH, launcher).with_context(named)?),
        Family::Standard => {
            Box::new(Mpi::begin(&library, abi::STANDARD, launcher).with_context(named)?)
        }
    };
    Ok((engine, shortened(&version)))
}

/// The first words of what a library says of itself: `Open MPI v4.1.4`.
fn shortened(version: &str) -> String {
    let first = version.split([',', '\n']).next().unwrap_or_default();
    harmless(&first.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The first of these libraries that can be opened.
fn open(paths: &[PathBuf]) -> Result<(Library, &Path)> {
    let mut failures = Vec::new();
    for path in paths {
        // MPI opens modules of its own, which look for its symbols among the process's.
        // SAFETY: an MPI library's initialisers are made to be run by any program. That the file is
        // one is for whoever installed it or named it to know.
        match unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) } {
            Ok(library) => return Ok((library, path)),
            Err(error) => failures.push(format!("{:#}", anyhow::Error::from(error))),
        }
    }
    bail!("{}", failures.join("; "))
}

/// A function of the library, as `F`.
fn function<F: Copy>(library: &Library, name: &str) -> Result<F> {
    // SAFETY: `F` is the function's type in the library's header, at each of the calls below.
    let symbol = unsafe { library.get::<F>(name.as_bytes()) };
    Ok(*symbol.with_context(|| format!("it has no {name}"))?)
}

/// The address of one of the library's variables.
fn address(library: &Library, name: &str) -> Result<usize> {
    // SAFETY: only the address is looked at.
    let symbol = unsafe { library.get::<*const c_void>(name.as_bytes()) };
    let symbol = symbol.with_context(|| format!("it has no {name}"))?;
    Ok(symbol.as_raw_ptr() as usize)
}

/// What the library says of itself. Needs no initialisation.
fn version(library: &Library) -> Result<String> {
    type Version = unsafe extern "C" fn(*mut c_char, *mut c_int) -> c_int;
    let version: Version = function(library, "MPI_Get_library_version")?;
    let mut text = vec![0u8; VERSION_LENGTH + 1];
    let mut length = 0;
    // SAFETY: no library writes more than its MPI_MAX_LIBRARY_VERSION_STRING, and this is longer than
    // any; the zero behind it stays.
    let failed = unsafe { version(text.as_mut_ptr().cast(), &mut length) };
    ensure!(failed == 0, "MPI_Get_library_version fails with {failed}");
    let text = CStr::from_bytes_until_nul(&text)?;
    Ok(text.to_string_lossy().into_owned())
}

/// The version of the standard interface that the library has, if it says one.
fn standard(library: &Library) -> Option<c_int> {
    type AbiVersion = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
    let version: AbiVersion = function(library, "MPI_Abi_get_version").ok()?;
    let (mut major, mut minor) = (-1, -1);
    // SAFETY: it writes two numbers, and needs no initialisation.
    let failed = unsafe { version(&mut major, &mut minor) };
    (failed == 0).then_some(major)
}

impl<H: Copy + Send + Sync> Mpi<H> {
    /// Initialises MPI. Errors when it does not see the ranks that the launcher started.
    fn begin(library: &Library, constants: Constants<H>, launcher: &Launcher) -> Result<Self> {
        let functions = Functions {
            init_thread: function(library, "MPI_Init_thread")?,
            comm_rank: function(library, "MPI_Comm_rank")?,
            comm_size: function(library, "MPI_Comm_size")?,
            allreduce: function(library, "MPI_Allreduce")?,
            abort: function(library, "MPI_Abort")?,
            finalize: function(library, "MPI_Finalize")?,
        };
        let Constants {
            world, serialized, ..
        } = constants;
        let (mut provided, mut rank, mut size) = (0, 0, 0);
        // SAFETY: MPI takes no arguments where there are none, each call writes one number, and they
        // come in the order that MPI wants: initialised first, and once in a process.
        let failed = unsafe {
            let (none, no_arguments) = (ptr::null_mut(), ptr::null_mut());
            (functions.init_thread)(none, no_arguments, serialized, &mut provided)
        };
        ensure!(failed == 0, "MPI_Init_thread fails with {failed}");
        // SAFETY: MPI is initialised, and `world` is the library's own constant.
        let failed = unsafe {
            (functions.comm_rank)(world, &mut rank) | (functions.comm_size)(world, &mut size)
        };
        ensure!(
            failed == 0,
            "MPI_Comm_rank or MPI_Comm_size fails with {failed}"
        );
        let engine = Self {
            functions,
            constants,
            rank: rank as usize,
            size: size as usize,
        };
        let refused = match launcher.size {
            wanted if wanted != engine.size => Some(anyhow!(
                "the launcher started {wanted} ranks ({}), and it sees {size}: it does not belong to \
                 the launcher; name the one that does in {LIBRARY}",
                launcher.variable
            )),
            _ if provided < serialized => Some(anyhow!(
                "it was built without support for threads (MPI_THREAD_SERIALIZED); use one that has it"
            )),
            _ => None,
        };
        if let Some(error) = refused {
            engine.finish();
            return Err(error);
        }
        Ok(engine)
    }

    /// Puts the sum over all ranks in the place of `count` numbers of `datatype`.
    ///
    /// # Safety
    ///
    /// `numbers` must be valid for reading and writing so many numbers of that type.
    unsafe fn sum(&self, numbers: *mut c_void, count: usize, datatype: H) {
        let Constants {
            world,
            sum,
            in_place,
            ..
        } = self.constants;
        let in_place = in_place as *const c_void;
        // SAFETY: as above, and MPI is initialised: threads take turns at it, since each call waits
        // for all ranks.
        let failed = unsafe {
            (self.functions.allreduce)(in_place, numbers, count as c_int, datatype, sum, world)
        };
        // MPI ends the job itself where a call fails, unless it was told otherwise.
        if failed != 0 {
            self.abort(1);
        }
    }
}

impl<H: Copy + Send + Sync> Engine for Mpi<H> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f64(&self, numbers: &mut [f64]) {
        for some in numbers.chunks_mut(AT_ONCE) {
            // SAFETY: the slice is as long as is said, and this rank's alone.
            unsafe { self.sum(some.as_mut_ptr().cast(), some.len(), self.constants.f64) }
        }
    }

    fn sum_f32(&self, numbers: &mut [f32]) {
        for some in numbers.chunks_mut(AT_ONCE) {
            // SAFETY: the slice is as long as is said, and this rank's alone.
            unsafe { self.sum(some.as_mut_ptr().cast(), some.len(), self.constants.f32) }
        }
    }

    fn finish(&self) {
        // SAFETY: MPI is initialised, and nothing is asked of it any more.
        unsafe { (self.functions.finalize)() };
    }

    fn abort(&self, code: i32) {
        // SAFETY: MPI is initialised. It ends the process.
        unsafe { (self.functions.abort)(self.constants.world, code) };
    }
}
