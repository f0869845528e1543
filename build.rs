//! Compiles the kernels for NVIDIA GPUs, if the `cuda` feature is asked for.

use std::path::PathBuf;
use std::process::Command;

/// One image for each generation of GPUs, and PTX, which the driver compiles, for those to come.
const TARGETS: [&str; 5] = [
    "arch=compute_80,code=sm_80",
    "arch=compute_86,code=sm_86",
    "arch=compute_89,code=sm_89",
    "arch=compute_90,code=sm_90",
    "arch=compute_90,code=compute_90",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let folders = std::fs::read_dir("src/ops").expect("the sources are there");
    let files = folders
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder.path()));
    for file in files.flatten().flatten().map(|file| file.path()) {
        if file
            .extension()
            .is_some_and(|extension| extension == "cu" || extension == "cuh")
        {
            println!("cargo:rerun-if-changed={}", file.display());
        }
    }
    for variable in ["CUDA_HOME", "CUDA_PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let toolkit = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .find_map(std::env::var_os);
    let nvcc = toolkit.map_or(PathBuf::from("nvcc"), |home| {
        PathBuf::from(home).join("bin/nvcc")
    });
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let compiled = Command::new(&nvcc)
        .args(["-std=c++17", "-O3", "-fatbin", "--threads", "0"])
        .args(TARGETS.into_iter().flat_map(|target| ["-gencode", target]))
        .arg("-o")
        .arg(out.join("kernels.fatbin"))
        .arg("src/ops/cuda/kernels.cu")
        .status();
    match compiled {
        Ok(status) if status.success() => {}
        Ok(status) => panic!(
            "{} could not compile src/ops/cuda/kernels.cu: {status}",
            nvcc.display()
        ),
        Err(error) => panic!(
            "cannot run {}: {error}; the cuda feature needs NVIDIA's CUDA toolkit (set CUDA_HOME)",
            nvcc.display()
        ),
    }
}
