//! Making an entry: claim a place, write the key, publish, stamp, promote.
//!
//! The bucket's stamp makes insertions atomic (I2): an insertion that searched at stamp `s` succeeds only by exchanging
//! the stamp from `s`, so no other one came between. After Purcell and Harris, *Non-blocking hashtables with open
//! addressing* (UCAM-CL-TR-639, 2005), with one stamp word in the place of their second scan.
//!
//! No (number, place) is published twice: a slot's number is one more than a stamp that was seen to be current while the
//! slot was claimed; a chain's number is a fresh ticket. So neither the stamp nor a *ready* word ever repeats.

use crate::lock::raw::Exhausted;
use crate::lock::word::{self, stamp, CLAIMED, DEAD, LOCKED, OVERFLOW, SEQ_MAX};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::Ordering;
use crate::table::bucket::Bucket;
use crate::table::chain::Node;
use crate::table::core::{Core, Junk, Refused, SLOTS};
use crate::table::entry::{Entry, Got};
use crate::table::guard::{Hold, KeyGuard};
use crate::table::search::Query;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Where the owned key of a new entry comes from. Foreign code: may panic or use the table.
pub(super) trait Source<K> {
    /// Does `prepare` do anything?
    const PREPARES: bool = false;

    /// Called before anything is claimed.
    fn prepare(&mut self) -> Result<(), K> {
        Ok(())
    }

    /// The key, made out of the one whose place it takes, if there is one. What is left over goes to `junk`.
    fn make(&mut self, old: Option<K>, junk: &mut Junk<K>) -> K;
}

/// A key that has been made already.
pub(super) struct Ready<K>(pub(super) Option<K>);

impl<K> Source<K> for Ready<K> {
    fn make(&mut self, old: Option<K>, junk: &mut Junk<K>) -> K {
        if let Some(old) = old {
            junk.push(old);
        }
        self.0.take().expect("an entry is made once")
    }
}

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

    fn bucket(&self) -> &Bucket<K> {
        // SAFETY: something in it is claimed.
        unsafe { self.bucket.as_ref() }
    }

    /// Gives the place back, but for the key.
    pub(super) fn recover(mut self) -> K {
        if self.place == stamp::CHAIN {
            let this = ManuallyDrop::new(self);
            // SAFETY: not dropped again.
            return unsafe { this.remove() };
        }
        self.keyed = false;
        // SAFETY: claimed, with a key, of which nothing is known here any more.
        unsafe { self.entry().take_key() }
    }

    fn entry(&self) -> &Entry<K> {
        // SAFETY: a slot lives as long as the table, a claimed node is not dead and so not freed.
        unsafe { self.entry.as_ref() }
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
        #[allow(clippy::cast_possible_truncation)] // below SLOTS
        let its = &self.bucket().hashes[self.place as usize];
        // ORDERING: Release, partner of the Acquire in `visit`: who no longer finds the old key's hash here comes after the old
        // key's last holder, as we do by the claim (I1; loom: `{a,b}|{a}`).
        its.store(hash, Ordering::Release);
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
        if !mutant("node_not_numbered") {
            let node: NonNull<Node<K>> = self.entry.cast();
            // SAFETY: a claimed node is not freed.
            let its = unsafe { &node.as_ref().seq };
            // ORDERING: Relaxed; read by who has seen the stamp below (Acquire).
            its.store(seq, Ordering::Relaxed);
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
    fn give_up(self, junk: &mut Junk<K>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: not dropped again.
        unsafe { this.release(junk) };
    }

    /// # Safety
    /// Called once, as the last thing.
    unsafe fn release(&self, junk: &mut Junk<K>) {
        if self.place == stamp::CHAIN {
            // SAFETY: the last thing.
            junk.push(unsafe { self.remove() });
            return;
        }
        if self.keyed {
            // SAFETY: claimed, with a key.
            junk.push(unsafe { self.entry().take_key() });
        }
        // ORDERING: Release, partner of the Acquire in `claim` and `meet`: as for going back to *claimed* (I1, I7).
        self.entry().word().store(word::FREE, Ordering::Release);
    }

    /// Takes a claimed node out of the chain.
    ///
    /// # Safety
    /// As `release`.
    unsafe fn remove(&self) -> K {
        // ORDERING: Relaxed; the mark in `Node::remove` publishes what matters.
        self.entry()
            .word()
            .store(DEAD | OVERFLOW, Ordering::Relaxed);
        // SAFETY: it was ours alone, and is dead now.
        unsafe { Node::remove(self.entry.cast()) }
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

impl<K> Core<K> {
    /// The usual case of taking a lock: the first of `slots` (those with the key's hash) has the key, and is ours already or free.
    /// `None` says nothing.
    #[inline]
    pub(super) fn first_try<'t>(
        &'t self,
        bucket: &'t Bucket<K>,
        slots: u32,
        me: Owner,
        eq: impl Fn(&K) -> bool,
    ) -> Option<KeyGuard<'t, K>> {
        if slots == 0 {
            return None;
        }
        let entry = &bucket.entries[slots.trailing_zeros() as usize];
        if entry.raw.is_held_by(me) {
            entry.raw.deepen().ok()?;
            // SAFETY: this thread holds the lock, one level of which is the guard's now.
            let guard = unsafe { KeyGuard::from_held(self, NonNull::from(entry)) };
            eq(guard.key()).then_some(guard)
        } else {
            // SAFETY: a slot of the first array.
            let pass = unsafe { Entry::pass(self, NonNull::from(entry)) }?;
            if eq(pass.key()) {
                pass.take(me)
            } else {
                None
            }
        }
    }

    /// Finds the key or makes its entry, and takes what `q.want` says. `bucket` is that of the first array, `seen` was read before, and then
    /// `slots`: those that have this hash.
    ///
    /// Lock-free: a round is repeated only when another insertion into the bucket has succeeded meanwhile, and a slot is
    /// tried once; when none can be had, a node of the chain takes its place.
    #[inline]
    pub(super) fn acquire<'t, E: Fn(&K) -> bool>(
        &'t self,
        bucket: &'t Bucket<K>,
        seen: u64,
        slots: u32,
        q: &Query<E>,
        source: &mut impl Source<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        let mut junk = Junk::default();
        if slots != 0 || !bucket.chain.is_empty() {
            if let Some(got) = self.search(bucket, seen, slots, q, &mut junk)? {
                drop(junk); // foreign code: `got` is released if it panics
                return Ok(got);
            }
        }
        let got = if stamp::is_closed(seen) {
            self.acquire_grown(seen, q, source, &mut junk)?
        } else {
            self.insert(bucket, seen, q, source, &mut junk)?
        };
        drop(junk);
        Ok(got)
    }

    /// Nothing was found at the stamp `seen`.
    #[inline]
    fn insert<'t, E: Fn(&K) -> bool>(
        &'t self,
        bucket: &'t Bucket<K>,
        seen: u64,
        q: &Query<E>,
        source: &mut impl Source<K>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        if stamp::seq(seen) >= SEQ_MAX && !mutant("generations_unchecked") {
            return Err(Exhausted::Generations.into()); // before an idle key is given up for nothing
        }
        source.prepare().map_err(Refused::WrongKey)?;
        let Some(mut claim) = Claim::slot(self, bucket, seen) else {
            return self.overflow(bucket, seen, q, source, junk);
        };
        claim.fill(q.hash, source, junk);
        self.finish(claim, seen, q, junk)
    }

    /// Publishes what is filled; once more if another insertion has come first.
    #[inline(always)]
    fn finish<'t, E: Fn(&K) -> bool>(
        &'t self,
        claim: Claim<'t, K>,
        seen: u64,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        if claim.publish(seen, q.me, q.locks())? {
            Ok(claim.done(q.locks()))
        } else {
            self.insert_again(claim, q, junk)
        }
    }

    /// `insert`, when no slot can be had: into a segment, if there is one, else into the chain.
    #[inline(never)]
    fn overflow<'t, E: Fn(&K) -> bool>(
        &'t self,
        bucket: &'t Bucket<K>,
        seen: u64,
        q: &Query<E>,
        source: &mut impl Source<K>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        if self.segments.any() {
            return self.acquire_grown(seen, q, source, junk);
        }
        let key = source.make(None, junk);
        let Ok(claim) = Claim::node(self, bucket, q.hash, key) else {
            unreachable!("the chains of the first array are not closed");
        };
        let got = self.finish(claim, seen, q, junk)?;
        self.crowded(q.hash);
        Ok(got)
    }

    /// `insert`, after another insertion has come first.
    #[inline(never)]
    fn insert_again<'t, E: Fn(&K) -> bool>(
        &'t self,
        claim: Claim<'t, K>,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        let bucket = self.first.bucket(q.hash);
        loop {
            let seen = bucket.stamp();
            if !mutant("no_second_search") {
                let slots = bucket.having(q.hash);
                if let Some(got) = self.search(bucket, seen, slots, q, junk)? {
                    claim.give_up(junk);
                    return Ok(got);
                }
            }
            if stamp::is_closed(seen) {
                let key = claim.recover();
                return self.acquire_grown(seen, q, &mut Ready(Some(key)), junk);
            }
            if claim.publish(seen, q.me, q.locks())? {
                return Ok(claim.done(q.locks()));
            }
        }
    }
}
