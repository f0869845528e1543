//! What MPI libraries do not export as functions: the numbers by which their headers name a
//! communicator, types and operations. They are a part of each family's binary interface, which its
//! libraries promise to keep.

use std::ffi::{c_int, c_void};

/// A family of libraries with one binary interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Open MPI 4 and 5.
    OpenMpi,
    /// MPICH from 3.1 on, and what keeps its interface: Intel MPI, MVAPICH, Cray MPICH.
    Mpich,
    /// The standard interface of MPI 5, whatever the library.
    Standard,
}

/// The constants of one interface, with handles of type `H`.
pub struct Constants<H> {
    /// `MPI_COMM_WORLD`.
    pub world: H,
    /// `MPI_FLOAT`.
    pub f32: H,
    /// `MPI_DOUBLE`.
    pub f64: H,
    /// `MPI_SUM`.
    pub sum: H,
    /// `MPI_IN_PLACE`, an address that no buffer has.
    pub in_place: usize,
    /// `MPI_THREAD_SERIALIZED`.
    pub serialized: c_int,
}

/// `mpi.h` of MPICH 3.1 to 5.0; the MPICH ABI Compatibility Initiative of 2013 holds the others to
/// it.
pub const MPICH: Constants<c_int> = Constants {
    world: 0x4400_0000,
    f32: 0x4c00_040a,
    f64: 0x4c00_080b,
    sum: 0x5800_0003,
    in_place: usize::MAX,
    serialized: 2,
};

/// MPI 5.0, chapter 20, and the `mpi_abi.h` of MPICH 5.0. Handles are pointers; as numbers, threads
/// may share them.
pub const STANDARD: Constants<usize> = Constants {
    world: 0x101,
    f32: 0x210,
    f64: 0x214,
    sum: 0x21,
    in_place: 1,
    serialized: 2048,
};

/// `mpi.h` of Open MPI 4.1 and 5.0, whose handles are the addresses of these variables.
pub const OPEN_MPI: Constants<&str> = Constants {
    world: "ompi_mpi_comm_world",
    f32: "ompi_mpi_float",
    f64: "ompi_mpi_double",
    sum: "ompi_mpi_op_sum",
    in_place: 1,
    serialized: 2,
};

/// The longest text of `MPI_Get_library_version` in any of them: MPICH's.
pub const VERSION_LENGTH: usize = 8192;

/// What the versions of the MPICH family begin with.
const MPICH_FAMILY: [&str; 4] = [
    "MPICH Version",
    "Intel(R) MPI",
    "MVAPICH",
    "MPI VERSION    : CRAY MPICH",
];

/// The family of a library that says this of itself; `standard` is the version of the standard
/// interface that it says it has. `None` for one that nothing is known of.
pub fn family(version: &str, standard: Option<c_int>) -> Option<Family> {
    let of_mpich = MPICH_FAMILY.iter().any(|name| version.starts_with(name));
    let of_open_mpi = ["Open MPI v4.", "Open MPI v5."]
        .iter()
        .any(|name| version.starts_with(name));
    match standard {
        Some(1) => Some(Family::Standard),
        _ if of_open_mpi => Some(Family::OpenMpi),
        _ if of_mpich => Some(Family::Mpich),
        _ => None,
    }
}

/// The C functions, whose handles are `H`.
pub struct Functions<H> {
    pub init_thread: unsafe extern "C" fn(*mut c_int, *mut c_void, c_int, *mut c_int) -> c_int,
    pub comm_rank: unsafe extern "C" fn(H, *mut c_int) -> c_int,
    pub comm_size: unsafe extern "C" fn(H, *mut c_int) -> c_int,
    pub allreduce: Allreduce<H>,
    pub abort: unsafe extern "C" fn(H, c_int) -> c_int,
    pub finalize: unsafe extern "C" fn() -> c_int,
}

type Allreduce<H> = unsafe extern "C" fn(*const c_void, *mut c_void, c_int, H, H, H) -> c_int;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_what_they_say() {
        for (version, standard, wanted) in [
            (
                "Open MPI v4.1.4, package: Debian OpenMPI",
                None,
                Some(Family::OpenMpi),
            ),
            (
                "Open MPI v5.0.11, package: Open MPI",
                None,
                Some(Family::OpenMpi),
            ),
            ("Open MPI v3.1.0, package", None, None),
            ("Open MPI v6.0.0, package", None, None),
            ("Open MPI v6.0.0, package", Some(1), Some(Family::Standard)),
            ("MPICH Version:      4.0.2", None, Some(Family::Mpich)),
            ("MPICH Version:      5.0.2", Some(-1), Some(Family::Mpich)),
            ("MPICH Version:      5.0.2", Some(1), Some(Family::Standard)),
            (
                "Intel(R) MPI Library 2021.19.0 for Linux* OS",
                Some(-1),
                Some(Family::Mpich),
            ),
            (
                "Intel(R) MPI Library 2021.19.0 for Linux* OS",
                Some(2),
                Some(Family::Mpich),
            ),
            (
                "MPI VERSION    : CRAY MPICH version 8.1.25",
                None,
                Some(Family::Mpich),
            ),
            ("MVAPICH2 Version      :\t2.3.7", None, Some(Family::Mpich)),
            ("Some MPI 1.0", None, None),
        ] {
            assert_eq!(family(version, standard), wanted, "{version}");
        }
    }
}
