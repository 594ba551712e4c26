//! Real threads and data that is not atomic: every overlap of two holders shows as a count that is wrong or a mark of
//! somebody else's (I1), every lost wake-up as a hang (I6), every leak as a table that is not empty (I5).
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]
#![allow(clippy::many_single_char_names)]

mod common;
#[path = "common/guarded.rs"]
mod guarded;

use common::{elsewhere, Dice, Events, OneHash, PATIENCE};
use guarded::{at, guarded, rounds, Guarded};
use perkey::{LockTable, ReentrantLock, WeakKeyLock};
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::Barrier;
use std::time::Duration;

/// Threads lock keys at random, nested and re-entrant, in every way there is; one more shrinks the table all the time.
/// Returns how many locks were taken.
fn storm<S: BuildHasher + Sync>(
    t: &LockTable<u64, S>,
    keys: u64,
    threads: u64,
    n: u64,
    shrink: bool,
) {
    let all = guarded(keys);
    let taken = AtomicU64::new(0);
    let left = AtomicU64::new(threads);
    std::thread::scope(|s| {
        for me in 1..=threads {
            let (all, taken, left) = (&all, &taken, &left);
            s.spawn(move || {
                let mut dice = Dice(me * 7919 + keys);
                let mut mine = 0;
                let mut weak: Option<(u64, WeakKeyLock<'_, u64>)> = None;
                for _ in 0..n {
                    // Ascending keys, so that nested locks do not deadlock.
                    let a = dice.below(keys);
                    let b = a + dice.below(keys - a);
                    let guard = match dice.below(9) {
                        0..=3 => Some(t.lock(&a)),
                        4 => t.try_lock(&a),
                        5 => t.try_lock_for(&a, Duration::from_micros(dice.below(50))),
                        6 => {
                            let h = t.handle(&a);
                            let guard = h.lock();
                            weak = Some((a, h.downgrade()));
                            Some(guard)
                        }
                        7 => {
                            let up = weak.as_ref().and_then(|(k, w)| Some((*k, w.upgrade()?)));
                            if let Some((k, h)) = up {
                                assert_eq!(*h.key(), k, "a weak handle finds its own key");
                                if let Some(guard) = h.try_lock() {
                                    drop(h);
                                    at(all, k).visit(me, guard.depth());
                                    mine += 1;
                                    at(all, k).leave(me, guard.depth());
                                }
                            }
                            None
                        }
                        _ => t.handle(&a).clone().try_lock_for(Duration::from_micros(20)),
                    };
                    let Some(outer) = guard else { continue };
                    assert_eq!(*outer.key(), a);
                    at(all, a).visit(me, outer.depth());
                    mine += 1;
                    if dice.below(4) == 0 {
                        let inner = t.lock(&b);
                        at(all, b).visit(me, inner.depth());
                        mine += 1;
                        at(all, b).leave(me, inner.depth());
                    }
                    if dice.below(64) == 0 {
                        std::thread::yield_now();
                    }
                    at(all, a).leave(me, outer.depth());
                    if dice.below(8) == 0 {
                        outer.unlock_fair();
                    }
                }
                taken.fetch_add(mine, SeqCst);
                left.fetch_sub(1, SeqCst);
            });
        }
        while shrink && left.load(SeqCst) > 0 {
            t.shrink_to_fit();
            assert!(t.len() as u64 <= keys, "an entry too many");
            assert!(!format!("{t:?}").is_empty());
            std::thread::yield_now();
        }
    });
    let visits: u64 = all.into_iter().map(|mut g| g.visits()).sum();
    assert_eq!(visits, taken.into_inner(), "lost updates");
    assert!(t.is_empty(), "{} keys are left", t.len());
    for key in 0..keys {
        assert!(!t.is_locked(&key) && t.try_lock(&key).is_some());
    }
}

#[test]
fn one_key_is_exclusive_under_fire() {
    // I1, I3, I6
    storm(&LockTable::<u64>::new(), 1, 4, rounds(60_000), false);
}

#[test]
fn few_keys_are_exclusive_under_fire() {
    // I1, I2, I3, I5, I6
    storm(&LockTable::<u64>::new(), 3, 4, rounds(60_000), false);
    storm(&LockTable::<u64>::new(), 3, 3, rounds(30_000), true);
}

#[test]
fn many_keys_in_few_slots_are_exclusive_under_fire() {
    // I1, I2, I5: takeover and keys that come back in another slot.
    storm(
        &LockTable::<u64>::with_capacity(0),
        12,
        4,
        rounds(60_000),
        false,
    );
    storm(
        &LockTable::<u64>::with_capacity(0),
        12,
        3,
        rounds(30_000),
        true,
    );
    storm(
        &LockTable::with_capacity_and_hasher(0, RandomState::new()),
        1000,
        4,
        rounds(60_000),
        true,
    );
}

#[test]
fn keys_of_one_hash_are_exclusive_under_fire() {
    // I1, I2, trap 30
    storm(
        &LockTable::with_hasher(OneHash),
        4,
        4,
        rounds(40_000),
        false,
    );
    storm(
        &LockTable::with_hasher(OneHash),
        16,
        4,
        rounds(30_000),
        true,
    );
}

#[test]
fn keys_beyond_the_slots_are_exclusive_under_fire() {
    // I1, I2, I5, I7: six slots are taken for good, everything else is in the chain.
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let others: Vec<_> = (1000..1006).map(|k| t.handle(&k)).collect();
    let busy = |keys, n, shrink| {
        // As `storm`, on a table that is not empty.
        let all = guarded(keys);
        let left = AtomicU64::new(4);
        let taken = AtomicU64::new(0);
        std::thread::scope(|s| {
            for me in 1..=4 {
                let (t, all, left, taken) = (&t, &all, &left, &taken);
                s.spawn(move || {
                    let mut dice = Dice(me);
                    for _ in 0..n {
                        let k = dice.below(keys);
                        let guard = match dice.below(4) {
                            0 => t.try_lock(&k),
                            1 => t.try_lock_for(&k, Duration::from_micros(30)),
                            2 => t.handle(&k).downgrade().upgrade().map(|h| h.lock()),
                            _ => Some(t.lock(&k)),
                        };
                        if let Some(guard) = guard {
                            at(all, k).visit(me, guard.depth());
                            taken.fetch_add(1, SeqCst);
                            at(all, k).leave(me, guard.depth());
                        }
                    }
                    left.fetch_sub(1, SeqCst);
                });
            }
            while shrink && left.load(SeqCst) > 0 {
                t.shrink_to_fit();
                let n = t.len() as u64;
                assert!((6..=6 + keys).contains(&n), "{n} keys alive");
            }
        });
        let visits: u64 = all.into_iter().map(|mut g| g.visits()).sum();
        assert_eq!(visits, taken.into_inner(), "lost updates");
        assert_eq!(t.len(), 6);
    };
    busy(1, rounds(20_000), false);
    busy(3, rounds(20_000), true);
    busy(20, rounds(20_000), true);
    drop(others);
    assert!(t.is_empty());
}

#[test]
fn a_reentrant_lock_is_exclusive_under_fire() {
    // I1, I3, I6
    let lock = ReentrantLock::new(RefCell::new(Vec::new()));
    let n = rounds(30_000);
    let taken = AtomicU64::new(0);
    std::thread::scope(|s| {
        for me in 0..4u64 {
            let (lock, taken) = (&lock, &taken);
            s.spawn(move || {
                let mut dice = Dice(me);
                for i in 0..n {
                    let guard = match dice.below(4) {
                        0 => lock.try_lock(),
                        1 => lock.try_lock_for(Duration::from_micros(30)),
                        _ => Some(lock.lock()),
                    };
                    let Some(outer) = guard else { continue };
                    outer.borrow_mut().push((me, i)); // a `RefCell` is no lock
                    let inner = lock.lock();
                    assert_eq!((inner.depth(), inner.borrow().last()), (2, Some(&(me, i))));
                    drop(outer);
                    if dice.below(8) == 0 {
                        inner.unlock_fair();
                    }
                    taken.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let all = lock.into_inner().into_inner();
    assert_eq!(all.len() as u64, taken.into_inner());
    for me in 0..4 {
        let mine: Vec<_> = all
            .iter()
            .filter(|(who, _)| *who == me)
            .map(|(_, i)| i)
            .collect();
        assert!(mine.is_sorted() && !mine.is_empty(), "thread {me}");
    }
}

#[test]
fn everybody_who_waits_gets_the_key() {
    // I6: no lost wake-up, with time-outs racing grants; a lost one hangs.
    let t = LockTable::<u64>::new();
    let n = rounds(4_000);
    let counts: Vec<u64> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..8)
            .map(|me| {
                let t = &t;
                s.spawn(move || {
                    let mut dice = Dice(me);
                    let mut got = 0;
                    while got < n {
                        let guard = if me < 4 {
                            Some(t.lock(&1))
                        } else {
                            t.try_lock_for(&1, Duration::from_micros(dice.below(100)))
                        };
                        if let Some(guard) = guard {
                            got += 1;
                            if dice.below(16) == 0 {
                                std::thread::yield_now(); // so that the others queue up
                            }
                            if dice.below(4) == 0 {
                                guard.unlock_fair();
                            }
                        }
                    }
                    got
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(counts, [n; 8]);
    assert!(t.is_empty());
}

#[test]
fn nobody_starves_beside_threads_that_never_pause() {
    // Eventual fairness: the waiters finish although two threads take the key again at once, for as long as it takes.
    let t = LockTable::<u64>::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !over.load(SeqCst) {
                    let _guard = t.lock(&1);
                    std::hint::black_box((0..50).sum::<u64>());
                }
            });
        }
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                s.spawn(|| {
                    for _ in 0..rounds(250) {
                        drop(t.try_lock_for(&1, PATIENCE).unwrap());
                    }
                })
            })
            .collect();
        let results: Vec<_> = waiters
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        over.store(true, SeqCst);
        assert!(results.iter().all(Result::is_ok));
    });
}

#[test]
fn keys_go_on_in_parallel_while_another_is_held_and_waited_for() {
    // I4, traps 11, 30: same bucket, same hash, in the slots and beyond them.
    fn check<S: BuildHasher + Sync>(t: &LockTable<u64, S>) {
        let events = std::sync::Arc::new(Events::default());
        t.set_observer(Some(events.clone()));
        for held in [0, 9] {
            // The first held key is in a slot, the tenth beyond the slots.
            let _before: Vec<_> = (100..100 + held).map(|k| t.handle(&k)).collect();
            let begun = events.began();
            std::thread::scope(|s| {
                let guard = t.lock(&0);
                let waiters: Vec<_> = (0..3).map(|_| s.spawn(|| t.lock(&0).depth())).collect();
                events.until_began(begun + 3);
                // All of this needs nothing of key 0. It would hang.
                elsewhere(|| {
                    for round in 0..300 {
                        for k in 1..12 {
                            let guard = t.lock(&k);
                            assert_eq!((guard.depth(), *guard.key()), (1, k), "round {round}");
                        }
                        let all: Vec<_> = (1..12).map(|k| t.lock(&k)).collect();
                        assert!(t.len() >= 12);
                        drop(all);
                        t.shrink_to_fit();
                    }
                });
                assert!(waiters.iter().all(|w| !w.is_finished()));
                drop(guard);
                for w in waiters {
                    assert_eq!(w.join().unwrap(), 1);
                }
            });
        }
        assert!(t.is_empty());
    }
    check(&LockTable::with_capacity_and_hasher(1, OneHash));
    check(&LockTable::with_hasher(OneHash));
    check(&LockTable::<u64>::new());
}

#[test]
fn all_keys_of_one_hash_can_be_held_by_different_threads_at_once() {
    // I4, trap 30: a rendezvous of as many holders as there are keys, inside.
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    for round in 0..rounds(200) {
        let inside = Barrier::new(10);
        std::thread::scope(|s| {
            for k in 0..10u64 {
                let (t, inside) = (&t, &inside);
                s.spawn(move || {
                    let guard = t.lock(&k);
                    inside.wait(); // nobody comes through unless all hold theirs
                    assert_eq!(*guard.key(), k);
                    assert_eq!(t.len(), 10, "round {round}");
                    inside.wait();
                });
            }
        });
        assert!(t.is_empty());
    }
}

#[test]
fn a_handover_orders_what_was_done_before_the_key_came_back_in_another_slot() {
    // I1: non-atomic data; the key is evicted between two holders, again and again.
    let t = LockTable::<u64>::with_capacity(0);
    let data = Guarded::default();
    let n = rounds(60_000);
    std::thread::scope(|s| {
        for me in 1..=3 {
            let (t, data) = (&t, &data);
            s.spawn(move || {
                for i in 0..n {
                    let guard = t.lock(&0);
                    data.visit(me, guard.depth());
                    data.leave(me, 1);
                    drop(guard);
                    for k in 0..7 {
                        drop(t.lock(&(1 + (i * 7 + k) * 3 + me))); // pushes key 0 out
                    }
                }
            });
        }
    });
    let mut data = data;
    assert_eq!(data.visits(), 3 * n);
}
