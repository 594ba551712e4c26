//! One re-entrant lock, with or without a table around it.
//!
//! - [`word`]: the packed word, its bits and its pure transitions;
//! - [`raw`]: owner, depth, taking and giving back;
//! - [`wait`]: the queue of those who wait, sleeping, waking, handing over;
//! - [`reentrant`]: the public [`ReentrantLock`].
//!
//! The lock owns the bits `LOCKED` and `PARKED` of the word; the rest belongs to whoever embeds it (an entry of the table
//! keeps its phase and its references there), so that giving back a lock and a reference is one exchange.

pub(crate) mod raw;
mod reentrant;
mod wait;
pub(crate) mod word;

pub use reentrant::{ReentrantLock, ReentrantLockGuard};
pub(crate) use wait::Side;
