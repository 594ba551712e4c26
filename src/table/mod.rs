//! The table of weak, re-entrant per-key locks.
//!
//! ```text
//! LockTable ─ hasher
//!           └ Core ─ buckets ─ Bucket ─ stamp, hashes
//!                                     ├ slots ─ Entry ─ word, owner, queue, key
//!                                     └ chain ─ Node  ─ Entry
//! ```
//! [`entry`]: one key and its lock · [`bucket`], [`chain`]: where entries are · [`search`], [`insert`]: finding and making them ·
//! [`core`]: ends of references, waiting, shrinking · [`guard`], [`handle`], [`owned`]: what users hold · [`many`]: several keys in one call.

mod array;
mod behind;
mod bucket;
mod chain;
mod contention;
mod core;
mod entry;
mod grow;
mod grown;
mod guard;
mod handle;
mod insert;
mod many;
mod observer;
mod owned;
mod search;
mod segment;

pub use contention::Contention;
pub use guard::KeyGuard;
pub use handle::{KeyLock, WeakKeyLock};
pub use many::{LockManyError, ManyGuard};
pub use observer::Observer;
pub use owned::{OwnedKeyGuard, OwnedKeyLock, OwnedWeakKeyLock};

use self::core::{Core, Junk, Refused, DEFAULT_BUCKETS, SLOTS};
use crate::lock::raw::Exhausted;
use crate::lock::word::stamp;
use crate::lock::Patience;
use crate::owner::Owner;
use crate::sync::time::Instant;
use crate::RandomState;
use bucket::Bucket;
use entry::Got;
use insert::Source;
use search::Query;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// What an operation wants of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// The lock, waiting for it if need be.
    Lock,
    /// The lock, if nobody else has it.
    Try,
    /// A reference.
    Handle,
    /// To know, without making an entry.
    Look,
}

/// A table of re-entrant locks, one for each key, made when somebody asks for a key and gone when nobody uses it.
///
/// [`lock`](Self::lock) returns a guard; the thread that holds a key may take it again; other keys are never in the way, not even
/// keys with the same hash. The table is lock-free: only waiting for the asked key itself ever blocks.
///
/// The key's `Hash`, `Eq`, `ToOwned` and `Drop` may panic or use the same table at any time; a panic comes out of the operation
/// that called them, and nothing of the attempt is left behind.
///
/// An idle key (without guard, handle and waiter) is no longer *alive*: it does not count in [`len`](Self::len). Its memory, with
/// what the key owns on the heap, is kept for the next key in its place: at most as many as [`capacity`](Self::capacity).
/// [`shrink_to_fit`](Self::shrink_to_fit) drops them.
///
/// `Send` iff `K: Send` (and `S: Send`), `Sync` iff `K: Send + Sync` (and `S: Sync`).
///
/// ```
/// use perkey::LockTable;
///
/// let table = LockTable::<String>::new();
/// let guard = table.lock("apple"); // no String is built for a key that is there already
/// let again = table.lock("apple"); // the same thread: no waiting
/// assert_eq!((guard.key().as_str(), again.depth()), ("apple", 2));
/// std::thread::scope(|s| {
///     s.spawn(|| {
///         assert!(table.try_lock("apple").is_none()); // held by the other thread
///         assert!(table.try_lock("pear").is_some()); // not in the way
///     });
/// });
/// drop(guard);
/// drop(again);
/// assert!(table.is_empty());
/// ```
pub struct LockTable<K, S = RandomState> {
    core: Core<K>,
    hasher: S,
}

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

impl<K> LockTable<K> {
    /// An empty table of default capacity, with a fast seeded hasher.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// assert!(table.is_empty() && table.capacity() > 0);
    /// ```
    pub fn new() -> Self {
        Self::with_hasher(RandomState::default())
    }

    /// An empty table that has slots for about `keys` keys alive at the same time. That is the least it keeps as long as it lives;
    /// for more it grows, and gives back what it has grown by when the keys are gone.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::with_capacity(1000);
    /// assert!(table.capacity() >= 1000);
    /// let guards: Vec<_> = (0..5000).map(|key| table.lock(&key)).collect(); // more than that is well, too
    /// assert_eq!(table.len(), guards.len());
    /// ```
    pub fn with_capacity(keys: usize) -> Self {
        Self::with_capacity_and_hasher(keys, RandomState::default())
    }
}

impl<K, S: Default> Default for LockTable<K, S> {
    fn default() -> Self {
        Self::with_hasher(S::default())
    }
}

impl<K, S> LockTable<K, S> {
    /// An empty table of default capacity.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::hash::RandomState;
    ///
    /// let table = LockTable::<u64, RandomState>::with_hasher(RandomState::new());
    /// assert_eq!(*table.lock(&1).key(), 1);
    /// ```
    pub fn with_hasher(hasher: S) -> Self {
        Self {
            core: Core::new(DEFAULT_BUCKETS),
            hasher,
        }
    }

    /// An empty table that has slots for about `keys` keys alive at the same time.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::hash::RandomState;
    ///
    /// let table = LockTable::<u64, _>::with_capacity_and_hasher(100, RandomState::new());
    /// assert!(table.capacity() >= 100);
    /// assert_eq!(*table.lock(&1).key(), 1);
    /// ```
    ///
    /// # Panics
    /// If that much memory cannot be addressed.
    pub fn with_capacity_and_hasher(keys: usize, hasher: S) -> Self {
        // Keys do not spread evenly: a third of the slots is left for that.
        let buckets = keys
            .checked_add(keys / 2)
            .expect("capacity overflow")
            .div_ceil(SLOTS);
        Self {
            core: Core::new(buckets),
            hasher,
        }
    }

    /// The hasher.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::hash::{BuildHasher, RandomState};
    ///
    /// let hasher = RandomState::new();
    /// let table = LockTable::<u64, _>::with_hasher(hasher.clone());
    /// assert_eq!(table.hasher().hash_one(1), hasher.hash_one(1));
    /// ```
    pub fn hasher(&self) -> &S {
        &self.hasher
    }

    /// How many keys have a place without an allocation, if they spread evenly. Follows the keys that are alive at the same time: it grows
    /// when most of it is in use, and shrinks again by use, or by [`shrink_to_fit`](Self::shrink_to_fit) at once.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::with_capacity(100);
    /// let first = table.capacity();
    /// let guards: Vec<_> = (0..10_000).map(|key| table.lock(&key)).collect();
    /// assert!(table.capacity() > first);
    /// drop(guards);
    /// table.shrink_to_fit();
    /// assert!(table.capacity() <= 2 * first); // what it was made with, and once more: the table is in newer memory now
    /// ```
    pub fn capacity(&self) -> usize {
        self.core.slots()
    }

    /// How many keys are alive: held, waited for or handled. Exact while nobody else uses the table, otherwise each key is
    /// looked at once. Lock-free; takes time in proportion to the capacity.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let held = table.lock(&1);
    /// let handled = table.handle(&2);
    /// assert_eq!(table.len(), 2);
    /// drop((held, handled));
    /// assert_eq!(table.len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.core.count().0
    }

    /// Is no key alive? See [`len`](Self::len).
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let guard = table.lock(&1);
    /// assert!(!table.is_empty());
    /// drop(guard);
    /// assert!(table.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops idle keys and the memory that is kept for them. Lock-free; keys that are alive stay. What other threads may still
    /// be looking at is freed a little later.
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::sync::Arc;
    ///
    /// let (key, table) = (Arc::new(1), LockTable::<Arc<u64>>::new());
    /// drop(table.lock(&key)); // idle now, but the table has kept its clone
    /// assert_eq!(Arc::strong_count(&key), 2);
    /// table.shrink_to_fit();
    /// assert_eq!(Arc::strong_count(&key), 1);
    /// ```
    pub fn shrink_to_fit(&self) {
        self.core.shrink();
    }

    /// Sets, swaps or (with `None`) removes the observer, while the table is in use. A wait that has begun is told to the
    /// observer of its beginning.
    ///
    /// ```
    /// use perkey::{Contention, LockTable};
    /// use std::{sync::Arc, thread, time::Duration};
    ///
    /// let (table, waits) = (LockTable::<u64>::new(), Arc::new(Contention::new()));
    /// table.set_observer(Some(waits.clone()));
    /// let _guard = table.lock(&1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_for(&1, Duration::from_millis(1)).is_none()));
    /// });
    /// assert_eq!((waits.waits(), waits.timed_out()), (1, 1));
    /// ```
    pub fn set_observer(&self, observer: Option<Arc<dyn Observer<K>>>) {
        self.core.observers.set(observer);
    }
}

/// An owned key out of a borrowed one; an idle key's memory is used again.
struct Borrowed<'q, Q: ?Sized>(&'q Q);

impl<K, Q: ToOwned<Owned = K> + ?Sized> Source<K> for Borrowed<'_, Q> {
    #[inline]
    fn make(&mut self, old: Option<K>, _: &mut Junk<K>) -> K {
        match old {
            None => self.0.to_owned(),
            Some(mut key) => {
                self.0.clone_into(&mut key);
                key
            }
        }
    }
}

/// An owned key out of a function, checked.
struct Made<'q, Q: ?Sized, K, F> {
    asked: &'q Q,
    make: Option<F>,
    key: Option<K>,
}

impl<K: Borrow<Q>, Q: Eq + ?Sized, F: FnOnce(&Q) -> K> Source<K> for Made<'_, Q, K, F> {
    const PREPARES: bool = true;

    fn prepare(&mut self) -> Result<(), K> {
        if let Some(make) = self.make.take() {
            let made = make(self.asked);
            if made.borrow() != self.asked {
                return Err(made);
            }
            self.key = Some(made);
        }
        Ok(())
    }

    fn make(&mut self, old: Option<K>, junk: &mut Junk<K>) -> K {
        if let Some(old) = old {
            junk.push(old);
        }
        self.key
            .take()
            .expect("an entry is made once, after `prepare`")
    }
}

/// For models, which decide themselves when a table grows.
#[cfg(any(perkey_loom, perkey_shuttle))]
#[doc(hidden)]
impl<K, S> LockTable<K, S> {
    /// Puts a segment of so many buckets in front.
    pub fn grow(&self, buckets: usize) {
        self.core.grow(buckets);
    }

    /// Tends to what is older.
    pub fn tend(&self) {
        let mut junk = Junk::default();
        self.core.tend(&mut junk);
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.core.segments.view().map_or(0, |view| view.len())
    }
}

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
    /// if no entry is there.
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
    /// let guard = table.lock_with("apple", |k| Arc::from(k)).unwrap();
    /// assert_eq!(&**guard.key(), "apple");
    /// assert_eq!(&*table.lock_with("pear", |_| Arc::from("plum")).unwrap_err().made, "plum");
    /// ```
    pub fn lock_with<Q, F>(&self, key: &Q, make: F) -> Result<KeyGuard<'_, K>, KeyMismatch<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        F: FnOnce(&Q) -> K,
    {
        let source = Made {
            asked: key,
            make: Some(make),
            key: None,
        };
        match self.acquire(key, Patience::ENDLESS, source) {
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
        self.look(key, |got| matches!(got, Got::Seen { locked: true, .. }))
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
        self.look(key, |got| matches!(got, Got::Seen { mine: true, .. }))
    }

    #[inline]
    fn acquire<Q>(
        &self,
        key: &Q,
        patience: Patience,
        source: impl Source<K>,
    ) -> Result<Option<KeyGuard<'_, K>>, Refused<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let me = Owner::current();
        let (bucket, seen, slots) = self.core.place(hash);
        let eq = |k: &K| k.borrow() == key;
        if let Some(guard) = self.core.first_try(bucket, slots, me, eq) {
            return Ok(Some(guard));
        }
        self.acquire_slow(bucket, seen, slots, hash, me, key, patience, source)
    }

    /// `acquire`, when the first try has not done it. Everything comes in by value, so that the first try keeps it in registers.
    #[inline(never)]
    #[allow(clippy::too_many_arguments)]
    fn acquire_slow<'t, Q>(
        &'t self,
        bucket: &'t Bucket<K>,
        seen: u64,
        slots: u32,
        hash: u64,
        me: Owner,
        key: &Q,
        patience: Patience,
        mut source: impl Source<K>,
    ) -> Result<Option<KeyGuard<'t, K>>, Refused<K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let eq = |k: &K| k.borrow() == key;
        if stamp::is_closed(seen) {
            if let Some(guard) = self.core.first_try_grown(hash, me, eq) {
                return Ok(Some(guard));
            }
        }
        let want = match patience {
            Patience::No => Want::Try,
            Patience::Until(_) => Want::Lock,
        };
        let query = Query { hash, me, want, eq };
        let got = self
            .core
            .acquire(bucket, seen, slots, &query, &mut source)?;
        Ok(match got {
            Got::Locked(guard) => Some(guard),
            Got::Used(hold) => match patience {
                Patience::Until(deadline) => self.core.wait(hold, me, deadline)?,
                Patience::No => None,
            },
            Got::Busy | Got::Seen { .. } => None,
        })
    }

    /// A handle on the key's lock, or what is at its end.
    fn refer<Q>(&self, key: &Q) -> Result<KeyLock<'_, K>, Exhausted>
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

impl<K, S> fmt::Debug for LockTable<K, S> {
    /// Never blocks and never runs the keys' code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alive, overflow) = self.core.count();
        f.debug_struct("LockTable")
            .field("len", &alive)
            .field("capacity", &self.capacity())
            .field("overflow", &overflow)
            .field("observer", &self.core.observers)
            .finish_non_exhaustive()
    }
}
