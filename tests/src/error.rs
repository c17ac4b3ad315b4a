//! Errors around a check, as opposed to in the arithmetic it judges.

use std::path::PathBuf;

/// An error of the checker itself: a case it cannot read, a check it does not know, a computation that
/// refused its inputs. A wrong number is not an error but a verdict, see [`crate::compare`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A case lacks an entry that its check reads.
    #[error("the case must hold `{name}`, got only {held}")]
    Missing {
        /// The entry that was asked for.
        name: String,
        /// The entries that are there.
        held: String,
    },
    /// A parameter of a case has another type than its check reads.
    #[error("parameter `{name}` must be {must}, got {got}")]
    Parameter {
        /// The parameter.
        name: String,
        /// The type that was asked for.
        must: &'static str,
        /// The value that is there.
        got: String,
    },
    /// A tensor has a shape its check cannot use.
    #[error("tensor `{name}` must have {must}, got shape {got:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// What was asked for.
        must: String,
        /// The shape that is there.
        got: Vec<usize>,
    },
    /// No check of the registry has this name or part of a name.
    #[error("no check is named `{name}`; the nearest names are {nearest}")]
    UnknownCheck {
        /// The name that was asked for.
        name: String,
        /// Up to three names of the registry.
        nearest: String,
    },
    /// The ledger does not say how a check is judged.
    #[error(
        "check `{check}` on {device} in {dtype} must have a ledger entry, got none: add one, with its reason"
    )]
    NoEntry {
        /// The check.
        check: String,
        /// The device.
        device: String,
        /// The element type.
        dtype: String,
    },
    /// The operation does not exist for this element type or on this device.
    #[error("not supported here: {what}")]
    Unsupported {
        /// The message of the operation that refused.
        what: String,
    },
    /// The reference refused its inputs.
    #[error("reference: {0}")]
    Reference(String),
    /// The training system refused its inputs.
    #[error("training system: {0}")]
    Gpu(String),
    /// A GPU, asked of a program that was built for the CPU only.
    #[error("`{0}` needs a program built with CUDA, and this one is not: `make cuda` builds it")]
    WithoutCuda(String),
    /// A GPU, on a machine that has none, or no driver for it.
    #[error("`{0}`: no NVIDIA GPU or no driver on this machine")]
    NoGpu(String),
    /// A GPU that cannot be opened.
    #[error("cannot open `{got}`: {why}")]
    Cuda {
        /// The name that was asked for.
        got: String,
        /// What CUDA said.
        why: String,
    },
    /// A name that is no device's.
    #[error("device must be `cpu` or `cuda:N`, got `{got}`: {why}")]
    Device {
        /// The name that was asked for.
        got: String,
        /// Why it cannot be used.
        why: String,
    },
    /// An element type that no check runs in.
    #[error("element type must be one of f64, f32, tf32, bf16, f16, got `{0}`")]
    Dtype(String),
    /// TF32, asked of a CPU.
    #[error("tf32 is how NVIDIA's GPUs multiply matrices: the device must be `cuda:N`, got `{0}`")]
    Tf32(String),
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path} must be a counter-example written by `sadm verify`: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the reader stopped.
        source: serde_json::Error,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Wraps an error of the reference, whatever its type.
    pub fn reference(error: impl std::fmt::Display) -> Self {
        Self::Reference(error.to_string())
    }

    /// Wraps an error of the training system; a refusal of the element type becomes
    /// [`Error::Unsupported`].
    pub fn gpu(error: impl std::fmt::Display) -> Self {
        let text = error.to_string();
        if names_a_missing_kernel(&text) {
            Self::Unsupported { what: text }
        } else {
            Self::Gpu(text)
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::gpu(error)
    }
}

impl From<sadm_gpu::Error> for Error {
    fn from(error: sadm_gpu::Error) -> Self {
        Self::gpu(error)
    }
}

/// candle has no error kind for "this operation does not exist in this element type": only the texts of
/// `UnsupportedDTypeForOp` ("unsupported dtype F16 for op …") and of the kernels that were never written.
fn names_a_missing_kernel(text: &str) -> bool {
    let text = text.to_lowercase();
    [
        "unsupported dtype",
        "not supported",
        "unsupported for",
        "not implemented",
        "no cuda implementation",
    ]
    .iter()
    .any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    /// The text is candle's own, so the test asks candle for it.
    #[test]
    fn a_missing_kernel_is_told_from_a_wrong_shape() {
        let image = Tensor::zeros((1, 1, 4, 4), DType::BF16, &Device::Cpu).expect("a tensor");
        let missing = image
            .conv2d(&image, 0, 1, 1, 1)
            .expect_err("no bf16 convolution on the CPU");
        assert!(
            matches!(Error::from(missing), Error::Unsupported { .. }),
            "a missing kernel is not recognised"
        );
        let wrong =
            image.matmul(&Tensor::zeros((3, 3), DType::BF16, &Device::Cpu).expect("a tensor"));
        assert!(
            matches!(
                Error::from(wrong.expect_err("shapes do not fit")),
                Error::Gpu(_)
            ),
            "a wrong shape passes as a missing kernel"
        );
    }
}
