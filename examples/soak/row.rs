//! The data behind a key.
//!
//! Rust without `unsafe` has no plain variable that threads share without a lock, so these are atomics that are used as if they were none:
//! a plain load, some work, a plain store, all relaxed and never a read-modify-write. On the machine these are the same instructions as for a plain
//! variable, and an overlap does the same damage: an update is lost, words of a row differ, or somebody else's mark is found. (Data that is really not atomic,
//! a `Cell`, is behind the `ReentrantLock`s of `world`.)

use crate::faults::Faults;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What one key guards.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The thread that is inside; 0: none.
    inside: AtomicU64,
    /// All equal, whenever nobody is inside: how often somebody was.
    words: [AtomicU64; 4],
}

impl Row {
    /// How often somebody was inside; `None` if the words differ, or somebody is inside still. To be asked when nobody can be.
    pub(crate) fn visits(&self) -> Option<u64> {
        let first = self.words[0].load(Relaxed);
        let same = self.words.iter().all(|w| w.load(Relaxed) == first);
        (same && self.inside.load(Relaxed) == 0).then_some(first)
    }
}

/// A thread inside of a row, from its first level to its last.
pub(crate) struct Visit<'a> {
    row: &'a Row,
    me: u64,
    outermost: bool,
    what: (&'static str, u64),
    faults: &'a Faults,
}

impl<'a> Visit<'a> {
    /// Thread `me` goes in, holding the lock of the key, at this depth; and writes. `what` names the key.
    pub(crate) fn new(
        row: &'a Row,
        me: u64,
        depth: usize,
        what: (&'static str, u64),
        faults: &'a Faults,
    ) -> Self {
        let was = row.inside.load(Relaxed);
        let expected = if depth == 1 { 0 } else { me };
        let visit = Self {
            row,
            me,
            outermost: depth == 1,
            what,
            faults,
        };
        if was != expected {
            visit.overlap(&format!(
                "thread {me} at depth {depth} finds the mark of thread {was}"
            ));
        }
        row.inside.store(me, Relaxed);
        let seen = row.words.each_ref().map(|w| w.load(Relaxed));
        if seen.iter().any(|w| *w != seen[0]) {
            visit.overlap(&format!("thread {me} finds half an update: {seen:?}"));
        }
        std::hint::spin_loop();
        for word in &row.words {
            word.store(seen[0] + 1, Relaxed);
        }
        visit.still_alone();
        visit
    }

    /// Is nobody else's mark there?
    pub(crate) fn still_alone(&self) {
        let now = self.row.inside.load(Relaxed);
        if now != self.me {
            let me = self.me;
            self.overlap(&format!("thread {me} finds the mark of thread {now}"));
        }
    }

    fn overlap(&self, how: &str) {
        let (table, key) = self.what;
        self.faults
            .overlap(|| format!("I1, two threads inside of key {key} of `{table}`: {how}"));
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.still_alone();
        if self.outermost {
            self.row.inside.store(0, Relaxed);
        }
    }
}
