//! A lock-free, epoch-reclaimed table of weak, re-entrant per-key locks.
//!
//! [`LockTable::lock`] returns a guard for one key. The thread that holds a key may take it again; other keys are never in the
//! way; an entry is gone when nobody uses it. [`ReentrantLock`] is the same lock without a table.
//!
//! ```
//! use perkey::LockTable;
//!
//! let table = LockTable::<u64>::new();
//! let guard = table.lock(&42);
//! assert!(table.is_held(&42) && table.len() == 1);
//! drop(guard);
//! assert!(table.is_empty());
//! ```
//!
//! # Guarantees
//! Exclusion, uniqueness of entries, re-entrance, independence of keys, no lost wake-up, no use after free and bounded memory
//! are numbered I1–I9 in `DESIGN.md`, cited in the code, model-checked with loom and shuttle, and each check has been seen to
//! fail on a deliberately broken twin of the code.
//!
//! # Map of the modules
//! `sync` (the facade over std, loom, shuttle and the epoch) ← `owner` ← `lock` (one re-entrant lock) ← `table` ← [`storage`]
//! (layers of locks around any key-value backend; feature `storage`, on by default).

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod lock;
mod mutant;
mod owner;
#[cfg(feature = "storage")]
#[forbid(unsafe_code)]
pub mod storage;
mod sync;
mod table;

pub use lock::{ReentrantLock, ReentrantLockGuard};
pub use table::{
    Contention, KeyGuard, KeyLock, KeyMismatch, LockManyError, LockTable, ManyGuard, Observer,
    OwnedKeyGuard, OwnedKeyLock, OwnedWeakKeyLock, WeakKeyLock,
};

/// The default hasher: foldhash, seeded afresh for every table.
///
/// ```
/// use perkey::{LockTable, RandomState};
/// use std::hash::BuildHasher;
///
/// let table = LockTable::<u64, RandomState>::new();
/// let other = LockTable::<u64>::new(); // the same type, another seed
/// assert_ne!(table.hasher().hash_one(1), other.hasher().hash_one(1));
/// ```
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
pub type RandomState = foldhash::fast::RandomState;

/// The default hasher: not seeded, as a model checker has to see the same execution again.
#[cfg(any(perkey_loom, perkey_shuttle))]
pub type RandomState = foldhash::fast::FixedState;

/// What model tests may steer and see. Not part of the API; only there under a model checker.
#[cfg(any(perkey_loom, perkey_shuttle))]
#[doc(hidden)]
pub mod model {
    pub use crate::sync::model::tick;
    #[cfg(perkey_loom)]
    pub use crate::sync::model::use_time;
    pub use crate::sync::time::Instant;
}
