//! The only file that names the epoch.
//!
//! [`pin`] keeps every node that is reachable now from being freed until the [`Pin`] is dropped; [`Pin::retire`] frees a
//! node that nobody can reach any more once all pins of this moment are gone (I7). crossbeam-epoch does this (Fraser,
//! *Practical lock-freedom*, 2004, section 5.2.3), under loom too. Under shuttle, where crossbeam's atomics are no scheduling
//! points and all tasks would share one participant, a small model takes its place that frees as early as is allowed.

#[cfg(not(perkey_shuttle))]
mod imp {
    use crossbeam_epoch as epoch;
    #[cfg(not(perkey_loom))]
    use std::sync::atomic::{AtomicU64, Ordering};

    /// So much may wait to be freed: some hundred KiB of nodes. As a rule it is some hundred for each thread, as the epoch frees in bags.
    #[cfg(not(perkey_loom))]
    const MOST: u64 = 4096;

    /// How much waits to be freed, of all tables, which have the epoch in common. A line that is written when a node is retired and when it is freed, both of which
    /// cost more.
    #[cfg(not(perkey_loom))]
    static WAITING: AtomicU64 = AtomicU64::new(0);

    /// Does so much wait to be freed that somebody must be stopped while pinned?
    pub(crate) fn lags() -> bool {
        // ORDERING: Relaxed, here and below: a count, with nothing behind it.
        #[cfg(not(perkey_loom))]
        return WAITING.load(Ordering::Relaxed) >= MOST;
        #[cfg(perkey_loom)]
        crate::sync::lags()
    }

    /// A pinned thread.
    #[cfg(not(perkey_loom))]
    pub(crate) struct Pin(epoch::Guard);

    /// Pins the current thread. Lock-free; no system call.
    #[cfg(not(perkey_loom))]
    #[inline]
    pub(crate) fn pin() -> Pin {
        #[cfg(perkey_count)]
        crate::sync::count::pin(epoch::is_pinned());
        Pin(epoch::pin())
    }

    /// A pinned thread, or none in a model without the epoch: the fence of a pin orders more than it promises, and would hide an
    /// ordering of ours that is missing.
    #[cfg(perkey_loom)]
    pub(crate) struct Pin(Option<epoch::Guard>);

    #[cfg(perkey_loom)]
    pub(crate) fn pin() -> Pin {
        Pin((!crate::sync::without_epoch()).then(epoch::pin))
    }

    impl Pin {
        /// Frees `node` when no pin of this moment is left.
        ///
        /// # Safety
        /// `node` comes from `Box::into_raw`, nobody can reach it who pins from now on, and it is retired once. Dropping
        /// the box must run no foreign code and reach nothing borrowed.
        pub(crate) unsafe fn retire<T: super::Bury>(&self, node: *mut T) {
            #[cfg(not(perkey_loom))]
            let guard = &self.0;
            #[cfg(perkey_loom)]
            let Some(guard) = &self.0
            else {
                // SAFETY: the caller hands over a box once; nobody is left who could reach it when the execution ends.
                let free = |n: usize| drop(unsafe { Box::from_raw(n as *mut T) });
                return crate::sync::keep_to_the_end(node as usize, free);
            };
            // ORDERING: Relaxed, see `lags`.
            #[cfg(not(perkey_loom))]
            WAITING.fetch_add(1, Ordering::Relaxed);
            // SAFETY: as promised by the caller; crossbeam-epoch runs it after the grace period.
            unsafe {
                guard.defer_unchecked(move || {
                    // ORDERING: Relaxed, see `lags`.
                    #[cfg(not(perkey_loom))]
                    WAITING.fetch_sub(1, Ordering::Relaxed);
                    (*node).bury();
                    drop(Box::from_raw(node));
                });
            }
        }
    }

    /// Hands this thread's retired nodes to everybody and frees what can be freed.
    pub(crate) fn flush() {
        #[cfg(perkey_loom)]
        if crate::sync::without_epoch() {
            return;
        }
        for _ in 0..3 {
            epoch::pin().flush();
        }
    }
}

#[cfg(perkey_shuttle)]
mod imp {
    use std::sync::Mutex;

    /// A node on its way to be freed: the pins it waits for, and what to do with it.
    struct Retired {
        waits_for: Vec<u64>,
        node: usize,
        bury: fn(usize),
        free: fn(usize),
    }

    #[derive(Default)]
    struct Model {
        last: u64,
        open: Vec<u64>,
        retired: Vec<Retired>,
        /// Buried, but the memory is kept until the execution ends, so that a late touch finds the canary dead.
        graves: Vec<Retired>,
    }

    impl Model {
        fn collect(&mut self) {
            let (ripe, wait) = std::mem::take(&mut self.retired)
                .into_iter()
                .partition::<Vec<_>, _>(|r| r.waits_for.is_empty());
            self.retired = wait;
            for r in ripe {
                (r.bury)(r.node);
                self.graves.push(r);
            }
        }
    }

    impl Drop for Model {
        fn drop(&mut self) {
            for r in self.retired.drain(..).chain(self.graves.drain(..)) {
                (r.free)(r.node);
            }
        }
    }

    shuttle::lazy_static! {
        static ref MODEL: Mutex<Model> = Mutex::new(Model::default());
    }

    fn model() -> std::sync::MutexGuard<'static, Model> {
        MODEL
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) struct Pin(u64);

    pub(crate) fn pin() -> Pin {
        crate::sync::point();
        let mut m = model();
        m.last += 1;
        let session = m.last;
        m.open.push(session);
        Pin(session)
    }

    impl Drop for Pin {
        fn drop(&mut self) {
            let mut m = model();
            m.open.retain(|s| *s != self.0);
            for r in &mut m.retired {
                r.waits_for.retain(|s| *s != self.0);
            }
            m.collect();
        }
    }

    impl Pin {
        /// # Safety
        /// As for the real epoch.
        #[allow(clippy::unused_self)] // the real one needs it
        pub(crate) unsafe fn retire<T: super::Bury>(&self, node: *mut T) {
            let mut m = model();
            let waits_for = m.open.clone();
            m.retired.push(Retired {
                waits_for,
                node: node as usize,
                // SAFETY: the caller hands over a live box, which only this model frees.
                bury: |n| unsafe { (*(n as *const T)).bury() },
                // SAFETY: as above; every entry of the list is freed once.
                free: |n| drop(unsafe { Box::from_raw(n as *mut T) }),
            });
        }
    }

    pub(crate) fn flush() {}

    pub(crate) use crate::sync::backend::model::lags;
}

/// A node that can show a checker that it is about to be freed.
pub(crate) trait Bury {
    /// Called right before the memory is given back.
    fn bury(&self);
}

pub(crate) use imp::{flush, lags, pin, Pin};
