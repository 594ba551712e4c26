//! Handles that own their table, or know it weakly.

use crate::lock::word::USER;
use crate::lock::Patience;
use crate::sync::time::Instant;
use crate::table::core::Junk;
use crate::table::entry::Entry;
use crate::table::guard::Hold;
use crate::table::lock_table::LockTable;
use crate::table::owned::OwnedKeyGuard;
use crate::RandomState;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A [`KeyLock`](crate::KeyLock) that keeps its table alive.
///
/// ```
/// use perkey::{LockTable, OwnedKeyLock};
/// use std::sync::Arc;
///
/// struct Account { lock: OwnedKeyLock<u64> } // no lifetime
///
/// let table = Arc::new(LockTable::new());
/// let account = Account { lock: table.handle_owned(&1) };
/// let _guard = account.lock.lock();
/// assert!(table.is_held(&1));
/// ```
#[must_use = "a handle keeps the key's lock alive only as long as it lives"]
pub struct OwnedKeyLock<K, S = RandomState> {
    // The user is given back in `drop`, before the table goes.
    entry: NonNull<Entry<K>>,
    hash: u64,
    table: Arc<LockTable<K, S>>,
}

// SAFETY: as for `Hold`, with a table that may end on another thread.
unsafe impl<K: Send + Sync, S: Send + Sync> Send for OwnedKeyLock<K, S> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, S: Send + Sync> Sync for OwnedKeyLock<K, S> {}

impl<K, S> OwnedKeyLock<K, S> {
    pub(super) fn new(table: &Arc<LockTable<K, S>>, hold: Hold<'_, K>, hash: u64) -> Self {
        Self {
            table: Arc::clone(table),
            hash,
            entry: hold.into_entry(),
        }
    }

    /// Our user, lent out.
    fn hold(&self) -> ManuallyDrop<Hold<'_, K>> {
        // SAFETY: our user; not given back by the copy.
        ManuallyDrop::new(unsafe { Hold::from_user(&self.table.core, self.entry) })
    }

    /// Takes the lock; blocks while another thread holds it. Re-entrant.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let handle = Arc::new(LockTable::<u64>::new()).handle_owned(&1);
    /// let guard = handle.lock();
    /// drop(handle); // the guard does not need it
    /// assert!(guard.table().is_held(&1));
    /// ```
    ///
    /// # Panics
    /// If this thread's depth or the references on the key are at their end.
    pub fn lock(&self) -> OwnedKeyGuard<K, S> {
        match self.hold().lock(Patience::ENDLESS) {
            Ok(Some(guard)) => OwnedKeyGuard::new(&self.table, guard),
            Ok(None) => unreachable!("a wait without a deadline ends with the lock"),
            Err(e) => e.panic(),
        }
    }

    /// Takes the lock if no other thread holds it. Never blocks.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let handle = Arc::new(LockTable::<u64>::new()).handle_owned(&1);
    /// let _guard = handle.lock();
    /// assert!(handle.try_lock().is_some()); // re-entrant
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(handle.try_lock().is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock(&self) -> Option<OwnedKeyGuard<K, S>> {
        self.take(Patience::No)
    }

    /// Takes the lock; gives up after `timeout`. A time-out too long for the clock is none.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{sync::Arc, thread, time::Duration};
    ///
    /// let handle = Arc::new(LockTable::<u64>::new()).handle_owned(&1);
    /// let _guard = handle.lock();
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(handle.try_lock_for(Duration::from_millis(1)).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<OwnedKeyGuard<K, S>> {
        self.take(Patience::lasting(timeout))
    }

    /// Takes the lock; gives up at `deadline`.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{sync::Arc, thread, time::{Duration, Instant}};
    ///
    /// let handle = Arc::new(LockTable::<u64>::new()).handle_owned(&1);
    /// let _guard = handle.lock();
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(handle.try_lock_until(deadline).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<OwnedKeyGuard<K, S>> {
        self.take(Patience::until(deadline))
    }

    fn take(&self, patience: Patience) -> Option<OwnedKeyGuard<K, S>> {
        let hold = self.hold();
        let guard = hold.lock(patience).ok().flatten()?;
        Some(OwnedKeyGuard::new(&self.table, guard))
    }

    /// The key.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<String>::new());
    /// assert_eq!(table.handle_owned("apple").key(), "apple");
    /// ```
    pub fn key(&self) -> &K {
        // SAFETY: our user keeps the entry and the key.
        unsafe { self.entry.as_ref().key() }
    }

    /// The table.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let handle = table.handle_owned(&1);
    /// assert!(Arc::ptr_eq(handle.table(), &table));
    /// ```
    pub fn table(&self) -> &Arc<LockTable<K, S>> {
        &self.table
    }

    /// A weak handle on the present life of the lock. It keeps neither the lock nor the table alive.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let weak = table.handle_owned(&1).downgrade();
    /// assert!(weak.upgrade().is_none() && table.is_empty()); // the handle is gone
    /// assert_eq!(Arc::strong_count(&table), 1);
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> OwnedWeakKeyLock<K, S> {
        OwnedWeakKeyLock {
            life: self.hold().life(),
            hash: self.hash,
            table: Arc::downgrade(&self.table),
        }
    }
}

impl<K, S> Clone for OwnedKeyLock<K, S> {
    /// # Panics
    /// If the references on the key are at their end.
    fn clone(&self) -> Self {
        Self::new(&self.table, self.hold().another(), self.hash)
    }
}

impl<K, S> Drop for OwnedKeyLock<K, S> {
    fn drop(&mut self) {
        let mut junk = Junk::default();
        // SAFETY: the user is given back here and not used again.
        unsafe { self.table.core.put(self.entry, USER, &mut junk) };
    }
}

impl<K: fmt::Debug, S> fmt::Debug for OwnedKeyLock<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedKeyLock")
            .field("key", self.key())
            .finish()
    }
}

/// A [`WeakKeyLock`](crate::WeakKeyLock) for a table in an `Arc`: keeps neither the lock nor the table alive (a forgotten one
/// leaves the few words of the table's own struct allocated, as any `std::sync::Weak` does, but nothing of its contents).
///
/// ```
/// use perkey::LockTable;
/// use std::sync::Arc;
///
/// let handle = Arc::new(LockTable::<u64>::new()).handle_owned(&1);
/// let weak = handle.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(handle); // the table goes with it
/// assert!(weak.upgrade().is_none());
/// ```
pub struct OwnedWeakKeyLock<K, S = RandomState> {
    table: Weak<LockTable<K, S>>,
    hash: u64,
    life: u64,
}

impl<K, S> OwnedWeakKeyLock<K, S> {
    /// A strong handle, or `None` once the table, or the last guard, handle and waiter of that life is gone, even if the same
    /// key is in use again.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let handle = table.handle_owned(&1);
    /// let weak = handle.downgrade();
    /// drop(handle);
    /// let _new_life = table.handle_owned(&1);
    /// assert!(weak.upgrade().is_none()); // the same key, another life
    /// ```
    ///
    /// # Panics
    /// If the references on the key are at their end.
    #[must_use = "a handle keeps the key's lock alive only as long as it lives"]
    pub fn upgrade(&self) -> Option<OwnedKeyLock<K, S>> {
        let table = self.table.upgrade()?;
        let entry = table.core.revive(self.hash, self.life)?.into_entry();
        Some(OwnedKeyLock {
            entry,
            hash: self.hash,
            table,
        })
    }
}

impl<K, S> Clone for OwnedWeakKeyLock<K, S> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            ..*self
        }
    }
}

impl<K, S> fmt::Debug for OwnedWeakKeyLock<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(OwnedWeakKeyLock)")
    }
}
