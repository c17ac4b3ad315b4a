//! Tensors between the CPU and a device.

#[cfg(feature = "cuda")]
mod pinned;
pub mod transfer;
