//! Ctrl-C: what is under way is saved, and what is saved already ends at once.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::files;
use crate::progress::say;

/// The exit status of work that was stopped, 128 + SIGINT as a shell reports it: what follows in a script does not take it for done.
pub const STATUS: u8 = 130;

/// Signals closer than this are one request: `timeout` and job managers signal the process and then its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// A person who wants to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    /// Set by the first Ctrl-C (or SIGTERM).
    pub requested: Arc<AtomicBool>,
    /// What is printed when the program ends at once, while it may: everything that was done is on the disk then.
    parting: Arc<Mutex<Option<String>>>,
}

impl Interrupt {
    /// Listens from now on; a second Ctrl-C ends the program whatever is saved.
    ///
    /// # Errors
    /// If somebody listens already.
    pub fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let Self { requested, parting } = interrupt.clone();
        let mut first = None;
        ctrlc::set_handler(move || {
            // Held until the end: nothing begins that would have to be saved.
            let parting = parting.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(words) = &*parting {
                let _ = files::print(&format!("{words}\n"));
                exit(i32::from(STATUS));
            }
            let first = *first.get_or_insert_with(|| {
                say("stopping after this step, to save; Ctrl-C again, a second later, leaves at once");
                Instant::now()
            });
            requested.store(true, Ordering::SeqCst);
            if first.elapsed() > SAME_SIGNAL {
                exit(i32::from(STATUS));
            }
        })
        .context("cannot listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// From now on a Ctrl-C prints these words and ends the program at once; without words it is waited for again.
    pub fn may_leave(&self, words: Option<String>) {
        *self.parting.lock().unwrap_or_else(PoisonError::into_inner) = words;
    }

    /// Does what leaves nothing behind that would be lost.
    pub fn leaving_during<T>(&self, words: String, work: impl FnOnce() -> T) -> T {
        self.may_leave(Some(words));
        let done = work();
        self.may_leave(None);
        done
    }
}
