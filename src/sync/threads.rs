//! Threads, gates and dice for the conformance suite: of std, or of shuttle.

#[cfg(perkey_shuttle)]
use shuttle::{
    sync::{Condvar, Mutex},
    thread,
};
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError};
#[cfg(not(perkey_shuttle))]
use std::{
    sync::{Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

/// Long enough for anything that is going to happen at all; passing it fails the test, nothing else depends on it.
#[cfg(not(perkey_shuttle))]
const PATIENCE: Duration = Duration::from_secs(60);

/// Opened once; waited for by anybody.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `false` if it is not going to be opened any more. (Under shuttle that is a deadlock, which it reports itself.)
    #[cfg(not(perkey_shuttle))]
    pub(crate) fn wait(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.opened.wait_timeout(open, left);
            open = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    #[cfg(perkey_shuttle)]
    pub(crate) fn wait(&self) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while !*open {
            let waited = self.opened.wait(open);
            open = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }
}

/// Opens its gate when it is dropped, by whatever way.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// A thread that somebody waits for.
pub(crate) struct Task<R> {
    what: String,
    done: Arc<Gate>,
    thread: thread::JoinHandle<R>,
}

/// Starts a thread; `what` it does is said if it hangs.
pub(crate) fn start<R: Send + 'static>(
    what: impl Into<String>,
    f: impl FnOnce() -> R + Send + 'static,
) -> Task<R> {
    let done = Arc::new(Gate::default());
    let opens = Opens(done.clone());
    let thread = thread::spawn(move || {
        let _opens = opens;
        f()
    });
    Task {
        what: what.into(),
        done,
        thread,
    }
}

impl<R> Task<R> {
    /// Waits for the thread, and panics as it did.
    pub(crate) fn join(self) -> R {
        assert!(self.done.wait(), "{} hangs", self.what);
        self.thread.join().unwrap_or_else(|e| resume_unwind(e))
    }
}

/// Lets others run.
pub(crate) fn pause() {
    #[cfg(not(perkey_shuttle))]
    thread::yield_now();
    #[cfg(perkey_shuttle)]
    super::point();
}

/// A number to begin with: the same in each run for the same round, the schedule's own under shuttle.
#[cfg(not(perkey_shuttle))]
pub(crate) fn seed(round: u64) -> u64 {
    round
}

/// A number to begin with: the same in each run for the same round, the schedule's own under shuttle.
#[cfg(perkey_shuttle)]
pub(crate) fn seed(round: u64) -> u64 {
    use shuttle::rand::RngCore;
    shuttle::rand::thread_rng().next_u64().wrapping_add(round)
}
