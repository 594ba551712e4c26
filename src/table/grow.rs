//! When the table grows and shrinks, and how what is older gets empty.
//!
//! - Who finds no slot for a new key looks at a few buckets of the newest array; if most of their slots are alive, a segment goes in front that is
//!   about as large as all arrays together (larger, while the table is small). No counter is shared, and nobody waits: who comes second drops his array again.
//! - Now and then, an operation on segments tends to a few buckets of an older one: closes them, and takes out what is idle. A bucket in
//!   which nothing is left is drained; the thread that drains the last one of a segment takes the segment out of the list.
//! - If there is nothing older, it looks how full the newest segment is instead; if it is almost empty, a smaller one goes in front. Not
//!   while another segment of this table waits to be freed, so that a stopped thread costs one segment more, not many.

use crate::lock::word::{self, stamp, DEAD, FREE};
use crate::mutant::mutant;
use crate::sync::atomic::Ordering;
use crate::sync::{epoch, turn};
use crate::table::array::Array;
use crate::table::bucket::Bucket;
use crate::table::core::{Core, Junk, SLOTS};
use crate::table::segment::View;

/// How many buckets are looked at to see how full an array is: a first impression, and what counts.
const GLANCE: usize = 16;
const SAMPLE: usize = 128;
/// As many nodes in one chain are a crowd in an array with fewer buckets than a glance takes.
const CROWD: usize = 4 * SLOTS;
/// How many operations on segments a thread does before it tends to older ones.
const EVERY: u32 = 16;
/// One time in so many, it looks whether a table without older segments is much too large.
const SELDOM: u64 = if cfg!(any(perkey_loom, perkey_shuttle)) {
    1
} else {
    8
};
/// How many buckets it tends to then: one an operation.
const AT_ONCE: u64 = 16;
/// In arrays of more buckets than this, only those of every eighth one give occasion to look.
const LARGE: usize = 64;

/// How many of how many slots are alive.
fn sample<K>(array: &Array<K>, from: usize, buckets: usize) -> (usize, usize) {
    let n = array.len().min(buckets);
    let alive = (0..n)
        .flat_map(|i| array.get(from + i).words())
        .filter(|w| word::phase(*w) != FREE && !word::idle(*w))
        .count();
    (alive, n * SLOTS)
}

impl<K> Core<K> {
    /// A key with this hash has found no slot. Foreign code does not run in here.
    #[cold]
    pub(super) fn crowded(&self, hash: u64) {
        if cfg!(perkey_loom) {
            return; // a model says itself when to grow
        }
        let view = self.segments.view();
        let (array, newest) = match &view {
            Some(view) => (&view.segment(0).array, view.newest()),
            None => (&self.first, 0),
        };
        if array.len() > LARGE && !array.at(hash).is_multiple_of(8) {
            return;
        }
        if array.len() < GLANCE {
            // Too few to tell a crowd from a hash that many keys have.
            let mut nodes = 0;
            array.bucket(hash).chain.for_each_word(|_| nodes += 1);
            if nodes < CROWD {
                return;
            }
        }
        let full = |buckets| {
            let (alive, of) = sample(array, array.at(hash) + 1, buckets);
            alive * 4 >= of * 3
        };
        if !full(GLANCE) || !full(SAMPLE) {
            return;
        }
        let more: usize = view
            .as_ref()
            .map_or(0, |view| view.iter().map(|s| s.array.len()).sum());
        // A table that grows again and again while what it has given up cannot be freed shall soon be large enough.
        let hurry = if view.as_ref().is_some_and(View::waiting) {
            2
        } else {
            1
        };
        drop(view);
        let all = self.first.len() + more;
        // Larger steps while the table is small, so that few arrays have to be searched; none larger than all there is when memory counts.
        let step = if all < 512 { 2 } else { 1 };
        self.segments
            .push(newest, (all + 1).next_power_of_two() / 2 * step * hurry);
    }

    /// Puts a segment of that size in front.
    #[cfg(any(perkey_loom, perkey_shuttle))]
    pub(super) fn grow(&self, buckets: usize) {
        let newest = self.segments.view().map_or(0, |view| view.newest());
        self.segments.push(newest, buckets);
    }

    /// Tends to what is older, if it is this thread's turn. Keys are dropped: foreign code.
    #[inline]
    pub(super) fn tend_now_and_then(&self) {
        if turn(EVERY) {
            self.tend(&mut Junk::default());
        }
    }

    /// Tends to a few buckets.
    #[cold]
    pub(super) fn tend(&self, junk: &mut Junk<K>) {
        let Some(view) = self.segments.view() else {
            return;
        };
        // ORDERING: Relaxed, here and below: any bucket will do.
        let from = view
            .segment(0)
            .tended
            .cursor
            .fetch_add(1, Ordering::Relaxed);
        let waiting = view.waiting();
        if waiting {
            epoch::flush();
        }
        if view.len() == 1 {
            if !waiting && from.is_multiple_of(SELDOM) {
                self.shrink_if_sparse(view, from / SELDOM);
            }
            return;
        }
        #[allow(clippy::cast_possible_truncation)] // any will do
        let at = 1 + from as usize % (view.len() - 1);
        let segment = view.segment(at);
        if segment.rests() {
            return;
        }
        let n = AT_ONCE.min(segment.array.len() as u64);
        // ORDERING: Relaxed, see above.
        let from = segment.tended.cursor.fetch_add(n, Ordering::Relaxed);
        let (before, mut in_vain) = (junk.len(), true);
        for i in from..from + n {
            #[allow(clippy::cast_possible_truncation)] // it wraps anyway
            let bucket = segment.array.get(i as usize);
            if drain(bucket, junk) {
                in_vain = false;
                if self.drained(&view, at) {
                    return;
                }
            }
        }
        segment.rest(in_vain && junk.len() == before);
    }

    /// Nothing older is there.
    fn shrink_if_sparse(&self, view: View<'_, K>, from: u64) {
        let array = &view.segment(0).array;
        if array.len() <= self.first.len() {
            return;
        }
        // The keys of the first array count, too: they come here when they are released and taken again.
        let estimate = |array: &Array<K>| {
            #[allow(clippy::cast_possible_truncation)] // any will do
            let (alive, of) = sample(array, from as usize * GLANCE, GLANCE);
            alive * (array.len() * SLOTS / of)
        };
        if (estimate(array) + estimate(&self.first)) * 8 >= array.len() * SLOTS {
            return;
        }
        let buckets = (array.len() / 4).max(self.first.len());
        let newest = view.newest();
        drop(view);
        self.segments.push(newest, buckets);
    }

    /// One more bucket of the segment is drained. `true`: it was the last, and the segment is gone.
    fn drained(&self, view: &View<'_, K>, at: usize) -> bool {
        // ORDERING: Relaxed: a count. That the segment is freed after all that was done to drain it is the epoch's business: it was done under pins (I7).
        if view.segment(at).tended.left.fetch_sub(1, Ordering::Relaxed) > 1 {
            return false;
        }
        // SAFETY: each bucket is drained once, so one thread only sees the count end.
        unsafe { self.segments.remove(view.pin(), view.pointer(at)) };
        true
    }

    /// Drops idle keys and returns what memory can be returned. Lock-free.
    pub(super) fn shrink(&self) {
        let mut retiring = Retiring::default();
        for bucket in self.first.iter() {
            let mut junk = Junk::default();
            empty(bucket, FREE, &mut junk);
            bucket.chain.clean(retiring.lasts());
            drop(junk); // foreign code, with nothing held
        }
        self.shrink_segments(&mut retiring);
        epoch::flush();
    }

    fn shrink_segments(&self, retiring: &mut Retiring) {
        let Some(view) = self.segments.view() else {
            return;
        };
        let (newest, now) = (view.newest(), view.segment(0).array.len());
        drop(view);
        // Half as many slots again as there are keys, and at least as many as at first.
        let need = (self.count().0 * 3 / 2 / SLOTS + 1)
            .next_power_of_two()
            .max(self.first.len());
        if need < now && !cfg!(perkey_loom) {
            epoch::flush(); // nothing waits then, if nobody is stopped
            let waits = self.segments.view().is_some_and(|view| view.waiting());
            if !waits || mutant("shrinks_over_and_over") {
                self.segments.push(newest, need);
            }
        }
        let Some(view) = self.segments.view() else {
            return;
        };
        let all: Vec<(u64, usize)> = view.iter().map(|s| (s.number(), s.array.len())).collect();
        drop(view);
        for (place, (number, buckets)) in all.into_iter().enumerate() {
            for i in 0..buckets {
                let mut junk = Junk::default();
                let free = retiring.lasts();
                let Some(view) = self.segments.view() else {
                    return;
                };
                let Some(at) = view.find(number) else {
                    break;
                };
                let bucket = view.segment(at).array.get(i);
                if place == 0 {
                    empty(bucket, FREE, &mut junk);
                    bucket.chain.clean(free);
                } else if drain(bucket, &mut junk) {
                    self.drained(&view, at);
                }
                drop(view);
                drop(junk); // foreign code, with nothing held
            }
        }
    }
}

/// Whether somebody who retires many nodes goes on with it: until so much waits that the epoch must be held up.
#[derive(Default)]
struct Retiring {
    over: bool,
}

impl Retiring {
    /// To be asked without a pin.
    fn lasts(&mut self) -> bool {
        if !self.over && epoch::lags() {
            epoch::flush(); // it may be our own that waits
            self.over = epoch::lags() && !mutant("lag_ignored_by_shrinking");
        }
        !self.over
    }
}

/// Takes what is idle out of the slots, which become `phase`.
fn empty<K>(bucket: &Bucket<K>, phase: u64, junk: &mut Junk<K>) {
    for entry in &bucket.entries {
        if let Some(keyed) = entry.claim() {
            // SAFETY: claimed.
            let side = unsafe { entry.raw.take_side() };
            // SAFETY: claimed, and it held a key.
            let key = keyed.then(|| unsafe { entry.take_key() });
            // ORDERING: Release, partner of the Acquire in `claim` and `meet` (I1, I7).
            entry.word().store(phase, Ordering::Release);
            drop(side);
            if mutant("shrink_forgets_keys") {
                std::mem::forget(key);
            } else if let Some(key) = key {
                junk.push(key);
            }
        }
    }
}

/// Closes a bucket and takes out what is idle. `true`: this call has drained it.
fn drain<K>(bucket: &Bucket<K>, junk: &mut Junk<K>) -> bool {
    let stamp = bucket.close();
    if stamp::is_drained(stamp) {
        return false;
    }
    empty(bucket, DEAD, junk);
    let dead = bucket.entries.iter().all(|entry| {
        // ORDERING: Acquire, partner of the Release in `empty`: whoever finds the bucket drained does not look here for a key, and comes after its
        // last holder all the same (I1).
        word::phase(entry.word().load(Ordering::Acquire)) == DEAD
    });
    let dead = dead || mutant("drained_while_alive");
    if dead && !mutant("spares_kept") {
        bucket.chain.clean(true); // of a closed bucket: nobody will want them
    }
    if !dead || !(bucket.chain.close() || mutant("drained_with_nodes")) {
        return false;
    }
    // ORDERING: Release, partner of the Acquire in `Bucket::stamp`: as above (I1). Relaxed on failure: somebody else has done it.
    bucket
        .stamp
        .compare_exchange(
            stamp,
            stamp::drained(stamp),
            Ordering::Release,
            Ordering::Relaxed,
        )
        .is_ok()
}
