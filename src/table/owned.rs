//! Guards that own their table, for structs that keep it; and how a table makes such guards and handles (`table/owned_handle.rs`).

use crate::lock::Patience;
use crate::table::entry::Entry;
use crate::table::guard::KeyGuard;
use crate::table::handle::KeyLock;
use crate::table::lock_table::LockTable;
use crate::table::owned_handle::OwnedKeyLock;
use crate::table::source::Borrowed;
use crate::RandomState;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

impl<K: Hash + Eq, S: BuildHasher> LockTable<K, S> {
    /// [`lock`](Self::lock), with a guard that keeps the table alive.
    ///
    /// ```
    /// use perkey::{LockTable, OwnedKeyGuard};
    /// use std::sync::Arc;
    ///
    /// struct Session { user: OwnedKeyGuard<String> } // no lifetime
    ///
    /// let table = Arc::new(LockTable::new());
    /// let session = Session { user: table.lock_owned("ann") };
    /// assert!(table.is_held("ann") && session.user.key() == "ann");
    /// ```
    ///
    /// # Panics
    /// As `lock`.
    pub fn lock_owned<Q>(self: &Arc<Self>, key: &Q) -> OwnedKeyGuard<K, S>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        OwnedKeyGuard::new(self, self.lock(key))
    }

    /// [`try_lock`](Self::try_lock), with a guard that keeps the table alive.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let _guard = table.lock_owned(&1);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_owned(&1).is_none() && table.try_lock_owned(&2).is_some()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_owned<Q>(self: &Arc<Self>, key: &Q) -> Option<OwnedKeyGuard<K, S>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Some(OwnedKeyGuard::new(self, self.try_lock(key)?))
    }

    /// [`try_lock_for`](Self::try_lock_for), with a guard that keeps the table alive.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{sync::Arc, thread, time::Duration};
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let _guard = table.lock_owned(&1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_for_owned(&1, Duration::from_millis(1)).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_for_owned<Q>(
        self: &Arc<Self>,
        key: &Q,
        timeout: Duration,
    ) -> Option<OwnedKeyGuard<K, S>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let wait = Patience::lasting(timeout);
        let guard = self.acquire(key, wait, Borrowed(key)).ok().flatten()?;
        Some(OwnedKeyGuard::new(self, guard))
    }

    /// [`handle`](Self::handle), with a handle that keeps the table alive.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let handle = table.handle_owned(&1);
    /// std::thread::spawn(move || assert_eq!(handle.lock().depth(), 1)).join().unwrap(); // it is 'static
    /// assert!(table.is_empty());
    /// ```
    ///
    /// # Panics
    /// As `handle`.
    pub fn handle_owned<Q>(self: &Arc<Self>, key: &Q) -> OwnedKeyLock<K, S>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let KeyLock { hold, hash } = self.handle(key);
        OwnedKeyLock::new(self, hold, hash)
    }
}

/// A [`KeyGuard`] that keeps its table alive. Not `Send`.
///
/// ```
/// use perkey::LockTable;
/// use std::sync::Arc;
///
/// let table = Arc::new(LockTable::<u64>::new());
/// let guard = table.lock_owned(&1);
/// drop(table); // the guard keeps it
/// assert!(guard.table().is_held(&1));
/// ```
#[must_use = "the key is released when the guard is dropped"]
pub struct OwnedKeyGuard<K, S = RandomState> {
    // The level of the lock is given back in `drop`, before the table goes.
    entry: NonNull<Entry<K>>,
    table: Arc<LockTable<K, S>>,
    _not_send: PhantomData<*mut ()>,
}

impl<K, S> OwnedKeyGuard<K, S> {
    pub(super) fn new(table: &Arc<LockTable<K, S>>, guard: KeyGuard<'_, K>) -> Self {
        let table = Arc::clone(table);
        Self {
            entry: guard.into_entry(),
            table,
            _not_send: PhantomData,
        }
    }

    /// The key that is held.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<String>::new());
    /// assert_eq!(table.lock_owned("apple").key(), "apple");
    /// ```
    pub fn key(&self) -> &K {
        // SAFETY: the lock keeps the entry and the key.
        unsafe { self.entry.as_ref().key() }
    }

    /// How often this thread holds the key now.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let owned = table.lock_owned(&1);
    /// let borrowed = table.lock(&1); // the same lock
    /// assert_eq!((owned.depth(), borrowed.depth()), (2, 2));
    /// ```
    pub fn depth(&self) -> usize {
        // SAFETY: the lock keeps the entry.
        let depth = unsafe { self.entry.as_ref() }.raw.depth();
        usize::try_from(depth).unwrap_or(usize::MAX)
    }

    /// The table.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let guard = table.lock_owned(&1);
    /// assert!(Arc::ptr_eq(guard.table(), &table));
    /// ```
    pub fn table(&self) -> &Arc<LockTable<K, S>> {
        &self.table
    }

    /// Drops the guard and, if it was the last of its key, hands the key to the longest waiter, if there is one.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = Arc::new(LockTable::<u64>::new());
    /// let guard = table.lock_owned(&1);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(table.lock(&1).depth(), 1));
    ///     guard.unlock_fair(); // a waiter is not overtaken, not by this thread either
    /// });
    /// assert!(table.is_empty());
    /// ```
    pub fn unlock_fair(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again.
        let table = unsafe { std::ptr::read(&raw const this.table) };
        // SAFETY: the level is given back here and not used again.
        unsafe { table.core.unlock(this.entry, true) };
    }
}

impl<K, S> Drop for OwnedKeyGuard<K, S> {
    fn drop(&mut self) {
        // SAFETY: the level is given back here and not used again.
        unsafe { self.table.core.unlock(self.entry, false) };
    }
}

impl<K: fmt::Debug, S> fmt::Debug for OwnedKeyGuard<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedKeyGuard")
            .field("key", self.key())
            .field("depth", &self.depth())
            .finish()
    }
}
