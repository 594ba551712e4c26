//! A node of a chain: an entry beyond the slots, from its making to its end, or to its next key.
//!
//! It dies with its key's last reference. Who sees to its end takes it out of the chain; or leaves it where it is, *free* for another key: if there is no
//! other that is free, as a bucket that is full mostly is so for a while; and if too much waits to be freed already, because somebody is stopped while
//! pinned: then no chain gets more nodes than it has keys at once (I8).

use crate::lock::word::{self, CLAIMED, FREE, OVERFLOW};
use crate::mutant::mutant;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::epoch::{self, Bury};
use crate::sync::Canary;
use crate::table::bucket::Bucket;
use crate::table::entry::Entry;
use std::ptr::{null_mut, NonNull};

/// A node. `entry` comes first: a pointer to it is a pointer to the node.
#[repr(C)]
pub(super) struct Node<K> {
    pub(super) entry: Entry<K>,
    /// Of its key. Kept when the key goes.
    hash: AtomicU64,
    /// The number of its publication; written before *ready* is.
    pub(super) seq: AtomicU64,
    pub(super) next: AtomicPtr<Node<K>>,
    /// The bucket that it is in, which stays as long as its chain is not empty.
    home: NonNull<Bucket<K>>,
    pub(super) canary: Canary,
}

impl<K> Node<K> {
    /// A claimed node with its key, not linked yet.
    pub(super) fn new(home: &Bucket<K>, hash: u64, key: K) -> NonNull<Self> {
        let node = Box::new(Self {
            entry: Entry::new(),
            hash: AtomicU64::new(hash),
            seq: AtomicU64::new(0),
            next: AtomicPtr::new(null_mut()),
            home: NonNull::from(home),
            canary: Canary::new(),
        });
        // ORDERING: Relaxed; nobody else knows the node yet.
        node.entry
            .word()
            .store(CLAIMED | OVERFLOW, Ordering::Relaxed);
        // SAFETY: nobody else knows the node yet, and it holds no key.
        unsafe { node.entry.write_key(key) };
        NonNull::from(Box::leak(node))
    }

    /// Takes a node apart that was not linked.
    ///
    /// # Safety
    /// Nobody else knows the node, and it holds a key.
    pub(super) unsafe fn unmake(this: NonNull<Self>) -> K {
        // SAFETY: promised by the caller; it came from a box.
        let node = unsafe { Box::from_raw(this.as_ptr()) };
        // SAFETY: it holds a key, of which nothing is known in here any more: `Node` drops none.
        unsafe { node.entry.take_key() }
    }

    /// Takes the key of a node that has died.
    ///
    /// # Safety
    /// The caller made the node dead, which happens once.
    pub(super) unsafe fn last_key(&self) -> K {
        // ORDERING: Acquire, partner of the Release in `put` and `unlock`: the exchange that made the node dead continues their
        // release sequences, so all who have looked at the key come before its end (I7).
        self.entry.word().load(Ordering::Acquire);
        // SAFETY: dead: nobody else looks at the key.
        unsafe { self.entry.take_key() }
    }

    /// The end of a node without a key: takes it out of its chain, or leaves it there, free.
    ///
    /// # Safety
    /// The node is dead, or claimed, by the caller, who does not use it again.
    #[cold]
    #[inline(never)]
    pub(super) unsafe fn leave(this: NonNull<Self>) {
        // SAFETY: nobody retires a node that is not marked.
        let node = unsafe { this.as_ref() };
        if epoch::lags() && !mutant("lag_ignored") {
            return node.set_free();
        }
        let pin = epoch::pin();
        // SAFETY: the node is in the chain until it is marked, which keeps the bucket; under the pin it stays.
        let home = unsafe { node.home.as_ref() };
        let chain = &home.chain;
        // A model says by itself which of the two it is, either being right.
        let others = || chain.has_free(&pin) && !mutant("spares_without_end");
        if !cfg!(perkey_loom) && !home.is_closed() && !others() {
            return node.set_free();
        }
        node.mark();
        if !mutant("node_kept") {
            chain.sweep(&pin);
        }
    }

    /// Leaves the node, which is the caller's, to the next key.
    fn set_free(&self) {
        // ORDERING: Release, partner of the Acquire in `claim` and `meet`: who takes the node, or does not find the old key in it, comes after that
        // key's last holder (I1, I7).
        self.entry.word().store(FREE | OVERFLOW, Ordering::Release);
    }

    pub(super) fn is_free(&self) -> bool {
        // ORDERING: Relaxed: a hint.
        word::phase(self.entry.word().load(Ordering::Relaxed)) == FREE
    }

    /// The hash of its key, or of the one before.
    pub(super) fn hash(&self) -> u64 {
        // ORDERING: Acquire, partner of the Release in `rename`: if the node has been taken over from the key that we look for, we come after its last
        // holder (I1), as for slots (`Bucket::having`).
        self.hash.load(Ordering::Acquire)
    }

    /// Notes the hash of a new key. The node is claimed.
    pub(super) fn rename(&self, hash: u64) {
        if mutant("node_not_renamed") {
            return;
        }
        // ORDERING: Release, partner of the Acquire in `hash`.
        self.hash.store(hash, Ordering::Release);
    }

    /// Says that the node is leaving. It is the caller's, dead or claimed, and is not touched by him after that without a pin.
    pub(super) fn mark(&self) {
        // ORDERING: Relaxed; the exchange decides.
        let mut next = self.next.load(Ordering::Relaxed);
        // ORDERING: Release, partner of the Acquire in `sweep` and `walk`: who unlinks it, and who finds it gone after that,
        // comes after its last release, and the memory goes after our use of the key. Relaxed on failure.
        while let Err(now) = self.next.compare_exchange_weak(
            next,
            next.map_addr(|a| a | 1),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            next = now;
        }
    }

    /// The node that an entry is part of, if it is. The caller's reference or lock keeps it.
    pub(super) fn of(entry: &Entry<K>) -> Option<&Self> {
        // ORDERING: Relaxed; the flag is as old as the entry, whose reference was taken after its publication.
        let chained = entry.word().load(Ordering::Relaxed) & OVERFLOW != 0;
        // SAFETY: the flag is set in nodes only, whose first field the entry is.
        chained.then(|| unsafe { NonNull::from(entry).cast::<Self>().as_ref() })
    }
}

impl<K> Bury for Node<K> {
    fn bury(&self) {
        self.canary.bury();
    }
}

/// Is a link marked: is the node that it belongs to leaving?
pub(super) fn marked<T>(p: *mut T) -> bool {
    p.addr() & 1 == 1
}

pub(super) fn unmark<T>(p: *mut T) -> *mut T {
    p.map_addr(|a| a & !1)
}
