//! Handles: a strong one keeps a key's lock alive without holding it, a weak one knows whether it still is.
//!
//! A *life* of a key's lock lasts from its first user to its last. The first weak handle of a life gives it a number
//! (never used twice) and sets `WEAK`; the exchange that takes the last user off clears it. An upgrade searches the bucket for
//! the number, so that a weak handle points at nothing and keeps nothing allocated.

use crate::lock::raw::Exhausted;
use crate::lock::word::WEAK;
use crate::lock::Patience;
use crate::owner::Owner;
use crate::sync::atomic::Ordering;
use crate::sync::time::Instant;
use crate::table::core::{Core, Junk};
use crate::table::entry::Met;
use crate::table::guard::{Hold, KeyGuard};
use crate::table::search::Step;
use std::fmt;
use std::time::Duration;

/// A strong handle on the lock of one key: as long as one handle, guard or waiter lives, everybody who asks for the key gets
/// this same lock, and it counts in [`len`](crate::LockTable::len).
///
/// `Send` and `Sync` iff `K: Send + Sync`. Cloning and dropping are lock-free.
///
/// ```
/// let table = perkey::LockTable::<u64>::new();
/// let handle = table.handle(&1);
/// drop(handle.lock());
/// assert_eq!(table.len(), 1); // alive, though nobody holds it
/// drop(handle);
/// assert_eq!(table.len(), 0);
/// ```
#[must_use = "a handle keeps the key's lock alive only as long as it lives"]
pub struct KeyLock<'t, K> {
    pub(super) hold: Hold<'t, K>,
    pub(super) hash: u64,
}

impl<K> Hold<'_, K> {
    pub(super) fn another(&self) -> Self {
        if let Err(e) = self.entry().add_user() {
            e.panic();
        }
        // SAFETY: just added.
        unsafe { Hold::from_user(self.core, self.pointer()) }
    }

    pub(super) fn lock(&self, wait: Patience) -> Result<Option<KeyGuard<'_, K>>, Exhausted> {
        let me = Owner::current();
        let raw = &self.entry().raw;
        if raw.is_held_by(me) {
            raw.deepen()?;
            // SAFETY: held by this thread, one level of it just taken.
            return Ok(Some(unsafe {
                KeyGuard::from_held(self.core, self.pointer())
            }));
        }
        // The user of the guard to be.
        self.entry().add_user()?;
        // SAFETY: just added.
        let hold = unsafe { Hold::from_user(self.core, self.pointer()) };
        if raw.try_take(me) {
            return Ok(Some(hold.into_guard()));
        }
        match wait {
            Patience::Until(deadline) => self.core.wait(hold, me, deadline),
            Patience::No => Ok(None),
        }
    }

    /// The number of the present life, for weak handles.
    pub(super) fn life(&self) -> u64 {
        let entry = self.entry();
        let side = entry.raw.side_or_make();
        side.exclusively(|| {
            // ORDERING: Relaxed, here and below: under the mutex, and our user keeps WEAK from being cleared.
            if entry.word().load(Ordering::Relaxed) & WEAK != 0 {
                // ORDERING: Relaxed, see above.
                return side.life.load(Ordering::Relaxed);
            }
            let life = self.core.new_life();
            // ORDERING: Relaxed, see above.
            side.life.store(life, Ordering::Relaxed);
            // ORDERING: Relaxed, see above.
            entry.word().fetch_or(WEAK, Ordering::Relaxed);
            life
        })
    }
}

impl<K> Core<K> {
    /// A user of the entry whose present life has this number, if it is still going on. Lock-free but for other
    /// upgrades and downgrades of the same key.
    pub(super) fn revive(&self, hash: u64, life: u64) -> Option<Hold<'_, K>> {
        let mut junk = Junk::default();
        let found = self.visit_all(hash, None, &mut junk, |met| {
            let Met::Passing(pass) = met else {
                return Ok(Step::Next(met));
            };
            Ok(match pass.revive(life) {
                Ok(hold) => Step::Done(hold),
                Err(pass) => Step::Next(Met::Passing(pass)),
            })
        });
        drop(junk);
        match found {
            Ok(found) => found.flatten(),
            Err(e) => e.panic(),
        }
    }
}

impl<'t, K> KeyLock<'t, K> {
    /// Takes the lock; blocks while another thread holds it. Re-entrant.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// let guard = handle.lock();
    /// drop(handle); // the guard does not need it
    /// assert!(table.is_held(guard.key()));
    /// ```
    ///
    /// # Panics
    /// If this thread's depth or the references on the key are at their end.
    pub fn lock(&self) -> KeyGuard<'t, K> {
        match self.acquire(Patience::ENDLESS) {
            Ok(Some(guard)) => guard,
            Ok(None) => unreachable!("a wait without a deadline ends with the lock"),
            Err(e) => e.panic(),
        }
    }

    /// Takes the lock if no other thread holds it. Never blocks.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// let _guard = table.lock(&1); // the same lock
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(handle.try_lock().is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock(&self) -> Option<KeyGuard<'t, K>> {
        self.acquire(Patience::No).ok().flatten()
    }

    /// Takes the lock; gives up after `timeout`. A time-out too long for the clock is none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// let _guard = handle.lock();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(handle.try_lock_for(Duration::from_millis(1)).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<KeyGuard<'t, K>> {
        self.acquire(Patience::lasting(timeout)).ok().flatten()
    }

    /// Takes the lock; gives up at `deadline`.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// let _guard = handle.lock();
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(handle.try_lock_until(deadline).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<KeyGuard<'t, K>> {
        self.acquire(Patience::until(deadline)).ok().flatten()
    }

    fn acquire(&self, wait: Patience) -> Result<Option<KeyGuard<'t, K>>, Exhausted> {
        let guard = self.hold.lock(wait)?;
        let core = self.hold.core;
        // SAFETY: the guard's level goes over to one with the table's lifetime; the guard has a user of its own, so it
        // does not need this handle.
        Ok(guard.map(|g| unsafe { KeyGuard::from_held(core, g.into_entry()) }))
    }

    /// The key.
    ///
    /// ```
    /// let table = perkey::LockTable::<String>::new();
    /// assert_eq!(table.handle("apple").key(), "apple");
    /// ```
    pub fn key(&self) -> &K {
        self.hold.key()
    }

    /// A weak handle on the present life of the lock.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// let weak = handle.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(handle);
    /// assert!(table.is_empty()); // the weak one does not count
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakKeyLock<'t, K> {
        WeakKeyLock {
            core: self.hold.core,
            hash: self.hash,
            life: self.hold.life(),
        }
    }
}

impl<K> Clone for KeyLock<'_, K> {
    /// # Panics
    /// If the references on the key are at their end.
    fn clone(&self) -> Self {
        Self {
            hold: self.hold.another(),
            hash: self.hash,
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for KeyLock<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLock").field("key", self.key()).finish()
    }
}

/// A weak handle on one life of a key's lock: it does not keep it alive. Forgetting one keeps nothing allocated.
///
/// ```
/// let table = perkey::LockTable::<u64>::new();
/// let handle = table.handle(&1);
/// let weak = handle.downgrade();
/// let guard = handle.lock();
/// drop(handle);
/// assert!(weak.upgrade().is_some()); // the guard keeps the lock alive
/// drop(guard);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct WeakKeyLock<'t, K> {
    core: &'t Core<K>,
    hash: u64,
    life: u64,
}

impl<'t, K> WeakKeyLock<'t, K> {
    /// A strong handle, or `None` once the last guard, handle and waiter of that life is gone, even if the same key is in
    /// use again.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// let weak = handle.downgrade();
    /// drop(handle);
    /// let _new_life = table.handle(&1);
    /// assert!(weak.upgrade().is_none()); // the same key, another life
    /// ```
    ///
    /// # Panics
    /// If the references on the key are at their end.
    #[must_use = "a handle keeps the key's lock alive only as long as it lives"]
    pub fn upgrade(&self) -> Option<KeyLock<'t, K>> {
        self.core.revive(self.hash, self.life).map(|hold| KeyLock {
            hold,
            hash: self.hash,
        })
    }
}

impl<K> Clone for WeakKeyLock<'_, K> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<K> fmt::Debug for WeakKeyLock<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(WeakKeyLock)")
    }
}
