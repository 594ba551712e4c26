//! Trap 31: keys whose `Eq` and `Hash` lie (I7, I9).
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{rounds, Dice};
use perkey::LockTable;
use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A key whose `Eq` and `Hash` lie.
struct Liar {
    n: u64,
    live: Arc<Mutex<HashMap<usize, ()>>>,
    id: usize,
}

static IDS: AtomicUsize = AtomicUsize::new(0);
thread_local!(static LIES: Cell<u64> = const { Cell::new(1) });

fn lie() -> u64 {
    let mut dice = Dice(LIES.get());
    let n = dice.next();
    LIES.set(dice.0);
    n
}

impl Liar {
    fn new(n: u64, live: &Arc<Mutex<HashMap<usize, ()>>>) -> Self {
        let id = IDS.fetch_add(1, SeqCst);
        live.lock().unwrap().insert(id, ());
        Self {
            n,
            live: live.clone(),
            id,
        }
    }
}

impl Clone for Liar {
    fn clone(&self) -> Self {
        Self::new(self.n, &self.live)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        assert!(
            self.live.lock().unwrap().remove(&self.id).is_some(),
            "dropped twice"
        );
    }
}

impl PartialEq for Liar {
    fn eq(&self, other: &Self) -> bool {
        match lie() % 4 {
            0 => true,
            1 => false,
            _ => self.n == other.n,
        }
    }
}

impl Eq for Liar {}

impl Hash for Liar {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u64(if lie().is_multiple_of(4) {
            lie() % 3
        } else {
            self.n
        });
    }
}

#[test]
fn trap_31_keys_that_lie_may_be_locked_wrongly_but_nothing_is_corrupted_or_leaked() {
    // I7, I9: guards, handles and weak handles of such keys on three threads; at the end every key has been dropped once.
    let live = Arc::new(Mutex::new(HashMap::new()));
    {
        let t = LockTable::with_capacity_and_hasher(10, common::PlainHash);
        std::thread::scope(|s| {
            for me in 0..3 {
                let (t, live) = (&t, &live);
                s.spawn(move || {
                    LIES.set(me + 1);
                    let mut dice = Dice(me);
                    for _ in 0..rounds(3_000) {
                        // `try_lock`: two wrong locks in two orders would be a deadlock of our own making.
                        let guards: Vec<_> = (0..dice.below(9))
                            .filter_map(|k| t.try_lock(&Liar::new(k, live)))
                            .collect();
                        let handle = t.handle(&Liar::new(dice.below(9), live));
                        // It may fail: a slot that is taken over between the look at its hash and that at its key has another hash, and
                        // if `Eq` says yes to it, the handle is sought under the wrong one.
                        drop(handle.downgrade().upgrade());
                        assert!(guards.iter().all(|g| g.depth() > 0 && g.key().n < 9));
                        let _ = t.is_locked(&Liar::new(3, live));
                        if dice.below(16) == 0 {
                            t.shrink_to_fit();
                        }
                    }
                });
            }
        });
        assert!(t.is_empty(), "every guard and handle knows its own entry");
        assert!(live.lock().unwrap().len() <= t.capacity());
    }
    assert!(live.lock().unwrap().is_empty(), "leaked");
}
