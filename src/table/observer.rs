//! Being told of waits.
//!
//! The observer is swapped through arc-swap, which the model checkers do not see into; it stands on the waiting path
//! only, and no claim of DESIGN.md rests on it.

use crate::sync::enter_once;
use arc_swap::ArcSwapOption;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Is told when a wait for a key begins, ends or times out.
///
/// Called by the thread that waits, on the waiting path only: with no pin, no claim and no internal lock held. It may panic (the
/// operation then fails with that panic and leaves nothing behind) and may use the table; waits of its own are not
/// reported again.
///
/// ```
/// use perkey::{LockTable, Observer};
/// use std::{sync::{Arc, Mutex}, thread, time::Duration};
///
/// #[derive(Default)]
/// struct Missed(Mutex<Vec<u64>>);
/// impl Observer<u64> for Missed {
///     fn wait_timed_out(&self, key: &u64, _: Duration) {
///         self.0.lock().unwrap().push(*key);
///     }
/// }
///
/// let (table, missed) = (LockTable::<u64>::new(), Arc::new(Missed::default()));
/// table.set_observer(Some(missed.clone()));
/// let _guard = table.lock(&7);
/// thread::scope(|s| {
///     s.spawn(|| assert!(table.try_lock_for(&7, Duration::from_millis(1)).is_none()));
/// });
/// assert_eq!(*missed.0.lock().unwrap(), [7]);
/// ```
pub trait Observer<K>: Send + Sync {
    /// The calling thread is about to wait for `key`.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    ///
    /// let contention = Contention::new();
    /// contention.wait_began(&"apple"); // as the table does
    /// assert_eq!((contention.waits(), contention.acquired()), (1, 0));
    /// ```
    fn wait_began(&self, key: &K) {
        let _ = key;
    }

    /// The calling thread has got `key` after waiting for `waited`.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// contention.wait_ended(&"apple", Duration::from_millis(5)); // as the table does
    /// assert_eq!((contention.acquired(), contention.longest()), (1, Duration::from_millis(5)));
    /// ```
    fn wait_ended(&self, key: &K, waited: Duration) {
        let _ = (key, waited);
    }

    /// The calling thread has given up waiting for `key` after `waited`.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// contention.wait_timed_out(&"apple", Duration::from_millis(5)); // as the table does
    /// assert_eq!((contention.timed_out(), contention.acquired()), (1, 0));
    /// ```
    fn wait_timed_out(&self, key: &K, waited: Duration) {
        let _ = (key, waited);
    }
}

impl<K, O: Observer<K> + ?Sized> Observer<K> for Arc<O> {
    fn wait_began(&self, key: &K) {
        (**self).wait_began(key);
    }
    fn wait_ended(&self, key: &K, waited: Duration) {
        (**self).wait_ended(key, waited);
    }
    fn wait_timed_out(&self, key: &K, waited: Duration) {
        (**self).wait_timed_out(key, waited);
    }
}

/// The place of the one observer.
pub(super) struct Observers<K> {
    // arc-swap wants a sized pointee, hence the second `Arc`.
    now: ArcSwapOption<Told<K>>,
}

pub(super) struct Told<K>(Arc<dyn Observer<K>>);

impl<K> Told<K> {
    /// Calls `f`, unless this thread is in an observer already.
    pub(super) fn tell(&self, f: impl FnOnce(&dyn Observer<K>)) {
        enter_once(|| f(&*self.0));
    }
}

impl<K> Default for Observers<K> {
    fn default() -> Self {
        Self {
            now: ArcSwapOption::const_empty(),
        }
    }
}

impl<K> Observers<K> {
    pub(super) fn set(&self, observer: Option<Arc<dyn Observer<K>>>) {
        self.now.store(observer.map(|o| Arc::new(Told(o))));
    }

    pub(super) fn get(&self) -> Option<Arc<Told<K>>> {
        self.now.load_full()
    }
}

impl<K> fmt::Debug for Observers<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.now.load().is_some() {
            "set"
        } else {
            "none"
        })
    }
}
