//! The facade: the only place that names `std::sync`, loom, shuttle or the epoch.
//!
//! Every atomic, cell, mutex, park, thread-local, clock and epoch of the crate comes from here, so that the code that
//! ships is, word for word, the code that the model checkers run.
//!
//! | back end | chosen by | explores | does not see |
//! |---|---|---|---|
//! | [`real`](self) (std) | default | what the machine does | most interleavings |
//! | loom | `--cfg perkey_loom` | all interleavings and all weak-memory outcomes up to a bound | `SeqCst` accesses (counted as `AcqRel`), load buffering, time |
//! | shuttle | `--cfg perkey_shuttle` | random and PCT schedules of larger programs | weak memory (everything is sequentially consistent) |
//!
//! With `--cfg perkey_count` the std back end counts what it does (`count.rs`).
//!
//! The back ends offer the same names:
//! `atomic::{AtomicU64, AtomicPtr, Ordering}`, `UnsafeCell` (loom's closure interface), `Mutex` (no poison),
//! `Parker` (one sleeping place), `Canary` (notices a use after free where the checker can), `thread_number`, `with_note` (a few words of the thread's own),
//! `guess` and `start` (loads that only start an exchange), `OwnWord` (a word that only its owner stores to),
//! `time::{Instant, now}`, `spin_limit`, `give_way`, and `epoch::{pin, Pin}`. `prefetch` is the same for all, or nothing.

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
#[path = "real.rs"]
#[cfg_attr(perkey_count, allow(dead_code, unused_imports))] // words and cells are `count`'s
mod backend;

#[cfg(perkey_count)]
pub(crate) mod count;

#[cfg(all(perkey_loom, not(perkey_shuttle)))]
#[path = "loom.rs"]
mod backend;

#[cfg(perkey_shuttle)]
#[path = "shuttle.rs"]
mod backend;

pub(crate) mod epoch;
mod note;
#[cfg(all(feature = "test-util", any(perkey_shuttle, not(perkey_loom))))]
pub(crate) mod threads;
#[cfg(any(perkey_shuttle, not(perkey_loom), perkey_exact))]
mod words;

pub(crate) use backend::time;
#[cfg(not(perkey_count))]
pub(crate) use backend::{atomic, UnsafeCell};
pub(crate) use backend::{
    enter_once, give_way, guess, spin_limit, start, thread_number, turn, with_note, Canary, Mutex,
    OwnWord, Parker,
};
#[cfg(perkey_count)]
pub(crate) use count::{atomic, UnsafeCell};

pub(crate) use note::table_number;

#[cfg(perkey_shuttle)]
pub(crate) use backend::point;

#[cfg(perkey_loom)]
pub(crate) use backend::model::{keep_to_the_end, lags, without_epoch};

/// What the model tests may steer: the virtual clock. Not part of the API.
#[cfg(any(perkey_loom, perkey_shuttle))]
pub(crate) use backend::model;

/// Asks the processor for the first cache lines of `what`, which will be wanted soon, so that several misses overlap. A hint, and no access: nothing that
/// a checker could see. Only on x86-64: elsewhere stable Rust has none.
#[inline(always)]
pub(crate) fn prefetch<T>(what: &T) {
    #[cfg(all(target_arch = "x86_64", not(any(perkey_loom, perkey_shuttle, miri))))]
    {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        const LINE: usize = 64;
        const MOST: usize = 4;
        let start = std::ptr::from_ref(what).cast::<i8>();
        for line in 0..size_of::<T>().div_ceil(LINE).min(MOST) {
            // SAFETY: a prefetch may name any address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * LINE)) };
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(perkey_loom, perkey_shuttle, miri)))))]
    let _ = what;
}
