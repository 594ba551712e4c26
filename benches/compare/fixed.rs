//! Locks that are there beforehand: stripes, one for all, and one for each.

use super::contender::{Contender, Name};
use super::published::Kept;
use crossbeam_utils::CachePadded;
use parking_lot::{ReentrantMutex, ReentrantMutexGuard};
use perkey::RandomState;
use std::hash::BuildHasher;

const STRIPES: u64 = 256;

/// A key shares its lock with others.
pub(crate) struct Stripes {
    locks: Vec<CachePadded<ReentrantMutex<()>>>,
    hasher: RandomState,
}

impl<Q: Name + ?Sized> Contender<Q> for Stripes {
    type Guard<'a> = ReentrantMutexGuard<'a, ()>;

    fn new(_: usize) -> Self {
        let locks = (0..STRIPES).map(|_| CachePadded::default()).collect();
        let hasher = RandomState::default();
        Self { locks, hasher }
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a> {
        self.locks[(self.hasher.hash_one(key) % STRIPES) as usize].lock()
    }
}

/// One lock for all keys.
pub(crate) struct Global(ReentrantMutex<()>);

impl<Q: Name + ?Sized> Contender<Q> for Global {
    type Guard<'a> = ReentrantMutexGuard<'a, ()>;

    fn new(_: usize) -> Self {
        Self(ReentrantMutex::new(()))
    }

    #[inline]
    fn lock<'a>(&'a self, _: &'a Q) -> Self::Guard<'a> {
        self.0.lock()
    }
}

/// A lock for each key, at its index. There is a power of two of them, so that the lowest bits are the index.
pub(crate) struct Floor(Vec<ReentrantMutex<()>>);

impl Contender<u64> for Floor {
    type Guard<'a> = ReentrantMutexGuard<'a, ()>;

    fn new(keys: usize) -> Self {
        let locks = keys.next_power_of_two().max(1024);
        Self((0..locks).map(|_| ReentrantMutex::new(())).collect())
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a u64) -> Self::Guard<'a> {
        self.0[*key as usize & (self.0.len() - 1)].lock()
    }

    fn keep<'a>(&'a self, _: &'a u64) -> Option<Box<dyn Kept + 'a>> {
        Some(Box::new(()))
    }
}
