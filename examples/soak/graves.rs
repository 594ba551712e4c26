//! Threads that die with a key in their hands, and forget it: it stays locked for as long as its table lives.
//!
//! These keys have a table of their own, made anew for each round, as nothing else would give their memory back.

use crate::faults::Faults;
use crate::key::{Key, Table};
use std::mem::forget;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// So many in each round.
const PLACES: u64 = 200;

/// A table of keys that nobody can take any more.
pub(crate) struct Graves {
    table: Table,
    next: AtomicU64,
    buried: Mutex<Vec<u64>>,
}

impl Graves {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::with_capacity(16),
            next: AtomicU64::new(0),
            buried: Mutex::new(Vec::new()),
        }
    }

    fn key(n: u64) -> Key {
        Key::new(n, n.is_multiple_of(2), true)
    }

    /// The calling thread is about to end: it takes a key, and forgets its guards, and a handle as well. False if there is no
    /// place left.
    pub(crate) fn bury(&self, levels: u32) -> bool {
        let n = self.next.fetch_add(1, Relaxed);
        if n >= PLACES {
            return false;
        }
        let key = Self::key(n);
        for _ in 0..levels {
            forget(self.table.lock(&key));
        }
        forget(self.table.handle(&key));
        self.buried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(n);
        true
    }

    /// Nobody can take such a key, and the others are not harmed by it.
    pub(crate) fn visit(&self, n: usize, faults: &Faults) {
        let buried = self.buried.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(n) = buried.get(n % buried.len().max(1)).copied() else {
            return;
        };
        drop(buried);
        let key = Self::key(n);
        let t = &self.table;
        let safe = t.is_locked(&key)
            && !t.is_held(&key)
            && t.try_lock(&key).is_none()
            && t.try_lock_for(&key, Duration::from_micros(20)).is_none();
        faults.check(safe, || {
            format!("I1, a thread took key {n}, which a dead one has forgotten")
        });
        let other = Key::new(PLACES + n, true, true);
        faults.check(t.lock(&other).depth() == 1, || {
            format!("I4, a key beside key {n}, which a dead thread has forgotten, is not free")
        });
    }

    /// When no other thread is there: exactly the keys that were forgotten are alive.
    pub(crate) fn muster(self, faults: &Faults) {
        let buried = self.buried.into_inner().unwrap_or_default();
        let alive = self.table.len();
        faults.check(alive == buried.len(), || {
            format!(
                "I5, {} keys were forgotten, and {alive} are alive",
                buried.len()
            )
        });
        self.table.shrink_to_fit();
        for n in buried {
            let key = Self::key(n);
            let safe = self.table.is_locked(&key) && self.table.try_lock(&key).is_none();
            faults.check(safe, || format!("I1, the forgotten key {n} is free"));
        }
    }
}
