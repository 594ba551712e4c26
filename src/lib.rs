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
//!
//! # Model-checking code of your own
//! What is built on perkey can be run under loom and shuttle, perkey included: every step of its protocols is a step for the checker.
//! The package `examples/bank` shows all of it, on the public API: a transfer whose locks are taken one by one deadlocks,
//! and the checker prints in which order; with [`LockTable::lock_many`] the model passes.
//!
//! The checkers come in by cfg names of our own, so that no other crate's flag switches perkey:
//! ```toml
//! [target.'cfg(perkey_loom)'.dependencies]
//! loom = "0.7.3"
//! [target.'cfg(perkey_shuttle)'.dependencies]
//! shuttle = "=0.9.9"
//! ```
//! ```sh
//! RUSTFLAGS="--cfg perkey_loom --cfg crossbeam_loom" cargo test --release
//! RUSTFLAGS="--cfg perkey_shuttle" cargo test --release
//! ```
//! In a model:
//! - threads, and data that is to be watched, are the checker's (`loom::thread`, `loom::cell::UnsafeCell`); the table is used as ever, made anew in
//!   each execution;
//! - a table has one bucket, with two slots under loom and six under shuttle, whatever its capacity: three keys at once overflow already;
//! - the default hasher is not seeded, and time stands still: a `try_lock_for` that has to wait waits for its lock;
//! - loom explores weak memory, up to a bound (`preemption_bound` 2 shows most faults); shuttle is sequentially consistent and
//!   goes further, at random, and a failure can be replayed;
//! - loom 0.7.3 as published leaves executions out (tokio-rs/loom, issues 166 and 392): a thread that reads a word before it writes to it hides the reads
//!   of others before that. perkey's own models run on a copy with `loom-tests/loom.patch`, which cargo takes by its setting
//!   `paths = ["…/loom-0.7.3"]`; do the same. Without a bound it also explores only once what differs in the order of independent steps only, and so ends much
//!   sooner;
//! - observers are called, but arc-swap, which holds them, is not explored; [`storage`] backends in memory and the layers are, files and databases are not there;
//! - `storage::conformance::shuttle(MyStore::new, 10_000)` (feature `test-util`) puts a backend of your own through the suite that ours pass;
//! - a model that fails often takes its process along, as guards of a broken execution are dropped: run it in one of its own.

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
    #[cfg(perkey_loom)]
    pub use crate::sync::model::{begin, leave_out_epoch, use_time};
    pub use crate::sync::model::{set_lagging, tick};
    pub use crate::sync::time::Instant;
}

/// Counts what an operation does to memory. Not part of the API; only there in a build that counts.
#[cfg(perkey_count)]
#[doc(hidden)]
pub mod count {
    pub use crate::sync::count::{count, Count};
}
