//! A bucket: the stamp, the hashes, the slots, the chain.

use crate::lock::word::{self, stamp};
use crate::mutant::mutant;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::epoch::{self, Pin};
use crate::sync::Canary;
use crate::table::chain::Chain;
use crate::table::core::SLOTS;
use crate::table::entry::Entry;

/// The first cache line (stamp, chain, hashes) is all that a search reads of the keys it does not look for.
#[repr(C)]
pub(super) struct Bucket<K> {
    /// Number and place of the last insertion: the linearisation point of all insertions (I2). Numbers grow.
    pub(super) stamp: AtomicU64,
    pub(super) chain: Chain<K>,
    /// The hash of each slot's key. Kept when the key goes: a search then looks at the word.
    pub(super) hashes: [AtomicU64; SLOTS],
    pub(super) entries: [Entry<K>; SLOTS],
    /// Shows a checker that a segment was freed too early.
    pub(super) canary: Canary,
}

impl<K> Bucket<K> {
    /// Only models make one by hand: elsewhere zeros are one (`table/array.rs`).
    #[cfg(any(perkey_loom, perkey_shuttle))]
    pub(super) fn new() -> Self {
        Self {
            stamp: AtomicU64::new(0),
            chain: Chain::new(),
            hashes: std::array::from_fn(|_| AtomicU64::new(0)),
            entries: std::array::from_fn(|_| Entry::new()),
            canary: Canary::new(),
        }
    }

    /// The stamp, to be handed to `help`, `Core::search` and `Claim::publish`.
    #[inline]
    pub(super) fn stamp(&self) -> u64 {
        self.canary.touch();
        // ORDERING: Acquire, partner of the Release in `publish`, and through the chain of exchanges of all earlier ones: a
        // search that starts here sees every member there was at this stamp (I2).
        self.stamp.load(Ordering::Acquire)
    }

    /// Can nothing be inserted any more, as far as can be seen?
    pub(super) fn is_closed(&self) -> bool {
        // ORDERING: Relaxed: a hint.
        stamp::is_closed(self.stamp.load(Ordering::Relaxed))
    }

    /// Promotes the insertion that `stamp` names, so that the stamp may be replaced.
    #[inline]
    pub(super) fn help(&self, stamp: u64) {
        if mutant("no_help") {
            return;
        }
        self.canary.touch();
        let (seq, place) = (stamp::seq(stamp), stamp::place(stamp));
        if seq == 0 || stamp::is_closed(stamp) {
            return; // nothing has been inserted yet, or all has been promoted before it was closed
        }
        if place == stamp::CHAIN {
            self.chain.promote(seq);
        } else {
            #[allow(clippy::cast_possible_truncation)] // below SLOTS
            self.entries[place as usize].promote(seq);
        }
    }

    /// Closes the bucket: nothing can be inserted from now on. Returns the stamp, at which the caller may search it. Lock-free.
    pub(super) fn close(&self) -> u64 {
        let mut seen = self.stamp();
        while !stamp::is_closed(seen) {
            if !mutant("closed_without_help") {
                self.help(seen);
            }
            let closed = stamp::closed(seen);
            // ORDERING: Release on success: who fails to insert because of it (Acquire, in `stamp`) finds the newer segment in the list.
            // Acquire on failure, as in `stamp`.
            match self
                .stamp
                .compare_exchange(seen, closed, Ordering::Release, Ordering::Acquire)
            {
                Ok(_) => return closed,
                Err(now) => seen = now,
            }
        }
        seen
    }

    /// The slots whose key has this hash, as bits.
    #[inline]
    pub(super) fn having(&self, hash: u64) -> u32 {
        self.canary.touch();
        let mut slots = 0;
        for (i, its) in self.hashes.iter().enumerate() {
            // ORDERING: Acquire, partner of the Release in `Claim::fill`: if the slot has been taken over from the key that
            // we look for, we come after its last holder (I1; loom: `{a,b}|{a}`).
            let its = its.load(Ordering::Acquire);
            // No branch: which slot it is cannot be foretold.
            slots |= u32::from(its == hash) << i;
        }
        slots
    }

    /// Is no key with this hash here? `slots` have it; the chain is looked through under `pin`.
    #[inline]
    pub(super) fn has_none(&self, slots: u32, hash: u64, pin: &Pin) -> bool {
        slots == 0 && (self.chain.find(pin, hash).is_none() || mutant("nowhere_without_chain"))
    }

    /// Calls `f` with the hash of every key that is there, and perhaps of some that are not any more, under `pin`.
    pub(super) fn for_each_hash(&self, pin: &Pin, mut f: impl FnMut(u64)) {
        if stamp::is_drained(self.stamp()) {
            return;
        }
        for its in &self.hashes {
            // ORDERING: Acquire, as in `having`: for those who will not look here for a key because its hash is not here (`table/behind.rs`).
            f(its.load(Ordering::Acquire));
        }
        if !mutant("behind_without_chain") {
            self.chain.for_each_hash(pin, f);
        }
    }

    /// If there is room in the slots, nodes that are free are of no use, and make searches longer. One insertion in so many looks. (The number of a closed bucket stays: it would be each of them, or none.)
    #[inline]
    pub(super) fn tidy(&self, seen: u64) {
        const EVERY: u64 = if cfg!(perkey_shuttle) { 2 } else { 16 };
        let now = !cfg!(perkey_loom) && stamp::seq(seen) % EVERY == EVERY - 1;
        if now && !stamp::is_closed(seen) && !self.chain.is_empty() && !mutant("spares_not_tidied")
        {
            self.clean();
        }
    }

    #[cold]
    fn clean(&self) {
        let room = |w| word::phase(w) == word::FREE || word::idle(w);
        if self.words().any(room) {
            self.chain.clean(!epoch::lags());
        }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        // ORDERING: Relaxed: a count that comes after something (a join, say) never sees anything older than that.
        self.entries
            .iter()
            .map(|e| e.word().load(Ordering::Relaxed))
    }
}
