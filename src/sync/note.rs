//! What a thread notes for itself of a table, and the number that it knows the table by: the same for all back ends, but for where the note is kept.

use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

/// `lock/latest.rs` says what is in it. Without a destructor: it is there as long as the thread is.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) table: Cell<u64>,
    pub(crate) hash: Cell<u64>,
    pub(crate) place: Cell<*mut ()>,
}

impl Note {
    pub(crate) const fn new() -> Self {
        Self {
            table: Cell::new(0),
            hash: Cell::new(0),
            place: Cell::new(null_mut()),
        }
    }
}

/// A number for a table: never 0, never given out twice (there are 2^64 of them).
pub(crate) fn table_number() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    // ORDERING: Relaxed; only the atomicity counts. No model needs to see it: numbers are compared, and only whether they are equal.
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}
