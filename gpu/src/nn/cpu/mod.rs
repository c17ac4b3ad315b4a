//! Passes over numbers on the CPU.

pub(crate) mod buffer;
pub(crate) mod channels_last;
pub(crate) mod convolution;
pub(crate) mod exponential;
pub(crate) mod frame;
pub(crate) mod gemm;
pub(crate) mod matrix;
pub(crate) mod pack;
pub(crate) mod pointwise;
pub(crate) mod real;
pub(crate) mod reduce;
pub(crate) mod scratch;
pub(crate) mod sums;
pub(crate) mod winograd;
