//! The table of weak, re-entrant per-key locks.
//!
//! ```text
//! LockTable ─ hasher
//!           └ Core ─ buckets ─ Bucket ─ stamp, hashes
//!                                     ├ slots ─ Entry ─ word, owner, queue, key
//!                                     └ chain ─ Node  ─ Entry
//! ```
//! [`lock_table`]: the table as a whole · [`ask`]: what it is asked · [`entry`]: one key and its lock ·
//! [`bucket`], [`chain`], [`node`], [`segment`]: where entries are · [`search`], [`insert`], [`claim`], [`source`]: finding and making them ·
//! [`core`]: ends of references, waiting, shrinking · [`guard`], [`handle`], [`owned`], [`owned_handle`]: what users hold · [`many`]: several keys in one call.

mod acquire;
mod array;
mod ask;
mod behind;
mod bucket;
mod chain;
mod claim;
mod contention;
mod core;
mod entry;
mod grow;
mod grown;
mod grown_try;
mod guard;
mod handle;
mod insert;
mod lock_table;
mod many;
mod node;
mod observer;
mod owned;
mod owned_handle;
mod search;
mod segment;
mod source;

pub use ask::KeyMismatch;
pub use contention::Contention;
pub use guard::KeyGuard;
pub use handle::{KeyLock, WeakKeyLock};
pub use lock_table::LockTable;
pub use many::{LockManyError, ManyGuard};
pub use observer::Observer;
pub use owned::OwnedKeyGuard;
pub use owned_handle::{OwnedKeyLock, OwnedWeakKeyLock};

/// What an operation wants of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// The lock, waiting for it if need be.
    Lock,
    /// The lock, if nobody else has it.
    Try,
    /// A reference.
    Handle,
    /// To know, without making an entry.
    Look,
}
