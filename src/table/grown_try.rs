//! The usual cases when the table has segments: the key is there and free, or it is nowhere.
//!
//! That it is nowhere is concluded as in a round (`table/grown.rs`), from the same looks in the same order: first the stamp of the newest bucket, then its
//! hashes and chain, and the older ones that the word behind it names. If the bucket is closed, or nobody has looked behind it yet, a round says more.

use crate::lock::word::stamp;
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::prefetch;
use crate::table::behind::Older;
use crate::table::bucket::Bucket;
use crate::table::core::Core;
use crate::table::entry::Entry;
use crate::table::grown::Look;
use crate::table::guard::KeyGuard;
use crate::table::segment::View;
use std::iter;
use std::ptr::NonNull;

/// What came of the first try.
pub(super) enum Tried<'t, K> {
    Locked(KeyGuard<'t, K>),
    /// In none of the segments of this view, when the newest one's bucket had this stamp.
    Nowhere(View<'t, K>, NonNull<Bucket<K>>, u64),
    /// That says nothing.
    InVain,
}

impl<K> Core<K> {
    /// `first_try` for who has found the bucket of the first array closed: the key is in the newest segment, or in
    /// another one where it may be, in a slot or in the chain; or it is in none.
    #[inline(always)]
    pub(super) fn first_try_grown(
        &self,
        hash: u64,
        me: Owner,
        eq: impl Fn(&K) -> bool,
    ) -> Tried<'_, K> {
        self.tend_now_and_then();
        let Some(view) = self.segments.view() else {
            return Tried::InVain;
        };
        let newest = view.segment(0);
        let bucket = newest.array.bucket(hash);
        prefetch(bucket);
        let behind = newest.behind.of(&newest.array, hash);
        let older = view.places(behind);
        // While we wait for the first one.
        if older.len() == 1 {
            prefetch(view.bucket(older.start, hash));
        } else {
            let buckets = older.clone().map(|at| view.bucket(at, hash));
            buckets.for_each(|bucket| prefetch(&bucket.hashes));
        }
        let Look { stamp, mut slots } = Look::at(bucket, hash);
        let mut at = bucket;
        for place in older.clone() {
            if slots != 0 {
                break;
            }
            at = view.bucket(place, hash);
            slots = at.having(hash);
        }
        let slot = at.entries.get(slots.trailing_zeros() as usize);
        let entry = if let Some(entry) = slot {
            NonNull::from(entry)
        } else {
            let chained = iter::once(bucket)
                .chain(older.map(|at| view.bucket(at, hash)))
                .find_map(|bucket| bucket.chain.find(view.pin(), hash));
            let unknown = behind == Older::Unknown && !mutant("nowhere_though_unknown");
            let closed = stamp::is_closed(stamp) && !mutant("nowhere_though_closed");
            match chained {
                Some(entry) => entry,
                None if unknown || closed => return Tried::InVain,
                None => {
                    let newest = NonNull::from(bucket);
                    return Tried::Nowhere(view, newest, stamp);
                }
            }
        };
        // SAFETY: in the view; after that, the reference keeps it.
        let Some(pass) = (unsafe { Entry::pass(self, entry) }) else {
            return Tried::InVain;
        };
        drop(view); // foreign code
        if !eq(pass.key()) {
            return Tried::InVain;
        }
        pass.take(me).map_or(Tried::InVain, Tried::Locked)
    }
}
