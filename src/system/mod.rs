//! What the system tells: this machine's processor, how much memory there is and was needed, which
//! signals are ignored, and which come ([`signals`]); whether there is a standard output; panics of
//! libraries ([`quiet`]), and memory that cannot be had ([`allocator`]).

pub mod allocator;
mod ignored;
mod output;
pub mod quiet;
pub mod signals;

use std::fs;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

pub use ignored::ignores;
pub use output::output_was_closed;

/// The processor's name, where the system tells it.
pub fn processor() -> Option<String> {
    let cpu = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(cpu).ok()?;
    let name = system.cpus().first()?.brand().trim().to_string();
    (!name.is_empty()).then_some(name)
}

/// This machine's name in its network, or `?` where the system does not tell.
pub fn host() -> String {
    System::host_name().unwrap_or_else(|_| "?".to_string())
}

/// The processor's cores, whichever of them this process may use.
pub fn cores() -> Option<usize> {
    let cpu = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let cores = System::new_with_specifics(cpu).ok()?.cpus().len();
    (cores > 0).then_some(cores)
}

/// The cores that this process may run on, as `0-3,8`. `None` where the system does not tell: only
/// Linux does.
pub fn core_set() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let mut lines = status.lines();
    let set = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(set.trim().to_string())
}

/// How many cores those are.
pub fn allowed_cores() -> Option<usize> {
    let set = core_set()?;
    let parts = set.split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<usize>().ok()? - first.parse::<usize>().ok()? + 1)
    });
    parts.sum()
}

/// Memory that could still be used, in bytes: the machine's, or what the program's control group
/// leaves of it. `None` where the system does not tell.
pub fn free() -> Option<u64> {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory).ok()?;
    // Without /proc it is 0, which is no machine's.
    if system.total_memory() == 0 {
        return None;
    }
    let machine = system.available_memory();
    Some(match system.cgroup_limits() {
        Some(limits) => machine.min(limits.free_memory),
        None => machine,
    })
}

/// The most memory that this process has occupied so far, in bytes, mapped files included. `None`
/// where the system does not tell: only Linux does.
pub fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn cores_are_counted() {
        let (allowed, cores) = (allowed_cores().unwrap(), cores().unwrap());
        assert!((1..=cores).contains(&allowed), "{allowed} of {cores}");
    }

    #[test]
    fn a_running_program_has_some_and_needs_some() {
        for bytes in [free(), peak()] {
            let silent = bytes.is_none() && !cfg!(target_os = "linux");
            assert!(
                silent || bytes.is_some_and(|bytes| bytes > 1 << 20),
                "{bytes:?}"
            );
        }
    }
}
