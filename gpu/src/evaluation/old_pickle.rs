//! The format of `torch.save` before PyTorch 1.6, in which `pt_inception-2015-12-05-6726825d.pth` was published.
//!
//! Five parts follow each other: three pickles (a magic number, a protocol version, facts about the machine), the pickle of
//! the saved object, in which a tensor names its storage by a key, a pickled list of all keys, and then for each key in
//! that order the number of elements (8 bytes) and the elements. candle reads pickles, but no file of this format.

use std::collections::BTreeMap;
use std::io::{BufRead, Cursor, Read};
use std::path::Path;

use candle_core::pickle::{Object, Stack, TensorInfo};
use candle_core::{Device, Error, Result, Tensor, bail};

/// The pickled magic number 0x1950a86a20f9469cfc6c, with which each such file begins.
const MAGIC: [u8; 15] = [
    0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e,
];

/// Whether a file is of this format.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The tensors of a state dictionary.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let mut rest = Cursor::new(bytes);
    rest.set_position(MAGIC.len() as u64);
    for _ in ["protocol version", "facts about the machine"] {
        pickle(&mut rest)?;
    }
    let Object::Dict(entries) = pickle(&mut rest)? else {
        bail!("it does not hold a state dictionary");
    };
    let tensors = entries
        .into_iter()
        .filter_map(|(name, value)| value.into_tensor_info(name, Path::new("")).transpose())
        .collect::<Result<Vec<TensorInfo>>>()?;
    let Object::List(keys) = pickle(&mut rest)? else {
        bail!("the list of its storages is missing");
    };
    let mut storages = Storages::new(&tensors);
    for key in keys {
        let Ok(key) = key.unicode() else {
            bail!("the name of a storage is no text");
        };
        storages.read(&mut rest, &key)?;
    }
    tensors
        .iter()
        .map(|info| Ok((info.name.clone(), storages.tensor(info)?)))
        .collect()
}

fn pickle(rest: &mut impl BufRead) -> Result<Object> {
    let mut stack = Stack::empty();
    stack.read_loop(rest)?;
    stack.finalize()
}

/// The key of a tensor's storage, which candle calls a path.
fn key(info: &TensorInfo) -> &str {
    info.path.trim_start_matches('/')
}

/// The bytes behind the tensors.
struct Storages {
    /// Size of an element of each storage that a tensor uses.
    sizes: BTreeMap<String, usize>,
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Storages {
    fn new(tensors: &[TensorInfo]) -> Self {
        let size = |info: &TensorInfo| (key(info).to_owned(), info.dtype.size_in_bytes());
        Self {
            sizes: tensors.iter().map(size).collect(),
            bytes: BTreeMap::new(),
        }
    }

    /// Reads the next storage, which must be that of `key`.
    fn read(&mut self, rest: &mut Cursor<&[u8]>, key: &str) -> Result<()> {
        let Some(size) = self.sizes.get(key) else {
            bail!("storage `{key}` belongs to no tensor, so its length is not known");
        };
        let mut count = [0; 8];
        let cut = |_| Error::Msg(format!("it is cut short in storage `{key}`"));
        rest.read_exact(&mut count).map_err(cut)?;
        let length = u64::from_le_bytes(count).saturating_mul(*size as u64);
        let mut bytes = Vec::new();
        rest.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            bail!(
                "it is cut short: storage `{key}` must have {length} bytes, got {}",
                bytes.len()
            );
        }
        self.bytes.insert(key.to_owned(), bytes);
        Ok(())
    }

    fn tensor(&self, info: &TensorInfo) -> Result<Tensor> {
        let name = &info.name;
        if !info.layout.is_contiguous() {
            bail!(
                "tensor `{name}` must be contiguous, its strides are {:?}",
                info.layout.stride()
            );
        }
        let shape = info.layout.shape();
        let start = info.layout.start_offset();
        let length = shape
            .elem_count()
            .saturating_mul(info.dtype.size_in_bytes());
        let bytes = self.bytes.get(key(info));
        match bytes.and_then(|bytes| bytes.get(start..start.saturating_add(length))) {
            Some(bytes) => Tensor::from_raw_buffer(bytes, info.dtype, shape.dims(), &Device::Cpu),
            None => bail!("tensor `{name}` of shape {shape:?} reaches beyond its storage"),
        }
    }
}
