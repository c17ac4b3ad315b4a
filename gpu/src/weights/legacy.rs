//! The format of `torch.save` before PyTorch 1.6, in which `pt_inception-2015-12-05-6726825d.pth` and the networks of
//! `pytorch_resnet_cifar10` were published.
//!
//! Five parts follow each other: three pickles (a magic number, a protocol version, facts about the machine), the pickle of
//! the saved object, in which a tensor names its storage by a key, a pickled list of all keys, and then for each key in
//! that order the number of elements (8 bytes) and the elements.

use std::collections::HashMap;

use super::entry::Entry;
use super::naming::{self, Named};
use super::pickle::{self, Loaded, Value};
use super::refusal::{Outcome, damaged, unread};
use super::storage::Storage;

/// The number that each such file begins with, pickled.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;

/// Whether the first pickle of a file is that of this format.
pub(super) fn is_one(first: &Loaded) -> bool {
    *first.heap.get(first.root) == Value::Int(MAGIC)
}

/// The tensors of a file whose first pickle ends at `start`.
pub(super) fn read(bytes: &[u8], start: usize) -> Outcome<Named> {
    let version = pickle::load(bytes, start)?;
    let machine = pickle::load(bytes, version.end)?;
    little_endian(&machine)?;
    let object = pickle::load(bytes, machine.end)?;
    let keys = pickle::load(bytes, object.end)?;
    let Some(list) = keys.heap.elements(keys.root) else {
        return damaged("the list of its storages is missing");
    };
    let sizes = sizes(&object);
    let (mut storages, mut at) = (HashMap::new(), keys.end);
    for key in list {
        let key = match keys.heap.get(*key) {
            Value::Text(key) => key.clone(),
            Value::Int(key) => key.to_string(),
            _ => return damaged("the name of a storage is no text"),
        };
        let Some(&size) = sizes.get(key.as_str()) else {
            return damaged(format!(
                "storage `{key}` belongs to no tensor, so its length is not known"
            ));
        };
        let Some(size) = size else {
            return unread(format!(
                "storage `{key}` is of a class whose elements have no known size"
            ));
        };
        let Some(count) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
            return damaged(format!("it is cut short before storage `{key}`"));
        };
        let length = usize::try_from(u64::from_le_bytes(*count))
            .ok()
            .and_then(|n| n.checked_mul(size));
        let range = length.and_then(|length| Some(at + 8..(at + 8).checked_add(length)?));
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            return damaged(format!("it is cut short in storage `{key}`"));
        };
        at = range.end;
        storages.insert(key.clone(), Storage::new(range, &key, None));
    }
    naming::named(&object, |tensor| match storages.get(&tensor.key) {
        Some(storage) => Entry::Tensor(tensor.view.clone(), storage.clone()),
        None => Entry::Unread(format!("its storage `{}` is not in the file", tensor.key)),
    })
}

/// Refuses numbers that are written the other way round.
fn little_endian(machine: &Loaded) -> Outcome<()> {
    let mut facts = machine.heap.items(machine.root).unwrap_or_default().iter();
    let order = facts.find(|(key, _)| machine.heap.text(*key) == Some("little_endian"));
    match order.map(|(_, value)| machine.heap.get(*value)) {
        Some(Value::Bool(true)) => Ok(()),
        Some(_) => unread("its numbers were written by a machine that is big-endian"),
        None => damaged("the facts about the machine that wrote it are missing"),
    }
}

/// Bytes of an element of each storage; none where they are not known.
fn sizes(object: &Loaded) -> HashMap<&str, Option<usize>> {
    let storages = object.heap.storages();
    storages
        .map(|stored| (stored.key.as_str(), stored.size()))
        .collect()
}
