//! Whoever started this program as one of several: its variables, and the libraries that belong to it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Names the MPI library, in the place of the one that is looked for.
pub const LIBRARY: &str = "STATE_TUNE_MPI";

/// A launcher that started several ranks.
#[derive(Debug, PartialEq, Eq)]
pub struct Launcher {
    /// The variable that says how many, and what it says.
    pub variable: &'static str,
    /// How many ranks it started.
    pub size: usize,
    /// The one that this process is to be, if the launcher says so.
    pub rank: Option<usize>,
    /// The files that may be its library, best first.
    pub libraries: Vec<PathBuf>,
}

#[cfg(not(target_os = "macos"))]
mod names {
    pub const OPEN_MPI: &str = "libmpi.so.40";
    pub const MPICH: &str = "libmpi.so.12";
    /// As Debian has it.
    pub const MPICH_TOO: &str = "libmpich.so.12";
    pub const STANDARD: &str = "libmpi_abi.so.1";
}
#[cfg(target_os = "macos")]
mod names {
    pub const OPEN_MPI: &str = "libmpi.40.dylib";
    pub const MPICH: &str = "libmpi.12.dylib";
    pub const MPICH_TOO: &str = "libmpich.12.dylib";
    pub const STANDARD: &str = "libmpi_abi.1.dylib";
}

/// The variables in which each kind of launcher says how many ranks there are and which one a process
/// is, and the libraries that its ranks may have, the likeliest first. Slurm starts any.
const KINDS: [([&str; 2], &[&str]); 3] = [
    (
        ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"],
        &[names::OPEN_MPI, names::STANDARD],
    ),
    (
        ["PMI_SIZE", "PMI_RANK"],
        &[
            names::MPICH,
            names::MPICH_TOO,
            names::STANDARD,
            names::OPEN_MPI,
        ],
    ),
    (
        ["SLURM_STEP_NUM_TASKS", "SLURM_PROCID"],
        &[
            names::OPEN_MPI,
            names::MPICH,
            names::MPICH_TOO,
            names::STANDARD,
        ],
    ),
];

impl Launcher {
    /// The launcher that these variables tell of, if it started more than one rank.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>> {
        let told = KINDS
            .iter()
            .find_map(|&([size, rank], names)| Some((size, rank, names, variable(size)?)));
        let Some((name, rank, names, value)) = told else {
            return Ok(None);
        };
        let text = value.to_string_lossy();
        let size = text.parse().with_context(|| {
            format!("the launcher's variable {name} is {text:?}, which is no number of ranks")
        })?;
        let named = variable(LIBRARY).filter(|path| !path.is_empty());
        let libraries = match named {
            Some(path) => vec![path.into()],
            None => beside_launcher(names)
                .chain(names.iter().map(PathBuf::from))
                .collect(),
        };
        let launcher = Self {
            variable: name,
            size,
            rank: variable(rank).and_then(|rank| rank.to_str()?.parse().ok()),
            libraries,
        };
        Ok((size > 1).then_some(launcher))
    }
}

/// Those of the libraries that lie where the processes above this one were installed: a launcher that
/// is in no standard place has its library there.
fn beside_launcher(names: &[&str]) -> impl Iterator<Item = PathBuf> {
    let mut found = Vec::new();
    let mut process = "self".to_string();
    // The launcher or its daemon, perhaps with a shell or a wrapper between.
    for _ in 0..3 {
        let Some(parent) = parent(&process) else {
            break;
        };
        let program = fs::read_link(format!("/proc/{parent}/exe")).unwrap_or_default();
        let installed = program.parent().and_then(Path::parent);
        for directory in ["lib", "lib64"] {
            let places = installed.into_iter().flat_map(|installed| {
                names
                    .iter()
                    .map(move |name| installed.join(directory).join(name))
            });
            found.extend(places.filter(|place| place.exists()));
        }
        process = parent;
    }
    found.into_iter()
}

/// The process that started another, where the system tells.
fn parent(process: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some(line.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(variables: &[(&str, &str)]) -> Result<Option<Launcher>> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.into())
        };
        Launcher::of(variable)
    }

    #[test]
    fn one_rank_is_no_job_and_the_named_library_is_the_only_one() {
        for none in [&[][..], &[("OMPI_COMM_WORLD_SIZE", "1")], &[(LIBRARY, "x")]] {
            assert_eq!(launcher(none).unwrap(), None, "{none:?}");
        }
        for (name, first) in [
            ("OMPI_COMM_WORLD_SIZE", names::OPEN_MPI),
            ("PMI_SIZE", names::MPICH),
            ("PMI_SIZE", names::MPICH_TOO),
            ("SLURM_STEP_NUM_TASKS", names::OPEN_MPI),
        ] {
            let found = launcher(&[(name, "3")]).unwrap().unwrap();
            assert_eq!((found.variable, found.size, found.rank), (name, 3, None));
            assert!(found.libraries.contains(&first.into()), "{found:?}");
        }
        // Slurm says how many it started in all, also where Open MPI's own launcher starts fewer.
        let within = [
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_PROCID", "7"),
            ("OMPI_COMM_WORLD_SIZE", "2"),
            ("OMPI_COMM_WORLD_RANK", "1"),
            (LIBRARY, "/x/y"),
        ];
        let found = launcher(&within).unwrap().unwrap();
        assert_eq!((found.size, found.rank), (2, Some(1)));
        assert_eq!(found.libraries, ["/x/y"].map(PathBuf::from));
        let error = launcher(&[("PMI_SIZE", "many")]).unwrap_err().to_string();
        assert!(
            error.contains("PMI_SIZE") && error.contains("many"),
            "{error}"
        );
    }
}
