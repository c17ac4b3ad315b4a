//! The environment in which training is fast.

/// The variable from which rayon, and candle with it, takes its number of threads.
pub const THREADS: &str = "RAYON_NUM_THREADS";

/// Variables that a process must find at its start, with their values for `threads` threads.
///
/// - candle 0.11 counts the CPUs anew in every matrix product, by reading /proc/cpuinfo, unless it finds
///   [`THREADS`]: a sixth of a training step.
/// - candle's own pool for element-wise operations waits by spinning, on the calling side without end; where another
///   process wants the same core that was up to a third of a step. One thread means no pool; what is worth several
///   threads here is our own operations, which use rayon's.
/// - OpenBLAS starts its threads before `main`. The reference gives it one (`sadm_reference::linalg`): more would wait for nothing.
/// - An error of candle's carries a backtrace in its text where `RUST_BACKTRACE` is set; a panic's own is not touched.
/// - glibc gives freed memory back to the system and asks for it again: with 250,000 page faults in 40 steps that was
///   a tenth of the time. Blocks of up to 32 MiB are kept, and all threads take them from one heap: the others, of 64 MiB
///   each, are given back whole whenever they are empty. Other systems ignore these three.
pub fn variables(threads: usize) -> [(&'static str, String); 7] {
    [
        (THREADS, threads.to_string()),
        ("OPENBLAS_NUM_THREADS", "1".to_owned()),
        ("CANDLE_NUM_THREADS", "1".to_owned()),
        ("RUST_LIB_BACKTRACE", "0".to_owned()),
        ("MALLOC_ARENA_MAX", "1".to_owned()),
        ("MALLOC_MMAP_THRESHOLD_", (32_u64 << 20).to_string()),
        ("MALLOC_TRIM_THRESHOLD_", (1_u64 << 40).to_string()),
    ]
}

/// Stack of the threads that [`in_pool`] starts, as large as a main thread's: candle walks a graph recursively.
const STACK: usize = 8 << 20;

/// Runs `f` on a thread of rayon's pool.
///
/// An operation in parallel that begins on another thread is handed over to the pool and waited for, which with some
/// hundred operations in a step costs more than the small ones themselves.
pub fn in_pool<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    // An error says that there is a pool already: it then keeps its stacks.
    let _ = rayon::ThreadPoolBuilder::new()
        .stack_size(STACK)
        .build_global();
    rayon::scope(|_| f())
}
