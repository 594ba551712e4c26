//! The back end that ships: `std`, with parking and back-off from crossbeam-utils.

use super::note::Note;
pub(crate) use super::words::{guess, start, OwnWord};
use std::cell::Cell;
use std::time::Duration;

pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
}

/// Times, as the rest of the crate and its users see them.
pub(crate) mod time {
    pub(crate) use std::time::Instant;

    /// The time now.
    #[inline]
    pub(crate) fn now() -> Instant {
        Instant::now()
    }
}

/// How many rounds a waiter spins before it queues up (each round of a [`crossbeam_utils::Backoff`] is twice as long, and in the last four it
/// lets others run).
pub(crate) const fn spin_limit() -> u32 {
    11
}

/// Pauses for others who are busy with the same word; `busy` looks whether they still are. Somebody who is stopped in the middle would be waited
/// for by each call: after one in vain the next ones return at once, more of them each time.
#[cold]
pub(crate) fn give_way(busy: impl FnOnce() -> bool) {
    /// No more than two to the power of this return at once.
    const MOST: u32 = 6;
    thread_local! {
        /// How many calls still return at once, and how many were in vain, one after the other.
        static VAIN: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    }
    VAIN.with(|vain| {
        let (left, times) = vain.get();
        if left > 0 {
            vain.set((left - 1, times));
            return;
        }
        let backoff = crossbeam_utils::Backoff::new();
        for _ in 0..5 {
            backoff.spin();
        }
        vain.set(if busy() {
            (1 << times, MOST.min(times + 1))
        } else {
            (0, 0)
        });
    });
}

/// `std`'s cell behind loom's closure interface.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// A mutex without poison: no foreign code ever runs under it.
#[derive(Debug)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One sleeping place: a token, set by `unpark`, consumed by `park`.
#[derive(Debug)]
pub(crate) struct Parker {
    // Mutex because a `crossbeam_utils::sync::Parker` is Send but not Sync; only its one owner ever locks it.
    parker: std::sync::Mutex<crossbeam_utils::sync::Parker>,
    unparker: crossbeam_utils::sync::Unparker,
}

impl Parker {
    pub(crate) fn new() -> Self {
        let parker = crossbeam_utils::sync::Parker::new();
        let unparker = parker.unparker().clone();
        Self {
            parker: std::sync::Mutex::new(parker),
            unparker,
        }
    }

    /// Sleeps until the token is there, the deadline has passed, or for no reason.
    pub(crate) fn park(&self, deadline: Option<time::Instant>) {
        let parker = self
            .parker
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match deadline {
            None => parker.park(),
            Some(at) => {
                let left = at.saturating_duration_since(time::now());
                if left > Duration::ZERO {
                    parker.park_timeout(left);
                }
            }
        }
    }

    pub(crate) fn unpark(&self) {
        self.unparker.unpark();
    }
}

/// Notices a use after free where the checker can; nothing here.
#[derive(Debug)]
pub(crate) struct Canary;

impl Canary {
    pub(crate) const fn new() -> Self {
        Self
    }

    #[inline]
    #[allow(clippy::unused_self)]
    pub(crate) fn touch(&self) {}

    #[inline]
    #[allow(clippy::unused_self)]
    pub(crate) fn bury(&self) {}
}

/// The number of the current thread: never 0, never used again. Panics when the numbers are used up.
#[inline]
pub(crate) fn thread_number(limit: u64) -> u64 {
    // A `Cell` without a destructor is there as long as the thread is, in destructors of other thread-locals, too.
    thread_local!(static NUMBER: Cell<u64> = const { Cell::new(0) });
    let number = NUMBER.with(Cell::get);
    if number != 0 {
        return number;
    }
    let number = next_number(limit);
    NUMBER.with(|n| n.set(number));
    number
}

#[cold]
fn next_number(limit: u64) -> u64 {
    static LAST: atomic::AtomicU64 = atomic::AtomicU64::new(0);
    // ORDERING: Relaxed; only the atomicity of the addition counts, nothing is published with a number.
    let last = LAST.fetch_update(
        atomic::Ordering::Relaxed,
        atomic::Ordering::Relaxed,
        |last| (last < limit).then_some(last + 1),
    );
    let Ok(last) = last else {
        panic!("perkey: the owner numbers are used up ({limit} threads)");
    };
    last + 1
}

/// Runs `f` with the thread's note.
#[inline]
pub(crate) fn with_note<R>(f: impl FnOnce(&Note) -> R) -> R {
    thread_local!(static NOTE: Note = const { Note::new() });
    NOTE.with(f)
}

/// Runs `f` unless it is running on this thread already.
pub(crate) fn enter_once(f: impl FnOnce()) {
    struct Leave<'a>(&'a Cell<bool>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }
    thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
    INSIDE.with(|inside| {
        if !inside.replace(true) {
            let _leave = Leave(inside);
            f();
        }
    });
}

/// Is it this thread's turn? At every `every`th call.
#[inline]
pub(crate) fn turn(every: u32) -> bool {
    thread_local!(static CALLS: Cell<u32> = const { Cell::new(0) });
    let calls = CALLS.with(|c| c.replace(c.get().wrapping_add(1)));
    calls % every == every - 1
}
