//! A place on its way to be an entry: claim, write the key, publish, stamp, promote. Or give it back.

use crate::lock::raw::Exhausted;
use crate::lock::word::{self, stamp, CLAIMED, LOCKED, OVERFLOW, SEQ_MAX};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::Ordering;
use crate::table::bucket::Bucket;
use crate::table::core::{Core, Junk, SLOTS};
use crate::table::entry::{Entry, Got};
use crate::table::guard::{Hold, KeyGuard};
use crate::table::node::Node;
use crate::table::source::Source;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// A place that is being rewritten by this thread alone. Dropping it (a panic of foreign code, a key that turned up
/// elsewhere) gives the place back.
pub(super) struct Claim<'t, K> {
    core: &'t Core<K>,
    /// Stays allocated while something in it is claimed.
    bucket: NonNull<Bucket<K>>,
    entry: NonNull<Entry<K>>,
    /// The slot, or [`stamp::CHAIN`].
    place: u64,
    keyed: bool,
}

impl<'t, K> Claim<'t, K> {
    /// Claims a slot that is free or idle. Each is tried once, in turn from the one after the last insertion's on: keys leave
    /// in the order in which they came, and none leaves before all slots are taken.
    #[inline(always)]
    pub(super) fn slot(core: &'t Core<K>, bucket: &Bucket<K>, seen: u64) -> Option<Self> {
        // Any order is right. A model with two slots has to take slots over more often than they would be in turn.
        let mut place = if cfg!(perkey_loom) {
            stamp::CHAIN
        } else {
            stamp::place(seen)
        };
        for _ in 0..SLOTS {
            place = if place + 1 < SLOTS as u64 {
                place + 1
            } else {
                0
            };
            #[allow(clippy::cast_possible_truncation)] // below SLOTS
            let entry = &bucket.entries[place as usize];
            // ORDERING: Relaxed; a mutant.
            while mutant("wait_for_claimed")
                && word::phase(entry.word().load(Ordering::Relaxed)) == CLAIMED
            {}
            if let Some(keyed) = entry.claim() {
                return Some(Self {
                    core,
                    bucket: NonNull::from(bucket),
                    entry: NonNull::from(entry),
                    place,
                    keyed,
                });
            }
        }
        None
    }

    /// A new node with its key, linked into the chain; or the key, if that is closed.
    pub(super) fn node(
        core: &'t Core<K>,
        bucket: &Bucket<K>,
        hash: u64,
        key: K,
    ) -> Result<Self, K> {
        let node = Node::new(bucket, hash, key);
        if !bucket.chain.push(node) {
            // SAFETY: it was not linked, so nobody else knows it, and it holds the key.
            return Err(unsafe { Node::unmake(node) });
        }
        Ok(Self {
            core,
            bucket: NonNull::from(bucket),
            entry: node.cast(),
            place: stamp::CHAIN,
            keyed: true,
        })
    }

    /// A node of the chain that is free, if there is one.
    pub(super) fn spare(core: &'t Core<K>, bucket: &Bucket<K>) -> Option<Self> {
        Some(Self {
            core,
            bucket: NonNull::from(bucket),
            entry: bucket.chain.claim()?.cast(),
            place: stamp::CHAIN,
            keyed: false,
        })
    }

    fn bucket(&self) -> &Bucket<K> {
        // SAFETY: something in it is claimed.
        unsafe { self.bucket.as_ref() }
    }

    /// Gives the place back, but for the key.
    pub(super) fn recover(mut self) -> K {
        self.keyed = false;
        // SAFETY: claimed, with a key, of which nothing is known here any more.
        unsafe { self.entry().take_key() }
    }

    fn entry(&self) -> &Entry<K> {
        // SAFETY: a slot lives as long as the table, a claimed node is not dead and so not freed.
        unsafe { self.entry.as_ref() }
    }

    /// The node that is claimed, if it is one.
    fn node_here(&self) -> Option<&Node<K>> {
        if self.place != stamp::CHAIN {
            return None;
        }
        let node: NonNull<Node<K>> = self.entry.cast();
        // SAFETY: a node, and a claimed one is not freed.
        Some(unsafe { node.as_ref() })
    }

    fn flags(&self) -> u64 {
        if self.place == stamp::CHAIN {
            OVERFLOW
        } else {
            0
        }
    }

    /// Writes the key of a claimed slot.
    #[inline]
    pub(super) fn fill(&mut self, hash: u64, source: &mut impl Source<K>, junk: &mut Junk<K>) {
        self.write(source, junk);
        #[allow(clippy::cast_possible_truncation)] // below SLOTS
        let its = &self.bucket().hashes[self.place as usize];
        // ORDERING: Release, partner of the Acquire in `visit`: who no longer finds the old key's hash here comes after the old
        // key's last holder, as we do by the claim (I1; loom: `{a,b}|{a}`).
        its.store(hash, Ordering::Release);
    }

    /// `fill`, also of a spare node.
    pub(super) fn fill_any(&mut self, hash: u64, source: &mut impl Source<K>, junk: &mut Junk<K>) {
        if self.place != stamp::CHAIN {
            return self.fill(hash, source, junk);
        }
        self.write(source, junk);
        if let Some(node) = self.node_here() {
            node.rename(hash);
        }
    }

    #[inline]
    fn write(&mut self, source: &mut impl Source<K>, junk: &mut Junk<K>) {
        // SAFETY: claimed, and `keyed` says that it holds a key; no longer.
        let old = std::mem::take(&mut self.keyed).then(|| unsafe { self.entry().take_key() });
        let old = if mutant("old_key_forgotten") {
            std::mem::forget(old);
            None
        } else {
            old
        };
        let key = source.make(old, junk); // may panic: the claim is given back without a key
                                          // SAFETY: claimed, without a key.
        unsafe { self.entry().write_key(key) };
        self.keyed = true;
    }

    /// Publishes the entry and puts the bucket's stamp on it, from `seen`. `Ok(false)`: another insertion came first.
    #[inline(always)]
    pub(super) fn publish(&self, seen: u64, me: Owner, locked: bool) -> Result<bool, Exhausted> {
        if self.place == stamp::CHAIN {
            return self.publish_node(seen, me, locked);
        }
        // ORDERING: Relaxed. Our claim (Acquire) comes after everything that was published in this slot, and so does
        // this load: it sees a stamp at least that new. Current still: the number below is new to this slot.
        if self.bucket().stamp.load(Ordering::Relaxed) != seen && !mutant("stamp_not_seen_again") {
            return Ok(false);
        }
        let ready = self.ready(stamp::seq(seen) + 1, seen, me, locked)?;
        if !self.stamp(seen, ready) {
            return Ok(false);
        }
        // Who holds the lock leaves the promotion to the first who needs it, and that is mostly his own release.
        if !locked {
            self.entry().promote_from(ready);
        }
        Ok(true)
    }

    /// `publish` for a node.
    #[inline(never)]
    fn publish_node(&self, seen: u64, me: Owner, locked: bool) -> Result<bool, Exhausted> {
        let seq = self.core.ticket(stamp::seq(seen));
        if let Some(node) = self.node_here().filter(|_| !mutant("node_not_numbered")) {
            // ORDERING: Relaxed; read by who has seen the stamp below (Acquire).
            node.seq.store(seq, Ordering::Relaxed);
        }
        let ready = self.ready(seq, seen, me, locked)?;
        if !self.stamp(seen, ready) {
            return Ok(false);
        }
        self.entry().promote_from(ready);
        Ok(true)
    }

    /// Makes the entry *ready* with the number `seq`; returns its word.
    #[inline(always)]
    fn ready(&self, seq: u64, seen: u64, me: Owner, locked: bool) -> Result<u64, Exhausted> {
        if seq > SEQ_MAX && !mutant("generations_unchecked") {
            return Err(Exhausted::Generations);
        }
        self.bucket().help(seen); // a stamp is replaced only after what it names has become a member
        let entry = self.entry();
        if locked && !mutant("born_without_owner") {
            entry.raw.set_owner(me);
        }
        let ready = word::ready(seq, self.flags() | if locked { LOCKED } else { 0 });
        // ORDERING: Release: key and owner, for who reads the word, or its promotion, with Acquire. Nobody else writes the
        // word: it is not stamped yet.
        entry.word().store(ready, Ordering::Release);
        Ok(ready)
    }

    /// Puts the stamp of the publication `ready` on the bucket, from `seen`. `false`: another insertion came first, and the
    /// place is claimed as before.
    #[inline(always)]
    fn stamp(&self, seen: u64, ready: u64) -> bool {
        let entry = self.entry();
        let seq = word::seq(ready);
        if mutant("no_stamp") {
            entry.promote(seq);
            return true;
        }
        // ORDERING: Release on success, partner of the Acquire in `Bucket::stamp`: a search that starts at this stamp sees the
        // entry, hash included (I2). Relaxed on failure: the next round loads it again.
        let stamped = self.bucket().stamp.compare_exchange(
            seen,
            stamp::new(seq, self.place),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if stamped.is_ok() {
            return true;
        }
        entry.raw.clear_owner();
        // ORDERING: Release: a plain store ends the release sequence of the old key's last release; a search that reads this
        // word (Acquire) must come after it all the same, by way of our claim (I1; loom: `{a,b}|{c,a}`).
        entry
            .word()
            .store(CLAIMED | self.flags(), Ordering::Release);
        false
    }

    /// Published and stamped.
    #[inline]
    pub(super) fn done(self, locked: bool) -> Got<'t, K> {
        let this = ManuallyDrop::new(self);
        if locked {
            // SAFETY: born locked, with one user, both ours.
            Got::Locked(unsafe { KeyGuard::from_held(this.core, this.entry) })
        } else {
            // SAFETY: born with one user, ours.
            Got::Used(unsafe { Hold::from_user(this.core, this.entry) })
        }
    }

    /// Gives the place back. The key that was written goes to `junk`.
    pub(super) fn give_up(self, junk: &mut Junk<K>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: not dropped again.
        unsafe { this.release(junk) };
    }

    /// # Safety
    /// Called once, as the last thing.
    unsafe fn release(&self, junk: &mut Junk<K>) {
        if self.keyed {
            // SAFETY: claimed, with a key.
            junk.push(unsafe { self.entry().take_key() });
        }
        if self.place == stamp::CHAIN {
            // SAFETY: claimed; the last thing.
            unsafe { Node::<K>::leave(self.entry.cast()) };
            return;
        }
        // ORDERING: Release, partner of the Acquire in `claim` and `meet`: as for going back to *claimed* (I1, I7).
        self.entry().word().store(word::FREE, Ordering::Release);
    }
}

impl<K> Drop for Claim<'_, K> {
    fn drop(&mut self) {
        if mutant("claim_lost_in_panic") {
            return;
        }
        let mut junk = Junk::default();
        // SAFETY: last thing.
        unsafe { self.release(&mut junk) };
    }
}
