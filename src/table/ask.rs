//! What a table is asked about one key: its lock, a handle, or whether it is held.

use crate::lock::raw::Exhausted;
use crate::lock::Patience;
use crate::owner::Owner;
use crate::sync::time::Instant;
use crate::table::core::{Core, Junk, Refused};
use crate::table::entry::{Got, Holder};
use crate::table::guard::KeyGuard;
use crate::table::handle::KeyLock;
use crate::table::lock_table::LockTable;
use crate::table::search::Query;
use crate::table::source::{Borrowed, Made};
use crate::table::Want;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// The key that was made for [`LockTable::lock_with`] differs from the one that was asked for. Nothing was locked.
///
/// ```
/// use perkey::{KeyMismatch, LockTable};
/// use std::sync::Arc;
///
/// let table = LockTable::<Arc<str>>::new();
/// let KeyMismatch { made } = table.lock_with("pear", |_| Arc::from("plum")).unwrap_err();
/// assert_eq!(&*made, "plum");
/// assert!(table.is_empty());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyMismatch<K> {
    /// The key that was made.
    pub made: K,
}

impl<K> fmt::Debug for KeyMismatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMismatch")
    }
}

impl<K> fmt::Display for KeyMismatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the key that was made differs from the key that was asked for")
    }
}

impl<K> std::error::Error for KeyMismatch<K> {}

impl<K: Hash + Eq, S: BuildHasher> LockTable<K, S> {
    /// Takes the lock of `key`; blocks while another thread holds it, and for nothing else. Re-entrant.
    ///
    /// Takes any borrowed form of the key and builds an owned one only if an entry has to be made (`clone_into` an idle key, if
    /// one is replaced).
    ///
    /// ```
    /// let table = perkey::LockTable::<String>::new();
    /// let outer = table.lock("apple");
    /// let inner = table.lock("apple"); // the same thread: no waiting
    /// assert_eq!(inner.depth(), 2);
    /// drop((outer, inner));
    /// assert!(!table.is_locked("apple"));
    /// ```
    ///
    /// # Panics
    /// If this thread's depth (2^20 - 1), the references on the key (2^28 - 1) or the insertions of its bucket (2^56 - 1; those
    /// into chains count for all buckets) are at their end, or if the key's code panics. Nothing is left behind.
    #[inline]
    pub fn lock<Q>(&self, key: &Q) -> KeyGuard<'_, K>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        match self.acquire(key, Patience::ENDLESS, Borrowed(key)) {
            Ok(Some(guard)) => guard,
            Ok(None) => unreachable!("a wait without a deadline ends with the lock"),
            Err(e) => refused(e),
        }
    }

    /// Takes the lock of `key` if no other thread holds it. Lock-free. `None`, too, when a count is at its end (see
    /// [`lock`](Self::lock)).
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// assert!(table.try_lock(&1).is_some()); // re-entrant
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock(&1).is_none() && table.try_lock(&2).is_some()));
    /// });
    /// ```
    ///
    /// # Panics
    /// If the key's code panics.
    #[must_use = "what was taken is released when it is dropped"]
    #[inline]
    pub fn try_lock<Q>(&self, key: &Q) -> Option<KeyGuard<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.acquire(key, Patience::No, Borrowed(key))
            .ok()
            .flatten()
    }

    /// Takes the lock of `key`; gives up after `timeout`, and then leaves nothing behind. A time-out too long for the clock
    /// is none. Otherwise like [`try_lock`](Self::try_lock).
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{thread, time::Duration};
    ///
    /// let table = LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_for(&1, Duration::from_millis(1)).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_for<Q>(&self, key: &Q, timeout: Duration) -> Option<KeyGuard<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.acquire(key, Patience::lasting(timeout), Borrowed(key))
            .ok()
            .flatten()
    }

    /// Takes the lock of `key`; gives up at `deadline`, and then leaves nothing behind. Otherwise like
    /// [`try_lock`](Self::try_lock).
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{thread, time::{Duration, Instant}};
    ///
    /// let table = LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// let deadline = Instant::now() + Duration::from_millis(1); // for as many keys as you like
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!([1, 1].iter().all(|key| table.try_lock_until(key, deadline).is_none())));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_until<Q>(&self, key: &Q, deadline: Instant) -> Option<KeyGuard<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.acquire(key, Patience::until(deadline), Borrowed(key))
            .ok()
            .flatten()
    }

    /// Like [`lock`](Self::lock), for a borrowed form that does not know how to become a `K`: `make` is called, at most once,
    /// if no entry is there. An idle key may still be: then nothing is made, and nothing compared.
    ///
    /// # Errors
    /// If the key that was made differs from the one that was asked for.
    ///
    /// # Panics
    /// As `lock`, and if `make` does.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let table = LockTable::<Arc<str>>::new();
    /// let guard = table.lock_with("apple", Arc::from).unwrap();
    /// assert_eq!(&**guard.key(), "apple");
    /// assert_eq!(&*table.lock_with("pear", |_| Arc::from("plum")).unwrap_err().made, "plum");
    /// ```
    pub fn lock_with<'q, Q, F>(
        &self,
        key: &'q Q,
        make: F,
    ) -> Result<KeyGuard<'_, K>, KeyMismatch<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        F: FnOnce(&'q Q) -> K,
    {
        match self.acquire(key, Patience::ENDLESS, Made::new(key, make)) {
            Ok(Some(guard)) => Ok(guard),
            Ok(None) => unreachable!("a wait without a deadline ends with the lock"),
            Err(Refused::WrongKey(key)) => Err(KeyMismatch { made: key }),
            Err(e) => refused(e),
        }
    }

    /// A strong handle on the lock of `key`, without taking it. Lock-free.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let handle = table.handle(&1);
    /// assert!(!table.is_locked(&1) && table.len() == 1); // alive, but not held
    /// let _guard = handle.lock();
    /// assert!(table.is_held(&1));
    /// ```
    ///
    /// # Panics
    /// As [`lock`](Self::lock).
    pub fn handle<Q>(&self, key: &Q) -> KeyLock<'_, K>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.refer(key).unwrap_or_else(|e| e.panic())
    }

    /// Does any thread hold `key`? An answer about the past, unless it is this thread. Lock-free.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(table.is_locked(&1) && !table.is_locked(&2))); // whoever holds it
    /// });
    /// ```
    ///
    /// # Panics
    /// If the key's code panics, or 2^28 - 1 searches look at the key at this moment.
    pub fn is_locked<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.look(key, |got| {
            matches!(got, Got::Seen(Holder::Me | Holder::Other))
        })
    }

    /// Does the calling thread hold `key`? Lock-free.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// assert!(table.is_held(&1));
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(!table.is_held(&1))); // held, but not by this thread
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`is_locked`](Self::is_locked).
    pub fn is_held<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.look(key, |got| matches!(got, Got::Seen(Holder::Me)))
    }

    /// A handle on the key's lock, or what is at its end.
    pub(super) fn refer<Q>(&self, key: &Q) -> Result<KeyLock<'_, K>, Exhausted>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let query = self.query(key, Want::Handle);
        let hash = query.hash;
        let (bucket, seen, slots) = self.core.place(hash);
        let source = &mut Borrowed(key);
        match self.core.acquire(bucket, seen, slots, &query, source) {
            Ok(Got::Used(hold)) => Ok(KeyLock { hold, hash }),
            Ok(_) => unreachable!("a handle is a user"),
            Err(Refused::Exhausted(e)) => Err(e),
            Err(Refused::WrongKey(_)) => unreachable!("a key that is cloned is not checked"),
        }
    }

    fn look<Q>(&self, key: &Q, f: impl FnOnce(Got<'_, K>) -> bool) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let query = self.query(key, Want::Look);
        let mut junk = Junk::default();
        let step = Core::step(&query);
        let got = self
            .core
            .visit_all(query.hash, Some(query.me), &mut junk, step);
        drop(junk);
        match got {
            Ok(got) => got.is_some_and(f),
            Err(e) => e.panic(),
        }
    }

    #[inline]
    fn query<'q, Q>(&self, key: &'q Q, want: Want) -> Query<impl Fn(&K) -> bool + 'q>
    where
        K: Borrow<Q> + 'q,
        Q: Hash + Eq + ?Sized,
    {
        Query {
            hash: self.hasher.hash_one(key),
            me: Owner::current(),
            want,
            eq: move |k: &K| k.borrow() == key,
        }
    }
}

#[cold]
#[allow(clippy::needless_pass_by_value)] // it is the end of it
fn refused<K>(why: Refused<K>) -> ! {
    match why {
        Refused::Exhausted(e) => Exhausted::panic(e),
        Refused::WrongKey(_) => unreachable!("a key that is cloned is not checked"),
    }
}
