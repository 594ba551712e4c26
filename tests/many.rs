//! Many keys in one call, sentence by sentence: all or none, in any order, never in a circle.
//!
//! Which of two keys comes later in the table's order does not show. The tests find it out: a thread that holds the later one must
//! not wait for the other, and a thread that holds the earlier one waits. Nobody tells the time: whoever is waited for lets go
//! when the observer hears of the wait.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{
    elsewhere, message, nothing_is_held, one_bucket, sorted, while_held, Event, Events, OneHash,
    Task, PATIENCE,
};
use perkey::{KeyLock, LockManyError, LockTable, Observer};
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::mem::forget;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc, Mutex};
use std::time::{Duration, Instant};

// ---- what is asked for is held ------------------------------------------------------------------------------------

/// M2: each lock is taken once.
#[test]
fn every_key_is_held_once_however_often_it_is_asked_for() {
    // I3
    let t = LockTable::<u64>::new();
    for asked in [[1, 2, 1], [2, 1, 1], [1, 1, 2], [2, 2, 1], [1, 2, 2]] {
        let many = t.lock_many(&asked).unwrap();
        assert_eq!((many.len(), sorted(&many)), (2, vec![1, 2]), "{asked:?}");
        assert_eq!(many.keys().len(), 2);
        assert!(many.contains(&1) && many.contains(&2) && !many.contains(&3));
        assert!(!many.is_empty() && t.len() == 2);
        for k in [1, 2] {
            assert!(t.is_held(&k));
            assert_eq!(t.lock(&k).depth(), 2, "once by the guard of many");
        }
        elsewhere(|| {
            assert!(t.try_lock(&1).is_none() && t.try_lock(&2).is_none());
            assert!(t.try_lock_many([&2, &3]).is_none() && t.try_lock_many([&3]).is_some());
        });
        drop(many);
        assert!(t.is_empty());
        nothing_is_held(&t, 4, &[]);
    }
}

#[test]
fn every_form_takes_the_same_keys() {
    let t = LockTable::<u64>::new();
    let asked = [5, 3, 5, 4];
    let deadline = Instant::now() + PATIENCE;
    for many in [
        t.lock_many(&asked).unwrap(),
        t.try_lock_many(&asked).unwrap(),
        t.try_lock_many_for(&asked, PATIENCE).unwrap(),
        t.try_lock_many_for(&asked, Duration::MAX).unwrap(),
        t.try_lock_many_until(&asked, deadline).unwrap(),
    ] {
        assert_eq!(sorted(&many), [3, 4, 5]);
    }
    assert!(t.is_empty());
    // Free keys are to be had after the deadline, too.
    assert!(t.try_lock_many_until(&asked, Instant::now()).is_some());
    assert!(t.try_lock_many_for(&asked, Duration::ZERO).is_some());
}

#[test]
fn no_keys_are_an_empty_guard() {
    let t = LockTable::<u64>::new();
    let none = t.lock_many(&[]).unwrap();
    assert_eq!(
        (none.is_empty(), none.len(), none.keys().len()),
        (true, 0, 0)
    );
    assert!(!none.contains(&1));
    assert_eq!(format!("{none:?}"), "ManyGuard([])");
    assert!(t.try_lock_many(std::iter::empty::<&u64>()).is_some());
    while_held(&t, &1, || {
        assert!(t.try_lock_many_for(&[], Duration::ZERO).is_some());
        assert!(t.try_lock_many_until(&[], Instant::now()).is_some());
    });
    assert!(t.is_empty());
    none.unlock_fair();
}

#[test]
fn keys_are_asked_for_in_any_borrowed_form_and_from_any_iterator() {
    let t = LockTable::<String>::new();
    let words = ["pear", "plum", "fig", "pear"];
    let many = t.lock_many(words).unwrap();
    assert!(many.len() == 3 && many.contains("fig") && many.contains("plum"));
    let text = format!("{many:?}");
    assert!(
        text.starts_with("ManyGuard([") && words.iter().all(|w| text.contains(w)),
        "{text}"
    );
    let owned: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
    assert_eq!(t.lock_many(&owned).unwrap().len(), 3);
    assert_eq!(t.lock_many("a b a".split(' ')).unwrap().len(), 2);
    drop(many);
    assert!(t.is_empty());
}

#[test]
fn a_key_that_is_held_already_is_held_once_more() {
    // I3
    let t = one_bucket();
    let one = t.lock(&1);
    let many = t.lock_many([&0, &1, &2, &1]).unwrap();
    let again = t.lock_many([&2, &1]).unwrap();
    assert_eq!((one.depth(), t.lock(&2).depth(), t.len()), (3, 3, 3));
    drop(many);
    assert_eq!((one.depth(), t.len()), (2, 2));
    assert!(!t.is_locked(&0) && t.is_held(&2));
    drop(one);
    assert!(t.is_held(&1) && again.len() == 2);
    drop(again);
    assert!(t.is_empty());
}

#[test]
fn a_thousand_keys_in_and_beyond_the_slots() {
    let t = LockTable::<u64>::new();
    assert!(t.capacity() < 1000);
    let asked: Vec<u64> = (0..1000).chain(500..700).rev().collect();
    let many = t.lock_many(&asked).unwrap();
    assert_eq!((many.len(), t.len()), (1000, 1000));
    assert!((0..1000).all(|k| t.is_held(&k)));
    drop(many);
    assert!(t.is_empty());
}

#[test]
fn at_the_end_of_depth_lock_panics_as_always_and_try_declines() {
    // I3, trap 22
    let t = one_bucket();
    for _ in 0..(1 << 20) - 1 {
        forget(t.lock(&1));
    }
    for asked in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let panic = catch_unwind(AssertUnwindSafe(|| t.lock_many(&asked).map(|m| m.len())));
        assert_eq!(
            message(&*panic.unwrap_err()),
            "perkey: this owner holds the lock 1048575 times already"
        );
        assert!(t.try_lock_many(&asked).is_none());
        assert!(t.try_lock_many_for(&asked, PATIENCE).is_none());
        assert_eq!(t.len(), 1, "nothing else is left");
        assert!(!t.is_locked(&0) && !t.is_locked(&2));
    }
    assert_eq!(t.lock_many([&0, &2]).unwrap().len(), 2);
}

// ---- releasing ----------------------------------------------------------------------------------------------------

#[test]
#[cfg(target_os = "linux")] // sees in /proc when a thread sleeps
fn unlock_fair_hands_every_key_to_its_waiter() {
    // I6
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let t = &t;
    std::thread::scope(|s| {
        let many = t.lock_many([&1, &2, &3]).unwrap();
        let mut gos = Vec::new();
        for (n, k) in [1, 2].into_iter().enumerate() {
            let (task, is_task) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            gos.push(go);
            s.spawn(move || {
                task.send(Task::me()).unwrap();
                let _guard = t.lock(&k);
                let _ = gone.recv();
            });
            events.until_began(n + 1);
            is_task.recv().unwrap().until_asleep();
        }
        many.unlock_fair();
        for k in [1, 2] {
            assert!(t.is_locked(&k) && !t.is_held(&k), "the waiter's by now");
        }
        assert!(t.try_lock_many([&1]).is_none() && t.try_lock_many([&2]).is_none());
        assert!(!t.is_locked(&3));
        drop(gos);
    });
    assert!(t.is_empty());
}

/// A key that writes down its end. Two with one number are the same.
struct Mortal {
    n: u64,
    ends: Arc<Mutex<Vec<u64>>>,
}

thread_local!(static FATAL: Cell<u64> = const { Cell::new(u64::MAX) });

impl Drop for Mortal {
    fn drop(&mut self) {
        self.ends.lock().unwrap().push(self.n);
        if FATAL.get() == self.n && !std::thread::panicking() {
            resume_unwind(Box::new("mortal"));
        }
    }
}
impl Clone for Mortal {
    fn clone(&self) -> Self {
        Self {
            n: self.n,
            ends: self.ends.clone(),
        }
    }
}
impl PartialEq for Mortal {
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n
    }
}
impl Eq for Mortal {}
impl Hash for Mortal {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u64(self.n);
    }
}

#[test]
fn keys_are_released_last_one_first_and_a_panic_in_drop_stops_none() {
    // I9. Keys beyond the slots are dropped as they are released.
    let ends = Arc::new(Mutex::new(Vec::new()));
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let keys: Vec<_> = (0..12)
        .map(|n| Mortal {
            n,
            ends: ends.clone(),
        })
        .collect();
    let _handles: Vec<_> = keys[..6].iter().map(|k| t.handle(k)).collect();
    for fair in [false, true] {
        for fatal in (6..12).chain([u64::MAX]) {
            let many = t.lock_many(&keys[4..]).unwrap();
            let order: Vec<_> = many.keys().map(|k| k.n).filter(|n| *n > 5).collect();
            assert_eq!(order.len(), 6);
            ends.lock().unwrap().clear();
            FATAL.set(fatal);
            let end = catch_unwind(AssertUnwindSafe(|| {
                if fair {
                    many.unlock_fair();
                } else {
                    drop(many);
                }
            }));
            FATAL.set(u64::MAX);
            assert_eq!(end.is_err(), fatal != u64::MAX);
            let ended = ends.lock().unwrap().clone();
            assert_eq!(ended, order, "as `keys` gives them");
            assert_eq!(t.len(), 6);
            assert!(keys.iter().all(|k| !t.is_locked(k)));
        }
    }
}

// ---- all or none --------------------------------------------------------------------------------------------------

#[test]
fn where_one_is_not_to_be_had_none_is_kept() {
    // 1 to 10 keys, up to four of them beyond the slots; each in turn is held by another thread.
    let t = one_bucket();
    for n in 1..=10 {
        let keys: Vec<u64> = (0..n).chain(0..n).collect();
        for taken in 0..n {
            while_held(&t, &taken, || {
                for _ in 0..2 {
                    assert!(t.try_lock_many(&keys).is_none());
                    nothing_is_held(&t, n, &[taken]);
                    assert!(t.try_lock_many(keys.iter().rev()).is_none());
                    nothing_is_held(&t, n, &[taken]);
                    assert!(t.try_lock_many_for(&keys, Duration::ZERO).is_none());
                    let soon = Duration::from_micros(100);
                    assert!(t.try_lock_many_for(&keys, soon).is_none());
                    assert!(t.try_lock_many_until(&keys, Instant::now()).is_none());
                    nothing_is_held(&t, n, &[taken]);
                    assert_eq!(t.len(), 1, "only what the other one holds");
                }
            });
            assert_eq!(t.len(), 0);
            assert_eq!(t.lock_many(&keys).unwrap().len() as u64, n);
        }
    }
    assert_eq!(t.len(), 0);
}

#[test]
fn what_was_held_before_a_failure_is_held_after_it() {
    // I3
    let t = one_bucket();
    let before = t.lock_many([&1, &3, &7]).unwrap();
    while_held(&t, &5, || {
        let keys: Vec<u64> = (0..10).collect();
        assert!(t.try_lock_many(&keys).is_none());
        assert!(t.try_lock_many_for(&keys, Duration::ZERO).is_none());
        for k in [1, 3, 7] {
            assert_eq!(t.lock(&k).depth(), 2, "{k}");
        }
        assert_eq!(t.len(), 4);
    });
    drop(before);
    assert!(t.is_empty());
}

// ---- who may wait ---------------------------------------------------------------------------------------------------

/// Makes whoever is waited for let go.
struct LetGo(Mutex<Option<mpsc::Sender<()>>>);

impl<K> Observer<K> for LetGo {
    fn wait_began(&self, _: &K) {
        self.0.lock().unwrap().take();
    }
}

/// Calls `ask` while another thread holds `other`, until it waits for it.
fn ask<R>(t: &LockTable<u64, OneHash>, other: u64, ask: impl FnOnce() -> R) -> R {
    let (locked, is_locked) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    std::thread::scope(|s| {
        s.spawn(move || {
            let _guard = t.lock(&other);
            locked.send(()).unwrap();
            let _ = gone.recv(); // an error, when `go` is dropped
        });
        is_locked.recv().unwrap();
        t.set_observer(Some(Arc::new(LetGo(Mutex::new(Some(go))))));
        let result = ask();
        t.set_observer(None);
        result
    })
}

/// Holding `mine`, asks for `asked` while another thread holds `other`. `true`: got them, after waiting.
fn waits(t: &LockTable<u64, OneHash>, mine: u64, other: u64, asked: &[u64]) -> bool {
    let before = t.len();
    let outer = t.lock(&mine);
    let result = ask(t, other, || t.lock_many(asked));
    let waited = result.is_ok();
    match result {
        Ok(many) => {
            assert!(asked.iter().all(|k| many.contains(k) && t.is_held(k)));
            let depth = 1 + usize::from(asked.contains(&mine));
            assert_eq!(outer.depth(), depth);
        }
        Err(e) => {
            assert_eq!(e, LockManyError::WouldDeadlock);
            assert_eq!(outer.depth(), 1, "nothing is left of the attempt");
            assert!(asked.iter().all(|k| *k == mine || !t.is_held(k)));
        }
    }
    // The forms with a time-out: the same, but that they say less.
    let timed = ask(t, other, || t.try_lock_many_for(asked, PATIENCE).is_some());
    assert_eq!(timed, waited);
    let until = Instant::now() + PATIENCE;
    let timed = ask(t, other, || t.try_lock_many_until(asked, until).is_some());
    assert_eq!(timed, waited);
    // While nobody else holds it, it is to be had in any case.
    assert!(asked.iter().all(|k| !t.is_locked(k) || *k == mine));
    let free = t.lock_many(asked).unwrap();
    assert!(asked.iter().all(|k| free.contains(k)));
    drop(free);
    assert_eq!(outer.depth(), 1);
    drop(outer);
    assert_eq!(t.len(), before);
    waited
}

/// M3, with keys in slots and in the overflow.
#[test]
fn who_holds_a_later_key_never_waits_and_who_holds_an_earlier_one_does() {
    // Six keys in slots, four beyond them. Handles keep them where they are.
    let t = one_bucket();
    let handles: Vec<KeyLock<'_, u64>> = (0..10).map(|k| t.handle(&k)).collect();
    let mut later = [[false; 10]; 10];
    for x in 0..10 {
        for y in (0..10).filter(|y| *y != x) {
            let refused = !waits(&t, y, x, &[x]);
            later[y as usize][x as usize] = refused;
            // Whether the later key is among those that are asked for or not.
            assert_eq!(refused, !waits(&t, y, x, &[x, y]), "{x} {y}");
            assert_eq!(refused, !waits(&t, y, x, &[y, x, y]), "{x} {y}");
        }
    }
    for x in 0..10 {
        for y in 0..10 {
            assert_eq!(
                later[x][y] != later[y][x],
                x != y,
                "of {x} and {y} exactly one is later"
            );
            for z in 0..10 {
                assert!(
                    !(later[x][y] && later[y][z]) || later[x][z],
                    "it is an order: {x} {y} {z}"
                );
            }
        }
    }
    drop(handles);
    assert!(t.is_empty());
}

#[test]
fn a_later_key_counts_however_it_is_held() {
    let t = Arc::new(one_bucket());
    let handles: Vec<_> = (0..2).map(|k| t.handle_owned(&k)).collect();
    let (first, last) = if waits(&t, 0, 1, &[1]) {
        (0, 1)
    } else {
        (1, 0)
    };
    let refused = || {
        let result = ask(&t, first, || t.lock_many([&first]).map(|m| m.len()));
        assert_eq!(result, Err(LockManyError::WouldDeadlock));
    };
    {
        let _owned = t.lock_owned(&last);
        refused();
    }
    {
        let _by_handle = handles[last as usize].lock();
        refused();
    }
    {
        let _many = t.lock_many([&last]).unwrap();
        refused();
    }
    {
        let _both = (t.lock(&last), t.lock(&last));
        refused();
    }
    // Nothing of it is remembered.
    assert!(ask(&t, first, || t.lock_many([&last, &first]).is_ok()));
    drop(handles);
    assert!(t.is_empty());
}

#[test]
fn keys_of_other_tables_do_not_count() {
    let (t, u) = (one_bucket(), one_bucket());
    let _held = (u.lock(&0), u.lock(&1));
    for k in [0, 1] {
        assert!(ask(&t, k, || t.lock_many([&1, &0]).is_ok()));
    }
}

#[test]
fn the_error_says_what_to_do() {
    let e = LockManyError::WouldDeadlock;
    let text = e.to_string();
    assert!(text.contains("could deadlock") && text.contains("release"));
    assert!(format!("{e:?}").contains("WouldDeadlock"));
    let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(e);
    assert!(boxed.source().is_none());
}

#[test]
fn the_observer_is_told_of_each_wait() {
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    assert_eq!(t.lock_many([&1, &2]).unwrap().len(), 2);
    while_held(&t, &1, || assert!(t.try_lock_many([&1, &2]).is_none()));
    assert_eq!(events.all(), [], "nobody has waited");
    let one = t.lock(&1);
    std::thread::scope(|s| {
        let many = s.spawn(|| t.lock_many([&1, &2, &1]).map(|m| m.len()));
        events.until_began(1);
        drop(one);
        assert_eq!(many.join().unwrap(), Ok(2));
    });
    assert_eq!(events.all(), [Event::Began(1), Event::Ended(1)]);
    let soon = Duration::from_micros(100);
    while_held(&t, &1, || {
        assert!(t.try_lock_many_for([&2, &1], soon).is_none());
    });
    assert_eq!(events.all()[2..], [Event::Began(1), Event::TimedOut(1)]);
    assert!(t.is_empty());
}
