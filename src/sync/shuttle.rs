//! The back end for shuttle: random, PCT and replayed schedules of larger programs, sequentially consistent.
//!
//! Every access is a scheduling point. Time is virtual: [`model::tick`] moves the clock.

use std::cell::Cell;

pub(crate) mod atomic {
    pub(crate) use shuttle::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

/// A virtual clock.
pub mod time {
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
pub mod model {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    shuttle::lazy_static! {
        static ref CLOCK: Clock = Clock {
            now: shuttle::sync::atomic::AtomicU64::new(0),
            sleepers: Mutex::new(Vec::new()),
        };
    }

    struct Clock {
        now: shuttle::sync::atomic::AtomicU64,
        sleepers: Mutex<Vec<Arc<super::Parker>>>,
    }

    pub(super) fn read_clock() -> u64 {
        CLOCK.now.load(shuttle::sync::atomic::Ordering::SeqCst)
    }

    pub(super) fn sleep_until(sleeper: Arc<super::Parker>) {
        CLOCK.sleepers.lock().unwrap().push(sleeper);
    }

    /// Moves the clock and wakes everybody who sleeps with a deadline.
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

/// Shuttle runs one task at a time, on one thread: a plain cell, with every access a scheduling point so that a torn
/// critical section shows.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
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

/// One sleeping place: a token under a mutex.
#[derive(Clone, Debug)]
pub(crate) struct Parker(std::sync::Arc<(shuttle::sync::Mutex<bool>, shuttle::sync::Condvar)>);

impl Parker {
    pub(crate) fn new() -> Self {
        Self(std::sync::Arc::default())
    }

    pub(crate) fn park(&self, deadline: Option<time::Instant>) {
        if let Some(at) = deadline {
            model::sleep_until(std::sync::Arc::new(self.clone()));
            if time::now() >= at {
                return;
            }
        }
        let mut token = self.0 .0.lock().unwrap();
        while !*token {
            token = self.0 .1.wait(token).unwrap();
        }
        *token = false;
    }

    pub(crate) fn unpark(&self) {
        *self.0 .0.lock().unwrap() = true;
        self.0 .1.notify_one();
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

pub(crate) fn enter_once(f: impl FnOnce()) {
    if INSIDE.with(|inside| !inside.replace(true)) {
        f();
        INSIDE.with(|inside| inside.set(false));
    }
}
