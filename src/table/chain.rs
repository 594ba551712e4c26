//! Overflow: more keys alive at once in a bucket than it has slots.
//!
//! A list of nodes, newest first, in the way of Harris (*A pragmatic implementation of non-blocking linked-lists*, DISC
//! 2001, section 3) and Michael (*High performance dynamic lock-free hash tables and list-based sets*, SPAA 2002): the low bit of
//! `next` marks a node as leaving, so that nothing can be linked or unlinked behind it; whoever unlinks it retires it.
//! Nodes are only pushed at the front. A node dies with its key's last reference. Who sees to its end takes it out, or leaves it where it is, free for
//! another key: if there is no other that is free, as a bucket that is full mostly is so for a while; and if too much waits to be freed already, because
//! somebody is stopped while pinned: then no more nodes are made than there are keys in chains at once (I8). An insertion takes a free node before it makes one;
//! and if there is room in the slots, now and then it takes out what is free.
//!
//! Foreign code never runs under a pin: while a key is compared, a passing reference keeps its node in the list.

use crate::lock::raw::Exhausted;
use crate::lock::word::{self, stamp, CLAIMED, FREE, LOCKED, MEMBER, OVERFLOW, USER};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::epoch::{self, Bury, Pin};
use crate::sync::Canary;
use crate::table::bucket::Bucket;
use crate::table::core::{Core, Junk};
use crate::table::entry::{Entry, Met};
use crate::table::search::{Stand, Step, Visited};
use std::ptr::{null_mut, NonNull};

/// A node. `entry` comes first: a pointer to it is a pointer to the node.
#[repr(C)]
pub(super) struct Node<K> {
    pub(super) entry: Entry<K>,
    /// Of its key. Kept when the key goes.
    hash: AtomicU64,
    /// The number of its publication; written before *ready* is.
    pub(super) seq: AtomicU64,
    next: AtomicPtr<Node<K>>,
    /// The bucket that it is in, which stays as long as its chain is not empty.
    home: NonNull<Bucket<K>>,
    canary: Canary,
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
}

impl<K> Node<K> {
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
        let others = || chain.iter(&pin).any(Self::is_free) && !mutant("spares_without_end");
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

    fn is_free(&self) -> bool {
        // ORDERING: Relaxed: a hint.
        word::phase(self.entry.word().load(Ordering::Relaxed)) == FREE
    }

    /// The hash of its key, or of the one before.
    fn hash(&self) -> u64 {
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
    fn mark(&self) {
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

/// The word of a node that somebody holds and nobody else looks at.
const IN_USE: u64 = MEMBER | OVERFLOW | LOCKED | USER;

fn marked<T>(p: *mut T) -> bool {
    p.addr() & 1 == 1
}

fn unmark<T>(p: *mut T) -> *mut T {
    p.map_addr(|a| a & !1)
}

/// The head of a chain that is closed: nothing can be linked any more.
fn end<K>() -> *mut Node<K> {
    null_mut::<Node<K>>().map_addr(|_| 1)
}

/// The overflow chain of one bucket.
pub(super) struct Chain<K> {
    head: AtomicPtr<Node<K>>,
}

impl<K> Chain<K> {
    #[cfg(any(perkey_loom, perkey_shuttle))]
    pub(super) fn new() -> Self {
        Self {
            head: AtomicPtr::new(null_mut()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        // ORDERING: Acquire: if the node that we look for has left the chain, we come after its last release: it was
        // released into the node's word, read (Acquire) by who marked and unlinked it (Release), up to this pointer (I1).
        unmark(self.head.load(Ordering::Acquire)).is_null()
    }

    /// Has it been closed? For who has it to himself.
    pub(super) fn is_closed(&self) -> bool {
        // ORDERING: Relaxed; the caller is alone.
        self.head.load(Ordering::Relaxed) == end()
    }

    /// Closes an empty chain for good. `false`: it is not empty.
    pub(super) fn close(&self) -> bool {
        // ORDERING: Acquire, both, partner of the Release in `remove`: if the chain is closed, we come after the last holder of every node that was in
        // it; who finds the bucket drained does not look here (I1).
        match self
            .head
            .compare_exchange(null_mut(), end(), Ordering::Acquire, Ordering::Acquire)
        {
            Ok(_) => true,
            Err(head) => head == end(),
        }
    }

    /// Links a node. `false`: the chain is closed. Lock-free.
    pub(super) fn push(&self, node: NonNull<Node<K>>) -> bool {
        // ORDERING: Relaxed; the pointer is not followed, and the exchange decides.
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            if head == end() && !mutant("closed_chain_linked") {
                return false;
            }
            // SAFETY: the node is ours until it is linked.
            // ORDERING: Relaxed; published by the exchange.
            unsafe { node.as_ref() }.next.store(head, Ordering::Relaxed);
            // ORDERING: Release on success, partner of every Acquire load of `head`: hash, word and key of the node. The
            // exchange continues the release sequences of earlier pushes. Relaxed on failure.
            match self.head.compare_exchange_weak(
                head,
                node.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
        }
    }

    /// The nodes from the first on, under `pin`.
    fn iter<'p>(&'p self, _pin: &'p Pin) -> impl Iterator<Item = &'p Node<K>> {
        // ORDERING: Acquire, partner of the Release in `push` and `sweep`.
        let mut at = self.head.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: reachable after the pin, so not freed before it ends (DESIGN.md, proof of I7).
            let node = unsafe { unmark(at).as_ref() }?;
            node.canary.touch();
            // ORDERING: Acquire, as in `walk`: who is not met here has been unlinked, and we come after his last release (I1).
            at = node.next.load(Ordering::Acquire);
            Some(node)
        })
    }

    /// The entry of the first node with this hash, under `pin`.
    pub(super) fn find(&self, pin: &Pin, hash: u64) -> Option<NonNull<Entry<K>>> {
        let node = self.iter(pin).find(|node| node.hash() == hash)?;
        Some(NonNull::from(node).cast()) // of the whole node, as in `walk`
    }

    /// Promotes the publication number `seq` if it is still waiting for it.
    pub(super) fn promote(&self, seq: u64) {
        let pin = epoch::pin();
        for node in self.iter(&pin) {
            // ORDERING: Relaxed; the stamp (Acquire) comes after the store, and the number of a node that was stamped stays, until the node has been
            // promoted, has died and is taken for another key.
            if node.seq.load(Ordering::Relaxed) == seq {
                node.entry.promote(seq);
                return;
            }
        }
    }

    /// Calls `f` with the word of every node.
    pub(super) fn for_each_word(&self, mut f: impl FnMut(u64)) {
        if self.is_empty() {
            return;
        }
        let pin = epoch::pin();
        for node in self.iter(&pin) {
            // ORDERING: Relaxed, as for the slots (`Bucket::words`).
            f(node.entry.word().load(Ordering::Relaxed));
        }
    }

    /// Calls `f` with the hash of every node.
    pub(super) fn for_each_hash(&self, pin: &Pin, mut f: impl FnMut(u64)) {
        self.iter(pin).for_each(|node| f(node.hash()));
    }

    /// Is there a node whose entry `f` says yes to? It runs under a pin.
    pub(super) fn any(&self, mut f: impl FnMut(&Entry<K>) -> bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let pin = epoch::pin();
        let found = self.iter(&pin).any(|node| f(&node.entry));
        found
    }

    /// Meets every member with this hash, unpinned, until `f` is done. `stamp` as in `Core::search`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn walk<'t, R>(
        &self,
        core: &'t Core<K>,
        hash: u64,
        stamp: u64,
        me: Option<Owner>,
        junk: &mut Junk<K>,
        stand: &mut Stand<'_, '_, K>,
        f: &mut impl FnMut(Met<'t, K>) -> Result<Step<'t, K, R>, Exhausted>,
    ) -> Result<Visited<R>, Exhausted> {
        let stamped = (stamp::place(stamp) == stamp::CHAIN).then(|| stamp::seq(stamp));
        let mut pin = (!stand.is_pinned() && !mutant("walk_unpinned")).then(epoch::pin);
        // ORDERING: Acquire, as in `iter`.
        let mut at = self.head.load(Ordering::Acquire);
        while let Some(this) = NonNull::new(unmark(at)) {
            // SAFETY: as in `iter`; while unpinned, a reference keeps the node.
            let node = unsafe { this.as_ref() };
            node.canary.touch();
            if node.hash() == hash {
                // SAFETY: pinned.
                if let Some(met) = unsafe { Entry::meet(core, this.cast(), me, stamped, IN_USE) }? {
                    drop(pin.take());
                    stand.pause();
                    match f(met)? {
                        Step::Done(r) => return Ok(Visited::Done(r)),
                        Step::Next(met) => {
                            let same = stand.resume();
                            pin = (!stand.is_pinned()).then(epoch::pin);
                            // ORDERING: Acquire, as in `iter`. Read while the reference keeps the node in the chain, so
                            // that its successor is reachable under the new pin.
                            at = node.next.load(Ordering::Acquire);
                            met.finish(junk);
                            if !same {
                                return Ok(Visited::Moved);
                            }
                            continue;
                        }
                    }
                }
            }
            // ORDERING: Acquire, as in `iter`.
            at = node.next.load(Ordering::Acquire);
        }
        drop(pin);
        Ok(Visited::NotThere)
    }

    /// Claims a node that is free. The claim keeps it, and its bucket.
    pub(super) fn claim(&self) -> Option<NonNull<Node<K>>> {
        if self.is_empty() {
            return None;
        }
        let pin = epoch::pin();
        let node = self
            .iter(&pin)
            .find(|node| node.entry.claim().is_some())
            .map(NonNull::from);
        node
    }

    /// Takes out what is leaving, and what is `free`.
    pub(super) fn clean(&self, free: bool) {
        if self.is_empty() {
            return;
        }
        let pin = epoch::pin();
        for node in self.iter(&pin) {
            if free && node.entry.claim().is_some() {
                node.mark();
            }
        }
        self.sweep(&pin);
    }

    /// Unlinks and retires all marked nodes. Lock-free: it starts again only if somebody else has changed the chain.
    pub(super) fn sweep(&self, pin: &Pin) {
        'again: loop {
            let mut link = &self.head;
            // ORDERING: Acquire, as in `iter`.
            let mut at = link.load(Ordering::Acquire);
            while let Some(this) = NonNull::new(unmark(at)) {
                // SAFETY: as in `iter`.
                let node = unsafe { this.as_ref() };
                node.canary.touch();
                // ORDERING: Acquire, partner of the Release in `remove`.
                let next = node.next.load(Ordering::Acquire);
                if !marked(next) {
                    (link, at) = (&node.next, next);
                    continue;
                }
                // ORDERING: Release, partner of the Acquire loads of links: see `is_empty`. Relaxed on failure: start again.
                if link
                    .compare_exchange(at, unmark(next), Ordering::Release, Ordering::Relaxed)
                    .is_err()
                    && !mutant("retire_without_unlinking")
                {
                    continue 'again;
                }
                // SAFETY: unlinked by us, so unreachable for later pins, and by nobody else; `Node` holds no key any more
                // and drops none (its key is a `MaybeUninit`).
                if mutant("retire_now") {
                    node.canary.bury();
                } else {
                    // SAFETY: see above.
                    unsafe { pin.retire(this.as_ptr()) };
                }
                if mutant("retire_twice") {
                    // SAFETY: none: this is what the model has to find.
                    unsafe { pin.retire(this.as_ptr()) };
                }
                at = unmark(next);
            }
            return;
        }
    }

    /// Frees all nodes. The keys of those that are `full` go to `junk`.
    pub(super) fn clear(&mut self, junk: &mut impl FnMut(K), full: impl Fn(u64) -> bool) {
        // ORDERING: Relaxed, here and below; `&mut self`.
        let mut at = self.head.load(Ordering::Relaxed);
        self.head.store(null_mut(), Ordering::Relaxed);
        while let Some(this) = NonNull::new(unmark(at)) {
            // SAFETY: `&mut self`: nobody else is in the chain, and retired nodes are not in it.
            let node = unsafe { Box::from_raw(this.as_ptr()) };
            // ORDERING: Relaxed; `&mut self`.
            at = node.next.load(Ordering::Relaxed);
            if full(node.entry.word().load(Ordering::Relaxed)) {
                // SAFETY: as above.
                junk(unsafe { node.entry.take_key() });
            }
        }
    }
}
