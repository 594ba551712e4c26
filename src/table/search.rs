//! Finding a key.
//!
//! A search reads the stamp first, then every place once. If it does not meet the key, and the stamp is still the same
//! afterwards, then the key was not a member at that stamp: see the proof of I2 in DESIGN.md. It never waits, and never
//! starts again by itself.

use crate::lock::raw::Exhausted;
use crate::lock::word::MEMBER;
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::table::bucket::Bucket;
use crate::table::core::{stamped_at, Core, Junk};
use crate::table::entry::{Entry, Got, Met};
use crate::table::Want;
use std::ptr::NonNull;

/// What to do after a member with the right hash has been looked at.
pub(super) enum Step<'t, K, R> {
    Done(R),
    /// Not it; here is what was taken to look at it.
    Next(Met<'t, K>),
}

/// What a search wants to know of a key.
pub(super) struct Query<E> {
    pub(super) hash: u64,
    pub(super) me: Owner,
    pub(super) want: Want,
    /// Is this the key? Foreign code: may panic or use the table.
    pub(super) eq: E,
}

impl<E> Query<E> {
    /// Is an entry that has to be made born locked?
    #[inline]
    pub(super) fn locks(&self) -> bool {
        self.want != Want::Handle
    }
}

impl<K> Core<K> {
    /// Calls `f` with every member that has this hash, until it is done. `stamp` was read before, and then `slots`: those
    /// that have this hash.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn visit<'t, R>(
        &'t self,
        bucket: &'t Bucket<K>,
        stamp: u64,
        mut slots: u32,
        hash: u64,
        me: Option<Owner>,
        junk: &mut Junk<K>,
        mut f: impl FnMut(Met<'t, K>) -> Result<Step<'t, K, R>, Exhausted>,
    ) -> Result<Option<R>, Exhausted> {
        while slots != 0 {
            let i = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            let entry = &bucket.entries[i];
            // SAFETY: slots live as long as the table.
            let met = unsafe {
                Entry::meet(
                    self,
                    NonNull::from(entry),
                    me,
                    stamped_at(stamp, i as u64),
                    MEMBER,
                )
            }?;
            if let Some(met) = met {
                match f(met)? {
                    Step::Done(r) => return Ok(Some(r)),
                    Step::Next(met) => met.finish(junk),
                }
            }
        }
        if bucket.chain.is_empty() {
            return Ok(None);
        }
        bucket.chain.walk(self, hash, stamp, me, junk, &mut f)
    }

    /// Looks for a key and takes what `q.want` says. `None`: not there.
    pub(super) fn search<'t, E: Fn(&K) -> bool>(
        &'t self,
        bucket: &'t Bucket<K>,
        stamp: u64,
        slots: u32,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Option<Got<'t, K>>, Exhausted> {
        self.visit(bucket, stamp, slots, q.hash, Some(q.me), junk, |met| {
            if !(q.eq)(met.key()) && !mutant("hash_is_key") {
                return Ok(Step::Next(met));
            }
            Ok(Step::Done(match met {
                Met::Passing(pass) => pass.settle(q.want, q.me)?,
                Met::Mine(guard) => match q.want {
                    Want::Lock | Want::Try => Got::Locked(guard),
                    Want::Look => Got::Seen {
                        locked: true,
                        mine: true,
                    },
                    Want::Handle => Got::Used(guard.another_user()?),
                },
            }))
        })
    }
}
