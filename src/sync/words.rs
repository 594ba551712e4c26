//! Words that are accessed as they are, over whatever atomics the back end has. (loom's has its own, for fewer executions, except in `cargo prove exact`.)

use super::atomic;

/// A load whose value does nothing but start an exchange that re-reads the word (or a choice that any value would allow).
#[inline]
pub(crate) fn guess(word: &atomic::AtomicU64) -> u64 {
    // ORDERING: Relaxed; a stale value costs a round, as the exchange fails.
    word.load(atomic::Ordering::Relaxed)
}

/// What to start an exchange from: the word as it is. (A checker may start from `_usual` instead, and learn the rest from the
/// exchange's failure, whose ordering is `failure`.)
#[inline]
pub(crate) fn start(word: &atomic::AtomicU64, _usual: u64, failure: atomic::Ordering) -> u64 {
    // ORDERING: that of the exchange's failure, as what is found here need not be found by it again.
    word.load(failure)
}

/// A word that is only stored to by its present owner, and read by others only to find out that they are not he.
#[derive(Debug)]
pub(crate) struct OwnWord(atomic::AtomicU64);

impl OwnWord {
    #[cfg(not(perkey_loom))]
    pub(crate) const fn new() -> Self {
        Self(atomic::AtomicU64::new(0))
    }

    #[cfg(perkey_loom)]
    pub(crate) fn new() -> Self {
        Self(atomic::AtomicU64::new(0))
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // ORDERING: Relaxed, no partner needed. If the value names this thread, it is this thread's own last store (a
        // thread never reads anything older), so the thread is the owner. If it names somebody else, it does not
        // matter whether he still is.
        self.0.load(atomic::Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        // ORDERING: Relaxed: one owner's stores come before the next one's by the Release and Acquire on the lock.
        self.0.store(value, atomic::Ordering::Relaxed);
    }
}
