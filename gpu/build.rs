//! Compiles the kernels for GPUs, where the program is built with CUDA.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    kernels();
}

#[cfg(feature = "cuda")]
fn kernels() {
    let folder = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let kernels = cudaforge::KernelBuilder::new()
        .source_dir("kernels")
        .watch(["kernels"])
        .arg("-std=c++17")
        .build_ptx();
    let written = kernels.and_then(|kernels| kernels.write(folder.join("ptx.rs")));
    if let Err(error) = written {
        panic!("the kernels in gpu/kernels could not be compiled: {error}");
    }
}
