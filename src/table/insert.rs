//! Making an entry: look, claim a place (`table/claim.rs`), fill it, stamp it; or find that somebody else has.
//!
//! The bucket's stamp makes insertions atomic (I2): an insertion that searched at stamp `s` succeeds only by exchanging
//! the stamp from `s`, so no other one came between. After Purcell and Harris, *Non-blocking hashtables with open
//! addressing* (UCAM-CL-TR-639, 2005), with one stamp word in the place of their second scan.
//!
//! No (number, place) is published twice: a slot's number is one more than a stamp that was seen to be current while the
//! slot was claimed; a chain's number is a fresh ticket. So neither the stamp nor a *ready* word ever repeats.

use crate::lock::raw::Exhausted;
use crate::lock::word::{stamp, SEQ_MAX};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::table::bucket::Bucket;
use crate::table::claim::Claim;
use crate::table::core::{Core, Junk, Refused};
use crate::table::entry::{Entry, Got};
use crate::table::guard::KeyGuard;
use crate::table::search::Query;
use crate::table::source::{Ready, Source};
use std::ptr::NonNull;

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
    /// tried once; when none can be had, a node of the chain takes its place, one that is free or a new one.
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
            bucket.tidy(seen);
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
        // As in `overflow`; in a function for both, the claim would be moved, through memory (2 ns of 40 for a string).
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
        let (claim, one_more) = if let Some(mut claim) = Claim::spare(self, bucket) {
            claim.fill_any(q.hash, source, junk);
            (claim, false)
        } else {
            let key = source.make(None, junk);
            let Ok(claim) = Claim::node(self, bucket, q.hash, key) else {
                unreachable!("the chains of the first array are not closed");
            };
            (claim, true)
        };
        let got = if claim.publish(seen, q.me, q.locks())? {
            claim.done(q.locks())
        } else {
            self.insert_again(claim, q, junk)?
        };
        if one_more {
            self.crowded(q.hash);
        }
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
