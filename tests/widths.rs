//! The ends of depth, references and generations, with the widths made small: `RUSTFLAGS="--cfg perkey_small"`.
//!
//! Depth and references end at 3, the insertions of a bucket at 40. At each end `lock` panics with a clear message, `try_*`
//! declines, what is there goes on working, and nothing wraps.
#![allow(clippy::pedantic)]
#![cfg(all(perkey_small, not(any(perkey_loom, perkey_shuttle))))]

mod common;

use common::{elsewhere, message, Events, OneHash, PlainHash};
use perkey::{KeyGuard, LockTable, ReentrantLock};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc};
use std::time::Duration;

const DEPTH: &str = "perkey: this owner holds the lock 3 times already";
const REFERENCES: &str = "perkey: 3 guards, handles and waiters on one key already";
const GENERATIONS: &str = "perkey: this bucket has seen its last insertion (40 of them)";

const SOON: Duration = Duration::from_millis(2);

/// `f` panics with this message.
#[track_caller]
fn refuses<R>(expected: &str, f: impl FnOnce() -> R) {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("no panic: {expected}"),
        Err(p) => assert_eq!(message(&*p), expected),
    }
}

/// A table with one bucket; `full`: its slots are taken by keys from 1000 on.
fn one_bucket(full: bool, f: impl Fn(Arc<LockTable<u64, OneHash>>, usize)) {
    let t = Arc::new(LockTable::with_capacity_and_hasher(0, OneHash));
    let _others: Vec<_> = (1000..1006)
        .filter(|_| full)
        .map(|k| t.handle(&k))
        .collect();
    let alive = t.len();
    f(t.clone(), alive);
    assert_eq!(t.len(), alive, "nothing is left");
}

// ---- depth ------------------------------------------------------------------------------------------------------

/// I3.
#[test]
fn at_the_end_of_depth_lock_panics_and_try_lock_declines() {
    // Trap 22, I3; in a slot and in the chain.
    for full in [false, true] {
        one_bucket(full, |t, alive| {
            let handle = t.handle(&1);
            let owned = t.handle_owned(&1);
            let mut guards = vec![t.lock(&1), t.lock(&1), handle.lock()];
            for _ in 0..10 {
                refuses(DEPTH, || t.lock(&1));
                refuses(DEPTH, || t.lock_with(&1, |k| *k));
                refuses(DEPTH, || t.lock_owned(&1));
                refuses(DEPTH, || handle.lock());
                refuses(DEPTH, || owned.lock());
                assert!(t.try_lock(&1).is_none() && t.try_lock_owned(&1).is_none());
                assert!(t.try_lock_for(&1, SOON).is_none());
                assert!(t.try_lock_for_owned(&1, SOON).is_none());
                assert!(handle.try_lock().is_none() && handle.try_lock_for(SOON).is_none());
                assert!(owned.try_lock().is_none() && owned.try_lock_for(SOON).is_none());
            }
            assert!(guards.iter().all(|g| g.depth() == 3), "nothing was counted");
            assert!(t.is_held(&1) && t.is_locked(&1));
            assert_eq!(t.len(), alive + 1);
            drop(owned);
            drop(t.handle(&1)); // a reference, no depth
                                // Other keys of the same hash have their own.
            let other = (t.lock(&2), t.lock(&2), t.lock(&2));
            assert_eq!(other.0.depth(), 3);
            drop(other);
            elsewhere(|| assert!(t.try_lock(&1).is_none() && t.try_lock(&2).is_some()));
            // One less, and one more.
            for way in 0..3 {
                drop(guards.swap_remove(way));
                guards.push(t.lock(&1));
                assert!(t.try_lock(&1).is_none());
            }
            drop(guards);
            elsewhere(|| assert!(t.try_lock(&1).is_some()));
            drop(handle);
        });
    }
}

#[test]
fn at_the_end_of_depth_a_reentrant_lock_does_the_same() {
    // Trap 22, I3
    let lock = ReentrantLock::new(7);
    let guards = [lock.lock(), lock.lock(), lock.lock()];
    for _ in 0..10 {
        refuses(DEPTH, || lock.lock());
        assert!(lock.try_lock().is_none() && lock.try_lock_for(SOON).is_none());
    }
    assert!(guards.iter().all(|g| g.depth() == 3 && **g == 7) && lock.is_held());
    assert!(
        format!("{lock:?}").contains("locked"),
        "`Debug` does not panic"
    );
    let [a, b, c] = guards;
    drop(b);
    assert_eq!(lock.lock().depth(), 3);
    drop((a, c));
    assert!(elsewhere(|| lock.try_lock().is_some()));
}

#[test]
fn a_waiter_gets_the_key_after_its_depth_was_at_the_end() {
    // I6
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    std::thread::scope(|s| {
        let guards = [t.lock(&1), t.lock(&1), t.lock(&1)];
        let waiter = s.spawn(|| t.lock(&1).depth());
        events.until_began(1);
        refuses(DEPTH, || t.lock(&1));
        drop(guards);
        assert_eq!(waiter.join().unwrap(), 1);
    });
    assert!(t.is_empty());
}

// ---- references -------------------------------------------------------------------------------------------------

#[test]
fn at_the_end_of_references_lock_and_handle_panic_and_try_lock_declines() {
    // I5, I7; handles in all places, then a guard in one.
    for full in [false, true] {
        one_bucket(full, |t, alive| {
            let mut handles = vec![t.handle(&1), t.handle(&1)];
            let weak = handles[0].downgrade();
            handles.push(handles[0].clone());
            for _ in 0..10 {
                refuses(REFERENCES, || t.handle(&1));
                refuses(REFERENCES, || t.handle_owned(&1));
                refuses(REFERENCES, || handles[1].clone());
                refuses(REFERENCES, || weak.upgrade());
                refuses(REFERENCES, || t.lock(&1));
                refuses(REFERENCES, || t.lock_with(&1, |k| *k));
                refuses(REFERENCES, || handles[2].lock());
                assert!(t.try_lock(&1).is_none() && t.try_lock_owned(&1).is_none());
                assert!(t.try_lock_for(&1, SOON).is_none());
                assert!(handles[2].try_lock().is_none());
                assert!(handles[2].try_lock_for(SOON).is_none());
            }
            assert!(!t.is_locked(&1) && !t.is_held(&1));
            assert_eq!(t.len(), alive + 1);
            assert!(t.try_lock(&2).is_some(), "another key of the same hash");
            drop(handles.pop());
            let guard = t.lock(&1);
            let again = t.lock(&1); // deeper, but no further reference
            let third = handles[0].lock();
            refuses(REFERENCES, || t.handle(&1));
            refuses(REFERENCES, || weak.upgrade());
            drop((again, third));
            elsewhere(|| {
                assert!(t.is_locked(&1) && t.try_lock(&1).is_none());
                refuses(REFERENCES, || t.lock(&1)); // no place to wait
                assert!(t.try_lock_for(&1, SOON).is_none());
            });
            drop(guard);
            assert!(weak.upgrade().is_some());
            drop(handles);
            assert!(
                weak.upgrade().is_none(),
                "the count came back to 0, not past it"
            );
            assert!(elsewhere(|| t.try_lock(&1).is_some()));
        });
    }
}

#[test]
fn waiters_are_references_and_the_one_too_many_is_refused() {
    // I6, trap 6
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    std::thread::scope(|s| {
        let guard = t.lock(&1);
        let waiters: Vec<_> = (0..2).map(|_| s.spawn(|| t.lock(&1).depth())).collect();
        events.until_began(2);
        for _ in 0..5 {
            elsewhere(|| {
                refuses(REFERENCES, || t.lock(&1));
                assert!(t.try_lock(&1).is_none() && t.try_lock_for(&1, SOON).is_none());
            });
            refuses(REFERENCES, || t.handle(&1));
        }
        assert_eq!((t.lock(&1).depth(), t.len()), (2, 1));
        drop(guard);
        for w in waiters {
            assert_eq!(w.join().unwrap(), 1);
        }
    });
    assert!(t.is_empty() && t.try_lock(&1).is_some());
}

/// A key whose `Eq` calls a hook.
#[derive(Clone)]
struct Hooked(u64);

type Hook = Box<dyn Fn()>;

thread_local!(static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) });

impl PartialEq for Hooked {
    fn eq(&self, other: &Self) -> bool {
        HOOK.with_borrow(|h| h.as_ref().map_or((), |h| h()));
        self.0 == other.0
    }
}

impl Eq for Hooked {}

impl Hash for Hooked {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u64(self.0);
    }
}

/// I7.
#[test]
fn too_many_searches_at_once_are_refused_and_the_rest_go_on() {
    // I9, I7: passing references, by an `Eq` that searches for the same key again.
    let t = Arc::new(LockTable::<Hooked>::new());
    let handle = t.handle(&Hooked(1));
    let inside = Arc::new((Cell::new(0), Cell::new(0), Cell::new(0)));
    let (table, counts) = (t.clone(), inside.clone());
    HOOK.set(Some(Box::new(move || {
        let (depth, deepest, refused) = &*counts;
        depth.set(depth.get() + 1);
        deepest.set(deepest.get().max(depth.get()));
        assert!(depth.get() < 10, "never refused");
        if table.try_lock(&Hooked(1)).is_none() {
            refused.set(refused.get() + 1);
        }
        if depth.get() == 3 {
            refuses(REFERENCES, || table.lock(&Hooked(1)));
            refuses(REFERENCES, || table.handle(&Hooked(1)));
        }
        depth.set(depth.get() - 1);
    })));
    assert_eq!(t.lock(&Hooked(1)).depth(), 1);
    HOOK.set(None);
    assert_eq!(
        (inside.0.get(), inside.1.get()),
        (0, 3),
        "three at once, no more"
    );
    assert!(inside.2.get() > 0);
    drop(handle);
    assert!(t.is_empty() && t.try_lock(&Hooked(1)).is_some());
}

// ---- generations ------------------------------------------------------------------------------------------------

/// I2.
#[test]
fn at_the_end_of_generations_new_keys_are_refused_and_old_ones_go_on() {
    // I2, I5: forty insertions into the one bucket, two of which stay alive.
    let t = Arc::new(LockTable::<u64, _>::with_capacity_and_hasher(0, OneHash));
    let guard = t.lock(&1);
    let handle = t.handle(&2);
    let weak = handle.downgrade();
    for k in 3..=40 {
        assert_eq!(*t.lock(&k).key(), k);
    }
    assert_eq!(
        *t.lock(&40).key(),
        40,
        "idle, and still there: no insertion"
    );
    for k in 41..300 {
        refuses(GENERATIONS, || t.lock(&k));
        refuses(GENERATIONS, || t.handle(&k));
        refuses(GENERATIONS, || t.lock_owned(&k));
        refuses(GENERATIONS, || t.handle_owned(&k));
        refuses(GENERATIONS, || t.lock_with(&k, |k| *k));
        assert!(t.try_lock(&k).is_none() && t.try_lock_owned(&k).is_none());
        assert!(t.try_lock_for(&k, SOON).is_none());
        assert!(!t.is_locked(&k) && !t.is_held(&k));
        assert_eq!(t.len(), 2);
        if k % 50 == 0 {
            t.shrink_to_fit();
        }
    }
    // What is alive goes on, in every way.
    assert_eq!((guard.depth(), t.lock(&1).depth()), (1, 2));
    elsewhere(|| {
        assert!(t.try_lock(&1).is_none());
        let guard = t.lock(&2);
        assert_eq!((*guard.key(), guard.depth()), (2, 1));
    });
    assert!(weak.upgrade().is_some_and(|h| h.try_lock().is_some()));
    for _ in 0..100 {
        drop((t.lock(&2), handle.clone()));
    }
    drop((guard, handle));
    assert!(t.is_empty() && weak.upgrade().is_none());
    drop(t);
}

#[test]
fn generations_end_in_the_chain_too() {
    // I2, I5: as many alive at once as do not make the table grow, which would give it new generations.
    let t = LockTable::with_capacity_and_hasher(0, OneHash);
    let guards: Vec<KeyGuard<'_, u64>> = (1..=20).map(|k| t.lock(&k)).collect();
    (21..=40).for_each(|k| drop(t.lock(&k)));
    for k in 41..100 {
        assert!(t.try_lock(&k).is_none());
        refuses(GENERATIONS, || t.lock(&k));
        refuses(GENERATIONS, || t.handle(&k));
    }
    assert_eq!(t.len(), 20);
    for (k, guard) in (1..=20).zip(&guards) {
        assert_eq!((*guard.key(), guard.depth(), t.lock(&k).depth()), (k, 1, 2));
        elsewhere(|| assert!(t.try_lock(&k).is_none()));
    }
    drop(guards);
    assert!(t.is_empty());
    refuses(GENERATIONS, || t.lock(&41));
    t.shrink_to_fit();
    refuses(GENERATIONS, || t.lock(&41));
    assert!(t.is_empty());
}

#[test]
fn a_table_that_grows_has_new_generations() {
    // I2, I4: forty keys of one hash alive at once crowd the only bucket; a newer one takes what comes after them.
    let t = LockTable::with_capacity_and_hasher(0, OneHash);
    let guards: Vec<KeyGuard<'_, u64>> = (1..=40).map(|k| t.lock(&k)).collect();
    assert!(t.capacity() > 6, "grown");
    assert!(t.try_lock(&41).is_some());
    assert!((1..=40).all(|k| t.lock(&k).depth() == 2));
    drop(guards);
    assert!(t.is_empty());
}

#[test]
fn each_bucket_has_generations_of_its_own() {
    // I4
    let t = LockTable::<u64, _>::with_capacity_and_hasher(8, PlainHash);
    assert_eq!(t.capacity(), 12, "two buckets");
    let works = (0..1000).filter(|k| t.try_lock(k).is_some()).count();
    assert_eq!(works, 80, "forty in each");
    assert!(t.is_empty());
}

#[test]
fn a_refused_key_is_dropped_at_once() {
    // I5, I9
    let t = LockTable::<Arc<str>, _>::with_capacity_and_hasher(0, OneHash);
    for n in 0..40 {
        drop(
            t.lock_with(format!("{n}").as_str(), |k| Arc::from(k))
                .unwrap(),
        );
    }
    let made: Arc<str> = Arc::from("made");
    for _ in 0..10 {
        refuses(GENERATIONS, || t.lock_with("made", |_| made.clone()));
        assert!(t.try_lock(&made).is_none());
        assert_eq!(Arc::strong_count(&made), 1);
    }
    assert!(t.is_empty());
}

#[test]
fn several_threads_share_what_is_left_of_the_generations() {
    // I2: never more than forty, whoever comes first; a lost race costs none.
    for _ in 0..50 {
        let t = LockTable::<u64, _>::with_capacity_and_hasher(0, PlainHash);
        let (works, all) = mpsc::channel();
        std::thread::scope(|s| {
            for me in 0..3u64 {
                let (t, works) = (&t, works.clone());
                s.spawn(move || {
                    let n = (0..100)
                        .filter(|k| t.try_lock(&(k * 3 + me)).is_some())
                        .count();
                    works.send(n).unwrap();
                });
            }
        });
        drop(works);
        let works: usize = all.iter().sum();
        // A slot's number is the next one; a chain's may leave some out.
        assert!((1..=40).contains(&works), "{works} insertions");
        assert!(t.is_empty());
        refuses(GENERATIONS, || t.lock(&5000));
    }
}
