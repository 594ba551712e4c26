//! An array of buckets: the table's first one, which stays as long as the table, and those of its segments.

use crate::sync::atomic::AtomicU64;
use crate::table::bucket::Bucket;
use crossbeam_utils::CachePadded;
pub(super) use memory::Zeroed;

/// A power of two of buckets.
pub(super) struct Array<K> {
    buckets: Zeroed<CachePadded<Bucket<K>>>,
    /// 63 - log2 of their number.
    shift: u32,
}

/// Fibonacci hashing (Knuth volume 3, section 6.4): the multiplication spreads what a weak hasher leaves in the low bits.
#[inline]
fn mixed(hash: u64) -> u64 {
    hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<K> Array<K> {
    /// At least one bucket.
    ///
    /// # Panics
    /// If that much memory cannot be addressed.
    pub(super) fn new(buckets: usize) -> Self {
        let buckets = buckets.max(1).next_power_of_two();
        Self {
            buckets: Zeroed::new(buckets),
            shift: 63 - buckets.trailing_zeros(),
        }
    }

    /// The bucket of a hash.
    #[inline]
    pub(super) fn bucket(&self, hash: u64) -> &Bucket<K> {
        &self.buckets[self.at(hash)]
    }

    /// The number of that bucket.
    #[inline]
    pub(super) fn at(&self, hash: u64) -> usize {
        let mixed = mixed(hash);
        // Two shifts: one by 64 would be none.
        #[allow(clippy::cast_possible_truncation)] // as many bits as there are buckets
        let at = (mixed >> 1 >> self.shift) as usize;
        at
    }

    /// What is left of a hash when the number of its bucket is taken off: as many bits as there are, from the top.
    pub(super) fn below(&self, hash: u64) -> u64 {
        mixed(hash) << (63 - self.shift)
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

/// What can be made of zeros.
///
/// # Safety
/// All zeros is a value of the type, which does nothing when it is dropped.
#[cfg_attr(any(perkey_loom, perkey_shuttle), allow(dead_code))]
pub(super) unsafe trait FromZeros {
    /// Only models make one by hand.
    #[cfg(any(perkey_loom, perkey_shuttle))]
    fn zero() -> Self;
}

// SAFETY: stamp, chain, hashes and words 0, no queue, no key. What is in a bucket is taken out before its array goes.
unsafe impl<K> FromZeros for CachePadded<Bucket<K>> {
    #[cfg(any(perkey_loom, perkey_shuttle))]
    fn zero() -> Self {
        Self::new(Bucket::new())
    }
}

// SAFETY: a number.
unsafe impl FromZeros for AtomicU64 {
    #[cfg(any(perkey_loom, perkey_shuttle))]
    fn zero() -> Self {
        Self::new(0)
    }
}

#[cfg(any(perkey_loom, perkey_shuttle))]
mod memory {
    use super::FromZeros;
    use std::ops::{Deref, DerefMut};

    pub(in crate::table) struct Zeroed<T>(Box<[T]>);

    impl<T: FromZeros> Zeroed<T> {
        pub(in crate::table) fn new(n: usize) -> Self {
            Self((0..n).map(|_| T::zero()).collect())
        }
    }

    impl<T> Deref for Zeroed<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }

    impl<T> DerefMut for Zeroed<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }
}

/// Memory that the system gives out in zeros, so that a large array costs nothing before it is used. It is given back without a look at what
/// is in it.
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
mod memory {
    use super::FromZeros;
    use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
    use std::ops::{Deref, DerefMut};
    use std::ptr::NonNull;

    /// From this size on the allocator is asked for less alignment and more bytes: most of them fill with zeros by hand what is to be
    /// aligned.
    const LARGE: usize = 1 << 16;

    /// A slice of what zeros make.
    pub(in crate::table) struct Zeroed<T> {
        start: NonNull<u8>,
        layout: Layout,
        first: NonNull<T>,
        len: usize,
    }

    impl<T: FromZeros> Zeroed<T> {
        /// # Panics
        /// If that much memory cannot be addressed.
        pub(in crate::table) fn new(n: usize) -> Self {
            let exact = Layout::array::<T>(n).expect("capacity overflow");
            let layout = if exact.size() < LARGE || exact.align() <= align_of::<usize>() {
                exact
            } else {
                exact
                    .size()
                    .checked_add(exact.align())
                    .and_then(|size| Layout::from_size_align(size, align_of::<usize>()).ok())
                    .expect("capacity overflow")
            };
            if layout.size() == 0 {
                return Self {
                    start: NonNull::dangling(),
                    layout,
                    first: NonNull::dangling(),
                    len: 0,
                };
            }
            // SAFETY: of some size.
            let start = unsafe { alloc_zeroed(layout) };
            let Some(start) = NonNull::new(start) else {
                handle_alloc_error(layout)
            };
            let skip = start.as_ptr().align_offset(exact.align());
            Self {
                start,
                layout,
                // SAFETY: fewer bytes than the alignment, which were asked for in addition, or none.
                first: unsafe { start.add(skip) }.cast(),
                len: n,
            }
        }
    }

    impl<T> Deref for Zeroed<T> {
        type Target = [T];

        #[inline]
        fn deref(&self) -> &[T] {
            // SAFETY: `len` of them begin there, aligned; all zeros is one (`FromZeros`); they live as long as `self`.
            unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
        }
    }

    impl<T> DerefMut for Zeroed<T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut [T] {
            // SAFETY: as above, and `&mut self`.
            unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
        }
    }

    impl<T> Drop for Zeroed<T> {
        fn drop(&mut self) {
            if self.layout.size() > 0 {
                // SAFETY: allocated so, and given back once.
                unsafe { dealloc(self.start.as_ptr(), self.layout) };
            }
        }
    }
}
