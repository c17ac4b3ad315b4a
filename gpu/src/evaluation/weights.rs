//! Weights from files that others wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};

use super::old_pickle;
use crate::train::checkpoint::sha256;
use crate::{Error, Result};

/// Named tensors of one file, in host memory.
#[derive(Debug, Clone)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    path: PathBuf,
    digest: String,
}

impl Weights {
    /// Reads `.safetensors`, or a state dictionary that PyTorch saved (`.pth`, `.pt`, `.bin`), in the zipped format of
    /// version 1.6 and later or in the older one.
    ///
    /// # Errors
    /// A file that is missing, of another kind, cut short, or that holds no tensor; each names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|reason| Error::io("read", path, reason))?;
        let digest = sha256(&bytes);
        let tensors = read(path, &bytes)?;
        if tensors.is_empty() {
            let problem =
                "it holds no tensor by name: a state dictionary is wanted, not a whole model";
            return Err(Error::file(path, problem));
        }
        Ok(Self {
            tensors,
            path: path.to_owned(),
            digest,
        })
    }

    /// Tensors that were made, not read; `name` stands for the file in messages.
    pub fn from_tensors(name: &str, tensors: BTreeMap<String, Tensor>) -> Self {
        Self {
            tensors,
            path: PathBuf::from(name),
            digest: String::new(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the file in hexadecimal; empty for tensors that were made.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tensor `name`, which must have this shape, as f64 on the processor.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, of another shape, or not finite, with what would be right.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(tensor) = self.tensors.get(name) else {
            let problem = format!(
                "there must be a tensor `{name}` of shape {shape:?}; the file holds {}",
                self.some_names()
            );
            return Err(Error::file(&self.path, problem));
        };
        if tensor.dims() != shape {
            let problem = format!(
                "tensor `{name}` must have shape {shape:?}, got {:?}",
                tensor.dims()
            );
            return Err(Error::file(&self.path, problem));
        }
        let tensor = tensor.to_dtype(DType::F64)?;
        let values = tensor.flatten_all()?.to_vec1::<f64>()?;
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(tensor),
            Some(at) => {
                let problem = format!(
                    "tensor `{name}` must be finite, got {} as element {at}",
                    values[at]
                );
                Err(Error::file(&self.path, problem))
            }
        }
    }

    /// How many tensors there are, and the first names.
    fn some_names(&self) -> String {
        let first: Vec<String> = self
            .tensors
            .keys()
            .take(3)
            .map(|name| format!("`{name}`"))
            .collect();
        let count = self.tensors.len();
        let more = if count > first.len() { ", …" } else { "" };
        format!("{count} tensors: {}{more}", first.join(", "))
    }
}

fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let wrong = |problem: String| Error::file(path, problem);
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => {
            let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu);
            let tensors = tensors
                .map_err(|reason| wrong(format!("it is not a whole safetensors file: {reason}")))?;
            Ok(tensors.into_iter().collect())
        }
        Some("pth" | "pt" | "bin") if old_pickle::is_one(bytes) => {
            old_pickle::read(bytes).map_err(|reason| {
                wrong(format!(
                    "it is not a whole PyTorch file of the old format: {reason}"
                ))
            })
        }
        Some("pth" | "pt" | "bin") => zipped(path)
            .map_err(|reason| wrong(format!("it is not a whole PyTorch file: {reason}"))),
        _ => Err(wrong(
            "weights must be in a file that ends in .safetensors, .pth, .pt or .bin".to_owned(),
        )),
    }
}

/// The state dictionary of a zip archive.
fn zipped(path: &Path) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let file = PthTensors::new(path, None)?;
    let mut tensors = BTreeMap::new();
    for name in file.tensor_infos().keys() {
        if let Some(tensor) = file.get(name)? {
            tensors.insert(name.clone(), tensor);
        }
    }
    Ok(tensors)
}
