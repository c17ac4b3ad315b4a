//! Files of safetensors, written tensor by tensor.
//!
//! The `safetensors` crate wants all tensors at once and writes metadata in an order that changes from run to run; a file that is
//! converted may be as large as half of the memory, and the same conversion is to give the same bytes.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::layout::{Conversion, Source, elements as count};
use crate::{Error, Result};

impl Conversion<'_> {
    /// Writes the tensors, widest types first and then by name, as safetensors does.
    ///
    /// # Errors
    /// [`Error::File`] of `from`, the file they are read from, for a tensor that cannot be read; [`Error::Io`] if `out` cannot be written.
    pub fn write(
        &self,
        out: &mut dyn Write,
        metadata: &BTreeMap<String, String>,
        from: &Path,
    ) -> Result<()> {
        write(out, self.tensors.as_ref(), metadata, from)
    }
}

/// Writes tensors in the format of safetensors.
pub(crate) fn write(
    out: &mut dyn Write,
    tensors: &dyn Source,
    metadata: &BTreeMap<String, String>,
    from: &Path,
) -> Result<()> {
    let unread = |problem: String| Error::file(from, problem);
    let mut order = Vec::new();
    for (name, shape) in tensors.shapes() {
        let elements = tensors.elements(&name).map_err(unread)?;
        order.push((std::cmp::Reverse(elements.size()), name, elements, shape));
    }
    order.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut at = 0_usize;
    for (_, name, elements, shape) in &order {
        let end = at.saturating_add(count([shape]).saturating_mul(elements.size()));
        let entry = json!({"dtype": elements.name(), "shape": shape, "data_offsets": [at, end]});
        header.insert(name.clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // The elements begin at a multiple of eight bytes.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut put = |bytes: &[u8]| {
        out.write_all(bytes)
            .map_err(|reason| Error::io("write", "the file of weights", reason))
    };
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    for (_, name, _, shape) in &order {
        let raw = tensors.raw(name).map_err(unread)?;
        if raw.shape() != shape.as_slice() {
            return Err(unread(format!(
                "tensor `{name}` has another shape than its file says"
            )));
        }
        put(raw.bytes())?;
    }
    Ok(())
}
