//! A stretch of a file that holds the elements of tensors.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::refusal::{Outcome, damaged};

/// Bytes of a file, and the sum over them that the file gives. Tensors that share elements share it.
#[derive(Debug, Clone)]
pub(super) struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    range: Range<usize>,
    name: String,
    crc: Option<u32>,
    whole: OnceLock<bool>,
}

impl Storage {
    /// The bytes of `range`, which the file calls `name`; a sum of 0 is none: PyTorch leaves it so where it was told not to compute it
    /// (`torch.serialization.set_crc32_options`).
    pub(super) fn new(range: Range<usize>, name: &str, crc: Option<u32>) -> Self {
        Self(Arc::new(Inner {
            range,
            name: name.to_owned(),
            crc: crc.filter(|crc| *crc != 0),
            whole: OnceLock::new(),
        }))
    }

    /// Its bytes in those of the file, summed up the first time.
    ///
    /// # Errors
    /// Another sum.
    pub(super) fn checked<'a>(&self, file: &'a [u8]) -> Outcome<&'a [u8]> {
        let Some(bytes) = file.get(self.0.range.clone()) else {
            return damaged(format!(
                "`{}` reaches beyond the end of the file",
                self.0.name
            ));
        };
        let whole = |crc: u32| {
            let mut sum = flate2::Crc::new();
            sum.update(bytes);
            sum.sum() == crc
        };
        match self.0.crc {
            Some(crc) if !self.0.whole.get_or_init(|| whole(crc)) => damaged(format!(
                "the bytes of `{}` are not those that were written (their CRC-32 is another)",
                self.0.name
            )),
            _ => Ok(bytes),
        }
    }
}
