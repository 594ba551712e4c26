//! What has been violated.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// So many are told; the rest is counted.
const TOLD: usize = 10;

/// Violations of all threads.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    overlaps: AtomicU64,
    others: AtomicU64,
    told: Mutex<Vec<String>>,
}

impl Faults {
    /// Two threads were inside of one key.
    pub(crate) fn overlap(&self, what: impl FnOnce() -> String) {
        self.overlaps.fetch_add(1, Relaxed);
        self.tell(what);
    }

    /// Anything else that must not be, unless `good`.
    pub(crate) fn check(&self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            self.others.fetch_add(1, Relaxed);
            self.tell(what);
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD {
            let what = what();
            eprintln!("VIOLATION: {what}");
            told.push(what);
        }
    }

    /// How often two threads were inside of one key.
    pub(crate) fn overlaps(&self) -> u64 {
        self.overlaps.load(Relaxed)
    }

    /// All violations.
    pub(crate) fn all(&self) -> u64 {
        self.overlaps() + self.others.load(Relaxed)
    }
}
