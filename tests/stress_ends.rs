//! Threads that die while they hold keys, handles that outlive the table's variable, and ends that race: weak handles against the last release, time-outs against
//! the release (I1, I3, I5, I6, I7).
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]
#![allow(clippy::many_single_char_names)]

mod common;
#[path = "common/guarded.rs"]
mod guarded;

use common::{elsewhere, while_held, Dice, Events, OneHash};
use guarded::{at, guarded, rounds, Guarded};
use perkey::{LockTable, OwnedKeyLock, ReentrantLock};
use std::mem::forget;
use std::sync::{mpsc, Arc, Barrier};
use std::time::Duration;

// ---- threads that die -------------------------------------------------------------------------------------------

#[test]
fn a_later_thread_never_owns_what_a_dead_one_forgot() {
    // Traps 18, 19, I3: owner ids are never used again.
    let t = LockTable::<u64>::new();
    let lock = ReentrantLock::new(());
    elsewhere(|| {
        forget(t.lock(&1));
        forget(lock.lock());
        forget(t.handle(&2));
    });
    let threads = 1000;
    for n in 0..threads {
        elsewhere(|| {
            assert!(
                t.try_lock(&1).is_none(),
                "thread {n} owns a dead thread's lock"
            );
            assert!(lock.try_lock().is_none() && !lock.is_held());
            assert!(t.is_locked(&1) && !t.is_held(&1));
            if n % 100 == 0 {
                assert!(t.try_lock_for(&1, Duration::from_millis(1)).is_none());
                assert!(lock.try_lock_for(Duration::from_millis(1)).is_none());
            }
            assert!(t.try_lock(&2).is_some() && t.try_lock(&3).is_some());
        });
    }
    assert_eq!(t.len(), 2, "everything else is well");
    t.shrink_to_fit();
    assert!(t.is_locked(&1) && t.try_lock(&2).is_some());
}

#[test]
fn dying_threads_that_forget_guards_harm_no_other_key() {
    // Trap 19, I5, I8: under fire, and beyond the slots.
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let all = guarded(8);
    let dead = rounds(100);
    std::thread::scope(|s| {
        let (t, all) = (&t, &all);
        for me in 1..=2 {
            s.spawn(move || {
                let mut dice = Dice(me);
                for _ in 0..rounds(5_000) {
                    let k = dice.below(8);
                    let guard = t.lock(&k);
                    at(all, k).visit(me, guard.depth());
                    at(all, k).leave(me, guard.depth());
                }
            });
        }
        for n in 0..dead {
            s.spawn(move || forget((t.lock(&(1000 + n)), t.lock(&(1000 + n)))))
                .join()
                .unwrap();
        }
    });
    assert_eq!(t.len() as u64, dead);
    for k in 0..8 {
        assert!(t.try_lock(&k).is_some());
    }
    for n in 0..dead {
        assert!(t.is_locked(&(1000 + n)) && t.try_lock(&(1000 + n)).is_none());
    }
}

#[test]
fn a_thread_that_panics_while_it_holds_or_waits_leaves_the_key_free() {
    // Trap 32, I5, I6
    let t = LockTable::<u64>::new();
    for round in 0..rounds(300) {
        std::thread::scope(|s| {
            let threads: Vec<_> = (0..3)
                .map(|me| {
                    let t = &t;
                    s.spawn(move || {
                        let _guards = (t.lock(&1), t.lock(&1));
                        if me != round % 3 {
                            std::panic::resume_unwind(Box::new(me));
                        }
                    })
                })
                .collect();
            let panics = threads.into_iter().filter_map(|t| t.join().err()).count();
            assert_eq!(panics, 2);
        });
        assert!(t.is_empty() && t.try_lock(&1).is_some());
    }
}

// ---- owned guards and handles -----------------------------------------------------------------------------------

#[test]
fn owned_handles_wander_between_threads_and_outlive_the_table_variable() {
    // I1, I5, I7
    let n = rounds(3_000);
    let table = Arc::new(LockTable::<u64>::with_capacity(0));
    let all = Arc::new(guarded(10));
    let gone = Arc::downgrade(&table);
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..3).map(|_| mpsc::channel::<OwnedKeyLock<u64>>()).unzip();
    let threads: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(i, inbox)| {
            let (table, all) = (table.clone(), all.clone());
            let next = senders[(i + 1) % 3].clone();
            std::thread::spawn(move || {
                let me = i as u64 + 1;
                let mut dice = Dice(me);
                for _ in 0..n {
                    let h = table.handle_owned(&dice.below(10));
                    let _ = next.send(h);
                    if let Ok(h) = inbox.try_recv() {
                        let weak = h.downgrade();
                        let guard = h.lock();
                        drop(h);
                        at(&all, *guard.key()).visit(me, guard.depth());
                        assert!(weak.upgrade().is_some());
                        at(&all, *guard.key()).leave(me, guard.depth());
                    }
                }
            })
        })
        .collect();
    drop((senders, table));
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(
        gone.upgrade().is_none(),
        "the last handle took the table with it"
    );
}

#[test]
fn upgrades_race_the_last_release() {
    // I5: an upgrade succeeds only in the life it was made for; `visits` of a life that is over must not move.
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    for overflow in [0, 9] {
        let _others: Vec<_> = (10_000..10_000 + overflow).map(|k| t.handle(&k)).collect();
        for round in 0..rounds(1_500) {
            let h = t.handle(&round);
            let weak = h.downgrade();
            let start = Barrier::new(3);
            std::thread::scope(|s| {
                let upgrades: Vec<_> = (0..2)
                    .map(|_| {
                        let (start, weak) = (&start, weak.clone());
                        s.spawn(move || {
                            start.wait();
                            let up = weak.upgrade();
                            if let Some(h) = &up {
                                assert_eq!(*h.key(), round);
                                drop(h.lock());
                            }
                            up
                        })
                    })
                    .collect();
                start.wait();
                drop(h);
                let ups: Vec<_> = upgrades.into_iter().map(|u| u.join().unwrap()).collect();
                let strong = ups.iter().flatten().count();
                assert_eq!(weak.upgrade().is_some(), strong > 0, "round {round}");
            });
            let up = weak.upgrade();
            assert!(up.is_none(), "round {round}: {t:?}");
            let _new = t.handle(&round);
            assert!(weak.upgrade().is_none(), "a new life");
        }
    }
}

#[test]
fn a_time_out_that_races_the_release_is_either_taken_or_passed_on() {
    // I6, trap 10: both or neither would show as a hang, an overlap or a key that stays locked.
    let t = LockTable::<u64>::new();
    let data = Guarded::default();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let mut taken = 0;
    for round in 0..rounds(1_500) {
        std::thread::scope(|s| {
            let (t, data) = (&t, &data);
            let guard = t.lock(&1);
            let begun = events.began();
            let waiters: Vec<_> = (1..=3)
                .map(|me| {
                    s.spawn(move || {
                        let wait = Duration::from_micros(round % 50 * me);
                        let guard = if me == 3 {
                            Some(t.lock(&1))
                        } else {
                            t.try_lock_for(&1, wait)
                        };
                        guard.map_or(0, |g| {
                            data.visit(me, g.depth());
                            data.leave(me, g.depth());
                            1
                        })
                    })
                })
                .collect();
            events.until_began(begun + 3);
            if round % 2 == 0 {
                guard.unlock_fair();
            } else {
                drop(guard);
            }
            taken += waiters.into_iter().map(|w| w.join().unwrap()).sum::<u64>();
        });
        assert!(t.is_empty() && t.try_lock(&1).is_some(), "round {round}");
    }
    let mut data = data;
    assert_eq!(data.visits(), taken);
    while_held(&t, &1, || assert!(t.try_lock(&1).is_none()));
}
