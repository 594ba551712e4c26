//! [`Serializing`]: one lock around every operation.

use crate::mutant::mutant;
use crate::storage::order::{Kind, Ranked};
use crate::storage::{Failure, Intent, Layer, Scope};
use crate::{ReentrantLock, ReentrantLockGuard};
use std::fmt;
use std::sync::Arc;

/// Lets one operation in at a time, whatever its keys.
///
/// The lock is re-entrant: an operation inside another one of the same thread does not wait. Clones share it. After a panic it is free, and
/// the operation undone.
///
/// ```
/// use perkey::storage::{BoxError, Memory, Serializing, Storage};
///
/// let store = Serializing::new(Memory::new());
/// let key = store.save("apple").unwrap();
/// store
///     .update(&key, |_| Ok::<_, BoxError>(Some(store.load(&key)?))) // inside: no waiting
///     .unwrap();
/// ```
pub struct Serializing<S> {
    lock: Arc<ReentrantLock<()>>,
    inner: S,
}

impl<S> Serializing<S> {
    /// A lock around `inner`.
    ///
    /// ```
    /// use perkey::storage::{Memory, Serializing, Storage};
    ///
    /// assert!(Serializing::new(Memory::new()).list().unwrap().is_empty());
    /// ```
    pub fn new(inner: S) -> Self {
        Self::with_lock(inner, Arc::default())
    }

    /// A given lock around `inner`: for two stores that stand for one thing.
    ///
    /// ```
    /// use perkey::storage::{Memory, Serializing};
    ///
    /// let one = Serializing::new(Memory::new());
    /// let other = Serializing::with_lock(Memory::new(), one.lock().clone());
    /// let _guard = one.lock().lock();
    /// assert!(other.lock().is_held());
    /// ```
    pub fn with_lock(inner: S, lock: Arc<ReentrantLock<()>>) -> Self {
        Self { lock, inner }
    }

    /// The lock.
    ///
    /// ```
    /// use perkey::storage::{Memory, Serializing};
    ///
    /// let store = Serializing::new(Memory::new());
    /// let _guard = store.lock().lock(); // nobody else gets in
    /// ```
    pub fn lock(&self) -> &Arc<ReentrantLock<()>> {
        &self.lock
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

/// What a [`Serializing`] holds while an operation runs.
pub struct Serial<'a> {
    _lock: Option<ReentrantLockGuard<'a, ()>>,
    _rank: Ranked,
}

impl<S: crate::storage::Storage> Layer for Serializing<S> {
    type Inner = S;
    type Held<'a>
        = Serial<'a>
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }

    fn enter(&self, _: Scope<'_>, intent: Intent) -> Result<Serial<'_>, Failure> {
        let rank = Ranked::enter(&self.lock, Kind::One, || !self.lock.is_held());
        let free = mutant("serializing_without_lock")
            || (mutant("serializing_reads_without_lock") && intent == Intent::Read);
        Ok(Serial {
            _lock: (!free).then(|| self.lock.lock()),
            _rank: rank,
        })
    }

    fn locks(&self) -> Vec<usize> {
        vec![Arc::as_ptr(&self.lock).addr()]
    }
}

impl<S: Clone> Clone for Serializing<S> {
    /// Another handle: the same lock.
    fn clone(&self) -> Self {
        if mutant("clone_with_its_own_lock") {
            return Self::new(self.inner.clone());
        }
        Self::with_lock(self.inner.clone(), self.lock.clone())
    }
}

impl<S: Default> Default for Serializing<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

impl<S: fmt::Debug> fmt::Debug for Serializing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Serializing").field(&self.inner).finish()
    }
}
