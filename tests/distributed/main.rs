//! One run on several ranks. `reference` and `threads` hold threads of one process against the float64
//! reference and one rank; `alone` holds the program to opening no MPI library where there is one rank, and
//! to refusing those that it cannot use; `mpirun` is the real program under real launchers.

#[path = "../common/mod.rs"]
mod common;

#[cfg(unix)]
mod alone;
#[cfg(unix)]
mod mpirun;
mod reference;
mod runs;
mod threads;
