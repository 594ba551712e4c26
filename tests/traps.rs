//! How others got a per-key lock table wrong, each as a test of ours, with real threads. The numbers are those of the list of
//! traps; the same things under all interleavings are in `loom-tests/`.
//!
//! | trap | here or in |
//! |---|---|
//! | 1 orphan lock, 5 touch after free, 6 sleeper on a killed entry | here: entries that die all the time |
//! | 2 resurrection | here; `api_handles.rs` (`upgrade_gives_none_…`), `stress_ends.rs` (`upgrades_race_…`) |
//! | 3 unlink removes the successor | here |
//! | 4 pooled entries | here |
//! | 7 spinning on a dying entry | here; `foreign_stopped.rs` |
//! | 8 time-outs leave entries behind | here; `memory.rs` (`a_timed_out_waiter_…`) |
//! | 10 time-out races grant | here; `stress_ends.rs` (`a_time_out_that_races_…`) |
//! | 11 waiting under an internal lock | here; `stress.rs` (`keys_go_on_in_parallel_…`) |
//! | 12 user code under internal locks | `foreign.rs` and `foreign_stopped.rs`, all of them; `api_observers.rs` |
//! | 13 reference bound to the wrong object | here |
//! | 14 epoch stall | `memory.rs` (`trap_14_…`) |
//! | 17 owned guard outlives the table, guard in a destructor of a thread-local | here |
//! | 18 owner ids used again, 19 thread ends while holding | here; `stress_ends.rs` (`a_later_thread_…`, `dying_threads_…`) |
//! | 20 guard on another thread, 21 tasks as owners, 24 `&mut` | `compile_fail.rs` and `ui/` |
//! | 22 counts that wrap | `widths.rs` |
//! | 23 guards in any order | here; `api_guards.rs`, `model.rs` |
//! | 30 hostile hash | here; `stress.rs` |
//! | 31 lying `Eq` | `traps_lying.rs` |
//! | 32 panics | here; `foreign.rs`, `api_guards.rs`, `stress_ends.rs` |
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, eventually, rounds, while_held, Dice, Events, OneHash, PATIENCE};
use perkey::{KeyLock, LockTable, OwnedKeyGuard, OwnedKeyLock, ReentrantLock};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem::forget;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{mpsc, Arc};
use std::time::Duration;

type OneBucket = LockTable<u64, OneHash>;

/// A table whose six slots are taken for good: every further entry is in the chain and dies with its last user.
fn full() -> OneBucket {
    let table = LockTable::with_capacity_and_hasher(1, OneHash);
    (1000..1006).for_each(|k| forget(table.handle(&k)));
    table
}

const FULL: usize = 6;

/// Counts holders with plain loads and stores: a second one is seen.
#[derive(Default)]
struct Alone(AtomicUsize);

impl Alone {
    fn visit(&self) {
        assert_eq!(self.0.load(Relaxed), 0, "two holders");
        self.0.store(1, Relaxed);
        std::hint::spin_loop();
        assert_eq!(self.0.load(Relaxed), 1, "two holders");
        self.0.store(0, Relaxed);
    }
}

#[test]
fn trap_01_no_locker_slips_between_the_last_release_and_the_end_of_an_entry() {
    // I1, I2, I5: two lockers and a releaser, on an entry that dies with every release.
    let (t, alone) = (full(), Alone::default());
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for _ in 0..rounds(60_000) {
                    let guard = t.lock(&1);
                    alone.visit();
                    drop(guard);
                }
            });
        }
    });
    assert_eq!(t.len(), FULL);
}

#[test]
fn trap_02_a_life_that_has_ended_does_not_come_back() {
    // I5: revived by others as fast as it dies, in a slot and in the chain.
    for t in [full(), LockTable::with_capacity_and_hasher(1, OneHash)] {
        let alive = t.len();
        let over = AtomicBool::new(false);
        std::thread::scope(|s| {
            s.spawn(|| {
                while !over.load(SeqCst) {
                    drop(t.handle(&1));
                }
            });
            for _ in 0..rounds(20_000) {
                let h = t.handle(&1);
                let w = h.downgrade();
                drop(h);
                // While the other handle lived it may still go on; once over, it is over.
                if w.upgrade().is_none() {
                    let _new = t.handle(&1);
                    assert!(w.upgrade().is_none());
                }
            }
            over.store(true, SeqCst);
        });
        assert_eq!(t.len(), alive);
    }
}

#[test]
fn trap_03_the_successor_of_an_entry_stays_findable() {
    // I2: release against (lock, release) against lock; who holds the key finds it, and nobody else gets it.
    let t = full();
    let others_turn = AtomicU64::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..rounds(30_000) {
                    let guard = t.lock(&1);
                    assert!(t.is_held(&1) && t.is_locked(&1));
                    assert_eq!(t.lock(&1).depth(), 2, "a second entry for the key");
                    assert_eq!(guard.depth(), 1);
                }
                others_turn.fetch_add(1, SeqCst);
            });
        }
        while others_turn.load(SeqCst) < 2 {
            if let Some(guard) = t.try_lock(&1) {
                assert!(t.is_held(&1));
                drop(guard);
            }
        }
    });
    assert_eq!(t.len(), FULL);
}

#[test]
fn trap_04_a_guard_is_of_the_key_that_was_asked_for() {
    // I1, I2: six entries for thirty keys, taken over all the time.
    let t = OneBucket::with_capacity_and_hasher(1, OneHash);
    let alone: Vec<_> = (0..30).map(|_| Alone::default()).collect();
    std::thread::scope(|s| {
        for me in 0..3 {
            let (t, alone) = (&t, &alone);
            s.spawn(move || {
                let mut dice = Dice(me);
                for _ in 0..rounds(40_000) {
                    let k = dice.below(30);
                    let guard = t.lock(&k);
                    assert_eq!(*guard.key(), k);
                    alone[usize::try_from(k).unwrap()].visit();
                    assert_eq!(*guard.key(), k);
                }
            });
        }
    });
    assert!(t.is_empty());
}

#[test]
fn trap_05_the_tail_of_a_release_touches_nothing_that_is_freed() {
    // I7: waiters free the entry (and its queue) as soon as they are through, while the release is still waking. Shrinking
    // flushes the epoch all the time. A freed queue would crash, or be seen by a sanitizer.
    let t = full();
    let left = AtomicU64::new(3);
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for i in 0..rounds(8_000) {
                    let guard = t.lock(&1);
                    if i % 8 == 0 {
                        std::thread::yield_now();
                    }
                    if i % 2 == 0 {
                        guard.unlock_fair();
                    }
                }
                left.fetch_sub(1, SeqCst);
            });
        }
        while left.load(SeqCst) > 0 {
            t.shrink_to_fit();
        }
    });
    assert_eq!(t.len(), FULL);
}

#[test]
fn trap_06_no_waiter_sleeps_on_an_entry_that_has_died() {
    // I6: the holder goes just when the waiter comes. A sleeper would hang.
    let t = full();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    for round in 0..rounds(1_000) {
        std::thread::scope(|s| {
            let guard = t.lock(&1);
            let begun = events.began();
            let waiters: Vec<_> = (0..2).map(|_| s.spawn(|| t.lock(&1).depth())).collect();
            events.until_began(begun + 1);
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            drop(guard);
            for w in waiters {
                assert_eq!(w.join().unwrap(), 1);
            }
        });
        assert_eq!(t.len(), FULL);
    }
}

/// A key that stops in its `Drop`, once, if told to.
#[derive(Clone, PartialEq, Eq, Hash)]
struct StopsInDrop(u64);

type Stop = (mpsc::Sender<()>, mpsc::Receiver<()>);
thread_local!(static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) });

impl Drop for StopsInDrop {
    fn drop(&mut self) {
        if let Ok(Some((stopped, go))) = STOP.try_with(RefCell::take) {
            stopped.send(()).unwrap();
            let _ = go.recv();
        }
    }
}

#[test]
fn trap_07_nobody_waits_for_the_dropper_of_a_dead_entry() {
    // I4: it stands still in the middle of it; its own key is free all the same.
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    (1000..1006).for_each(|k| forget(t.handle(&StopsInDrop(k))));
    let key = StopsInDrop(1);
    let (stopped, is_stopped) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    std::thread::scope(|s| {
        s.spawn(|| {
            let guard = t.lock(&key);
            STOP.set(Some((stopped, gone)));
            drop(guard);
        });
        is_stopped.recv().unwrap();
        for _ in 0..1000 {
            assert_eq!(t.lock(&key).depth(), 1);
            assert_eq!(t.len(), FULL);
        }
        drop(go);
    });
}

#[test]
fn trap_08_a_waiter_that_gives_up_leaves_no_entry_behind() {
    // I5: holder, handle and waiters in all orders of leaving; in a slot and in the chain.
    for t in [full(), LockTable::with_capacity_and_hasher(1, OneHash)] {
        let alive = t.len();
        let events = Arc::new(Events::default());
        t.set_observer(Some(events.clone()));
        for order in 0..6 {
            let patience = if order < 3 {
                Duration::from_micros(200)
            } else {
                PATIENCE
            };
            std::thread::scope(|s| {
                let guard = t.lock(&1);
                let handle = (order % 2 == 0).then(|| t.handle(&1));
                let begun = events.began();
                let waiters: Vec<_> = (0..2)
                    .map(|_| s.spawn(|| t.try_lock_for(&1, patience).is_some()))
                    .collect();
                events.until_began(begun + 2);
                if order % 3 == 0 {
                    drop(handle);
                    drop(guard);
                } else {
                    drop(guard);
                    drop(handle);
                }
                for w in waiters {
                    let got = w.join().unwrap();
                    assert!(got || patience != PATIENCE);
                }
            });
            assert_eq!((t.len(), t.is_locked(&1)), (alive, false), "order {order}");
        }
    }
}

#[test]
fn trap_10_a_time_out_that_meets_a_grant_is_the_lock_or_nothing() {
    // I6: hand-overs to waiters whose time is up; afterwards the key is free, every time.
    let t = full();
    let alone = Alone::default();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    for round in 0..rounds(1_500) {
        std::thread::scope(|s| {
            let guard = t.lock(&1);
            let begun = events.began();
            for n in 0..2 {
                let (t, alone) = (&t, &alone);
                s.spawn(move || {
                    let wait = Duration::from_micros((round * 7 + n) % 80);
                    if let Some(_guard) = t.try_lock_for(&1, wait) {
                        alone.visit();
                    }
                });
            }
            events.until_began(begun + 2);
            guard.unlock_fair();
        });
        assert_eq!((t.len(), t.is_locked(&1)), (FULL, false), "round {round}");
    }
}

#[test]
fn trap_11_one_blocked_key_blocks_no_other_in_its_bucket() {
    // I4
    let t = OneBucket::with_capacity_and_hasher(1, OneHash);
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    std::thread::scope(|s| {
        let guard = t.lock(&1);
        let waiter = s.spawn(|| t.lock(&1).depth());
        events.until_began(1);
        elsewhere(|| {
            for k in 2..200 {
                assert_eq!(*t.lock(&k).key(), k); // would hang
            }
            t.shrink_to_fit();
            assert_eq!(t.len(), 1);
        });
        drop(guard);
        assert_eq!(waiter.join().unwrap(), 1);
    });
}

#[test]
fn trap_13_the_innermost_guard_alone_keeps_the_lock() {
    // I1, I7: flush the epoch, take over everything, lock again: must block.
    for t in [full(), LockTable::with_capacity_and_hasher(1, OneHash)] {
        let outer = t.lock(&1);
        let middle = t.handle(&1).lock();
        let inner = t.lock(&1);
        drop((outer, middle));
        for k in 10..2000 {
            drop(t.lock(&k));
        }
        elsewhere(|| (10..2000).for_each(|k| drop(t.lock(&k))));
        t.shrink_to_fit();
        assert!(elsewhere(|| t.try_lock(&1).is_none()));
        assert_eq!((*inner.key(), inner.depth(), t.is_held(&1)), (1, 1, true));
        drop(inner);
        assert!(elsewhere(|| t.try_lock(&1).is_some()));
    }
}

thread_local! {
    static LATE_GUARDS: RefCell<Vec<OwnedKeyGuard<u64, OneHash>>> = const { RefCell::new(Vec::new()) };
    static LATE_HANDLE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

/// Uses the table while the thread's locals are being destroyed.
struct Late {
    handle: OwnedKeyLock<u64, OneHash>,
    done: mpsc::Sender<usize>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let table = self.handle.table().clone();
        let depth = self.handle.lock().depth();
        drop((7..17).map(|k| table.lock(&k)).collect::<Vec<_>>());
        table.shrink_to_fit();
        self.done.send(depth).unwrap();
    }
}

#[test]
fn trap_17_owned_guards_and_handles_outlive_the_table_and_die_with_thread_locals() {
    // I7: whatever order the locals go in, those of the epoch included.
    for first in [false, true] {
        for chained in [false, true] {
            let t = Arc::new(if chained {
                full()
            } else {
                LockTable::with_hasher(OneHash)
            });
            let gone = Arc::downgrade(&t);
            let alive = t.len();
            let (done, is_done) = mpsc::channel();
            let keeper = t.handle_owned(&5);
            std::thread::spawn(move || {
                let touch = |late| {
                    if late {
                        let handle = t.handle_owned(&1);
                        LATE_HANDLE.set(Some(Late {
                            handle,
                            done: done.clone(),
                        }));
                    } else {
                        LATE_GUARDS
                            .with_borrow_mut(|g| g.extend([t.lock_owned(&1), t.lock_owned(&2)]));
                    }
                };
                touch(first);
                touch(!first);
                assert_eq!(t.len(), alive + 3);
                drop(t);
            })
            .join()
            .unwrap();
            let depth = is_done.recv().unwrap();
            assert!(depth == 1 || depth == 2, "before or after the guards");
            let t = keeper.table();
            assert_eq!(
                t.len(),
                alive + 1,
                "the locals are gone, and the locks with them"
            );
            assert!(t.try_lock(&1).is_some() && t.try_lock(&2).is_some());
            // The last handle is dropped on another thread, after the table's own variable.
            std::thread::spawn(move || drop(keeper)).join().unwrap();
            assert!(gone.upgrade().is_none());
        }
    }
}

#[test]
fn trap_18_a_dead_threads_lock_is_nobodys() {
    // I3: the forgotten guard of a thread that is gone; a thousand more threads, several at a time.
    let t = full();
    let lock = ReentrantLock::new(());
    elsewhere(|| {
        forget(t.lock(&1));
        forget(lock.lock());
    });
    for _ in 0..100 {
        std::thread::scope(|s| {
            for _ in 0..10 {
                s.spawn(|| {
                    assert!(t.try_lock(&1).is_none() && !t.is_held(&1));
                    assert!(lock.try_lock().is_none() && !lock.is_held());
                });
            }
        });
    }
}

#[test]
fn trap_19_the_end_of_a_holder_leaves_the_table_usable() {
    // I5: those who wait time out, those who do not want its key see nothing of it.
    let t = OneBucket::with_capacity_and_hasher(1, OneHash);
    for k in 0..20 {
        elsewhere(|| forget((t.lock(&k), t.lock(&k))));
        assert!(t.try_lock_for(&k, Duration::from_micros(100)).is_none());
        assert!(t.handle(&k).try_lock().is_none());
        assert_eq!(t.len() as u64, k + 1);
        for other in 100..120 {
            assert_eq!(t.lock(&other).depth(), 1);
        }
    }
    t.shrink_to_fit();
    assert_eq!(t.len(), 20);
}

#[test]
fn trap_23_a_release_clears_one_level_of_one_key() {
    // I3: guards of several keys, of handles and of the table, mixed; a second thread looks after each.
    let t = full();
    let mut dice = Dice(23);
    for _ in 0..rounds(150) {
        let handles: Vec<KeyLock<'_, u64>> = (0..3).map(|k| t.handle(&k)).collect();
        let mut guards: Vec<_> = (0..12)
            .map(|_| {
                let k = dice.below(3);
                if dice.below(2) == 0 {
                    t.lock(&k)
                } else {
                    handles[usize::try_from(k).unwrap()].lock()
                }
            })
            .collect();
        let mut left = HashMap::new();
        for guard in &guards {
            *left.entry(*guard.key()).or_insert(0) += 1;
        }
        while !guards.is_empty() {
            let i = usize::try_from(dice.below(guards.len() as u64)).unwrap();
            let guard = guards.swap_remove(i);
            let k = *guard.key();
            assert_eq!(guard.depth(), left[&k]);
            drop(guard);
            *left.get_mut(&k).unwrap() -= 1;
            elsewhere(|| {
                for k in 0..3 {
                    let held = left.get(&k).is_some_and(|n| *n > 0);
                    assert_eq!(t.try_lock(&k).is_none(), held);
                }
            });
        }
    }
    assert_eq!(t.len(), FULL);
}

#[test]
fn trap_30_a_constant_hash_costs_neither_exclusion_nor_independence() {
    // I1, I4: thirty keys of one hash, each held by one thread after the other, all at the same time.
    let t = OneBucket::with_capacity_and_hasher(1, OneHash);
    let alone: Vec<_> = (0..30).map(|_| Alone::default()).collect();
    std::thread::scope(|s| {
        for me in 0..4 {
            let (t, alone) = (&t, &alone);
            s.spawn(move || {
                let mut dice = Dice(me);
                for _ in 0..rounds(5_000) {
                    // Ascending, so that nothing but the table could block.
                    let first = dice.below(20);
                    let guards: Vec<_> = (first..first + 10).map(|k| t.lock(&k)).collect();
                    for guard in &guards {
                        assert_eq!(guard.depth(), 1);
                        alone[usize::try_from(*guard.key()).unwrap()].visit();
                    }
                }
            });
        }
        // A thread that holds one key of the hash stops none of the others.
        while_held(&t, &99, || assert!(t.try_lock(&98).is_some()));
    });
    assert!(t.is_empty());
}

#[test]
fn trap_32_panics_while_holding_release_every_level_and_poison_nothing() {
    // I3, I5, I6: with one level or several, in a slot or in the chain, with somebody waiting or nobody, out of one scope or two.
    for t in [full(), LockTable::with_capacity_and_hasher(1, OneHash)] {
        let alive = t.len();
        let events = Arc::new(Events::default());
        t.set_observer(Some(events.clone()));
        for levels in 1..4 {
            for waiting in [false, true] {
                for twice in [false, true] {
                    std::thread::scope(|s| {
                        let begun = events.began();
                        let mut waiter = None;
                        let result = catch_unwind(AssertUnwindSafe(|| {
                            let _guards: Vec<_> = (0..levels).map(|_| t.lock(&1)).collect();
                            let _other = t.handle(&2);
                            if waiting {
                                waiter = Some(s.spawn(|| t.lock(&1).depth()));
                                events.until_began(begun + 1);
                            }
                            let inner = catch_unwind(AssertUnwindSafe(|| {
                                let _deeper = t.lock(&1);
                                if twice {
                                    resume_unwind(Box::new("inner"));
                                }
                            }));
                            assert_eq!(inner.is_err(), twice);
                            assert_eq!(t.lock(&1).depth(), levels + 1);
                            resume_unwind(Box::new("outer"))
                        }));
                        let panic: Box<dyn std::any::Any + Send> = match result {
                            Ok(never) => never,
                            Err(panic) => panic,
                        };
                        assert_eq!(panic.downcast_ref(), Some(&"outer"));
                        if let Some(waiter) = waiter {
                            assert_eq!(waiter.join().unwrap(), 1);
                        }
                    });
                    eventually("all is free", || t.len() == alive);
                    assert!(elsewhere(|| t.try_lock(&1).is_some()));
                }
            }
        }
    }
}
