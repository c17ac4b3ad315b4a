//! Data sets: those the program knows, and images of one's own.

mod builtin;
mod files;
mod images;
mod reading;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn message<T: std::fmt::Debug>(result: sadm_gpu::Result<T>) -> String {
    result.expect_err("bad data must be refused").to_string()
}
