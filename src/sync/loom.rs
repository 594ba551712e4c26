//! The back end for loom: every interleaving and every weak-memory outcome, up to a bound.
//!
//! Time is virtual: [`model::tick`] moves the clock, so that a time-out is one more event to interleave.

use super::note::Note;
use std::cell::Cell;

#[cfg(not(perkey_mutant))]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

#[cfg(perkey_mutant)]
#[path = "sites.rs"]
pub(crate) mod atomic;

pub(crate) use loom::cell::UnsafeCell;

/// A virtual clock.
pub(crate) mod time {
    use std::time::Duration;

    /// A point in virtual time, in nanoseconds since the execution began.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(pub(super) u64);

    impl Instant {
        /// The time now, on the virtual clock.
        pub fn now() -> Self {
            now()
        }

        pub(crate) fn checked_add(self, d: Duration) -> Option<Self> {
            Some(Self(self.0.checked_add(u64::try_from(d.as_nanos()).ok()?)?))
        }

        pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
            Duration::from_nanos(self.0.saturating_sub(earlier.0))
        }
    }

    pub(crate) fn now() -> Instant {
        Instant(super::model::read_clock())
    }
}

/// Steering for model tests.
pub(crate) mod model {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    loom::lazy_static! {
        static ref CLOCK: Clock = Clock {
            now: loom::sync::atomic::AtomicU64::new(0),
            sleepers: Mutex::new(Vec::new()),
            timed: std::sync::atomic::AtomicBool::new(false),
            without_epoch: std::sync::atomic::AtomicBool::new(false),
            lags: std::sync::atomic::AtomicBool::new(false),
            graves: Mutex::new(Vec::new()),
        };
    }

    struct Clock {
        now: loom::sync::atomic::AtomicU64,
        // Not loom's: the list is bookkeeping of the model, invisible to the code under test.
        sleepers: Mutex<Vec<Arc<loom::sync::Notify>>>,
        timed: std::sync::atomic::AtomicBool,
        without_epoch: std::sync::atomic::AtomicBool,
        lags: std::sync::atomic::AtomicBool,
        /// What was retired without the epoch.
        graves: Mutex<Vec<Grave>>,
    }

    /// A node, and what frees it.
    type Grave = (usize, fn(usize));

    impl Drop for Clock {
        fn drop(&mut self) {
            for (node, free) in self.graves.get_mut().unwrap().drain(..) {
                free(node);
            }
        }
    }

    /// Makes what an execution makes once. Whoever did so first, and whoever came later, would be ordered by it, as loom has it.
    pub fn begin() {
        let _ = (&*CLOCK, &*super::LAST);
    }

    /// Says that this execution does without the epoch: pins do nothing, and nothing is freed before the execution ends.
    pub fn leave_out_epoch() {
        CLOCK
            .without_epoch
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn without_epoch() -> bool {
        CLOCK
            .without_epoch
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Says that in this execution, from here on, much waits to be freed, or not.
    pub fn set_lagging(lags: bool) {
        CLOCK.lags.store(lags, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn lags() -> bool {
        CLOCK.lags.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Keeps what is retired without the epoch until the execution ends; then calls `free` with it.
    pub(crate) fn keep_to_the_end(node: usize, free: fn(usize)) {
        CLOCK.graves.lock().unwrap().push((node, free));
    }

    /// Says that this execution uses the clock; without it time stands still and costs no branch.
    pub fn use_time() {
        CLOCK
            .timed
            .store(true, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn read_clock() -> u64 {
        if CLOCK.timed.load(std::sync::atomic::Ordering::Relaxed) {
            CLOCK.now.load(loom::sync::atomic::Ordering::SeqCst)
        } else {
            0
        }
    }

    pub(super) fn sleep_until(sleeper: &Arc<loom::sync::Notify>) {
        CLOCK.sleepers.lock().unwrap().push(sleeper.clone());
    }

    /// Moves the clock and wakes everybody who sleeps with a deadline.
    ///
    /// # Panics
    /// If the duration does not fit 64 bits of nanoseconds.
    pub fn tick(d: Duration) {
        let nanos = u64::try_from(d.as_nanos()).expect("a virtual duration fits 64 bits");
        CLOCK
            .now
            .fetch_add(nanos, loom::sync::atomic::Ordering::SeqCst);
        let sleepers = std::mem::take(&mut *CLOCK.sleepers.lock().unwrap());
        for sleeper in sleepers {
            sleeper.notify();
        }
    }
}

/// A model does not spin: it would only repeat states.
pub(crate) const fn spin_limit() -> u32 {
    0
}

/// Nor does it give way.
pub(crate) fn give_way(_: impl FnOnce() -> bool) {}

// `cargo prove exact` runs the scenarios with the words as they are, to see that the short forms below hide nothing.
#[cfg(perkey_exact)]
pub(crate) use super::words::{guess, start, OwnWord};

/// A load whose value does nothing but start an exchange that re-reads the word.
///
/// Here an exchange that fails, which reads the latest value: a stale one would make the exchange fail and come back with the
/// latest, so exploring it adds executions and no outcome.
#[cfg(not(perkey_exact))]
#[cfg_attr(perkey_mutant, track_caller)]
pub(crate) fn guess(word: &atomic::AtomicU64) -> u64 {
    // ORDERING: Relaxed, as in the real one. No word of the crate is ever u64::MAX.
    word.compare_exchange(
        u64::MAX,
        u64::MAX,
        atomic::Ordering::Relaxed,
        atomic::Ordering::Relaxed,
    )
    .unwrap_or_else(|now| now)
}

/// What to start an exchange from: the usual value. If it is not the right one the exchange fails and says what is, with
/// the failure's ordering, which is that of the real one's load.
#[cfg(not(any(perkey_mutant, perkey_exact)))]
pub(crate) fn start(_: &atomic::AtomicU64, usual: u64, _: atomic::Ordering) -> u64 {
    usual
}

#[cfg(all(perkey_mutant, not(perkey_exact)))]
pub(crate) use atomic::start;

/// A word that is only stored to by its present owner, and read by others only to find out that they are not he.
///
/// Not loom's: the answer to "is it I?" is the same for every value that a weak memory may show (a thread never reads
/// anything older than its own last store), so exploring those values adds executions and no outcome.
#[cfg(not(perkey_exact))]
pub(crate) struct OwnWord(std::sync::atomic::AtomicU64);

#[cfg(not(perkey_exact))]
impl OwnWord {
    pub(crate) fn new() -> Self {
        Self(std::sync::atomic::AtomicU64::new(0))
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, std::sync::atomic::Ordering::Relaxed);
    }
}

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("a model's mutex is never poisoned")
    }
}

/// One sleeping place; wakes for no reason, too, once in an execution.
pub(crate) struct Parker(std::sync::Arc<loom::sync::Notify>);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(std::sync::Arc::new(loom::sync::Notify::new()))
    }

    pub(crate) fn park(&self, deadline: Option<time::Instant>) {
        if let Some(at) = deadline {
            model::sleep_until(&self.0);
            if time::now() >= at {
                return;
            }
        }
        self.0.wait();
    }

    pub(crate) fn unpark(&self) {
        self.0.notify();
    }
}

/// A tracked cell: a touch that races the burial, or follows it, fails the model.
pub(crate) struct Canary(loom::cell::UnsafeCell<bool>);

impl Canary {
    pub(crate) fn new() -> Self {
        Self(loom::cell::UnsafeCell::new(true))
    }

    pub(crate) fn touch(&self) {
        // SAFETY: loom checks that no `with_mut` runs meanwhile.
        assert!(self.0.with(|p| unsafe { *p }), "use after free");
    }

    pub(crate) fn bury(&self) {
        // SAFETY: loom checks that nobody else is in the cell.
        self.0.with_mut(|p| unsafe { *p = false });
    }
}

loom::lazy_static! {
    static ref LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
}

loom::thread_local! {
    static NUMBER: Cell<u64> = Cell::new(0);
    static INSIDE: Cell<bool> = Cell::new(false);
    static NOTE: Note = Note::new();
}

pub(crate) fn thread_number(limit: u64) -> u64 {
    NUMBER.with(|n| {
        if n.get() == 0 {
            let last = LAST.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(last < limit, "perkey: the owner numbers are used up");
            n.set(last + 1);
        }
        n.get()
    })
}

pub(crate) fn with_note<R>(f: impl FnOnce(&Note) -> R) -> R {
    NOTE.with(f)
}

pub(crate) fn enter_once(f: impl FnOnce()) {
    if INSIDE.with(|inside| !inside.replace(true)) {
        f();
        INSIDE.with(|inside| inside.set(false));
    }
}

/// Is it this thread's turn? Never: a model says itself when to tend to the segments.
pub(crate) fn turn(_every: u32) -> bool {
    false
}
