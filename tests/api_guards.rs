//! What guards offer, of a key and of a lock without a table.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, free, while_held, Events, OneHash, PlainHash, Task, SOON};
use perkey::{LockTable, ReentrantLock};
use std::cell::Cell;
use std::hash::BuildHasher;
use std::mem::forget;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

#[test]
fn guards_are_dropped_in_any_order() {
    // I3, trap 23: all orders of four guards of one key beside one of another, in a slot and in the chain.
    fn permutations(n: usize) -> Vec<Vec<usize>> {
        if n == 0 {
            return vec![vec![]];
        }
        let mut all = Vec::new();
        for p in permutations(n - 1) {
            for at in 0..n {
                let mut p = p.clone();
                p.insert(at, n - 1);
                all.push(p);
            }
        }
        all
    }
    for overflow in [0, 9] {
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        let _others: Vec<_> = (100..100 + overflow).map(|k| t.handle(&k)).collect();
        let alive = t.len();
        for order in permutations(4) {
            let other = t.lock(&2u64);
            let mut guards: Vec<_> = (0..4).map(|_| Some(t.lock(&1))).collect();
            for (gone, i) in order.into_iter().enumerate() {
                assert!(!free(&t, 1));
                assert_eq!(guards[i].as_ref().unwrap().depth(), 4 - gone);
                guards[i] = None;
                assert_eq!(t.is_held(&1), gone < 3);
            }
            assert!(free(&t, 1) && !free(&t, 2));
            assert_eq!(t.len(), alive + 1);
            assert_eq!((*other.key(), other.depth()), (2, 1));
        }
    }
}

/// I1, I3: each thread notes what it has taken last.
#[test]
fn what_is_taken_again_is_the_key_that_was_asked_for_in_the_table_that_was_asked() {
    let (here, there) = (
        LockTable::with_hasher(PlainHash),
        LockTable::with_hasher(PlainHash),
    );
    let first = here.lock(&1u64);
    let other = there.lock(&1u64);
    assert_eq!((first.depth(), other.depth()), (1, 1));
    assert_eq!((here.len(), there.len()), (1, 1));
    assert!(!free(&here, 1) && !free(&there, 1));
    drop(other);
    assert!(!free(&here, 1) && free(&there, 1));
    // What was noted last is gone, and the first one is held still.
    let again = here.lock(&1);
    assert_eq!((again.depth(), here.lock(&1).depth()), (2, 3));
    // The same hash, and another key.
    let t = LockTable::with_hasher(OneHash);
    let one = t.lock(&1u64);
    let two = t.lock(&2);
    assert_eq!((*one.key(), *two.key(), two.depth()), (1, 2, 1));
    assert_eq!((t.lock(&1).depth(), t.lock(&2).depth()), (2, 2));
}

/// I1, I3: a key in a slot, in the chain, and in a segment.
#[test]
fn what_was_released_is_not_taken_again_without_a_look() {
    fn check<S: BuildHasher + Sync>(t: &LockTable<u64, S>, others: u64) {
        let _others: Vec<_> = (100..100 + others).map(|k| t.handle(&k)).collect();
        for last in 1..4 {
            let guards: Vec<_> = (0..last).map(|_| t.lock(&1)).collect();
            assert_eq!(t.lock(&1).depth(), last + 1);
            drop(guards);
            while_held(t, &1, || {
                assert!(t.try_lock(&1).is_none() && !t.is_held(&1));
            });
            assert_eq!(t.try_lock(&1).unwrap().depth(), 1);
        }
    }
    check(&LockTable::with_hasher(PlainHash), 0);
    check(&LockTable::with_capacity_and_hasher(1, OneHash), 9);
    check(&LockTable::with_hasher(PlainHash), 1000);
}

/// I1, I7, trap 19: the next table is in the same place.
#[test]
fn a_key_that_is_held_for_good_does_not_outlive_its_table() {
    let mut t = LockTable::with_hasher(PlainHash);
    for _ in 0..3 {
        let place: *const _ = &t;
        forget(t.lock(&1u64));
        assert!(t.is_held(&1));
        t = LockTable::with_hasher(PlainHash);
        assert_eq!(place, &raw const t);
        let guard = t.lock(&1);
        assert_eq!((guard.depth(), t.len()), (1, 1));
    }
}

#[test]
fn forgetting_a_guard_leaves_the_key_held_and_everything_else_well() {
    // I3, I5, trap 19
    for overflow in [0, 9] {
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        let _others: Vec<_> = (100..100 + overflow).map(|k| t.handle(&k)).collect();
        let alive = t.len();
        let guard = t.lock(&1u64);
        forget(t.lock(&1));
        drop(guard);
        assert!(t.is_held(&1) && !free(&t, 1));
        assert_eq!(t.lock(&1).depth(), 2, "its thread may still take it");
        assert!(elsewhere(|| t.try_lock_for(&1, SOON).is_none()));
        t.shrink_to_fit();
        assert!(t.is_held(&1));
        for k in 2..50 {
            assert!(free(&t, k));
        }
        assert_eq!(t.len(), alive + 1);
        forget(t.handle(&2));
        assert_eq!(t.len(), alive + 2);
    }
}

#[test]
#[cfg(target_os = "linux")] // sees in /proc when a thread sleeps
fn unlock_fair_hands_the_key_to_the_longest_waiter() {
    // I6
    let t = Arc::new(LockTable::<u64>::new());
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let h = t.handle_owned(&1);
    for way in 0..3 {
        let before = events.began();
        std::thread::scope(|s| {
            let mut guard = Some((t.lock(&1), t.lock(&1)));
            let (order, has_order) = mpsc::channel();
            let mut gos = Vec::new();
            for n in 0..3 {
                let (task, is_task) = mpsc::channel();
                let (go, gone) = mpsc::channel::<()>();
                gos.push(go);
                let (order, t) = (order.clone(), t.clone());
                s.spawn(move || {
                    task.send(Task::me()).unwrap();
                    match way {
                        0 => {
                            let guard = t.lock(&1);
                            order.send(n).unwrap();
                            let _ = gone.recv();
                            guard.unlock_fair();
                        }
                        _ => {
                            let guard = t.lock_owned(&1);
                            order.send(n).unwrap();
                            let _ = gone.recv();
                            guard.unlock_fair();
                        }
                    }
                });
                events.until_began(before + n + 1);
                is_task.recv().unwrap().until_asleep();
            }
            let (outer, inner) = guard.take().unwrap();
            outer.unlock_fair();
            assert!(t.is_held(&1), "only the last guard hands it over");
            inner.unlock_fair();
            for (n, go) in gos.into_iter().enumerate() {
                assert!(!t.is_held(&1) && t.is_locked(&1), "no moment of freedom");
                assert!(t.try_lock(&1).is_none() && h.try_lock().is_none());
                assert_eq!(has_order.recv().unwrap(), n, "first come, first served");
                assert!(t.try_lock(&1).is_none());
                drop(go);
            }
        });
        assert!(free(&t, 1));
    }
}

// ---- the lock without a table -----------------------------------------------------------------------------------

#[test]
fn a_reentrant_lock_is_the_same_lock_without_a_table() {
    // I1, I3
    static LOCK: ReentrantLock<Cell<u64>> = ReentrantLock::new(Cell::new(0));
    let outer = LOCK.lock();
    let inner = LOCK.try_lock().unwrap();
    let third = LOCK.try_lock_for(Duration::ZERO).unwrap();
    let fourth = LOCK.try_lock_until(Instant::now()).unwrap();
    third.set(5);
    assert_eq!((outer.get(), inner.depth(), LOCK.is_held()), (5, 4, true));
    drop((outer, fourth));
    elsewhere(|| {
        assert!(!LOCK.is_held());
        assert!(LOCK.try_lock().is_none() && LOCK.try_lock_for(SOON).is_none());
        assert!(LOCK.try_lock_until(Instant::now() + SOON).is_none());
        assert!(format!("{LOCK:?}").contains("locked"));
    });
    drop(inner);
    assert_eq!(third.depth(), 1);
    third.unlock_fair();
    assert!(!LOCK.is_held() && elsewhere(|| LOCK.try_lock().is_some()));
}

#[test]
fn a_reentrant_lock_gives_its_value_back() {
    let mut lock = ReentrantLock::from(String::from("a"));
    lock.get_mut().push('b');
    {
        let guard = lock.lock();
        assert_eq!(
            (guard.as_str(), guard.to_string(), format!("{guard:?}")),
            ("ab", "ab".into(), "\"ab\"".into())
        );
        assert!(format!("{lock:?}").contains("ab"));
    }
    assert_eq!(lock.into_inner(), "ab");
    assert_eq!(*ReentrantLock::<u64>::default().lock(), 0);
    let unsized_lock: &ReentrantLock<[u8]> = &ReentrantLock::new([1, 2, 3]);
    assert_eq!(unsized_lock.lock().len(), 3);
}

#[test]
#[cfg(target_os = "linux")]
fn a_reentrant_lock_is_handed_over_by_unlock_fair() {
    // I6
    let lock = ReentrantLock::new(());
    std::thread::scope(|s| {
        let guard = lock.lock();
        let (task, is_task) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let l = &lock;
        let waiter = s.spawn(move || {
            task.send(Task::me()).unwrap();
            let _guard = l.lock();
            let _ = gone.recv();
        });
        is_task.recv().unwrap().until_asleep();
        guard.unlock_fair();
        assert!(lock.try_lock().is_none(), "the waiter has it");
        drop(go);
        waiter.join().unwrap();
    });
    assert!(lock.try_lock().is_some());
}

#[test]
fn a_panic_while_a_guard_is_held_releases_it_and_poisons_nothing() {
    // Trap 32
    let t = LockTable::<u64>::new();
    let lock = ReentrantLock::new(1);
    let result = elsewhere(|| {
        catch_unwind(AssertUnwindSafe(|| {
            let _a = t.lock(&1);
            let _b = (t.lock(&1), t.handle(&2));
            let _c = (lock.lock(), lock.lock());
            panic!("while holding");
        }))
        .is_err()
    });
    assert!(result && t.is_empty() && free(&t, 1));
    assert_eq!(*lock.lock(), 1);
}
