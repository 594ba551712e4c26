//! What people write by hand: some map from keys to weak, re-entrant mutexes. All of them take an entry out with its last user, and
//! none of them ever lets two mutexes of one key be in use.

use super::contender::{Contender, Name};
use super::published::Kept;
use crossbeam_skiplist::SkipMap;
use dashmap::DashMap;
use parking_lot::{Mutex, ReentrantMutex};
use perkey::RandomState;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};

type Lock = ReentrantMutex<()>;

/// A map to weak locks.
pub(crate) trait WeakMap<Q: ?Sized>: Default + Send + Sync + 'static {
    /// The lock of the key, made if there is none.
    fn obtain(&self, key: &Q) -> Arc<Lock>;
    /// Gives it back, and takes the entry out if this was the last one.
    fn leave(&self, key: &Q, lock: Arc<Lock>);
}

#[derive(Default)]
pub(crate) struct Hand<M>(M);

pub(crate) struct HandGuard<'a, Q: ?Sized, M: WeakMap<Q>> {
    map: &'a M,
    key: &'a Q,
    /// Locked by this thread; there until the drop.
    lock: Option<Arc<Lock>>,
    _not_send: PhantomData<*mut ()>,
}

impl<Q: Name + ?Sized, M: WeakMap<Q>> Contender<Q> for Hand<M> {
    type Guard<'a> = HandGuard<'a, Q, M>;

    fn new(_: usize) -> Self {
        Self(M::default())
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a> {
        let lock = self.0.obtain(key);
        std::mem::forget(lock.lock());
        HandGuard {
            map: &self.0,
            key,
            lock: Some(lock),
            _not_send: PhantomData,
        }
    }

    fn keep<'a>(&'a self, key: &'a Q) -> Option<Box<dyn Kept + 'a>> {
        Some(Box::new(self.0.obtain(key)))
    }
}

impl<Q: ?Sized, M: WeakMap<Q>> Drop for HandGuard<'_, Q, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take() {
            // SAFETY: `lock` above has locked it and forgotten the guard; this one has not left the thread, and is dropped once.
            unsafe { lock.force_unlock() };
            self.map.leave(self.key, lock);
        }
    }
}

pub(crate) type Dash<K> = DashMap<K, Weak<Lock>, RandomState>;

impl<Q: Name + ?Sized> WeakMap<Q> for Dash<Q::Owned> {
    #[inline]
    fn obtain(&self, key: &Q) -> Arc<Lock> {
        if let Some(lock) = self.get(key).and_then(|weak| weak.upgrade()) {
            return lock;
        }
        let mut place = self.entry(key.to_owned()).or_default();
        place.upgrade().unwrap_or_else(|| {
            let lock = Arc::default();
            *place = Arc::downgrade(&lock);
            lock
        })
    }

    #[inline]
    fn leave(&self, key: &Q, lock: Arc<Lock>) {
        self.remove_if(key, |_, weak| {
            drop(lock);
            weak.strong_count() == 0
        });
    }
}

pub(crate) type Mutexed<K> = Mutex<HashMap<K, Weak<Lock>, RandomState>>;

impl<Q: Name + ?Sized> WeakMap<Q> for Mutexed<Q::Owned> {
    #[inline]
    fn obtain(&self, key: &Q) -> Arc<Lock> {
        let mut map = self.lock();
        if let Some(lock) = map.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        map.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }

    #[inline]
    fn leave(&self, key: &Q, lock: Arc<Lock>) {
        let mut map = self.lock();
        // Exact: references come and go under the mutex only.
        if Arc::strong_count(&lock) == 1 {
            map.remove(key);
        }
        drop(lock);
    }
}

pub(crate) type Scc<K> = scc::HashMap<K, Weak<Lock>, RandomState>;

impl<Q: Name + ?Sized> WeakMap<Q> for Scc<Q::Owned> {
    #[inline]
    fn obtain(&self, key: &Q) -> Arc<Lock> {
        if let Some(Some(lock)) = self.read_sync(key, |_, weak| weak.upgrade()) {
            return lock;
        }
        let mut place = self.entry_sync(key.to_owned()).or_default();
        let found = place.get().upgrade();
        found.unwrap_or_else(|| {
            let lock = Arc::default();
            *place.get_mut() = Arc::downgrade(&lock);
            lock
        })
    }

    #[inline]
    fn leave(&self, key: &Q, lock: Arc<Lock>) {
        self.remove_if_sync(key, |weak| {
            drop(lock);
            weak.strong_count() == 0
        });
    }
}

pub(crate) type Skip<K> = SkipMap<K, Weak<Lock>>;

impl<Q: Name + ?Sized> WeakMap<Q> for Skip<Q::Owned> {
    #[inline]
    fn obtain(&self, key: &Q) -> Arc<Lock> {
        if let Some(lock) = self.get(key).and_then(|entry| entry.value().upgrade()) {
            return lock;
        }
        let lock = Arc::default();
        loop {
            // Takes the place of one that is dead for good, and of no other.
            let dead = |old: &Weak<Lock>| old.strong_count() == 0;
            let entry = self.compare_insert(key.to_owned(), Arc::downgrade(&lock), dead);
            if let Some(there) = entry.value().upgrade() {
                return there;
            }
        }
    }

    #[inline]
    fn leave(&self, key: &Q, lock: Arc<Lock>) {
        let weak = Arc::downgrade(&lock);
        drop(lock);
        if weak.strong_count() == 0 {
            // This very entry, if it is dead; what has come after it under the same key stays.
            if let Some(entry) = self.get(key).filter(|e| e.value().strong_count() == 0) {
                entry.remove();
            }
        }
    }
}
