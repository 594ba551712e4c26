//! Segments: arrays of buckets that the table puts in front of the older ones when it is crowded, or much too large.
//!
//! Nothing moves. New keys go to the newest segment; what lives in an older array stays there until it is idle. A key is
//! unique all the same: before it is inserted into an array, its bucket in each *older* one is closed (its stamp says so from then
//! on, and nothing can be inserted there), and searched after that. Closed is final. So if a bucket is open, its key is in no newer array.
//!
//! A closed bucket is drained once nothing in it is alive and what was idle has been taken out (`table/grow.rs`); a segment whose buckets
//! are all drained leaves the list, and is freed through the epoch.

use crate::mutant::mutant;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::epoch::{self, Bury, Pin};
use crate::sync::Canary;
use crate::table::array::Array;
use crate::table::behind::{Behind, Older};
use crate::table::bucket::Bucket;
use crossbeam_utils::CachePadded;
use std::ops::Range;
use std::ptr::{null_mut, NonNull};
use std::sync::Arc;

pub(super) struct Segment<K> {
    pub(super) array: Array<K>,
    pub(super) behind: Behind,
    /// Later ones have larger numbers.
    number: u64,
    /// Away from the array, which every search reads.
    pub(super) tended: CachePadded<Tended>,
    /// Segments of this table that are not freed yet.
    unfreed: Arc<AtomicU64>,
    canary: Canary,
}

/// How far a segment has been tended to.
pub(super) struct Tended {
    /// Buckets that are not drained yet.
    pub(super) left: AtomicU64,
    /// The bucket to be looked at next for draining.
    pub(super) cursor: AtomicU64,
    /// How many more times it is passed over, as there was nothing to do the last time; and how many times it was then.
    rest: AtomicU64,
}

impl<K> Bury for Segment<K> {
    fn bury(&self) {
        if cfg!(any(perkey_loom, perkey_shuttle)) {
            for bucket in self.array.iter() {
                // (Nothing may be interleaved here where the epoch itself is a model.)
                assert!(
                    cfg!(perkey_shuttle) || bucket.chain.is_closed(),
                    "linked to after the end"
                );
                bucket.canary.bury();
            }
        }
        self.canary.bury();
    }
}

impl<K> Drop for Segment<K> {
    fn drop(&mut self) {
        if !cfg!(perkey_loom) {
            // ORDERING: Relaxed: a count, with nothing behind it.
            self.unfreed.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The segments of one moment, the newest first; never changed, but replaced.
struct List<K> {
    segments: Vec<NonNull<Segment<K>>>,
    /// The number of the newest segment there ever was, and how many lists there were before: no two lists have the same.
    number: (u64, u64),
    /// Segments of this table that are not freed yet.
    unfreed: Arc<AtomicU64>,
    canary: Canary,
}

impl<K> Bury for List<K> {
    fn bury(&self) {
        self.canary.bury();
    }
}

/// The segments of a table; none before it has grown.
pub(super) struct Segments<K> {
    list: AtomicPtr<List<K>>,
}

/// A pin and the list of that moment.
pub(super) struct View<'t, K> {
    segments: &'t Segments<K>,
    pin: Option<Pin>,
    list: NonNull<List<K>>,
    number: (u64, u64),
}

impl<K> Segments<K> {
    pub(super) fn new() -> Self {
        Self {
            list: AtomicPtr::new(null_mut()),
        }
    }

    /// Has the table grown?
    pub(super) fn any(&self) -> bool {
        // ORDERING: Relaxed. Null for ever until it is something for ever. Who has found a bucket closed (Acquire) does not read null, as
        // the closer had read something; to anybody else it is a hint.
        !self.list.load(Ordering::Relaxed).is_null()
    }

    /// The segments now, under a pin; `None` before the table has grown.
    pub(super) fn view(&self) -> Option<View<'_, K>> {
        if !self.any() {
            return None; // without a pin: most tables never grow
        }
        let pin = epoch::pin();
        // ORDERING: Acquire, partner of the Release in `replace`: the list and the segments in it. Who has found a bucket closed (Acquire)
        // finds the list that was the closer's, or a later one.
        let list = NonNull::new(self.list.load(Ordering::Acquire))?;
        // SAFETY: reachable after the pin.
        let number = unsafe { list.as_ref() }.number;
        Some(View {
            segments: self,
            pin: Some(pin),
            list,
            number,
        })
    }

    /// Puts a list in the place of `old`. `false`: somebody else was first.
    fn replace(
        &self,
        pin: &Pin,
        old: *mut List<K>,
        new: Vec<NonNull<Segment<K>>>,
        unfreed: Arc<AtomicU64>,
    ) -> bool {
        // SAFETY: under the pin, if there is one.
        let number = unsafe { old.as_ref() }.map_or((0, 0), |l| l.number);
        let newest = new.first().map_or(number.0, |s| {
            // SAFETY: in a list, or not in one yet.
            unsafe { s.as_ref() }.number.max(number.0)
        });
        let new = Box::into_raw(Box::new(List {
            segments: new,
            number: (newest, number.1 + 1),
            unfreed,
            canary: Canary::new(),
        }));
        // ORDERING: Release on success, partner of the Acquire in `view`. Relaxed on failure: the next round loads it again.
        let replaced = self
            .list
            .compare_exchange(old, new, Ordering::Release, Ordering::Relaxed)
            .is_ok();
        if !replaced {
            // SAFETY: never shared.
            drop(unsafe { Box::from_raw(new) });
        } else if !old.is_null() {
            // SAFETY: it came from a box and is no longer reachable for later pins; the exchange that took it out is ours.
            unsafe { pin.retire(old) };
        }
        replaced
    }

    /// Puts a new segment in front, if `seen` is still the newest (0: none). Lock-free; another thread's success is as good as ours.
    pub(super) fn push(&self, seen: u64, buckets: usize) {
        let pin = epoch::pin();
        // ORDERING: Acquire, as in `view`.
        let old = self.list.load(Ordering::Acquire);
        // SAFETY: reachable after the pin.
        let list = unsafe { old.as_ref() };
        let newest = list.map_or(0, |l| {
            l.canary.touch();
            l.number.0
        });
        if newest != seen {
            return;
        }
        let unfreed = list.map_or_else(|| Arc::new(AtomicU64::new(0)), |l| l.unfreed.clone());
        let array = Array::new(buckets);
        let segment = NonNull::from(Box::leak(Box::new(Segment {
            tended: CachePadded::new(Tended {
                left: AtomicU64::new(array.len() as u64),
                cursor: AtomicU64::new(0),
                rest: AtomicU64::new(0),
            }),
            behind: Behind::new(if list.is_some_and(|l| !l.segments.is_empty()) {
                array.len()
            } else {
                0
            }),
            array,
            number: newest + 1,
            unfreed: unfreed.clone(),
            canary: Canary::new(),
        })));
        // ORDERING: Relaxed: a count, with nothing behind it.
        unfreed.fetch_add(1, Ordering::Relaxed);
        let mut new = vec![segment];
        new.extend(list.into_iter().flat_map(|l| l.segments.iter().copied()));
        if !self.replace(&pin, old, new, unfreed) {
            // SAFETY: never shared.
            drop(unsafe { Box::from_raw(segment.as_ptr()) });
        }
    }

    /// Takes a drained segment out of the list and retires it.
    ///
    /// # Safety
    /// All its buckets are drained, and only the caller found it so.
    pub(super) unsafe fn remove(&self, pin: &Pin, segment: NonNull<Segment<K>>) {
        loop {
            // ORDERING: Acquire, as in `view`.
            let old = self.list.load(Ordering::Acquire);
            // SAFETY: reachable after the pin; not null, as the segment is in it.
            let list = unsafe { &*old };
            list.canary.touch();
            let new = list
                .segments
                .iter()
                .copied()
                .filter(|s| *s != segment)
                .collect();
            if self.replace(pin, old, new, list.unfreed.clone()) {
                break;
            }
        }
        if mutant("segment_freed_at_once") {
            // SAFETY: none: this is what the model has to find.
            unsafe { segment.as_ref() }.bury();
        } else {
            // SAFETY: it came from a box, is in no list that can be reached after this, and holds no key; retired by the caller only.
            unsafe { pin.retire(segment.as_ptr()) };
        }
    }

    /// All segments, for who has the table to himself.
    #[allow(clippy::vec_box)] // that is how they came
    pub(super) fn take(&mut self) -> Vec<Box<Segment<K>>> {
        // ORDERING: Relaxed; `&mut self`.
        let list = self.list.load(Ordering::Relaxed);
        if list.is_null() {
            return Vec::new();
        }
        // ORDERING: Relaxed; `&mut self`.
        self.list.store(null_mut(), Ordering::Relaxed);
        // SAFETY: it came from a box, and nobody else is there.
        let list = unsafe { Box::from_raw(list) };
        // SAFETY: as above.
        list.segments
            .into_iter()
            .map(|s| unsafe { Box::from_raw(s.as_ptr()) })
            .collect()
    }
}

impl<K> View<'_, K> {
    pub(super) fn len(&self) -> usize {
        self.list().segments.len()
    }

    /// The segment at a place of the list; 0 is the newest.
    pub(super) fn segment(&self, at: usize) -> &Segment<K> {
        // SAFETY: in a list that was reachable after the pin, so not freed before it ends.
        let segment = unsafe { self.list().segments[at].as_ref() };
        segment.canary.touch();
        segment
    }

    pub(super) fn pointer(&self, at: usize) -> NonNull<Segment<K>> {
        self.list().segments[at]
    }

    /// The places of the list at which a key may be that is not in the newest segment; none, if nobody knows. (A segment that has left was drained.)
    #[inline]
    pub(super) fn places(&self, older: Older) -> Range<usize> {
        match older {
            Older::At(distance) => self
                .find(self.segment(0).number - distance)
                .map_or(0..0, |at| at..at + 1),
            Older::Anywhere => 1..self.len(),
            Older::Unknown | Older::Nowhere => 0..0,
        }
    }

    /// The place of the segment with a number, if it is still there.
    #[inline]
    pub(super) fn find(&self, number: u64) -> Option<usize> {
        // Numbers fall by one or more from place to place. Without a gap it is where the difference says: no loop whose end cannot be foretold.
        let difference = self.segment(0).number.checked_sub(number)?;
        let mut at = usize::try_from(difference).ok()?.min(self.len() - 1);
        while self.segment(at).number < number {
            at -= 1;
        }
        (self.segment(at).number == number).then_some(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Segment<K>> {
        (0..self.len()).map(|at| self.segment(at))
    }

    pub(super) fn bucket(&self, at: usize, hash: u64) -> &Bucket<K> {
        self.segment(at).array.bucket(hash)
    }

    /// Do segments that are in no list any more wait to be freed?
    pub(super) fn waiting(&self) -> bool {
        // ORDERING: Relaxed: a count, with nothing behind it.
        !cfg!(perkey_loom) && self.list().unfreed.load(Ordering::Relaxed) > self.len() as u64
    }

    /// The number of the newest segment there ever was.
    pub(super) fn newest(&self) -> u64 {
        self.number.0
    }

    pub(super) fn pin(&self) -> &Pin {
        self.pin.as_ref().expect("not paused")
    }

    fn list(&self) -> &List<K> {
        assert!(self.pin.is_some(), "paused");
        // SAFETY: reachable after the pin, which is still there.
        let list = unsafe { self.list.as_ref() };
        list.canary.touch();
        list
    }

    /// Lets go of the pin: foreign code may run.
    pub(super) fn pause(&mut self) {
        self.pin = None;
    }

    /// Pins again. `false`: the list has changed meanwhile, and this view is of no use any more.
    pub(super) fn resume(&mut self) -> bool {
        self.pin = Some(epoch::pin());
        // ORDERING: Acquire, as in `view`.
        let list = self.segments.list.load(Ordering::Acquire);
        let Some(list) = NonNull::new(list) else {
            return false;
        };
        // SAFETY: reachable after the pin. The number tells it from an older one at the same address.
        let now = unsafe { list.as_ref() };
        now.canary.touch();
        self.list = list;
        now.number == self.number
    }
}

/// As many times at most a segment is passed over.
const REST_MAX: u64 = 63;

impl<K> Segment<K> {
    /// Is it to be passed over this time?
    pub(super) fn rests(&self) -> bool {
        // ORDERING: Relaxed, here and below: nothing depends on it but how soon it is tended to.
        let rest = self.tended.rest.load(Ordering::Relaxed);
        let left = rest & 0xff;
        if left > 0 {
            // ORDERING: Relaxed, see above.
            self.tended.rest.store(rest - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// It was tended to, in vain or not.
    pub(super) fn rest(&self, in_vain: bool) {
        // ORDERING: Relaxed, see above.
        let last = self.tended.rest.load(Ordering::Relaxed) >> 8;
        let next = if in_vain {
            (last * 2 + 1).min(REST_MAX)
        } else {
            0
        };
        // ORDERING: Relaxed, see above.
        self.tended.rest.store(next << 8 | next, Ordering::Relaxed);
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}
