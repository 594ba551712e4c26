//! How often the rarer things have happened: a run in which one of them never did has shown less than it seems to.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// A panic while a key was held.
    Panic,
    /// A panic of a key's own code.
    KeyPanic,
    /// A thread that died by a panic, with a key in its hands.
    Death,
    /// A thread that died and forgot what it held.
    Burial,
    /// A timed lock that gave up.
    TimeOut,
    /// A weak handle whose key was alive.
    Alive,
    /// A weak handle whose key was gone.
    Gone,
    /// An owned handle that came from another thread and was locked.
    Letter,
    /// `lock_many` that refused to wait.
    Refusal,
    /// A table that was shrunk under way.
    Shrinking,
    /// A thread that was hired.
    Hire,
}

/// All of them, and what they are called.
const NAMES: [&str; 11] = [
    "panics while holding",
    "panics of keys",
    "deaths while holding",
    "forgotten keys",
    "time-outs",
    "upgrades",
    "upgrades of the dead",
    "handles from others",
    "refusals to deadlock",
    "shrinkings",
    "threads",
];

/// The counts of all threads.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; NAMES.len()]);

/// The counts of one.
#[derive(Debug, Default)]
pub(crate) struct Mine([u64; NAMES.len()]);

impl Mine {
    pub(crate) fn note(&mut self, event: Event) {
        self.0[event as usize] += 1;
    }
}

impl Tally {
    pub(crate) fn note(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn add(&self, mine: &Mine) {
        for (all, n) in self.0.iter().zip(mine.0) {
            all.fetch_add(n, Relaxed);
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, n)) in NAMES.iter().zip(&self.0).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            write!(f, "{comma}{} {name}", n.load(Relaxed))?;
        }
        Ok(())
    }
}
