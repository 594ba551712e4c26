//! Taking a key's lock, from the usual case on: each try that fails hands over to one that can do more, out of line.
//!
//! What the next one needs comes in by value, one by one, so that the tries before it keep it in registers. (In a struct, which goes through memory: 2 to 3 %
//! more instructions for a new key, and 4 to 8 % more time.) What may be two words long, key and source, comes first: in registers, that is. From the stack the
//! compiler reads two words at once, and the processor waits until both, just written one by one, are in the cache (5 ns for a string). Each notes for itself what
//! it has taken: in one place, after all of them, it would be 8 % more instructions, as they could no longer be the last thing that `acquire` does.

use crate::lock::word::stamp;
use crate::lock::Patience;
use crate::owner::Owner;
use crate::table::bucket::Bucket;
use crate::table::core::{Junk, Refused};
use crate::table::entry::Got;
use crate::table::grown_try::Tried;
use crate::table::guard::KeyGuard;
use crate::table::lock_table::LockTable;
use crate::table::search::Query;
use crate::table::segment::View;
use crate::table::source::Source;
use crate::table::Want;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;

impl<K: Hash + Eq, S: BuildHasher> LockTable<K, S> {
    /// The lock; `None` if another thread has it for longer than `patience`.
    #[inline]
    pub(super) fn acquire<Q>(
        &self,
        key: &Q,
        patience: Patience,
        source: impl Source<K>,
    ) -> Result<Option<KeyGuard<'_, K>>, Refused<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let eq = |k: &K| k.borrow() == key;
        if let Some(guard) = self.core.again(hash, eq) {
            return Ok(Some(guard));
        }
        let me = Owner::current();
        let (bucket, seen, slots) = self.core.place(hash);
        if let Some(guard) = self.core.first_try(bucket, slots, me, eq) {
            return Ok(Some(self.core.noted(hash, guard)));
        }
        if stamp::is_closed(seen) {
            self.acquire_grown(key, source, bucket, seen, slots, hash, me, patience)
        } else {
            self.acquire_slow(key, source, bucket, seen, slots, hash, me, patience)
        }
    }

    /// `acquire`, when the bucket of the first array is closed: the usual cases in the segments.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn acquire_grown<'t, Q>(
        &'t self,
        key: &Q,
        source: impl Source<K>,
        bucket: &'t Bucket<K>,
        seen: u64,
        slots: u32,
        hash: u64,
        me: Owner,
        patience: Patience,
    ) -> Result<Option<KeyGuard<'t, K>>, Refused<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.core.first_try_grown(hash, me, |k| k.borrow() == key) {
            Tried::Locked(guard) => return Ok(Some(self.core.noted(hash, guard))),
            Tried::Nowhere(view, newest, stamp) if bucket.has_none(slots, hash, view.pin()) => {
                return self.acquire_absent(key, source, view, newest, stamp, hash, me, patience);
            }
            Tried::Nowhere(..) | Tried::InVain => {}
        }
        self.acquire_slow(key, source, bucket, seen, slots, hash, me, patience)
    }

    /// `acquire`, when the key is nowhere: its entry is made right away, under the pin that is there.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn acquire_absent<'t, Q>(
        &'t self,
        key: &Q,
        mut source: impl Source<K>,
        view: View<'t, K>,
        newest: NonNull<Bucket<K>>,
        stamp: u64,
        hash: u64,
        me: Owner,
        patience: Patience,
    ) -> Result<Option<KeyGuard<'t, K>>, Refused<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let mut junk = Junk::default();
        let query = Self::wanting(hash, me, key, patience);
        let got = self
            .core
            .acquire_absent(view, newest, stamp, &query, &mut source, &mut junk)?;
        drop(junk); // foreign code: `got` is released if it panics
        self.settle(got, hash, me, patience)
    }

    /// `acquire`, when the usual cases have not done it.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn acquire_slow<'t, Q>(
        &'t self,
        key: &Q,
        mut source: impl Source<K>,
        bucket: &'t Bucket<K>,
        seen: u64,
        slots: u32,
        hash: u64,
        me: Owner,
        patience: Patience,
    ) -> Result<Option<KeyGuard<'t, K>>, Refused<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let query = Self::wanting(hash, me, key, patience);
        let got = self
            .core
            .acquire(bucket, seen, slots, &query, &mut source)?;
        self.settle(got, hash, me, patience)
    }

    #[inline]
    fn wanting<'q, Q>(
        hash: u64,
        me: Owner,
        key: &'q Q,
        patience: Patience,
    ) -> Query<impl Fn(&K) -> bool + 'q>
    where
        K: Borrow<Q> + 'q,
        Q: Hash + Eq + ?Sized,
    {
        Query {
            hash,
            me,
            want: match patience {
                Patience::No => Want::Try,
                Patience::Until(_) => Want::Lock,
            },
            eq: move |k: &K| k.borrow() == key,
        }
    }

    /// Waits, if it has to be and may be.
    #[inline]
    fn settle<'t>(
        &'t self,
        got: Got<'t, K>,
        hash: u64,
        me: Owner,
        patience: Patience,
    ) -> Result<Option<KeyGuard<'t, K>>, Refused<K>> {
        let taken = match got {
            Got::Locked(guard) => Some(guard),
            Got::Used(hold) => match patience {
                Patience::Until(deadline) => self.core.wait(hold, me, deadline)?,
                Patience::No => None,
            },
            Got::Busy | Got::Seen(_) => None,
        };
        Ok(taken.map(|guard| self.core.noted(hash, guard)))
    }
}
