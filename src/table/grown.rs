//! Taking keys when the table has segments: search them, close what is older, insert into the newest (I2).
//!
//! A round: pin; read the stamp of the key's bucket in the newest segment, and search it; then close and search the key's bucket in each older
//! array. If the key was nowhere, it is inserted by an exchange from that stamp.
//!
//! Why it is unique (DESIGN.md, section 7): while the stamp stands, nothing was inserted into this bucket; into an older one nothing can be, and it
//! was searched after that; into a newer one nothing is before this one is closed, and then the exchange fails.
//!
//! Foreign code runs without a pin. If the list of segments has changed meanwhile, the round begins again: somebody has made progress.

use crate::lock::raw::Exhausted;
use crate::lock::word::{stamp, SEQ_MAX};
use crate::mutant::mutant;
use crate::table::bucket::Bucket;
use crate::table::core::{Core, Junk, Refused};
use crate::table::entry::Got;
use crate::table::insert::{Claim, Ready, Source};
use crate::table::search::{Query, Stand, Visited};
use crate::table::segment::View;
use std::ptr::NonNull;

/// What is there to insert.
struct Material<K> {
    /// The key, if it has been made already.
    key: Option<K>,
    prepared: bool,
    /// No slot could be had: a node it is to be.
    node: bool,
}

/// As many older segments are looked at together, so that their cache misses overlap.
const LOOKS: usize = 4;

/// A bucket's stamp, and then which of its slots have the hash.
#[derive(Clone, Copy, Default)]
struct Look {
    stamp: u64,
    slots: u32,
}

impl Look {
    #[inline]
    fn at<K>(bucket: &Bucket<K>, hash: u64) -> Self {
        let stamp = bucket.stamp();
        let slots = bucket.having(hash);
        Self { stamp, slots }
    }
}

impl<K> Core<K> {
    /// Finds the key or makes its entry. It is not in the first array, or was not a moment ago.
    #[inline(never)]
    pub(super) fn acquire_grown<'t, E: Fn(&K) -> bool>(
        &'t self,
        q: &Query<E>,
        source: &mut impl Source<K>,
        junk: &mut Junk<K>,
    ) -> Result<Got<'t, K>, Refused<K>> {
        let mut material = Material {
            key: None,
            prepared: false,
            node: false,
        };
        self.tend_now_and_then(junk);
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
        let newest = NonNull::from(view.bucket(0, q.hash));
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
        if stamp::seq(seen) >= SEQ_MAX && !mutant("generations_unchecked") {
            return Err(Exhausted::Generations.into());
        }
        let mut older = 1;
        while older < view.len() {
            let n = LOOKS.min(view.len() - older);
            let mut looks = [Look::default(); LOOKS];
            for (i, look) in looks[..n].iter_mut().enumerate() {
                *look = Look::at(view.bucket(older + i, q.hash), q.hash);
            }
            for (at, look) in (older..).zip(&looks[..n]) {
                let bucket = NonNull::from(view.bucket(at, q.hash));
                match self.look_closed(&mut view, bucket, Some(*look), q, junk)? {
                    Visited::Done(got) => return Ok(Some(got)),
                    Visited::NotThere => {}
                    Visited::Moved => return Ok(None),
                }
            }
            older += n;
        }
        let first = NonNull::from(self.first.bucket(q.hash));
        match self.look_closed(&mut view, first, None, q, junk)? {
            Visited::Done(got) => return Ok(Some(got)),
            Visited::NotThere => {}
            Visited::Moved => return Ok(None),
        }
        self.insert_at(view, newest, seen, q, source, material, junk)
    }

    /// Searches a bucket of the view.
    fn look_in<'t, E: Fn(&K) -> bool>(
        &'t self,
        view: &mut View<'_, K>,
        bucket: NonNull<Bucket<K>>,
        look: Look,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Visited<Got<'t, K>>, Exhausted> {
        let Look { stamp, slots } = look;
        if stamp::is_drained(stamp) {
            return Ok(Visited::NotThere);
        }
        let stand = Stand::Segment(view);
        // SAFETY: as above.
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

    /// Closes an older bucket and searches it.
    fn look_closed<'t, E: Fn(&K) -> bool>(
        &'t self,
        view: &mut View<'_, K>,
        bucket: NonNull<Bucket<K>>,
        look: Option<Look>,
        q: &Query<E>,
        junk: &mut Junk<K>,
    ) -> Result<Visited<Got<'t, K>>, Exhausted> {
        let closed = look.filter(|l| stamp::is_closed(l.stamp) || mutant("older_not_closed"));
        let look = closed.unwrap_or_else(|| {
            // SAFETY: in the view, or in the first array.
            let bucket = unsafe { bucket.as_ref() };
            bucket.close();
            Look::at(bucket, q.hash)
        });
        if mutant("older_not_searched") {
            return Ok(Visited::NotThere);
        }
        self.look_in(view, bucket, look, q, junk)
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
            let claim = Claim::slot(self, bucket, seen);
            drop(view); // foreign code
            let Some(mut claim) = claim else {
                if material.key.is_none() {
                    material.key = Some(source.make(None, junk));
                }
                material.node = true;
                return Ok(None);
            };
            match material.key.take() {
                Some(key) => claim.fill(q.hash, &mut Ready(Some(key)), junk),
                None => claim.fill(q.hash, source, junk),
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
