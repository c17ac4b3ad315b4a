//! Files of weights that are cut short or changed: refused or read, without a panic and without a claim on memory that the file
//! does not justify.
#![expect(
    unsafe_code,
    reason = "an allocator of its own is how a test sees what is asked of memory"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sadm_gpu::weights::Weights;

/// The system's allocator, with the largest request since it was set to 0.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every request goes on to the system's allocator as it came.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises on `layout` are those that the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Most that a file of a few kilobytes may ask for at once: a tensor that repeats its elements is made whole up to 4 million f64.
const MOST: usize = 8 << 22;

/// Opens a file and reads every tensor of it.
fn read_all(path: &Path, bytes: Vec<u8>) {
    LARGEST.store(0, Ordering::Relaxed);
    if let Ok(weights) = Weights::of_bytes(path, bytes) {
        for name in weights.names() {
            if let Some(shape) = weights.shape(name) {
                // Refused or read: both are right for bytes that may mean anything.
                let _ = weights.get(name, shape);
            }
        }
    }
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(
        largest <= MOST,
        "{}: {largest} bytes at once",
        path.display()
    );
}

fn fixtures() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/weights");
    let mut files: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(&folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), std::fs::read(path).expect("a fixture")))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "{} files", files.len());
    files
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn below(state: &mut u64, n: usize) -> usize {
    usize::try_from(next(state) % n as u64).expect("below n")
}

/// One test, so that no other thread asks for memory meanwhile.
#[test]
fn files_cut_short_or_changed_are_refused_or_read_in_bounds() {
    for (path, whole) in fixtures() {
        for end in (0..whole.len()).step_by(5) {
            read_all(&path, whole[..end].to_vec());
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= [0x01, 0x80, 0xFF, 0x10][at % 4];
            read_all(&path, changed);
        }
        let mut state = whole.len() as u64;
        for _ in 0..500 {
            let mut changed = whole.clone();
            for _ in 0..=below(&mut state, 5) {
                let at = below(&mut state, changed.len());
                match below(&mut state, 4) {
                    0 => changed[at] = u8::MAX,
                    1 => changed[at] = u8::try_from(below(&mut state, 256)).expect("a byte"),
                    2 => {
                        changed.remove(at);
                    }
                    _ => {
                        let from = below(&mut state, changed.len());
                        let end = changed.len().min(from + 24);
                        let piece = changed[from..end].to_vec();
                        changed.splice(at..at, piece);
                    }
                }
            }
            read_all(&path, changed);
        }
    }
}
