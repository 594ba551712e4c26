//! Finding a key.
//!
//! A search reads the stamp first, then every place once. If it does not meet the key, and the stamp is still the same
//! afterwards, then the key was not a member at that stamp: see the proof of I2 in DESIGN.md. It never waits, and never
//! starts again by itself.

use crate::lock::raw::Exhausted;
use crate::lock::word::{stamp, MEMBER};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::table::bucket::Bucket;
use crate::table::core::{stamped_at, Core, Junk};
use crate::table::entry::{Entry, Got, Holder, Met};
use crate::table::segment::View;
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

/// What came of a search of one bucket.
pub(super) enum Visited<R> {
    Done(R),
    NotThere,
    /// Foreign code ran, and the segments have changed meanwhile: what is in the view may be gone.
    Moved,
}

/// What keeps the searched bucket: nothing that has to be done for one of the table's first array; a pin for one of a segment. The pin goes
/// while foreign code runs; the reference that is held meanwhile keeps the bucket.
pub(super) enum Stand<'a, 'v, K> {
    First,
    Segment(&'a mut View<'v, K>),
}
impl<K> Stand<'_, '_, K> {
    pub(super) fn is_pinned(&self) -> bool {
        matches!(self, Self::Segment(_))
    }

    pub(super) fn pause(&mut self) {
        if let Self::Segment(view) = self {
            view.pause();
        }
    }

    /// `false`: moved.
    pub(super) fn resume(&mut self) -> bool {
        match self {
            Self::First => true,
            Self::Segment(view) => view.resume(),
        }
    }
}

impl<K> Core<K> {
    /// Calls `f` with every member of the bucket that has this hash, until it is done. `stamp` was read before, and then `slots`:
    /// those that have this hash.
    ///
    /// # Safety
    /// The bucket is one of the first array, or of a segment in the view that `stand` has.
    #[allow(clippy::too_many_arguments)]
    pub(super) unsafe fn visit<'t, R>(
        &'t self,
        bucket: NonNull<Bucket<K>>,
        stamp: u64,
        mut slots: u32,
        hash: u64,
        me: Option<Owner>,
        junk: &mut Junk<K>,
        mut stand: Stand<'_, '_, K>,
        mut f: impl FnMut(Met<'t, K>) -> Result<Step<'t, K, R>, Exhausted>,
    ) -> Result<Visited<R>, Exhausted> {
        while slots != 0 {
            let i = slots.trailing_zeros() as usize;
            slots &= slots - 1;
            // SAFETY: promised by the caller; while the pin is gone, a reference keeps the bucket.
            let entry = unsafe { &bucket.as_ref().entries[i] };
            // SAFETY: as above.
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
                stand.pause();
                match f(met)? {
                    Step::Done(r) => return Ok(Visited::Done(r)),
                    Step::Next(met) => {
                        let same = stand.resume(); // before the reference goes
                        met.finish(junk);
                        if !same {
                            return Ok(Visited::Moved);
                        }
                    }
                }
            }
        }
        // SAFETY: as above.
        let chain = unsafe { &bucket.as_ref().chain };
        if chain.is_empty() {
            return Ok(Visited::NotThere);
        }
        chain.walk(self, hash, stamp, me, junk, &mut stand, &mut f)
    }

    /// `visit` for a bucket of the first array. `None`: nothing of interest is there.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn visit_first<'t, R>(
        &'t self,
        bucket: &Bucket<K>,
        stamp: u64,
        slots: u32,
        hash: u64,
        me: Option<Owner>,
        junk: &mut Junk<K>,
        f: impl FnMut(Met<'t, K>) -> Result<Step<'t, K, R>, Exhausted>,
    ) -> Result<Option<R>, Exhausted> {
        let bucket = NonNull::from(bucket);
        // SAFETY: the first array stays as long as the table.
        let visited = unsafe { self.visit(bucket, stamp, slots, hash, me, junk, Stand::First, f) }?;
        Ok(match visited {
            Visited::Done(r) => Some(r),
            Visited::NotThere | Visited::Moved => None,
        })
    }

    /// Calls `f` with every member that has this hash, wherever it is, until it is done.
    pub(super) fn visit_all<'t, R>(
        &'t self,
        hash: u64,
        me: Option<Owner>,
        junk: &mut Junk<K>,
        mut f: impl FnMut(Met<'t, K>) -> Result<Step<'t, K, R>, Exhausted>,
    ) -> Result<Option<R>, Exhausted> {
        let bucket = self.first.bucket(hash);
        let stamp = bucket.stamp();
        let slots = bucket.having(hash);
        let found = self.visit_first(bucket, stamp, slots, hash, me, junk, &mut f)?;
        if found.is_some() || !stamp::is_closed(stamp) {
            return Ok(found); // open: the key is in no segment
        }
        'again: loop {
            let Some(mut view) = self.segments.view() else {
                return Ok(None);
            };
            for at in 0..view.len() {
                let bucket = view.bucket(at, hash);
                let stamp = bucket.stamp();
                if stamp::is_drained(stamp) {
                    continue;
                }
                let slots = bucket.having(hash);
                let bucket = NonNull::from(bucket);
                let stand = Stand::Segment(&mut view);
                // SAFETY: in the view.
                match unsafe { self.visit(bucket, stamp, slots, hash, me, junk, stand, &mut f) }? {
                    Visited::Done(r) => return Ok(Some(r)),
                    Visited::NotThere => {}
                    Visited::Moved => continue 'again,
                }
            }
            return Ok(None);
        }
    }

    /// What to do with a member that is met, for `q`.
    pub(super) fn step<'q, 't, E: Fn(&K) -> bool>(
        q: &'q Query<E>,
    ) -> impl FnMut(Met<'t, K>) -> Result<Step<'t, K, Got<'t, K>>, Exhausted> + 'q
    where
        K: 't,
    {
        |met| {
            if !(q.eq)(met.key()) && !mutant("hash_is_key") {
                return Ok(Step::Next(met));
            }
            Ok(Step::Done(match met {
                Met::Passing(pass) => pass.settle(q.want, q.me)?,
                Met::Mine(guard) => match q.want {
                    Want::Lock | Want::Try => Got::Locked(guard),
                    Want::Look => Got::Seen(Holder::Me),
                    Want::Handle => Got::Used(guard.another_user()?),
                },
            }))
        }
    }

    /// Looks for a key in a bucket of the first array and takes what `q.want` says. `None`: not there.
    pub(super) fn search<'t, E: Fn(&K) -> bool>(
        &'t self,
        bucket: &Bucket<K>,
        stamp: u64,
        slots: u32,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Option<Got<'t, K>>, Exhausted> {
        self.visit_first(
            bucket,
            stamp,
            slots,
            q.hash,
            Some(q.me),
            junk,
            Self::step(q),
        )
    }
}
