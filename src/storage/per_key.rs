//! [`PerKey`]: one lock per key around the operations on it.

use crate::mutant::mutant;
use crate::storage::order::{Kind, Ranked};
use crate::storage::{Digest, Failure, Intent, Layer, Scope};
use crate::{KeyGuard, KeyLock, LockTable, ManyGuard};
use std::fmt;
use std::sync::Arc;

/// Lets one operation at a time on each key; those on different keys run in parallel.
///
/// The locks are re-entrant: an operation inside another one of the same thread does not wait for itself. Clones share the table. After a panic the
/// keys are free, and the operation undone.
///
/// Operations on several keys take all their locks at once ([`LockTable::lock_many`]): in whatever order threads ask, they do not
/// deadlock. A thread that is inside an operation already and would have to wait for one of several keys out of order gets
/// [`Error::WouldDeadlock`](crate::storage::Error::WouldDeadlock). Operations on the store as a whole (listing, the search for a prefix) take
/// no lock.
///
/// An operation inside another one that has a single key *waits* for that, whatever its thread holds: a closure on one key may use another one as long as
/// nobody takes the two the other way round, or both wait for ever. Another closure may; so may whatever takes several keys at once (`load_many`, `save_many`,
/// `shrink_many`, `rename`, `transfer`), whose order is the table's. Where they may cross, enter an [`operation`](crate::storage::Storage::operation) on
/// all keys first.
///
/// ```
/// use perkey::storage::{BoxError, Digest, Memory, PerKey, Storage};
/// use std::thread;
///
/// let store = PerKey::new(Memory::new());
/// let counter = Digest::of("counter");
/// thread::scope(|s| {
///     for _ in 0..4 {
///         s.spawn(|| {
///             store.update(&counter, |old| {
///                 let n = old.map_or(0, |v| v[0]);
///                 Ok::<_, BoxError>(Some([n + 1]))
///             })
///         });
///     }
/// });
/// assert_eq!(store.load(&counter).unwrap(), [4][..]); // none was lost
/// ```
pub struct PerKey<S> {
    table: Arc<LockTable<Digest>>,
    inner: S,
}

impl<S> PerKey<S> {
    /// A lock per key around `inner`.
    ///
    /// ```
    /// use perkey::storage::{Memory, PerKey, Storage};
    ///
    /// assert!(PerKey::new(Memory::new()).list().unwrap().is_empty());
    /// ```
    pub fn new(inner: S) -> Self {
        Self::with_table(inner, Arc::default())
    }

    /// The locks of a given table around `inner`: for two stores over one root.
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, PerKey};
    ///
    /// let memory = Memory::new();
    /// let one = PerKey::new(memory.clone());
    /// let other = PerKey::with_table(memory, one.table().clone());
    /// let key = Digest::of("apple");
    /// let _guard = one.table().lock(&key);
    /// assert!(other.table().is_held(&key));
    /// ```
    pub fn with_table(inner: S, table: Arc<LockTable<Digest>>) -> Self {
        Self { table, inner }
    }

    /// The table of locks.
    pub fn table(&self) -> &Arc<LockTable<Digest>> {
        &self.table
    }

    /// A handle on the lock of a key: whoever holds it keeps all operations on the key out but his own. It can also be tried, or
    /// waited for no longer than one likes, before an operation that would wait for as long as it takes.
    ///
    /// ```
    /// use perkey::storage::{Memory, PerKey, Storage};
    ///
    /// let store = PerKey::new(Memory::new());
    /// let key = store.save("apple").unwrap();
    /// let lock = store.key_lock(&key);
    /// let _guard = lock.lock();
    /// assert_eq!(store.load(&key).unwrap(), "apple"); // ours
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert!(store.key_lock(&key).try_lock().is_none()));
    /// });
    /// ```
    pub fn key_lock(&self, key: &Digest) -> KeyLock<'_, Digest> {
        self.table.handle(key)
    }

    /// What is inside. Used directly, it is not locked.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What is inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// What a [`PerKey`] holds while an operation runs.
pub struct Keyed<'a> {
    _locks: Locks<'a>,
    _rank: Option<Ranked>,
}

#[allow(dead_code)] // held, not read
enum Locks<'a> {
    None,
    One(KeyGuard<'a, Digest>),
    Many(ManyGuard<'a, Digest>),
}

impl<S: crate::storage::Storage> Layer for PerKey<S> {
    type Inner = S;
    type Held<'a>
        = Keyed<'a>
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }

    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Keyed<'_>, Failure> {
        let free = mutant("key_without_lock")
            || (mutant("reads_without_key_lock") && intent == Intent::Read);
        if free || scope == Scope::Store {
            return Ok(Keyed {
                _locks: Locks::None,
                _rank: None,
            });
        }
        let rank = Ranked::enter(&self.table, Kind::Keys, || match scope {
            Scope::Key(key) => !self.table.is_held(key),
            Scope::Keys(keys) => !keys.iter().all(|key| self.table.is_held(key)),
            Scope::Store => false,
        });
        let locks = match scope {
            Scope::Key(_) if mutant("one_lock_for_all_keys") => {
                Locks::One(self.table.lock(&Digest::new([0; 32])))
            }
            Scope::Key(key) => Locks::One(self.table.lock(key)),
            Scope::Keys(keys) => Locks::Many(self.table.lock_many(keys)?),
            Scope::Store => Locks::None,
        };
        Ok(Keyed {
            _locks: locks,
            _rank: Some(rank),
        })
    }

    fn locks(&self) -> Vec<usize> {
        vec![Arc::as_ptr(&self.table).addr()]
    }
}

impl<S: Clone> Clone for PerKey<S> {
    /// Another handle: the same locks.
    fn clone(&self) -> Self {
        if mutant("clone_with_its_own_lock") {
            return Self::new(self.inner.clone());
        }
        Self::with_table(self.inner.clone(), self.table.clone())
    }
}

impl<S: Default> Default for PerKey<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

impl<S: fmt::Debug> fmt::Debug for PerKey<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PerKey").field(&self.inner).finish()
    }
}
