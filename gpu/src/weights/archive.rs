//! The format of `torch.save` since PyTorch 1.6: a zip archive with a pickle, and the elements of each storage in a file of their own.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use super::entry::Entry;
use super::naming::{self, Named};
use super::pickle;
use super::refusal::{Outcome, Refusal, damaged, unread};
use super::storage::Storage;

/// Whether a file begins as a zip archive does.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The tensors of an archive.
pub(super) fn read(bytes: &[u8]) -> Outcome<Named> {
    let members = Members::of(bytes)?;
    let folder = members.folder()?;
    if let Some(order) = members
        .bytes(bytes, &format!("{folder}byteorder"))
        .transpose()?
        && order != b"little"
    {
        let order = String::from_utf8_lossy(order).into_owned();
        return unread(format!(
            "its numbers are written in the order `{order}`-endian; `little` is read"
        ));
    }
    let Some(text) = members
        .bytes(bytes, &format!("{folder}data.pkl"))
        .transpose()?
    else {
        return damaged("its pickle is missing");
    };
    let loaded = pickle::load(text, 0)?;
    let mut storages = HashMap::new();
    naming::named(&loaded, |tensor| {
        let key = &tensor.key;
        let storage = storages
            .entry(key.clone())
            .or_insert_with(|| members.storage(&format!("{folder}data/{key}")));
        match storage {
            Ok(storage) => Entry::Tensor(tensor.view.clone(), storage.clone()),
            Err(reason) => Entry::Unread(reason.to_string()),
        }
    })
}

/// A file in the archive.
struct Member {
    range: Range<usize>,
    crc: u32,
    stored: bool,
}

struct Members(HashMap<String, Member>);

impl Members {
    fn of(bytes: &[u8]) -> Outcome<Self> {
        let broken =
            |reason: zip::result::ZipError| Refusal::Damaged(format!("as a zip archive: {reason}"));
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(broken)?;
        let mut members = HashMap::new();
        for i in 0..archive.len() {
            let file = archive.by_index_raw(i).map_err(broken)?;
            let start = file
                .data_start()
                .and_then(|start| usize::try_from(start).ok());
            let length = usize::try_from(file.compressed_size()).ok();
            let range = start
                .zip(length)
                .and_then(|(start, length)| Some(start..start.checked_add(length)?));
            let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
                return damaged("one of its parts reaches beyond its end");
            };
            let name = file.name().map_err(broken)?.into_owned();
            let member = Member {
                range,
                crc: file.crc32(),
                stored: file.compression() == CompressionMethod::Stored && !file.encrypted(),
            };
            members.insert(name, member);
        }
        Ok(Self(members))
    }

    /// The folder that holds the pickle, with its slash.
    fn folder(&self) -> Outcome<&str> {
        let mut folders: Vec<&str> = self
            .0
            .keys()
            .filter_map(|name| name.strip_suffix("data.pkl"))
            .collect();
        folders.retain(|folder| folder.is_empty() || folder.ends_with('/'));
        folders.sort_by_key(|folder| (folder.len(), *folder));
        match folders.first() {
            Some(folder) if self.0.contains_key(&format!("{folder}constants.pkl")) => unread(
                "it is a TorchScript archive, a program with its weights: save a state dictionary, \
                 torch.save(torch.jit.load(FILE).state_dict(), NEW)",
            ),
            Some(folder) => Ok(folder),
            None if self
                .0
                .keys()
                .any(|name| name.rsplit('.').next() == Some("npy")) =>
            {
                unread("it holds NumPy arrays (.npz), not tensors of PyTorch")
            }
            None => {
                unread("it is a zip archive without the pickle that torch.save writes (data.pkl)")
            }
        }
    }

    /// Where the elements of a storage lie.
    fn storage(&self, name: &str) -> Outcome<Storage> {
        match self.0.get(name) {
            None => damaged(format!("part `{name}` of the archive is missing")),
            Some(member) if !member.stored => unread(format!(
                "part `{name}` of the archive is compressed or encrypted"
            )),
            Some(member) => Ok(Storage::new(member.range.clone(), name, Some(member.crc))),
        }
    }

    /// The bytes of a part, if it is there.
    fn bytes<'a>(&self, all: &'a [u8], name: &str) -> Option<Outcome<&'a [u8]>> {
        self.0
            .contains_key(name)
            .then(|| self.storage(name)?.checked(all))
    }
}
