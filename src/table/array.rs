//! An array of buckets: the table's first one, which stays as long as the table, and those of its segments.

use crate::table::bucket::Bucket;
use crossbeam_utils::CachePadded;

/// A power of two of buckets.
pub(super) struct Array<K> {
    buckets: memory::Buckets<K>,
    /// 63 - log2 of their number.
    shift: u32,
}

impl<K> Array<K> {
    /// At least one bucket.
    ///
    /// # Panics
    /// If that much memory cannot be addressed.
    pub(super) fn new(buckets: usize) -> Self {
        let buckets = buckets.max(1).next_power_of_two();
        Self {
            buckets: memory::buckets(buckets),
            shift: 63 - buckets.trailing_zeros(),
        }
    }

    /// The bucket of a hash. The multiplication (Fibonacci hashing, Knuth volume 3, section 6.4) spreads what a weak
    /// hasher leaves in the low bits.
    #[inline]
    pub(super) fn bucket(&self, hash: u64) -> &Bucket<K> {
        &self.buckets[self.at(hash)]
    }

    /// The number of that bucket.
    #[inline]
    pub(super) fn at(&self, hash: u64) -> usize {
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // Two shifts: one by 64 would be none.
        #[allow(clippy::cast_possible_truncation)] // as many bits as there are buckets
        let at = (mixed >> 1 >> self.shift) as usize;
        at
    }

    /// The bucket with a number, which counts on from the last to the first.
    pub(super) fn get(&self, at: usize) -> &Bucket<K> {
        &self.buckets[at & (self.buckets.len() - 1)]
    }

    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Bucket<K>> {
        self.buckets.iter().map(|b| &**b)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Bucket<K>> {
        self.buckets
            .iter_mut()
            .map(|b: &mut CachePadded<_>| &mut **b)
    }
}

#[cfg(any(perkey_loom, perkey_shuttle))]
mod memory {
    use super::{Bucket, CachePadded};

    pub(super) type Buckets<K> = Box<[CachePadded<Bucket<K>>]>;

    pub(super) fn buckets<K>(n: usize) -> Buckets<K> {
        (0..n).map(|_| CachePadded::new(Bucket::new())).collect()
    }
}

/// Memory that the system gives out in zeros, so that a large array costs nothing before it is used: an empty bucket is all
/// zeros. It is given back without a look at the buckets: they hold nothing any more.
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
mod memory {
    use super::{Bucket, CachePadded};
    use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
    use std::ops::{Deref, DerefMut};
    use std::ptr::NonNull;

    /// From this size on the allocator is asked for less alignment and more bytes: most of them fill with zeros by hand what is to be
    /// aligned.
    const LARGE: usize = 1 << 16;

    pub(super) struct Buckets<K> {
        start: NonNull<u8>,
        layout: Layout,
        first: NonNull<CachePadded<Bucket<K>>>,
        len: usize,
    }

    pub(super) fn buckets<K>(n: usize) -> Buckets<K> {
        let exact = Layout::array::<CachePadded<Bucket<K>>>(n).expect("capacity overflow");
        let layout = if exact.size() < LARGE {
            exact
        } else {
            exact
                .size()
                .checked_add(exact.align())
                .and_then(|size| Layout::from_size_align(size, align_of::<usize>()).ok())
                .expect("capacity overflow")
        };
        // SAFETY: a bucket takes space.
        let start = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        let skip = start.as_ptr().align_offset(exact.align());
        Buckets {
            start,
            layout,
            // SAFETY: fewer bytes than the alignment, which were asked for in addition, or none.
            first: unsafe { start.add(skip) }.cast(),
            len: n,
        }
    }

    impl<K> Deref for Buckets<K> {
        type Target = [CachePadded<Bucket<K>>];

        #[inline]
        fn deref(&self) -> &Self::Target {
            // SAFETY: `len` buckets begin there, aligned; all zeros is an empty one (stamp, chain, hashes and words 0, no queue,
            // no key); they live as long as `self`.
            unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
        }
    }

    impl<K> DerefMut for Buckets<K> {
        fn deref_mut(&mut self) -> &mut Self::Target {
            // SAFETY: as above, and `&mut self`.
            unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
        }
    }

    impl<K> Drop for Buckets<K> {
        fn drop(&mut self) {
            // SAFETY: allocated so, and given back once.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}
