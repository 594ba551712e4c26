//! Everything that the threads share.

use crate::arena::{Arena, PLANS};
use crate::faults::Faults;
use crate::key::Key;
use crate::tally::Tally;
use crate::Broken;
use perkey::storage::{BoxError, Bytes, Digest, Memory, PerKey, Storage};
use perkey::{OwnedKeyLock, ReentrantLock};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// So many keys of the store.
pub(crate) const VALUES: u64 = 2;
/// So many owned handles wait in the letter box at most.
const LETTERS: usize = 8;

/// What lasts for the whole run.
pub(crate) struct World {
    pub(crate) arenas: Vec<Arena>,
    /// Locks without a table, around data that is really not atomic.
    pub(crate) locks: Vec<ReentrantLock<Cell<u64>>>,
    /// A store whose values are counters.
    pub(crate) store: PerKey<Memory>,
    pub(crate) faults: Faults,
    pub(crate) operations: AtomicU64,
    pub(crate) tally: Tally,
    pub(crate) threads: AtomicU64,
    pub(crate) broken: Option<Broken>,
    /// How often `locks` and `store` were added to; told by the threads when they end.
    pub(crate) locked: AtomicU64,
    pub(crate) stored: AtomicU64,
    /// Owned handles on their way from one thread to another, with the number of their arena.
    letters: Mutex<Vec<(usize, OwnedKeyLock<Key>)>>,
    /// What `Broken::Memory` keeps.
    pub(crate) kept: Mutex<Vec<Vec<u8>>>,
}

impl World {
    pub(crate) fn new(broken: Option<Broken>) -> Self {
        Self {
            arenas: PLANS.iter().map(|plan| Arena::new(*plan)).collect(),
            locks: (0..3).map(|_| ReentrantLock::default()).collect(),
            store: PerKey::new(Memory::new()),
            faults: Faults::default(),
            operations: AtomicU64::new(0),
            tally: Tally::default(),
            threads: AtomicU64::new(0),
            broken,
            locked: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            letters: Mutex::new(Vec::with_capacity(LETTERS)),
            kept: Mutex::default(),
        }
    }

    /// Leaves an owned handle for another thread, and takes one that was left.
    pub(crate) fn exchange(
        &self,
        letter: (usize, OwnedKeyLock<Key>),
    ) -> Option<(usize, OwnedKeyLock<Key>)> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = (letters.len() == LETTERS).then(|| letters.swap_remove(0));
        letters.push(letter);
        taken
    }

    /// How many waits there were.
    pub(crate) fn waits(&self) -> u64 {
        self.arenas.iter().map(|a| a.waits.waits()).sum()
    }

    /// Adds one to a counter in the store.
    pub(crate) fn count_in_store(&self, n: u64) {
        let add = |old: Option<Bytes>| {
            std::thread::yield_now(); // so that another update comes in between, if it can
            Ok::<_, BoxError>(Some((number(old.as_deref()) + 1).to_string()))
        };
        let done = self.store.update(&Digest::of(n.to_string()), add);
        self.faults
            .check(done.is_ok(), || format!("S2, an update failed: {done:?}"));
    }

    /// When no other thread is there: everything is as it has to be.
    pub(crate) fn muster(&self) {
        self.letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        for arena in &self.arenas {
            arena.muster(&self.faults);
        }
        let seen: u64 = self.locks.iter().map(|l| l.lock().get()).sum();
        let made = self.locked.load(Relaxed);
        if seen != made {
            self.faults.overlap(|| {
                format!("I1, `ReentrantLock`: {made} updates were made, {seen} are there")
            });
        }
        let value = |n: u64| {
            let value = self.store.load(&Digest::of(n.to_string())).ok();
            number(value.as_deref())
        };
        let (seen, made) = (
            (0..VALUES).map(value).sum::<u64>(),
            self.stored.load(Relaxed),
        );
        self.faults.check(seen == made, || {
            format!("S2, `PerKey`: {made} updates were made, {seen} are there")
        });
    }
}

/// The number in a value of the store; 0 without one.
fn number(value: Option<&[u8]>) -> u64 {
    let text = value.and_then(|v| std::str::from_utf8(v).ok());
    text.and_then(|t| t.parse().ok()).unwrap_or_default()
}
