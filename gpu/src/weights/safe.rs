//! The format safetensors: a header in JSON, and the elements.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use super::elements::Elements;
use super::entry::Entry;
use super::naming::Named;
use super::refusal::{Outcome, Refusal};
use super::storage::Storage;
use super::view::View;

/// Bytes before the header: its length.
const BEFORE: usize = 8;

/// Whether a file begins as this format does: with the length of a header below 4 GiB, and the header's brace.
///
/// Where the length ends in 0x80 and 2 to 5 it begins as a pickle does too; no pickle has four zeros and a brace there.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.get(BEFORE / 2..=BEFORE) == Some(b"\0\0\0\0{")
}

/// The tensors of a file.
pub(super) fn read(bytes: &[u8]) -> Outcome<Named> {
    let broken = |reason| Refusal::Damaged(format!("{reason}"));
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors() {
        let entry = match Elements::of_safetensors(info.dtype) {
            None => Entry::Unread(format!(
                "its elements are of the type {:?}, which is not read",
                info.dtype
            )),
            Some(elements) => {
                let (start, end) = info.data_offsets;
                let range = BEFORE + length + start..BEFORE + length + end;
                let storage = Storage::new(range, &name, None);
                Entry::Tensor(View::whole(elements, info.shape.clone()), storage)
            }
        };
        tensors.insert(name, entry);
    }
    let metadata = header.metadata().iter().flatten();
    Ok(Named {
        metadata: metadata.map(|(k, v)| (k.clone(), v.clone())).collect(),
        ..Named::flat(tensors)
    })
}
