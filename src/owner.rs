//! Owners: who holds a lock, and how often.
//!
//! The owner word packs `id << 20 | depth`. An id is never used twice, so a dead thread's lock can never look like a
//! new thread's own (trap: ids taken from addresses). A thread is one kind of owner; the code below the table takes the
//! id as an argument.

use crate::mutant::mutant;
use crate::sync;

const DEPTH_BITS: u32 = 20;
/// How often one owner may hold one lock at the same time.
pub(crate) const DEPTH_MAX: u64 = if cfg!(perkey_small) {
    3
} else {
    (1 << DEPTH_BITS) - 1
};
const ID_MAX: u64 = (1 << (64 - DEPTH_BITS)) - 1;

/// The identity of somebody who can hold a lock; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner(u64);

impl Owner {
    /// The calling thread.
    ///
    /// # Panics
    /// After 2^44 threads.
    #[inline]
    pub(crate) fn current() -> Self {
        let number = sync::thread_number(ID_MAX);
        Self(if mutant("owner_shared") { 1 } else { number })
    }

    /// One of `shards` places that the owners are spread over.
    #[cfg(feature = "storage")]
    pub(crate) fn shard(self, shards: usize) -> usize {
        usize::try_from(self.0 % shards as u64).unwrap_or(0)
    }

    /// The owner word of a lock that this owner holds once.
    #[inline]
    pub(crate) fn once(self) -> u64 {
        self.0 << DEPTH_BITS | 1
    }

    /// Is this the owner in `word`?
    #[inline]
    pub(crate) fn is_in(self, word: u64) -> bool {
        word >> DEPTH_BITS == self.0
    }
}

/// The depth in an owner word.
#[inline]
pub(crate) fn depth(word: u64) -> u64 {
    word & ((1 << DEPTH_BITS) - 1)
}

#[cfg(all(test, not(any(perkey_loom, perkey_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_by_thread_and_stay() {
        let mine = Owner::current();
        assert_eq!(mine, Owner::current());
        let other = std::thread::spawn(Owner::current).join().unwrap();
        assert_ne!(mine, other);
        assert!(mine.is_in(mine.once()));
        assert!(!other.is_in(mine.once()));
        assert!(!mine.is_in(0), "0 is nobody");
        assert_eq!(depth(mine.once()), 1);
        assert_eq!(mine.once() >> DEPTH_BITS, mine.0);
    }
}
