//! The back end for shuttle: random, PCT and replayed schedules of larger programs, sequentially consistent.
//!
//! Every access is a scheduling point. Time is virtual: [`model::tick`] moves the clock.

use super::note::Note;
pub(crate) use super::words::{guess, start, OwnWord};
use std::cell::Cell;

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

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

    shuttle::lazy_static! {
        static ref CLOCK: Clock = Clock {
            now: shuttle::sync::atomic::AtomicU64::new(0),
            sleepers: Mutex::new(Vec::new()),
            lags: std::sync::atomic::AtomicBool::new(false),
        };
    }

    struct Clock {
        now: shuttle::sync::atomic::AtomicU64,
        sleepers: Mutex<Vec<Arc<super::Parker>>>,
        lags: std::sync::atomic::AtomicBool,
    }

    /// Says that in this execution, from here on, much waits to be freed, or not.
    pub fn set_lagging(lags: bool) {
        CLOCK.lags.store(lags, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn lags() -> bool {
        CLOCK.lags.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn read_clock() -> u64 {
        CLOCK.now.load(shuttle::sync::atomic::Ordering::SeqCst)
    }

    pub(super) fn sleep_until(sleeper: Arc<super::Parker>) {
        CLOCK.sleepers.lock().unwrap().push(sleeper);
    }

    /// Moves the clock and wakes everybody who sleeps with a deadline.
    ///
    /// # Panics
    /// If the duration does not fit 64 bits of nanoseconds.
    pub fn tick(d: Duration) {
        let nanos = u64::try_from(d.as_nanos()).expect("a virtual duration fits 64 bits");
        CLOCK
            .now
            .fetch_add(nanos, shuttle::sync::atomic::Ordering::SeqCst);
        let sleepers = std::mem::take(&mut *CLOCK.sleepers.lock().unwrap());
        for sleeper in sleepers {
            sleeper.unpark();
        }
    }
}

/// A model does not spin: it would only repeat states.
pub(crate) const fn spin_limit() -> u32 {
    0
}

/// Nor does it give way.
pub(crate) fn give_way(_: impl FnOnce() -> bool) {}

/// A scheduling point without an access. Not `yield_now`, which tells a PCT scheduler to prefer everybody else from here on.
pub(crate) fn point() {
    shuttle::sync::atomic::AtomicBool::new(false).load(atomic::Ordering::SeqCst);
}

/// Shuttle runs one task at a time, on one thread: a plain cell. An access takes time (a scheduling point), and one that
/// overlaps a writing one fails the test.
#[derive(Debug)]
pub(crate) struct UnsafeCell<T> {
    /// How many are reading; -1: one is writing.
    inside: Cell<isize>,
    value: std::cell::UnsafeCell<T>,
}

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self {
            inside: Cell::new(0),
            value: std::cell::UnsafeCell::new(value),
        }
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        assert!(self.inside.get() >= 0, "a read overlaps a write");
        self.inside.set(self.inside.get() + 1);
        point();
        let r = f(self.value.get());
        self.inside.set(self.inside.get() - 1);
        r
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        assert!(self.inside.get() == 0, "a write overlaps another access");
        self.inside.set(-1);
        point();
        let r = f(self.value.get());
        self.inside.set(0);
        r
    }
}

#[derive(Debug)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One sleeping place, of the task that makes it; wakes for no reason, too, when the scheduler likes.
#[derive(Clone, Debug)]
pub(crate) struct Parker(shuttle::thread::Thread);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(shuttle::thread::current())
    }

    pub(crate) fn park(&self, deadline: Option<time::Instant>) {
        if let Some(at) = deadline {
            model::sleep_until(std::sync::Arc::new(self.clone()));
            if time::now() >= at {
                return;
            }
        }
        shuttle::thread::park();
    }

    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }
}

/// A flag: a touch after the burial fails the test.
#[derive(Debug)]
pub(crate) struct Canary(std::sync::atomic::AtomicBool);

impl Canary {
    pub(crate) const fn new() -> Self {
        Self(std::sync::atomic::AtomicBool::new(true))
    }

    pub(crate) fn touch(&self) {
        // ORDERING: Relaxed; one task runs at a time.
        let alive = self.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(alive, "use after free");
    }

    pub(crate) fn bury(&self) {
        // ORDERING: Relaxed; one task runs at a time.
        let alive = self.0.swap(false, std::sync::atomic::Ordering::Relaxed);
        assert!(alive, "double free");
    }
}

shuttle::lazy_static! {
    static ref LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
}

shuttle::thread_local! {
    static NUMBER: Cell<u64> = Cell::new(0);
    static INSIDE: Cell<bool> = Cell::new(false);
    static NOTE: Note = Note::new();
}

pub(crate) fn thread_number(limit: u64) -> u64 {
    NUMBER.with(|n| {
        if n.get() == 0 {
            // ORDERING: Relaxed; only the atomicity counts.
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
