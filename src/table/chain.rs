//! Overflow: more keys alive at once in a bucket than it has slots.
//!
//! A list of nodes, newest first, in the way of Harris (*A pragmatic implementation of non-blocking linked-lists*, DISC
//! 2001, section 3) and Michael (*High performance dynamic lock-free hash tables and list-based sets*, SPAA 2002): the low bit of
//! `next` marks a node as leaving, so that nothing can be linked or unlinked behind it; whoever unlinks it retires it.
//! Nodes are only pushed at the front. What becomes of one whose key is gone says `table/node.rs`. An insertion takes a free node before it makes one; and if there is
//! room in the slots, now and then it takes out what is free.
//!
//! Foreign code never runs under a pin: while a key is compared, a passing reference keeps its node in the list.

use crate::lock::raw::Exhausted;
use crate::lock::word::{stamp, LOCKED, MEMBER, OVERFLOW, USER};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::sync::epoch::{self, Pin};
use crate::table::core::{Core, Junk};
use crate::table::entry::{Entry, Met};
use crate::table::node::{marked, unmark, Node};
use crate::table::search::{Stand, Step, Visited};
use std::ptr::{null_mut, NonNull};

/// The word of a node that somebody holds and nobody else looks at.
const IN_USE: u64 = MEMBER | OVERFLOW | LOCKED | USER;

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

    /// Is a node free?
    pub(super) fn has_free(&self, pin: &Pin) -> bool {
        self.iter(pin).any(Node::is_free)
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
        if free {
            self.iter(&pin)
                .filter(|node| node.entry.claim().is_some())
                .for_each(Node::mark);
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
