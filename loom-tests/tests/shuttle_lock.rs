//! The lock without a table under random and PCT schedules: 4 to 8 tasks, 10,000 schedules of each kind per scenario.
//!
//! Checked: no lost increment behind the lock (I1), depths (I3), no lost wake-up (I6, as a deadlock), a time-out that races a
//! grant ends with the lock or without, never with both or neither; hand-overs in the order of arrival; the longest
//! waiter is served whatever the others do.
//!
//! Traps 9 (for a waiter that times out) and 10. See `shuttle_common` for seeds and replays.
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic)]

mod shuttle_common;

use perkey::model::tick;
use perkey::ReentrantLock;
use shuttle::rand::{thread_rng, RngCore};
use shuttle::thread;
use shuttle_common::{check, go_first, point, until_all_sleep};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

type Counter = ReentrantLock<Cell<u64>>;

fn below(n: u64) -> u64 {
    (thread_rng().next_u64() >> 33) % n
}

/// With the lock held.
fn count(cell: &Cell<u64>) {
    let n = cell.get();
    point();
    cell.set(n + 1);
}

/// The lock is free, and `n` have counted.
fn end(lock: Arc<Counter>, n: u64) {
    let guard = lock.try_lock().expect("nobody holds it any more");
    assert_eq!((guard.depth(), guard.get()), (1, n));
    drop(guard);
    assert!(!lock.is_held());
    assert_eq!(Arc::into_inner(lock).unwrap().into_inner().get(), n);
}

#[test]
fn eight_tasks_count() {
    check("eight_tasks_count", || {
        let lock = Arc::new(Counter::default());
        let counted = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|i| {
                let (lock, counted) = (lock.clone(), counted.clone());
                thread::spawn(move || {
                    let outer = lock.lock();
                    count(&outer);
                    if i % 2 == 0 {
                        let inner = lock.lock();
                        let third = lock.try_lock().expect("ours");
                        assert_eq!(third.depth(), 3);
                        drop(outer);
                        drop(third);
                        assert!(lock.is_held() && inner.depth() == 1);
                        count(&inner);
                        counted.fetch_add(1, Relaxed);
                        if i % 4 == 0 {
                            inner.unlock_fair();
                        }
                    } else {
                        drop(outer);
                        if let Some(guard) = lock.try_lock() {
                            count(&guard);
                            counted.fetch_add(1, Relaxed);
                        }
                    }
                    assert!(!lock.is_held());
                    counted.fetch_add(1, Relaxed);
                })
            })
            .collect();
        for t in tasks {
            t.join().unwrap();
        }
        end(lock, counted.load(Relaxed));
    });
}

/// Two locks, nested in one order by everybody; everything they offer.
#[test]
fn six_tasks_nest_two_locks() {
    check("six_tasks_nest_two_locks", || {
        let locks = Arc::new([Counter::default(), Counter::default()]);
        let counted = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let tasks: Vec<_> = (0..6)
            .map(|_| {
                let (locks, counted) = (locks.clone(), counted.clone());
                thread::spawn(move || {
                    let visit = |i: usize, cell: &Cell<u64>| {
                        count(cell);
                        counted[i].fetch_add(1, Relaxed);
                    };
                    match below(5) {
                        0 | 1 => {
                            let a = locks[0].lock();
                            visit(0, &a);
                            let b = locks[1].lock();
                            visit(1, &b);
                            let again = locks[0].lock();
                            drop(a);
                            visit(0, &again);
                            drop(again);
                            visit(1, &b);
                        }
                        2 => {
                            let b = locks[1].lock();
                            visit(1, &b);
                            if let Some(a) = locks[0].try_lock() {
                                visit(0, &a);
                            }
                            b.unlock_fair();
                        }
                        3 => {
                            let a = locks[0].try_lock_for(MS);
                            if let Some(b) = locks[1].try_lock_for(MS) {
                                visit(1, &b);
                            }
                            if let Some(a) = a {
                                visit(0, &a);
                            }
                        }
                        _ => tick(MS),
                    }
                })
            })
            .collect();
        for t in tasks {
            t.join().unwrap();
        }
        for (lock, counted) in locks.iter().zip(&*counted) {
            assert_eq!(lock.try_lock().expect("free").get(), counted.load(Relaxed));
        }
    });
}

/// Trap 10, and 9 for a waiter that times out: four waiters with time-outs, one without, a holder, a clock.
#[test]
fn time_outs_race_grants() {
    let tally = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let t = tally.clone();
    check("time_outs_race_grants", move || {
        let lock = Arc::new(Counter::default());
        let counted = Arc::new(AtomicU64::new(0));
        let ticked = Arc::new(AtomicU64::new(0));
        let fair = below(2) == 0;
        let held = lock.lock();
        let mut tasks: Vec<_> = (0..4)
            .map(|i| {
                let (lock, counted, ticked) = (lock.clone(), counted.clone(), ticked.clone());
                let t = t.clone();
                thread::spawn(move || {
                    let guard = lock.try_lock_for(MS * (i % 2 + 1));
                    assert_eq!(guard.is_some(), lock.is_held(), "both or neither");
                    if let Some(guard) = guard {
                        t[0].fetch_add(1, Relaxed);
                        counted.fetch_add(1, Relaxed);
                        assert_eq!(guard.depth(), 1);
                        count(&guard);
                        if fair {
                            guard.unlock_fair();
                        }
                    } else {
                        assert!(ticked.load(Relaxed) > u64::from(i % 2), "too early");
                        t[1].fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        let (l, c) = (lock.clone(), counted.clone());
        tasks.push(thread::spawn(move || {
            count(&l.lock());
            c.fetch_add(1, Relaxed);
        }));
        tasks.push(thread::spawn(move || {
            for _ in 0..2 {
                ticked.fetch_add(1, Relaxed);
                tick(MS);
            }
        }));
        count(&held);
        counted.fetch_add(1, Relaxed);
        if fair {
            held.unlock_fair();
        } else {
            drop(held);
        }
        for t in tasks {
            t.join().unwrap();
        }
        end(lock, counted.load(Relaxed));
    });
    println!("time_outs_race_grants: in time and too late: {tally:?}");
    assert!(
        tally.iter().all(|n| n.load(Relaxed) > 0) || std::env::var_os("PERKEY_REPLAY").is_some()
    );
}

/// `n` waiters, asleep, in the order of their numbers; each notes when it is served, and releases.
fn queue(lock: &Arc<Counter>, n: usize, fair: bool) -> (Served, Vec<thread::JoinHandle<()>>) {
    let served = Served::default();
    let tasks = (0..n)
        .map(|i| {
            let (lock, served) = (lock.clone(), served.clone());
            let t = thread::spawn(move || {
                let guard = lock.lock();
                served.lock().unwrap().push(i);
                count(&guard);
                if fair {
                    guard.unlock_fair();
                }
            });
            until_all_sleep();
            t
        })
        .collect();
    (served, tasks)
}

type Served = Arc<Mutex<Vec<usize>>>;

/// F1: `unlock_fair` hands the lock over, to the longest waiter; nobody comes between.
#[test]
fn unlock_fair_serves_in_the_order_of_arrival() {
    check("unlock_fair_serves_in_the_order_of_arrival", || {
        let lock = Arc::new(Counter::default());
        let held = lock.lock();
        let (served, tasks) = queue(&lock, 4, true);
        let (l, s) = (lock.clone(), served.clone());
        let barger = thread::spawn(move || {
            for _ in 0..4 {
                if let Some(_guard) = l.try_lock() {
                    assert_eq!(s.lock().unwrap().len(), 4, "came between");
                }
            }
        });
        held.unlock_fair();
        for t in tasks {
            t.join().unwrap();
        }
        barger.join().unwrap();
        assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3]);
        end(lock, 4);
    });
}

/// F1: any release hands over when half a millisecond has passed; before that, whoever comes first may have it.
#[test]
fn a_release_hands_over_when_time_has_passed() {
    let barged = Arc::new(AtomicU64::new(0));
    let b = barged.clone();
    check("a_release_hands_over_when_time_has_passed", move || {
        let lock = Arc::new(Counter::default());
        let late = below(2) == 0;
        let held = lock.lock();
        let (served, tasks) = queue(&lock, 3, false);
        if late {
            tick(MS);
        }
        drop(held);
        if let Some(_guard) = lock.try_lock() {
            assert!(!late || !served.lock().unwrap().is_empty(), "barged in");
            b.fetch_add(1, Relaxed);
        }
        for t in tasks {
            t.join().unwrap();
        }
        end(lock, 3);
    });
    assert!(barged.load(Relaxed) > 0 || std::env::var_os("PERKEY_REPLAY").is_some());
}

/// F1: a woken waiter does not come, as a barging task runs all the time. Most of its releases do not look at the queue meanwhile; when time has
/// passed, one of the next two hands the lock to the next waiter.
#[test]
fn a_release_hands_over_while_a_waiter_is_on_his_way() {
    check("a_release_hands_over_while_a_waiter_is_on_his_way", || {
        let lock = Arc::new(Counter::default());
        let mut held = lock.lock();
        let (served, tasks) = queue(&lock, 3, false);
        go_first(true);
        drop(held);
        held = lock.lock();
        assert!(served.lock().unwrap().is_empty());
        tick(MS);
        drop(held);
        if let Some(held) = lock.try_lock() {
            drop(held);
            assert!(lock.try_lock().is_none(), "nobody has looked");
        }
        go_first(false);
        for t in tasks {
            t.join().unwrap();
        }
        assert_eq!(
            served.lock().unwrap()[0],
            1,
            "the one on his way came first"
        );
        end(lock, 3);
    });
}

/// F1: time stands still, and a barging task lets the waiters run only while it holds the lock. They are served all the same, the
/// longest waiter first, each after a bounded number of its acquisitions. (When the first releases, the others may overtake
/// each other: one that wakes for no reason comes before one that is being woken.)
#[test]
fn the_longest_waiter_is_served() {
    check("the_longest_waiter_is_served", || {
        let lock = Arc::new(Counter::default());
        let mut held = lock.lock();
        let (served, tasks) = queue(&lock, 3, false);
        go_first(true);
        let (mut mine, mut rounds) = (0, 0);
        while served.lock().unwrap().len() < 3 {
            rounds += 1;
            assert!(rounds <= 12, "{rounds} rounds, served: {served:?}");
            // Woken in vain once, then the lock is handed to him.
            assert!(rounds <= 2 || !served.lock().unwrap().is_empty());
            drop(held);
            held = lock.lock();
            count(&held);
            mine += 1;
            until_all_sleep();
        }
        go_first(false);
        drop(held);
        for t in tasks {
            t.join().unwrap();
        }
        assert_eq!(served.lock().unwrap()[0], 0);
        end(lock, 3 + mine);
    });
}

/// The first waiter's time is over while he is woken or handed the lock: the others must not wait for ever.
#[test]
fn who_gives_up_passes_it_on() {
    check("who_gives_up_passes_it_on", || {
        let lock = Arc::new(Counter::default());
        let held = lock.lock();
        let l = lock.clone();
        let got = Arc::new(AtomicU64::new(0));
        let g = got.clone();
        let first = thread::spawn(move || {
            if let Some(guard) = l.try_lock_for(MS) {
                count(&guard);
                g.fetch_add(1, Relaxed);
            }
        });
        until_all_sleep();
        let (served, tasks) = queue(&lock, 2, false);
        let clock = thread::spawn(|| tick(MS * 2));
        let fair = below(2) == 0;
        if fair {
            held.unlock_fair();
        } else {
            drop(held);
        }
        for t in tasks {
            t.join().unwrap();
        }
        first.join().unwrap();
        clock.join().unwrap();
        assert_eq!(served.lock().unwrap().len(), 2);
        end(lock, 2 + got.load(Relaxed));
    });
}
