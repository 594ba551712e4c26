//! [`Contention`]: an observer that counts.

use crate::table::observer::Observer;
use std::fmt;
use std::time::Duration;

mod counter {
    //! Statistics of its own: not part of any protocol, so not behind the facade (as arc-swap, which leads here).
    pub(super) use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
}
use counter::{AtomicU64, Relaxed};

/// Counts waits and keeps a histogram of how long they took.
///
/// ```
/// use perkey::{Contention, LockTable};
/// use std::sync::Arc;
///
/// let table = LockTable::<u64>::new();
/// let contention = Arc::new(Contention::new());
/// table.set_observer(Some(contention.clone()));
/// drop(table.lock(&1)); // nobody in the way: nothing to count
/// assert_eq!(contention.waits(), 0);
/// ```
pub struct Contention {
    began: AtomicU64,
    ended: AtomicU64,
    timed_out: AtomicU64,
    nanos: AtomicU64,
    longest: AtomicU64,
    /// Waits that took from 2^i to below 2^(i+1) nanoseconds (the first also 0).
    histogram: [AtomicU64; 64],
}

impl Contention {
    /// All counters at 0.
    ///
    /// ```
    /// use perkey::Contention;
    ///
    /// static WAITS: Contention = Contention::new();
    /// assert_eq!((WAITS.waits(), WAITS.quantile(0.5)), (0, None));
    /// ```
    pub const fn new() -> Self {
        Self {
            began: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            timed_out: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            longest: AtomicU64::new(0),
            histogram: [const { AtomicU64::new(0) }; 64],
        }
    }

    /// How many waits have begun.
    ///
    /// ```
    /// use perkey::{Contention, LockTable};
    /// use std::{sync::Arc, thread, time::Duration};
    ///
    /// let (table, contention) = (LockTable::<u64>::new(), Arc::new(Contention::new()));
    /// table.set_observer(Some(contention.clone()));
    /// let _guard = table.lock(&1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_for(&1, Duration::from_millis(1)).is_none()));
    /// });
    /// drop(table.lock(&1)); // re-entrant: no wait
    /// assert_eq!(contention.waits(), 1);
    /// ```
    pub fn waits(&self) -> u64 {
        // ORDERING: Relaxed, here and in all of this file; counters, nothing is published with them.
        self.began.load(Relaxed)
    }

    /// How many waits have ended with the lock.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// contention.wait_ended(&1, Duration::from_millis(5)); // as a table tells it
    /// contention.wait_timed_out(&1, Duration::from_millis(5));
    /// assert_eq!(contention.acquired(), 1);
    /// ```
    pub fn acquired(&self) -> u64 {
        // ORDERING: Relaxed, a counter.
        self.ended.load(Relaxed)
    }

    /// How many waits have timed out.
    ///
    /// ```
    /// use perkey::{Contention, LockTable};
    /// use std::{sync::Arc, thread, time::Duration};
    ///
    /// let (table, contention) = (LockTable::<u64>::new(), Arc::new(Contention::new()));
    /// table.set_observer(Some(contention.clone()));
    /// let _guard = table.lock(&1);
    /// thread::scope(|s| {
    ///     s.spawn(|| assert!(table.try_lock_for(&1, Duration::from_millis(1)).is_none()));
    /// });
    /// assert_eq!((contention.timed_out(), contention.acquired()), (1, 0));
    /// ```
    pub fn timed_out(&self) -> u64 {
        // ORDERING: Relaxed, a counter.
        self.timed_out.load(Relaxed)
    }

    /// The time of all waits that are over, added up.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// contention.wait_ended(&1, Duration::from_millis(2)); // as a table tells it
    /// contention.wait_timed_out(&1, Duration::from_millis(5));
    /// assert_eq!(contention.total(), Duration::from_millis(7));
    /// ```
    pub fn total(&self) -> Duration {
        // ORDERING: Relaxed, a counter.
        Duration::from_nanos(self.nanos.load(Relaxed))
    }

    /// The longest wait that is over.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// contention.wait_ended(&1, Duration::from_millis(2)); // as a table tells it
    /// contention.wait_timed_out(&1, Duration::from_millis(5));
    /// assert_eq!(contention.longest(), Duration::from_millis(5));
    /// ```
    pub fn longest(&self) -> Duration {
        // ORDERING: Relaxed, a counter.
        Duration::from_nanos(self.longest.load(Relaxed))
    }

    /// The waits that are over, by length: element *i* counts those from 2^*i* to below 2^(*i*+1) nanoseconds.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// contention.wait_ended(&1, Duration::from_nanos(1000)); // as a table tells it
    /// contention.wait_timed_out(&1, Duration::from_nanos(600));
    /// assert_eq!(contention.histogram()[9], 2); // 512 to 1023 ns
    /// ```
    pub fn histogram(&self) -> [u64; 64] {
        // ORDERING: Relaxed, counters.
        std::array::from_fn(|i| self.histogram[i].load(Relaxed))
    }

    /// An upper bound (within a factor of 2) of the length that the fraction `q` (0 to 1) of the waits stayed below.
    /// `None` if no wait is over.
    ///
    /// ```
    /// use perkey::{Contention, Observer};
    /// use std::time::Duration;
    ///
    /// let contention = Contention::new();
    /// assert_eq!(contention.quantile(0.5), None);
    /// for nanos in [600, 700, 1_000_000] {
    ///     contention.wait_ended(&1, Duration::from_nanos(nanos)); // as a table tells it
    /// }
    /// assert_eq!(contention.quantile(0.5), Some(Duration::from_nanos(1024)));
    /// ```
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let histogram = self.histogram();
        let total: u64 = histogram.iter().sum();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut below = 0;
        for (i, n) in histogram.iter().enumerate() {
            below += n;
            if below >= wanted {
                let bound = 2u64.checked_pow(u32::try_from(i).unwrap_or(63) + 1);
                return Some(Duration::from_nanos(bound.unwrap_or(u64::MAX)).min(self.longest()));
            }
        }
        Some(self.longest())
    }

    fn over(&self, waited: Duration) {
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        // ORDERING: Relaxed, counters.
        self.nanos.fetch_add(nanos, Relaxed);
        self.longest.fetch_max(nanos, Relaxed);
        self.histogram[nanos.max(1).ilog2() as usize].fetch_add(1, Relaxed);
    }
}

impl Default for Contention {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Observer<K> for Contention {
    fn wait_began(&self, _: &K) {
        // ORDERING: Relaxed, a counter.
        self.began.fetch_add(1, Relaxed);
    }

    fn wait_ended(&self, _: &K, waited: Duration) {
        // ORDERING: Relaxed, a counter.
        self.ended.fetch_add(1, Relaxed);
        self.over(waited);
    }

    fn wait_timed_out(&self, _: &K, waited: Duration) {
        // ORDERING: Relaxed, a counter.
        self.timed_out.fetch_add(1, Relaxed);
        self.over(waited);
    }
}

impl fmt::Debug for Contention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contention")
            .field("waits", &self.waits())
            .field("acquired", &self.acquired())
            .field("timed_out", &self.timed_out())
            .field("total", &self.total())
            .field("longest", &self.longest())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(perkey_loom, perkey_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn waits_are_counted_by_length() {
        let c = Contention::new();
        assert_eq!(c.quantile(0.5), None);
        for (nanos, times) in [(0, 1), (1_000, 8), (1_000_000, 1)] {
            for _ in 0..times {
                Observer::<u64>::wait_began(&c, &0);
                c.wait_ended(&0u64, Duration::from_nanos(nanos));
            }
        }
        Observer::<u64>::wait_began(&c, &0);
        c.wait_timed_out(&0u64, Duration::from_secs(1));
        assert_eq!((c.waits(), c.acquired(), c.timed_out()), (11, 10, 1));
        assert_eq!(c.longest(), Duration::from_secs(1));
        assert_eq!(c.histogram().iter().sum::<u64>(), 11);
        assert_eq!(c.histogram()[9], 8);
        assert_eq!(c.quantile(0.5), Some(Duration::from_nanos(1024)));
        assert_eq!(c.quantile(1.0), Some(Duration::from_secs(1)));
    }
}
