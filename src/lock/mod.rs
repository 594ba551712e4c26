//! One re-entrant lock, with or without a table around it.
//!
//! - [`word`]: the packed word, its bits and its pure transitions;
//! - [`raw`]: owner, depth, taking and giving back;
//! - [`latest`]: which lock of a table this thread has taken last;
//! - [`wait`]: the queue of those who wait, sleeping, waking, handing over;
//! - [`reentrant`]: the public [`ReentrantLock`].
//!
//! The lock owns the bits `LOCKED` and `PARKED` of the word; the rest belongs to whoever embeds it (an entry of the table
//! keeps its phase and its references there), so that giving back a lock and a reference is one exchange.

pub(crate) mod latest;
pub(crate) mod raw;
mod reentrant;
mod wait;
pub(crate) mod word;

pub use reentrant::{ReentrantLock, ReentrantLockGuard};
pub(crate) use wait::Side;

use crate::sync::time::{now, Instant};
use std::time::Duration;

/// How long to wait for a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    No,
    /// Until the deadline, if there is one.
    Until(Option<Instant>),
}

impl Patience {
    /// As long as it takes.
    pub(crate) const ENDLESS: Self = Self::Until(None);

    /// For `timeout`, if the clock reaches as far; else as long as it takes.
    pub(crate) fn lasting(timeout: Duration) -> Self {
        Self::Until(now().checked_add(timeout))
    }

    /// Until `deadline`.
    pub(crate) fn until(deadline: Instant) -> Self {
        Self::Until(Some(deadline))
    }
}
