//! [`KeyGuard`] (one level of a key's lock) and `Hold` (one user, without the lock).

use crate::lock::raw::Exhausted;
use crate::lock::word::USER;
use crate::table::core::{Core, Junk};
use crate::table::entry::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// Holds one key of a [`LockTable`](crate::LockTable); dropping the last guard of a key releases it.
///
/// Guards may be dropped in any order. Forgetting one (`std::mem::forget`) leaves the key held by its thread for good and
/// everything else well. Neither `Send` nor `Sync`: the thread that took the lock gives it back.
///
/// Dropping never blocks, except that the release of a key somebody waits for may wait out a few instructions of another
/// waiter on the *same* key. It panics only if a key that dies with it panics in its `Drop`; the release is complete by
/// then.
///
/// ```
/// let table = perkey::LockTable::<u64>::new();
/// let first = table.lock(&1);
/// let second = table.lock(&1);
/// drop(first); // not the last one
/// assert!(table.is_held(&1));
/// drop(second);
/// assert!(!table.is_held(&1));
/// ```
#[must_use = "the key is released when the guard is dropped"]
pub struct KeyGuard<'t, K> {
    core: &'t Core<K>,
    entry: NonNull<Entry<K>>,
    _not_send: PhantomData<*mut ()>,
}

impl<'t, K> KeyGuard<'t, K> {
    /// # Safety
    /// The calling thread holds the lock of `entry`, and one level of it becomes the guard's.
    #[inline]
    pub(super) unsafe fn from_held(core: &'t Core<K>, entry: NonNull<Entry<K>>) -> Self {
        Self {
            core,
            entry,
            _not_send: PhantomData,
        }
    }

    /// The key that is held.
    ///
    /// ```
    /// let table = perkey::LockTable::<String>::new();
    /// assert_eq!(table.lock("apple").key(), "apple");
    /// ```
    pub fn key(&self) -> &K {
        // SAFETY: the lock keeps the key.
        unsafe { self.entry.as_ref().key() }
    }

    /// How often this thread holds the key now (1 for the first guard).
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let outer = table.lock(&1);
    /// assert_eq!(outer.depth(), 1);
    /// let inner = table.lock(&1);
    /// assert_eq!((outer.depth(), inner.depth()), (2, 2));
    /// ```
    pub fn depth(&self) -> usize {
        // SAFETY: the lock keeps the entry.
        let depth = unsafe { self.entry.as_ref() }.raw.depth();
        usize::try_from(depth).unwrap_or(usize::MAX)
    }

    /// Drops the guard and, if it was the last of its key, hands the key to the longest waiter, if there is one.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let guard = table.lock(&1);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(table.lock(&1).depth(), 1));
    ///     guard.unlock_fair(); // a waiter is not overtaken, not by this thread either
    ///     assert!(!table.is_held(&1));
    /// });
    /// ```
    pub fn unlock_fair(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the level is given back here and not used again.
        unsafe { this.core.unlock(this.entry, true) };
    }

    /// The entry; the level is the caller's now.
    pub(super) fn into_entry(self) -> NonNull<Entry<K>> {
        ManuallyDrop::new(self).entry
    }

    pub(super) fn pointer(&self) -> NonNull<Entry<K>> {
        self.entry
    }

    pub(super) fn entry(&self) -> &Entry<K> {
        // SAFETY: the lock keeps the entry.
        unsafe { self.entry.as_ref() }
    }

    /// A user besides the guard's.
    pub(super) fn another_user(&self) -> Result<Hold<'t, K>, Exhausted> {
        self.entry().add_user()?;
        // SAFETY: just added.
        Ok(unsafe { Hold::from_user(self.core, self.entry) })
    }
}

impl<K> Drop for KeyGuard<'_, K> {
    #[inline(always)] // a call would have the guard written to memory first, for a pointer to it
    fn drop(&mut self) {
        // SAFETY: the level is given back here and not used again.
        unsafe { self.core.unlock(self.entry, false) };
    }
}

impl<K: fmt::Debug> fmt::Debug for KeyGuard<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyGuard")
            .field("key", self.key())
            .field("depth", &self.depth())
            .finish()
    }
}

/// One user of an entry: keeps it alive, says nothing about the lock.
pub(super) struct Hold<'t, K> {
    pub(super) core: &'t Core<K>,
    entry: NonNull<Entry<K>>,
}

// SAFETY: a user gives `&K` and may drop a key where it ends: what `&Core<K>` being `Send` (`K: Send + Sync`) allows.
unsafe impl<K: Send + Sync> Send for Hold<'_, K> {}
// SAFETY: as above; all its methods are those of a shared entry.
unsafe impl<K: Send + Sync> Sync for Hold<'_, K> {}

impl<'t, K> Hold<'t, K> {
    /// # Safety
    /// One user of `entry` becomes the hold's.
    pub(super) unsafe fn from_user(core: &'t Core<K>, entry: NonNull<Entry<K>>) -> Self {
        Self { core, entry }
    }

    pub(super) fn entry(&self) -> &Entry<K> {
        // SAFETY: the user keeps the entry.
        unsafe { self.entry.as_ref() }
    }

    pub(super) fn pointer(&self) -> NonNull<Entry<K>> {
        self.entry
    }

    pub(super) fn key(&self) -> &K {
        // SAFETY: the user keeps the key.
        unsafe { self.entry().key() }
    }

    /// The user is the caller's now.
    pub(super) fn into_entry(self) -> NonNull<Entry<K>> {
        ManuallyDrop::new(self).entry
    }

    /// The lock has been taken: the user becomes the guard's.
    pub(super) fn into_guard(self) -> KeyGuard<'t, K> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the caller has just taken the lock, which takes over this user.
        unsafe { KeyGuard::from_held(this.core, this.entry) }
    }
}

impl<K> Drop for Hold<'_, K> {
    fn drop(&mut self) {
        let mut junk = Junk::default();
        // SAFETY: the user is given back here and not used again.
        unsafe { self.core.put(self.entry, USER, &mut junk) };
    }
}
