//! What a key guards in the stress tests, and how long they last.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::cell::UnsafeCell;

/// Enough on two cores for some seconds.
pub fn rounds(release: u64) -> u64 {
    if cfg!(debug_assertions) {
        release / 5
    } else {
        release * 3
    }
}

/// What a key guards: not atomic, so that two at once do damage that is found.
#[derive(Default)]
pub struct Guarded {
    inside: UnsafeCell<u64>,
    visits: UnsafeCell<u64>,
}

// SAFETY: that it is touched by one thread at a time is what the tests check; a failure of the lock is a data race here, which
// is the point.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Goes in and out, as thread number `me` (not 0), at nesting `depth` of its own.
    pub fn visit(&self, me: u64, depth: usize) {
        // SAFETY: the caller holds the lock of this key. Volatile, so that every access is made.
        unsafe {
            let was = self.inside.get().read_volatile();
            assert_eq!(
                was,
                if depth == 1 { 0 } else { me },
                "overlap: {was} is inside with {me}"
            );
            self.inside.get().write_volatile(me);
            let n = self.visits.get().read_volatile();
            std::hint::spin_loop();
            self.visits.get().write_volatile(n + 1);
            assert_eq!(self.inside.get().read_volatile(), me, "overlap with {me}");
        }
    }

    /// Still alone, and out with the last level.
    pub fn leave(&self, me: u64, depth: usize) {
        // SAFETY: as above.
        unsafe {
            assert_eq!(self.inside.get().read_volatile(), me, "overlap with {me}");
            if depth == 1 {
                self.inside.get().write_volatile(0);
            }
        }
    }

    pub fn visits(&mut self) -> u64 {
        *self.visits.get_mut()
    }
}

pub fn guarded(n: u64) -> Vec<Guarded> {
    (0..n).map(|_| Guarded::default()).collect()
}

pub fn at(all: &[Guarded], key: u64) -> &Guarded {
    &all[usize::try_from(key).unwrap()]
}
