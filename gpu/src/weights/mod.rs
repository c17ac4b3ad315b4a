//! Weights from files that others wrote: safetensors, and both formats of `torch.save`. Nothing in a file is run.
//!
//! | module | holds |
//! |---|---|
//! | [`Weights`] | named tensors of one file |
//! | `file` | what a file is, by how it begins |
//! | `archive`, `legacy`, `safe` | the three formats |
//! | `pickle` | Python's pickles, of which only names and numbers are read |
//! | `naming` | which dictionary the weights are: `state_dict`, `model`, `module.` before every name |
//! | `storage`, `view`, `elements`, `narrow` | which bytes a tensor is, in any strides and any type |
//! | [`Part`], [`Raw`] | one state dictionary of a file; a tensor's bytes |
//! | [`layout`] | by which names and in which orders programs store a network, and the ways between them |
//! | `write` | files of safetensors |

mod archive;
mod elements;
mod entry;
mod file;
pub mod layout;
mod legacy;
mod naming;
mod narrow;
mod part;
mod pickle;
mod raw;
mod refusal;
mod safe;
mod storage;
mod view;
pub mod write;

pub use part::{Dictionary, Part};
pub use raw::Raw;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::run::checkpoint::sha256;
use crate::{Error, Result};
use elements::Elements;
use entry::Entry;
use naming::Named;

/// Named tensors of one file, in host memory.
///
/// The weights may be the whole file, or lie under `state_dict`, `model_state_dict` or `model` in it; `module.` and `_orig_mod.`
/// before every name are left out. Each tensor also has its whole name. A tensor is read when it is asked for: what else is in the
/// file does no harm.
#[derive(Debug, Clone)]
pub struct Weights {
    named: Arc<Named>,
    bytes: Arc<Vec<u8>>,
    path: PathBuf,
    digest: String,
}

impl Weights {
    /// Reads safetensors, or what PyTorch saved (`.pth`, `.pt`, `.th`, `.bin`), in the zipped format of version 1.6 and later or in
    /// the older one. What a file is, is seen by its content.
    ///
    /// # Errors
    /// A file that is missing, of another kind, cut short, or that holds no tensor; each names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|reason| Error::io("read", path, reason))?;
        Self::of_bytes(path, bytes)
    }

    /// The same of the bytes of a file that is in memory already; `path` is what messages call it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn of_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let ending = ending.unwrap_or_default().to_ascii_lowercase();
        let named = file::read(&bytes, &ending).map_err(|problem| Error::file(path, problem))?;
        if !named.tensors.values().any(Entry::is_tensor) {
            return Err(Error::file(path, without_tensors(&named)));
        }
        Ok(Self {
            named: Arc::new(named),
            path: path.to_owned(),
            digest: sha256(&bytes),
            bytes: Arc::new(bytes),
        })
    }

    /// Tensors that were made, not read; `name` stands for the file in messages.
    pub fn from_tensors(name: &str, tensors: BTreeMap<String, Tensor>) -> Self {
        let made = |(name, tensor)| (name, Entry::Made(tensor));
        Self {
            named: Arc::new(Named::flat(tensors.into_iter().map(made).collect())),
            bytes: Arc::default(),
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

    /// What was done to find the weights in the file, such as "under `state_dict`, without `module.`"; `None` if nothing.
    pub fn reading(&self) -> Option<String> {
        let under = self.named.under.strip_suffix('.');
        let under = under.map(|under| format!("under `{under}`"));
        let before = Some(&self.named.before).filter(|before| !before.is_empty());
        let before = before.map(|before| format!("names without `{before}`"));
        match (under, before) {
            (Some(under), Some(before)) => Some(format!("{under}, {before}")),
            (under, before) => under.or(before),
        }
    }

    /// The format of the file, such as "safetensors".
    pub fn format(&self) -> &'static str {
        self.named.format
    }

    /// What a file of safetensors says of itself.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.named.metadata
    }

    /// What is in the file under a name and is not read, with the reason.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.named.tensors.iter();
        entries.filter_map(|(name, entry)| match entry {
            Entry::Unread(reason) => Some((name.as_str(), reason.as_str())),
            _ => None,
        })
    }

    /// The names of its tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let tensors = self.named.tensors.iter();
        tensors
            .filter(|(_, entry)| entry.is_tensor())
            .map(|(name, _)| name.as_str())
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match self.named.get(name)? {
            Entry::Tensor(view, _) => Some(&view.shape),
            Entry::Made(tensor) => Some(tensor.dims()),
            Entry::Unread(_) => None,
        }
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The tensor `name`, which must have this shape, as f64 on the CPU.
    ///
    /// # Errors
    /// [`Error::File`] if it is missing, of another shape, of a kind that is not read, damaged, or not finite, with what would be right.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let wrong = |problem: String| Error::file(&self.path, problem);
        let Some(entry) = self.named.get(name) else {
            return Err(wrong(format!(
                "there must be a tensor `{name}` of shape {shape:?}; the file holds {}",
                self.some_names()
            )));
        };
        let same = |got: &[usize]| {
            if got == shape {
                return Ok(());
            }
            Err(wrong(format!(
                "tensor `{name}` must have shape {shape:?}, got {got:?}"
            )))
        };
        match entry {
            Entry::Unread(_) => {}
            Entry::Made(tensor) => same(tensor.dims())?,
            Entry::Tensor(view, _) => same(&view.shape)?,
        }
        let values = match entry {
            // Of a view the numbers are gathered straight, without its bytes between.
            Entry::Tensor(view, storage) => {
                let storage = storage.checked(&self.bytes);
                let values = storage.and_then(|bytes| view.values(bytes));
                values.map_err(|reason| wrong(not_whole(name, &reason)))?
            }
            _ => self.raw(name).map_err(wrong)?.values(),
        };
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(Tensor::from_vec(values, shape, &Device::Cpu)?),
            Some(at) => Err(wrong(format!(
                "tensor `{name}` must be finite, got {} as element {at}",
                values[at]
            ))),
        }
    }

    /// The type of the elements of a tensor.
    fn elements(&self, name: &str) -> Result<Elements, String> {
        match self.named.get(name) {
            Some(Entry::Tensor(view, _)) => Ok(view.elements),
            Some(Entry::Made(_)) => Ok(Elements::F64),
            Some(Entry::Unread(reason)) => Err(format!("tensor `{name}` is not read: {reason}")),
            None => Err(format!("there is no tensor `{name}`")),
        }
    }

    /// A tensor with its bytes as the file has them.
    fn raw(&self, name: &str) -> Result<Raw, String> {
        let elements = self.elements(name)?;
        match self.named.get(name) {
            Some(Entry::Tensor(view, storage)) => {
                let storage = storage.checked(&self.bytes);
                let bytes = storage.and_then(|bytes| view.bytes(bytes));
                Ok(Raw {
                    elements,
                    shape: view.shape.clone(),
                    bytes: bytes.map_err(|reason| not_whole(name, &reason))?,
                })
            }
            Some(Entry::Made(tensor)) => {
                let values = || {
                    let host = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
                    host.flatten_all()?.to_vec1::<f64>()
                };
                let values = values().map_err(|reason| reason.to_string())?;
                Ok(Raw {
                    elements,
                    shape: tensor.dims().to_vec(),
                    bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                })
            }
            _ => Err(format!("there is no tensor `{name}`")),
        }
    }

    /// How many tensors there are, and the first names.
    fn some_names(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        let first: Vec<String> = names
            .iter()
            .take(3)
            .map(|name| format!("`{name}`"))
            .collect();
        let more = if names.len() > first.len() {
            ", …"
        } else {
            ""
        };
        format!("{} tensors: {}{more}", names.len(), first.join(", "))
    }
}

fn not_whole(name: &str, reason: &refusal::Refusal) -> String {
    format!("tensor `{name}` is not whole: {reason}")
}

/// Message for a file that holds no tensor.
fn without_tensors(named: &Named) -> String {
    let unread = named.tensors.iter().find_map(|(name, entry)| match entry {
        Entry::Unread(reason) => Some(format!("; of `{name}`: {reason}")),
        _ => None,
    });
    format!(
        "it holds no tensor by name: a state dictionary is wanted (torch.save(model.state_dict(), FILE)), not a whole model{}",
        unread.unwrap_or_default()
    )
}
