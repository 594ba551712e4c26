//! Many keys in one call: all or none, and in an order that all callers share.
//!
//! - M1. A reference on the entry of every key comes first, then the locks.
//! - M2. Locks are taken in the order of the entries' ranks, each once: slots by address, then the nodes of chains by the number of their
//!   publication, which is never used twice.
//! - M3. Nobody waits here for an entry while he holds a later one of the table, however he came by it: he takes what is to be
//!   had without waiting, or nothing.
//!
//! No cycle of waits consists of such calls only. A key has one entry at a time (I2), and an entry neither moves nor serves another
//! key while it is referenced (I7), so by M1 all who hold or want a key mean the same rank, until the last of them is gone. Let
//! thread 1 wait for e₁, which thread 2 holds, who waits for e₂, and so on, until thread n waits for eₙ, which thread 1 holds. Who waits
//! for eᵢ₊₁ and holds eᵢ holds nothing later than eᵢ₊₁ (M2 for what this call took, M3 for the rest), hence eᵢ < eᵢ₊₁, all
//! the way round to e₁ < e₁. What a thread holds does not change while it waits, so it is enough to look before it does. `lock` by
//! a thread that holds no key of the table is such a call, with one key. ∎
//!
//! Left out: cycles through `lock` (of a guard, of a handle) by a thread that holds keys, through other tables and other
//! locks, and through an observer that takes keys when a wait begins and keeps them.

use crate::lock::raw::Exhausted;
use crate::lock::Patience;
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::Ordering;
use crate::sync::time::Instant;
use crate::table::core::Core;
use crate::table::entry::Entry;
use crate::table::guard::KeyGuard;
use crate::table::handle::KeyLock;
use crate::table::node::Node;
use crate::table::LockTable;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Why [`LockTable::lock_many`] took nothing.
///
/// ```
/// use perkey::{LockManyError, LockTable};
///
/// let table = LockTable::<u64>::new();
/// let two = table.lock(&2);
/// let both = match table.lock_many([&1, &2]) {
///     Ok(both) => both, // 1 was free, or comes after 2 in the table: then it was right to wait for it
///     Err(LockManyError::WouldDeadlock) => {
///         drop(two); // from here on another thread may come between
///         table.lock_many([&1, &2]).expect("this thread holds nothing now")
///     }
///     Err(e) => panic!("{e}"),
/// };
/// assert!(both.contains(&1) && both.contains(&2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LockManyError {
    /// Another thread holds one of the keys, and the calling thread holds a key that comes later in the table's order. If it
    /// waited, others that take keys in that order might wait for it in turn, for ever. Nothing was locked. A thread that
    /// holds no key of the table never gets this: release what is held, and ask for all keys in one call.
    ///
    /// ```
    /// let said = perkey::LockManyError::WouldDeadlock.to_string();
    /// assert!(said.contains("could deadlock"));
    /// ```
    WouldDeadlock,
}

impl fmt::Display for LockManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldDeadlock => f.write_str(
                "another thread holds one of the keys, and waiting for it could deadlock, because this thread holds a key that comes \
                 later in the table's order; release the keys that are held and ask for all of them in one call",
            ),
        }
    }
}

impl std::error::Error for LockManyError {}

/// Holds many keys of a [`LockTable`]; dropping it releases them, the last one taken first.
///
/// Each key is there once, however often it was asked for. A key that the thread held before is held once more. Neither
/// `Send` nor `Sync`. Dropping blocks and panics as dropping a [`KeyGuard`] of each key does; if a key panics in its
/// `Drop`, the other keys are released all the same.
///
/// ```
/// let table = perkey::LockTable::<String>::new();
/// let both = table.lock_many(["ann", "bob", "ann"]).unwrap();
/// assert!(both.len() == 2 && table.is_held("ann") && table.is_held("bob"));
/// drop(both);
/// assert!(table.is_empty());
/// ```
#[must_use = "the keys are released when the guard is dropped"]
pub struct ManyGuard<'t, K> {
    /// The last one taken first: the order in which a vector drops them, a panic or not.
    guards: Vec<KeyGuard<'t, K>>,
}

impl<K> ManyGuard<'_, K> {
    /// The keys that are held, each once, in no order that means anything.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let many = table.lock_many([&3, &1, &3, &2]).unwrap();
    /// let mut keys: Vec<u64> = many.keys().copied().collect();
    /// keys.sort();
    /// assert_eq!(keys, [1, 2, 3]);
    /// ```
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> + '_ {
        self.guards.iter().map(KeyGuard::key)
    }

    /// How many keys are held.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// assert_eq!(table.lock_many([&1, &2, &1]).unwrap().len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.guards.len()
    }

    /// Was no key asked for?
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// assert!(table.lock_many(&[]).unwrap().is_empty());
    /// assert!(!table.lock_many(&[1]).unwrap().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// Is `key` among the keys that are held by this guard? Compares it to each of them.
    ///
    /// ```
    /// let table = perkey::LockTable::<String>::new();
    /// let other = table.lock("cid");
    /// let both = table.lock_many(["ann", "bob"]).unwrap();
    /// assert!(both.contains("ann") && !both.contains("cid"));
    /// ```
    ///
    /// # Panics
    /// If the key's code panics.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.keys().any(|its| its.borrow() == key)
    }

    /// Drops the guard and hands each key that is released to its longest waiter, if there is one.
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let both = table.lock_many([&1, &2]).unwrap();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| assert_eq!(table.lock_many([&2, &1]).unwrap().len(), 2));
    ///     both.unlock_fair(); // a waiter is not overtaken, not by this thread either
    ///     assert!(!table.is_held(&1) && !table.is_held(&2));
    /// });
    /// ```
    pub fn unlock_fair(self) {
        for guard in self.guards {
            guard.unlock_fair();
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for ManyGuard<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManyGuard").field(&self.guards).finish()
    }
}

impl<K: Hash + Eq, S: BuildHasher> LockTable<K, S> {
    /// Takes the locks of all `keys`, or none; blocks while other threads hold them, and for nothing else. Asking for a key
    /// twice is asking for it once.
    ///
    /// The keys may come in any order: they are taken in an order of the table's own, so that calls of `lock_many` never wait
    /// for each other in a circle, whatever the calling threads hold. In return a thread that holds a key (through whatever guard) which
    /// in that order comes later than one that it would have to wait for gets an error instead. A key that it holds already is
    /// taken once more. Calls of [`lock`](Self::lock) by threads that hold keys take no part in this.
    ///
    /// While nothing has to be waited for this is lock-free, but it allocates. Before a wait every place of the table is looked at once.
    ///
    /// ```
    /// use perkey::LockTable;
    ///
    /// let accounts = LockTable::<String>::new();
    /// let transfer = |from: &str, to: &str| {
    ///     let both = accounts.lock_many([from, to]).unwrap();
    ///     assert_eq!(both.len(), 2);
    /// };
    /// std::thread::scope(|s| {
    ///     s.spawn(|| transfer("ann", "bob"));
    ///     s.spawn(|| transfer("bob", "ann")); // the other way round: no deadlock
    /// });
    /// assert!(accounts.is_empty());
    /// ```
    ///
    /// # Errors
    /// [`LockManyError::WouldDeadlock`], only if the thread holds a key of the table. Nothing was locked then.
    ///
    /// # Panics
    /// As [`lock`](Self::lock), and if the iterator does. Nothing is left behind.
    pub fn lock_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Result<ManyGuard<'_, K>, LockManyError>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        match self.acquire_many(keys, Patience::ENDLESS) {
            Ok(many) => Ok(many),
            Err(Stop::Later) => Err(LockManyError::WouldDeadlock),
            Err(Stop::Busy) => unreachable!("a wait without a deadline ends with the lock"),
            Err(Stop::Exhausted(e)) => e.panic(),
        }
    }

    /// Takes the locks of all `keys` if no other thread holds one of them; otherwise takes none. Lock-free, but it allocates.
    /// `None`, too, when a count is at its end (see [`lock`](Self::lock)).
    ///
    /// ```
    /// let table = perkey::LockTable::<u64>::new();
    /// let both = table.try_lock_many([&1, &2]).unwrap();
    /// std::thread::scope(|s| {
    ///     s.spawn(|| {
    ///         assert!(table.try_lock_many([&3, &2]).is_none());
    ///         assert!(!table.is_locked(&3)); // nothing is left of the attempt
    ///     });
    /// });
    /// ```
    ///
    /// # Panics
    /// If the keys' code or the iterator panics.
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
    ) -> Option<ManyGuard<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        self.acquire_many(keys, Patience::No).ok()
    }

    /// Takes the locks of all `keys`; gives up after `timeout`, and then leaves nothing behind. Gives up at once where
    /// [`lock_many`](Self::lock_many) gives an error. A time-out too long for the clock is none. Otherwise like
    /// [`try_lock_many`](Self::try_lock_many).
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{thread, time::Duration};
    ///
    /// let table = LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_many_for([&2, &1], Duration::from_millis(1)).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_many_for<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        timeout: Duration,
    ) -> Option<ManyGuard<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        self.acquire_many(keys, Patience::lasting(timeout)).ok()
    }

    /// Takes the locks of all `keys`; gives up at `deadline`, and then leaves nothing behind. Otherwise like
    /// [`try_lock_many_for`](Self::try_lock_many_for).
    ///
    /// ```
    /// use perkey::LockTable;
    /// use std::{thread, time::{Duration, Instant}};
    ///
    /// let table = LockTable::<u64>::new();
    /// let _guard = table.lock(&1);
    /// let deadline = Instant::now() + Duration::from_millis(1); // one for all keys
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_many_until([&2, &1], deadline).is_none()));
    /// });
    /// ```
    #[must_use = "what was taken is released when it is dropped"]
    pub fn try_lock_many_until<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        deadline: Instant,
    ) -> Option<ManyGuard<'_, K>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        self.acquire_many(keys, Patience::until(deadline)).ok()
    }

    fn acquire_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        patience: Patience,
    ) -> Result<ManyGuard<'_, K>, Stop>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized + 'q,
    {
        // Foreign code, all of it, with nothing but references.
        let locks: Result<Vec<_>, _> = keys.into_iter().map(|key| self.refer(key)).collect();
        self.core.take_all(locks?, patience)
    }
}

/// Why an attempt ended.
enum Stop {
    /// Another thread holds a key, and there is no time (left) to wait for it.
    Busy,
    /// Another thread holds a key, and this one holds a later one (M3).
    Later,
    Exhausted(Exhausted),
}

impl From<Exhausted> for Stop {
    fn from(e: Exhausted) -> Self {
        Self::Exhausted(e)
    }
}

impl<K> Core<K> {
    /// Takes all of the locks, which are referenced (M1), or none.
    fn take_all<'t>(
        &'t self,
        mut locks: Vec<KeyLock<'t, K>>,
        patience: Patience,
    ) -> Result<ManyGuard<'t, K>, Stop> {
        if mutant("many_unsorted") {
            let mut seen = Vec::new();
            locks.retain(|lock| {
                seen.push(lock.hold.pointer());
                !seen[..seen.len() - 1].contains(&lock.hold.pointer())
            });
        } else {
            locks.sort_unstable_by_key(|lock| rank(lock.hold.entry())); // M2
            if !mutant("many_not_deduplicated") {
                locks.dedup_by_key(|lock| lock.hold.pointer());
            }
        }
        let me = Owner::current();
        let mut many = ManyGuard {
            guards: Vec::with_capacity(locks.len()),
        };
        for lock in locks {
            match self.take(lock, me, patience) {
                Ok(guard) => many.guards.push(guard),
                Err(stop) => {
                    if mutant("many_keeps_on_failure") {
                        std::mem::forget(many);
                    }
                    return Err(stop);
                }
            }
        }
        many.guards.reverse();
        Ok(many)
    }

    /// Takes one of the locks, after all that come before it.
    fn take<'t>(
        &'t self,
        lock: KeyLock<'t, K>,
        me: Owner,
        patience: Patience,
    ) -> Result<KeyGuard<'t, K>, Stop> {
        let raw = &lock.hold.entry().raw;
        if raw.is_held_by(me) {
            return Ok(lock.try_lock().ok_or(Exhausted::Depth)?);
        }
        if raw.try_take(me) {
            return Ok(lock.hold.into_guard());
        }
        let Patience::Until(deadline) = patience else {
            return Err(Stop::Busy);
        };
        if self.holds_later(me, rank(lock.hold.entry())) && !mutant("many_waits_holding_later") {
            return Err(Stop::Later); // M3
        }
        self.wait(lock.hold, me, deadline)?.ok_or(Stop::Busy)
    }

    /// Does `me`, the calling thread, hold an entry that comes later than `this`? What it holds is where it is, so nothing is missed.
    #[cold]
    fn holds_later(&self, me: Owner, this: Rank) -> bool {
        let found = |entry: &Entry<K>| entry.raw.is_held_by(me) && rank(entry) > this;
        self.any_bucket(|bucket| {
            bucket.entries.iter().any(found)
                || bucket.chain.any(found) && !mutant("many_chain_not_looked_at")
        })
    }
}

/// The place of an entry in the order (M2).
type Rank = (u64, usize);

/// Slots come first, by address; then the nodes of chains, by the number of their publication. A model checker, which has to see
/// an execution again, cannot be given the addresses of nodes.
fn rank<K>(entry: &Entry<K>) -> Rank {
    match Node::of(entry) {
        // ORDERING: Relaxed: it was written before *ready*, and is not written again while the caller's reference or lock is there.
        Some(node) => (node.seq.load(Ordering::Relaxed), 0),
        None => (0, std::ptr::from_ref(entry).addr()),
    }
}
