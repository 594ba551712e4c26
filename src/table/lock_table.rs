//! The table as a whole: what it is made of, how large it is, who watches it.

use crate::table::core::{Core, SLOTS};
use crate::table::observer::Observer;
use crate::RandomState;
use std::fmt;
use std::sync::Arc;

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
/// `Send` iff `K: Send` (and `S: Send`), `Sync` iff `K: Send + Sync` (and `S: Sync`); unwind safe iff `K` and `S` are behind a reference.
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
    pub(super) core: Core<K>,
    pub(super) hasher: S,
}

impl<K> LockTable<K> {
    /// An empty table of default capacity, with a fast seeded hasher: at most 8 KiB (or six keys, where these take more), and it grows.
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
            core: Core::small(),
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

    /// Drops idle keys and the memory that is kept for them, but for what the table was made with. Lock-free; keys that are alive stay. What other
    /// threads may still be looking at is freed a little later; as long as it waits for one of them, the table is not made smaller again.
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
        let mut junk = crate::table::core::Junk::default();
        self.core.tend(&mut junk);
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.core.segments.view().map_or(0, |view| view.len())
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
