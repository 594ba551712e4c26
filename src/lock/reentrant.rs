//! [`ReentrantLock`]: the lock with data and without a table.

use crate::lock::raw::{Exhausted, RawLock};
use crate::lock::word::LOCKED;
use crate::lock::Patience;
use crate::owner::Owner;
use crate::sync::time::Instant;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

/// A lock that the thread which holds it may take again.
///
/// It guards its data like a mutex, but since one thread can hold several guards at once they give `&T` only; use a
/// `Cell` or `RefCell` inside to change it. It is the same lock, owner, depth and queue that a
/// [`LockTable`](crate::LockTable) keeps for each key.
///
/// A panic while it is held does not poison it: the guard is dropped like any other. A forgotten guard leaves it held by
/// its thread, after the thread's end too, as owner ids are never used again.
///
/// `ReentrantLock<T>` is `Send` and `Sync` iff `T: Send`.
///
/// ```
/// use perkey::ReentrantLock;
/// use std::cell::Cell;
///
/// let lock = ReentrantLock::new(Cell::new(1));
/// let outer = lock.lock();
/// let inner = lock.lock(); // the same thread: no waiting
/// inner.set(2);
/// assert_eq!(outer.get(), 2);
/// ```
pub struct ReentrantLock<T: ?Sized> {
    raw: RawLock,
    value: T,
}

// SAFETY: sending the lock sends the value.
unsafe impl<T: ?Sized + Send> Send for ReentrantLock<T> {}
// SAFETY: one thread at a time gets `&T` (I1), which is as good as sending the value to and fro.
unsafe impl<T: ?Sized + Send> Sync for ReentrantLock<T> {}

impl<T> ReentrantLock<T> {
    /// A free lock around `value`.
    ///
    /// ```
    /// use perkey::ReentrantLock;
    /// use std::cell::Cell;
    ///
    /// static COUNTER: ReentrantLock<Cell<u32>> = ReentrantLock::new(Cell::new(0));
    /// COUNTER.lock().set(1);
    /// assert_eq!(COUNTER.lock().get(), 1);
    /// ```
    #[cfg(not(perkey_loom))]
    pub const fn new(value: T) -> Self {
        Self {
            raw: RawLock::new(),
            value,
        }
    }

    /// A free lock around `value`.
    #[cfg(perkey_loom)]
    pub fn new(value: T) -> Self {
        Self {
            raw: RawLock::new(),
            value,
        }
    }

    /// The value.
    ///
    /// ```
    /// let lock = perkey::ReentrantLock::new(String::from("apple"));
    /// assert_eq!(lock.into_inner(), "apple");
    /// ```
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: ?Sized> ReentrantLock<T> {
    /// Takes the lock; blocks while another thread holds it.
    ///
    /// ```
    /// let lock = perkey::ReentrantLock::new(5);
    /// let outer = lock.lock();
    /// let inner = lock.lock(); // the same thread: no waiting
    /// assert_eq!(*outer + *inner, 10);
    /// ```
    ///
    /// # Panics
    /// If this thread holds it 2^20 - 1 times already.
    #[inline]
    pub fn lock(&self) -> ReentrantLockGuard<'_, T> {
        match self.acquire(Patience::ENDLESS) {
            Ok(Some(guard)) => guard,
            Ok(None) => unreachable!("a wait without a deadline ends with the lock"),
            Err(e) => e.panic(),
        }
    }

    /// Takes the lock if no other thread holds it. Never blocks. `None` too when this thread can hold it no more often.
    ///
    /// ```
    /// let lock = perkey::ReentrantLock::new(5);
    /// let _guard = lock.lock();
    /// assert!(lock.try_lock().is_some()); // re-entrant
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(lock.try_lock().is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    #[inline]
    pub fn try_lock(&self) -> Option<ReentrantLockGuard<'_, T>> {
        self.acquire(Patience::No).ok().flatten()
    }

    /// Takes the lock; gives up after `timeout`. A time-out too long for the clock is none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = perkey::ReentrantLock::new(5);
    /// let _guard = lock.lock();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(lock.try_lock_for(Duration::from_millis(1)).is_none()));
    /// });
    /// assert!(lock.try_lock_for(Duration::MAX).is_some()); // re-entrant
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<ReentrantLockGuard<'_, T>> {
        self.acquire(Patience::lasting(timeout)).ok().flatten()
    }

    /// Takes the lock; gives up at `deadline`.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let lock = perkey::ReentrantLock::new(5);
    /// let _guard = lock.lock();
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(lock.try_lock_until(deadline).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_until(&self, deadline: Instant) -> Option<ReentrantLockGuard<'_, T>> {
        self.acquire(Patience::until(deadline)).ok().flatten()
    }

    #[inline]
    fn acquire(&self, wait: Patience) -> Result<Option<ReentrantLockGuard<'_, T>>, Exhausted> {
        let me = Owner::current();
        if self.raw.is_held_by(me) {
            self.raw.deepen()?;
        } else if !self.raw.try_take(me) {
            let Patience::Until(deadline) = wait else {
                return Ok(None);
            };
            if !self.raw.wait(me, deadline) {
                return Ok(None);
            }
        }
        Ok(Some(ReentrantLockGuard {
            lock: self,
            _not_send: PhantomData,
        }))
    }

    /// Does the calling thread hold it?
    ///
    /// ```
    /// let lock = perkey::ReentrantLock::new(5);
    /// let guard = lock.lock();
    /// assert!(lock.is_held());
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(!lock.is_held())); // held, but not by this thread
    /// });
    /// drop(guard);
    /// assert!(!lock.is_held());
    /// ```
    pub fn is_held(&self) -> bool {
        self.raw.is_held_by(Owner::current())
    }

    /// The value, without locking: `&mut` says that nobody else is there.
    ///
    /// ```
    /// let mut lock = perkey::ReentrantLock::new(5);
    /// *lock.get_mut() += 1;
    /// assert_eq!(*lock.lock(), 6);
    /// ```
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Default> Default for ReentrantLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for ReentrantLock<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLock<T> {
    /// Never blocks: a value that another thread holds is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut d = f.debug_struct("ReentrantLock");
        match self.try_lock() {
            Some(guard) => d.field("value", &&*guard),
            None => d.field("value", &format_args!("<locked>")),
        };
        d.finish()
    }
}

/// Holds a [`ReentrantLock`]; dropping the last one of its thread releases it. Guards may be dropped in any order.
///
/// Not `Send`: the thread that took the lock gives it back. `Sync` iff `T: Sync`.
///
/// ```
/// let lock = perkey::ReentrantLock::new(5);
/// let first = lock.lock();
/// let second = lock.lock();
/// drop(first); // not the last one
/// assert!(lock.is_held());
/// drop(second);
/// assert!(!lock.is_held());
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct ReentrantLockGuard<'a, T: ?Sized> {
    lock: &'a ReentrantLock<T>,
    _not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives `&T` and the depth (an atomic) only.
unsafe impl<T: ?Sized + Sync> Sync for ReentrantLockGuard<'_, T> {}

impl<T: ?Sized> ReentrantLockGuard<'_, T> {
    /// How often this thread holds the lock now.
    ///
    /// ```
    /// let lock = perkey::ReentrantLock::new(5);
    /// let outer = lock.lock();
    /// assert_eq!(outer.depth(), 1);
    /// let inner = lock.lock();
    /// assert_eq!((outer.depth(), inner.depth()), (2, 2));
    /// ```
    pub fn depth(&self) -> usize {
        usize::try_from(self.lock.raw.depth()).unwrap_or(usize::MAX)
    }

    /// Drops the guard and, if it was the last one, hands the lock to the longest waiter, if there is one.
    ///
    /// ```
    /// let lock = perkey::ReentrantLock::new(5);
    /// let guard = lock.lock();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(*lock.lock(), 5));
    ///     guard.unlock_fair(); // a waiter is not overtaken, not by this thread either
    ///     assert!(!lock.is_held());
    /// });
    /// ```
    pub fn unlock_fair(self) {
        self.release(true);
        std::mem::forget(self);
    }

    /// Gives one level back, which is the guard's.
    #[inline]
    fn release(&self, fair: bool) {
        if let Err(w) = self.lock.raw.unlock(0, LOCKED) {
            self.lock.raw.unlock_rest(0, w, fair);
        }
    }
}

impl<T: ?Sized> Deref for ReentrantLockGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.lock.value
    }
}

impl<T: ?Sized> Drop for ReentrantLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.release(false);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for ReentrantLockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
