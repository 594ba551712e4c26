//! Taking keys when the table has segments: search them, close what is older, insert into the newest (I2).
//!
//! The first array comes before: it is searched once, and then closed if it was not. A round after that: pin; read the stamp of the key's bucket
//! in the newest segment, and search it; then close the key's bucket in each older segment and write down what is there, unless somebody has done that
//! (`table/behind.rs`); search where the key may be. If it was nowhere, it is inserted by an exchange from that stamp.
//!
//! Why it is unique (DESIGN.md, section 7): while the stamp stands, nothing was inserted into this bucket; into an older one nothing can be once it
//! is closed, and it was searched after that; into a newer one nothing is before this one is closed, and then the exchange fails.
//!
//! Foreign code runs without a pin. If the list of segments has changed meanwhile, the round begins again: somebody has made progress.

use crate::lock::raw::Exhausted;
use crate::lock::word::{stamp, SEQ_MAX};
use crate::mutant::mutant;
use crate::sync::prefetch;
use crate::table::behind::{Behind, Older};
use crate::table::bucket::Bucket;
use crate::table::claim::Claim;
use crate::table::core::{Core, Junk, Refused};
use crate::table::entry::Got;
use crate::table::search::{Query, Stand, Visited};
use crate::table::segment::View;
use crate::table::source::{Ready, Source};
use std::ptr::NonNull;

/// What is there to insert.
struct Material<K> {
    /// The key, if it has been made already.
    key: Option<K>,
    prepared: bool,
    /// No slot could be had: a node it is to be.
    node: bool,
}

impl<K> Default for Material<K> {
    fn default() -> Self {
        Self {
            key: None,
            prepared: false,
            node: false,
        }
    }
}

/// A bucket's stamp, and then which of its slots have the hash.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub(super) stamp: u64,
    pub(super) slots: u32,
}

impl Look {
    #[inline]
    pub(super) fn at<K>(bucket: &Bucket<K>, hash: u64) -> Self {
        let stamp = bucket.stamp();
        let slots = bucket.having(hash);
        Self { stamp, slots }
    }
}

impl<K> Core<K> {
    /// Makes the entry of a key that is not in the first array, and was nowhere in the view when the stamp was read.
    pub(super) fn acquire_absent<'t, E: Fn(&K) -> bool>(
        &'t self,
        view: View<'_, K>,
        newest: NonNull<Bucket<K>>,
        stamp: u64,
        q: &Query<E>,
        source: &mut impl Source<K>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        let mut material = Material::default();
        match self.insert_at(view, newest, stamp, q, source, &mut material, junk)? {
            Some(got) => Ok(got),
            None => self.rounds(q, source, material, junk),
        }
    }

    /// Finds the key or makes its entry. It was not in the first array at the stamp `seen`.
    #[inline(never)]
    pub(super) fn acquire_grown<'t, E: Fn(&K) -> bool>(
        &'t self,
        seen: u64,
        q: &Query<E>,
        source: &mut impl Source<K>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        if !q.locks() || !stamp::is_closed(seen) {
            self.tend_now_and_then(); // else `first_try_grown` has, mostly
        }
        match self.close_first(seen, q, junk)? {
            Some(got) => Ok(got),
            None => self.rounds(q, source, Material::default(), junk),
        }
    }

    fn rounds<'t, E: Fn(&K) -> bool>(
        &'t self,
        q: &Query<E>,
        source: &mut impl Source<K>,
        mut material: Material<K>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        let got = loop {
            if let Some(got) = self.round(q, source, &mut material, junk)? {
                break got;
            }
        };
        if let Some(key) = material.key {
            junk.push(key);
        }
        if material.node {
            self.crowded(q.hash);
        }
        Ok(got)
    }

    /// Closes the bucket of the first array, if it was not closed at the stamp `seen`, and searches it then.
    #[inline]
    fn close_first<'t, E: Fn(&K) -> bool>(
        &'t self,
        seen: u64,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Option<Got<'t, K>>, Exhausted> {
        if stamp::is_closed(seen) || mutant("older_not_closed") {
            return Ok(None);
        }
        let bucket = self.first.bucket(q.hash);
        let closed = bucket.close();
        if mutant("older_not_searched") {
            return Ok(None);
        }
        self.search(bucket, closed, bucket.having(q.hash), q, junk)
    }

    /// `None`: once more.
    fn round<'t, E: Fn(&K) -> bool>(
        &'t self,
        q: &Query<E>,
        source: &mut impl Source<K>,
        material: &mut Material<K>,
        junk: &mut Junk<K>,
    ) -> Result<Option<Got<'t, K>>, Refused<K>> {
        let Some(mut view) = self.segments.view() else {
            unreachable!("there is a segment, and there will be one from now on");
        };
        let segment = view.segment(0);
        let newest = NonNull::from(segment.array.bucket(q.hash));
        // SAFETY: in the view.
        prefetch(unsafe { newest.as_ref() });
        segment.behind.prefetch(&segment.array, q.hash);
        // SAFETY: in the view.
        let look = Look::at(unsafe { newest.as_ref() }, q.hash);
        match self.look_in(&mut view, newest, look, q, junk)? {
            Visited::Done(got) => return Ok(Some(got)),
            Visited::NotThere => {}
            Visited::Moved => return Ok(None),
        }
        let seen = look.stamp;
        if stamp::is_closed(seen) {
            return Ok(None); // there is a newer segment
        }
        match self.look_behind(&mut view, q, junk)? {
            Visited::Done(got) => return Ok(Some(got)),
            Visited::NotThere => {}
            Visited::Moved => return Ok(None),
        }
        self.insert_at(view, newest, seen, q, source, material, junk)
    }

    /// Searches what is older than the newest segment.
    fn look_behind<'t, E: Fn(&K) -> bool>(
        &'t self,
        view: &mut View<'_, K>,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Visited<Got<'t, K>>, Exhausted> {
        if mutant("older_not_searched") {
            return Ok(Visited::NotThere);
        }
        let newest = view.segment(0);
        let older = match newest.behind.of(&newest.array, q.hash) {
            Older::Unknown => Self::write_down(view, q.hash),
            known => known,
        };
        for at in view.places(older) {
            let bucket = view.bucket(at, q.hash);
            prefetch(bucket);
            let look = Look::at(bucket, q.hash);
            let bucket = NonNull::from(bucket);
            match self.look_in(view, bucket, look, q, junk)? {
                Visited::NotThere => {}
                found => return Ok(found),
            }
        }
        Ok(Visited::NotThere)
    }

    /// Closes what is behind the bucket of a hash in the newest segment, and writes down what is there.
    #[cold]
    fn write_down(view: &View<'_, K>, hash: u64) -> Older {
        let newest = view.segment(0);
        let older = || view.iter().skip(1);
        // Behind a bucket is one bucket of each segment that is not larger, and several of one that is; of these, only the one of this hash is closed.
        let all = older().all(|s| s.array.len() <= newest.array.len());
        older().for_each(|s| prefetch(s.array.bucket(hash)));
        let mut notes = Behind::notes(&newest.array, hash);
        for segment in older() {
            let bucket = segment.array.bucket(hash);
            if !mutant("older_not_closed") && !mutant("closed_when_noted") {
                bucket.close();
            }
            let distance = newest.number() - segment.number();
            bucket.for_each_hash(view.pin(), |hash| {
                notes.note(&newest.array, hash, distance);
            });
            if mutant("closed_when_noted") {
                bucket.close();
            }
        }
        if all || mutant("behind_in_part") {
            newest.behind.keep(&notes);
        }
        notes.of(&newest.array, hash) // so much is known of this one in any case
    }

    /// Searches a bucket of the view.
    #[inline]
    fn look_in<'t, E: Fn(&K) -> bool>(
        &'t self,
        view: &mut View<'_, K>,
        bucket: NonNull<Bucket<K>>,
        look: Look,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Visited<Got<'t, K>>, Exhausted> {
        let Look { stamp, slots } = look;
        // SAFETY: in the view.
        let here = unsafe { bucket.as_ref() };
        if stamp::is_drained(stamp) || slots == 0 && here.chain.is_empty() {
            return Ok(Visited::NotThere);
        }
        let stand = Stand::Segment(view);
        // SAFETY: in the view.
        unsafe {
            self.visit(
                bucket,
                stamp,
                slots,
                q.hash,
                Some(q.me),
                junk,
                stand,
                Self::step(q),
            )
        }
    }

    /// Inserts the key, which was nowhere, into the newest segment. `None`: once more.
    #[allow(clippy::too_many_arguments)]
    fn insert_at<'t, E: Fn(&K) -> bool, S: Source<K>>(
        &'t self,
        view: View<'_, K>,
        newest: NonNull<Bucket<K>>,
        seen: u64,
        q: &Query<E>,
        source: &mut S,
        material: &mut Material<K>,
        junk: &mut Junk<K>,
    ) -> Result<Option<Got<'t, K>>, Refused<K>> {
        if stamp::seq(seen) >= SEQ_MAX && !mutant("generations_unchecked") {
            return Err(Exhausted::Generations.into()); // before an idle key is given up for nothing
        }
        if S::PREPARES && !material.prepared {
            drop(view); // foreign code
            source.prepare().map_err(Refused::WrongKey)?;
            material.prepared = true;
            return Ok(None);
        }
        // SAFETY: in the view; from the claim on, that keeps it.
        let bucket = unsafe { newest.as_ref() };
        let claim = if material.node {
            let key = material.key.take().expect("made before the round");
            let claim = Claim::node(self, bucket, q.hash, key);
            drop(view);
            match claim {
                Ok(claim) => claim,
                Err(key) => {
                    material.key = Some(key);
                    return Ok(None); // closed: there is a newer segment
                }
            }
        } else {
            let claim = Claim::slot(self, bucket, seen).or_else(|| Claim::spare(self, bucket));
            drop(view); // foreign code
            let Some(mut claim) = claim else {
                if material.key.is_none() {
                    material.key = Some(source.make(None, junk));
                }
                material.node = true;
                return Ok(None);
            };
            match material.key.take() {
                Some(key) => claim.fill_any(q.hash, &mut Ready(Some(key)), junk),
                None => claim.fill_any(q.hash, source, junk),
            }
            claim
        };
        if claim.publish(seen, q.me, q.locks())? {
            Ok(Some(claim.done(q.locks())))
        } else {
            material.key = Some(claim.recover());
            material.node = false;
            Ok(None)
        }
    }
}
