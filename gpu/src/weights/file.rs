//! Recognition of files by their first bytes, and their contents.

use super::naming::Named;
use super::refusal::{Outcome, Refusal, damaged, unread};
use super::{archive, legacy, naming, pickle, safe};

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Safetensors,
    PyTorch,
    /// Neither, or too short to tell.
    Unknown,
}

/// Endings of the files that `torch.save` writes.
const PYTORCH: [&str; 7] = ["pth", "pt", "th", "bin", "ckpt", "tar", "pkl"];

/// The tensors of a file.
///
/// # Errors
/// Defect of a file, as the end of "FILE: …".
pub(super) fn read(bytes: &[u8], ending: &str) -> Result<Named, String> {
    let (kind, outcome) = by_content(bytes);
    outcome.map_err(|refusal| {
        let kind = match (kind, ending) {
            (Kind::Unknown, "safetensors") => Kind::Safetensors,
            (Kind::Unknown, ending) if PYTORCH.contains(&ending) => Kind::PyTorch,
            (kind, _) => kind,
        };
        match (refusal, kind) {
            (Refusal::Unread(problem), _) => problem,
            (Refusal::Damaged(problem), Kind::Safetensors) => {
                format!("it is not a whole safetensors file: {problem}")
            }
            (Refusal::Damaged(problem), Kind::PyTorch) => {
                format!("it is not a whole PyTorch file: {problem}")
            }
            (Refusal::Damaged(problem), Kind::Unknown) => format!(
                "weights must be in a file of safetensors or of PyTorch (.safetensors, .pth, .pt, .th, .bin): {problem}"
            ),
        }
    })
}

fn by_content(bytes: &[u8]) -> (Kind, Outcome<Named>) {
    let called = |format, outcome: Outcome<Named>| outcome.map(|named| Named { format, ..named });
    if archive::is_one(bytes) {
        return (
            Kind::PyTorch,
            called("torch.save, zipped", archive::read(bytes)),
        );
    }
    if safe::is_one(bytes) {
        return (Kind::Safetensors, called("safetensors", safe::read(bytes)));
    }
    if let [0x80, protocol @ 2..=5, ..] = bytes {
        let format = "torch.save, before PyTorch 1.6";
        return (Kind::PyTorch, called(format, pickled(bytes, *protocol)));
    }
    if let Some(what) = other(bytes) {
        return (Kind::Unknown, unread(what));
    }
    let problem = if bytes.is_empty() {
        "it is empty".to_owned()
    } else {
        let first = bytes[..bytes.len().min(16)].escape_ascii();
        format!("it begins as neither does, with `{first}`")
    };
    (Kind::Unknown, damaged(problem))
}

/// A file that begins with a pickle.
fn pickled(bytes: &[u8], protocol: u8) -> Outcome<Named> {
    let first = pickle::load(bytes, 0)?;
    if legacy::is_one(&first) {
        return legacy::read(bytes, first.end);
    }
    if naming::is_snapshot(&first.heap) {
        return unread(naming::SNAPSHOT);
    }
    unread(format!(
        "it is a Python pickle (protocol {protocol}) of {}, not a file of torch.save; in the program that can load it: \
         torch.save(model.state_dict(), FILE)",
        first.heap.kind(first.root)
    ))
}

/// Kind of a file that is often mistaken for weights.
fn other(bytes: &[u8]) -> Option<String> {
    const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
    let start = bytes
        .strip_prefix(b"\xEF\xBB\xBF")
        .unwrap_or(bytes)
        .trim_ascii_start();
    if bytes.starts_with(POINTER) {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]);
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        let size = size.map(|size| format!(" of {} bytes", size.trim()));
        return Some(format!(
            "it is a Git LFS pointer and not the file{} that it points to: fetch that by `git lfs pull`, or download it by its own address",
            size.unwrap_or_default()
        ));
    }
    let what = match start {
        [b'<', ..] => {
            "it is a web page and not the file: its address leads to a page about it (a preview, a login, a limit of downloads); \
             download the file itself"
        }
        [b'{' | b'[', ..] => {
            "it is JSON text: the answer of a server, or an index of weights that lie in other files"
        }
        _ if bytes.starts_with(b"\x1F\x8B") => "it is compressed by gzip: unpack it first (gunzip)",
        _ if bytes.starts_with(b"BZh") => "it is compressed by bzip2: unpack it first (bunzip2)",
        _ if bytes.starts_with(b"\xFD7zXZ\0") => "it is compressed by xz: unpack it first (unxz)",
        _ if bytes.starts_with(b"\x28\xB5\x2F\xFD") => {
            "it is compressed by zstd: unpack it first (unzstd)"
        }
        _ if bytes.starts_with(b"\x89HDF\r\n") => {
            "it is an HDF5 file, as Keras writes them, not of PyTorch"
        }
        _ if bytes.starts_with(b"\x93NUMPY") => {
            "it is a NumPy array (.npy), not a dictionary of tensors"
        }
        _ if bytes.starts_with(b"GGUF") => {
            "it is a GGUF file, whose tensors are quantised; wanted are the weights that it was made from"
        }
        _ if bytes.get(257..262) == Some(b"ustar") => {
            "it is a tar archive: of files, or of PyTorch 0.1 of 2016, which is not read; load and save it again with a newer PyTorch"
        }
        _ => return None,
    };
    Some(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of safetensors whose header is as long as this.
    fn with_header(length: usize) -> Vec<u8> {
        let header = r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let header = format!("{header:length$}");
        let mut bytes = (length as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(1.5_f32.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_as_long_as_a_pickle_begins_is_no_pickle() {
        for length in [0x78, 0x0280, 0x0380, 0x0480, 0x0580] {
            let found = read(&with_header(length), "safetensors").expect("it is whole");
            assert_eq!(found.format, "safetensors", "{length:#x}");
            assert!(found.tensors.contains_key("x"), "{length:#x}");
        }
    }
}
