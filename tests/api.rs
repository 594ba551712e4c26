//! What the table offers, sentence by sentence.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, eventually, message, while_held, Event, Events, OneHash, Task, PATIENCE};
use perkey::{Contention, KeyGuard, LockTable, Observer, OwnedKeyGuard, ReentrantLock};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::mem::forget;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Weak};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_millis(5);

/// Can another thread take the key now?
fn free<S: std::hash::BuildHasher + Sync>(table: &LockTable<u64, S>, key: u64) -> bool {
    elsewhere(|| table.try_lock(&key).is_some())
}

// ---- making tables ----------------------------------------------------------------------------------------------

#[test]
fn every_constructor_makes_an_empty_table_that_works() {
    // I5: nothing is alive before somebody asks.
    fn works<S: std::hash::BuildHasher + Sync>(table: &LockTable<u64, S>) {
        assert!(table.is_empty());
        assert_eq!(table.len(), 0);
        let guard = table.lock(&1);
        assert_eq!((*guard.key(), guard.depth(), table.len()), (1, 1, 1));
        assert!(!free(table, 1) && free(table, 2));
        drop(guard);
        assert!(table.is_empty() && free(table, 1));
    }
    works(&LockTable::<u64>::new());
    works(&LockTable::<u64>::default());
    works(&LockTable::<u64, OneHash>::default());
    works(&LockTable::<u64, std::collections::hash_map::RandomState>::default());
    works(&LockTable::with_hasher(OneHash));
    works(&LockTable::with_hasher(
        foldhash::quality::RandomState::default(),
    ));
    for n in [0, 1, 6, 7, 1000] {
        let table = LockTable::<u64>::with_capacity(n);
        assert!(
            table.capacity() >= n.max(1),
            "{n} keys want {n} slots, not {}",
            table.capacity()
        );
        works(&table);
        let table = LockTable::with_capacity_and_hasher(n, OneHash);
        assert!(table.capacity() >= n.max(1));
        works(&table);
        let OneHash = table.hasher();
    }
}

#[test]
fn a_capacity_beyond_memory_is_an_error_and_no_wrap() {
    for keys in [usize::MAX, usize::MAX / 2, usize::MAX / 8] {
        assert!(catch_unwind(|| LockTable::<u64>::with_capacity(keys)).is_err());
    }
}

#[test]
fn the_default_hasher_is_foldhash_and_seeded_for_every_table() {
    use std::hash::BuildHasher;
    fn hasher(table: &LockTable<u64>) -> &foldhash::fast::RandomState {
        table.hasher()
    }
    let hashes: std::collections::HashSet<u64> = (0..8)
        .map(|_| hasher(&LockTable::new()).hash_one(1u64))
        .collect();
    assert!(hashes.len() > 1, "eight tables, one seed");
}

// ---- borrowed forms ---------------------------------------------------------------------------------------------

#[test]
fn every_borrowed_form_of_a_key_finds_the_same_lock() {
    // I2: one entry for a key, whichever form asks for it.
    let t = LockTable::<String>::new();
    let (owned, slice) = (String::from("apple"), "apple");
    let outer = t.lock(slice);
    let inner = t.lock(&owned);
    assert_eq!((outer.key(), inner.depth(), t.len()), (&owned, 2, 1));
    assert!(t.is_held(slice) && t.is_held(&owned) && t.is_locked(slice));

    let t = LockTable::<Vec<u8>>::new();
    let outer = t.lock(&b"apple"[..]);
    let inner = t.lock(&b"apple".to_vec());
    assert_eq!((outer.depth(), t.len()), (2, 1));
    drop((outer, inner));
    assert!(t.try_lock(&b"pear"[..]).is_some());

    let t = LockTable::<u64>::new();
    let outer = t.lock(&7);
    assert_eq!((t.lock(&7u64).depth(), *outer.key()), (2, 7));

    let t = LockTable::<PathBuf>::new();
    let outer = t.handle(Path::new("/a"));
    assert_eq!(t.lock(Path::new("/a")).key(), outer.key());
}

/// A key that counts how it comes to be.
#[derive(Debug, PartialEq, Eq)]
struct Cloned(u64);

thread_local! {
    static CLONES: Cell<usize> = const { Cell::new(0) };
    static REUSES: Cell<usize> = const { Cell::new(0) };
}

impl Hash for Cloned {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u64(self.0);
    }
}

impl Clone for Cloned {
    fn clone(&self) -> Self {
        CLONES.set(CLONES.get() + 1);
        Self(self.0)
    }
    fn clone_from(&mut self, other: &Self) {
        REUSES.set(REUSES.get() + 1);
        self.0 = other.0;
    }
}

#[test]
fn an_owned_key_is_built_only_if_an_entry_has_to_be_made() {
    let made = || (CLONES.get(), REUSES.get());
    let t = LockTable::<Cloned, _>::with_capacity_and_hasher(1, OneHash);
    let key = Cloned(1);
    assert!(!t.is_locked(&key) && !t.is_held(&key));
    assert_eq!(made(), (0, 0), "looking makes nothing");
    let guard = t.lock(&key);
    assert_eq!(made(), (1, 0));
    let more = (
        t.lock(&key),
        t.try_lock(&key).unwrap(),
        t.handle(&key),
        t.try_lock_for(&key, SOON).unwrap(),
    );
    assert!(t.is_locked(&key));
    assert_eq!(made(), (1, 0), "the entry is there");
    drop((guard, more));
    drop(t.lock(&key));
    assert_eq!(made(), (1, 0), "idle, and revived");
    for k in 2..=6 {
        drop(t.lock(&Cloned(k))); // one bucket of six slots: all full after this
    }
    let (clones, reuses) = made();
    assert_eq!(clones + reuses, 6, "one for every entry");
    for k in 7..=100 {
        drop(t.lock(&Cloned(k)));
    }
    assert_eq!(
        made(),
        (clones, reuses + 94),
        "an idle key's memory is used again"
    );
}

#[test]
fn lock_with_makes_a_key_once_and_only_if_none_is_there() {
    let t = LockTable::<Arc<str>>::new();
    let made = Cell::new(0);
    let make = |k: &str| -> Arc<str> {
        made.set(made.get() + 1);
        Arc::from(k)
    };
    let outer = t.lock_with("apple", make).unwrap();
    assert_eq!((&**outer.key(), made.get()), ("apple", 1));
    let inner = t.lock_with("apple", make).unwrap();
    assert_eq!((inner.depth(), made.get(), t.len()), (2, 1, 1));
    elsewhere(|| assert!(t.is_locked("apple") && !t.is_held("apple") && !t.is_locked("pear")));
    drop((outer, inner));
    drop(t.lock_with("apple", make).unwrap());
    assert_eq!((made.get(), t.len()), (1, 0), "idle, and revived");
}

#[test]
fn lock_with_refuses_a_key_that_differs_and_locks_nothing() {
    // I5, I9
    let t = LockTable::<Arc<str>>::new();
    let plum: Arc<str> = Arc::from("plum");
    let error = t.lock_with("pear", |_| plum.clone()).unwrap_err();
    assert!(
        Arc::ptr_eq(&error.made, &plum),
        "the key comes back to the caller"
    );
    assert!(error.to_string().contains("differs") && !format!("{error:?}").is_empty());
    assert!(std::error::Error::source(&error).is_none());
    assert!(t.is_empty() && !t.is_locked("pear") && !t.is_locked("plum"));
    drop(error);
    assert_eq!(Arc::strong_count(&plum), 1, "not kept by the table");
    // It is not looked at if an entry is there.
    let pear = t.lock_with("pear", |k| Arc::from(k)).unwrap();
    assert!(t.lock_with("pear", |_| plum.clone()).is_ok());
    drop(pear);
    // A panic while making leaves nothing.
    assert!(catch_unwind(AssertUnwindSafe(|| t.lock_with("fig", |_| panic!("no fig")))).is_err());
    assert!(t.is_empty() && !t.is_locked("fig"));
    assert!(t.lock_with("fig", |k| Arc::from(k)).is_ok());
}

#[test]
fn lock_with_may_lock_the_same_key_while_it_makes_one() {
    // I2, I9: the entry that came first wins, the made key is dropped.
    let t = LockTable::<Arc<str>>::new();
    let made: Arc<str> = Arc::from("apple");
    let kept = RefCell::new(None);
    let guard = t
        .lock_with("apple", |k| {
            *kept.borrow_mut() = Some(t.lock_with(k, |k| Arc::from(k)).unwrap());
            made.clone()
        })
        .unwrap();
    assert_eq!((guard.depth(), t.len()), (2, 1));
    assert!(!Arc::ptr_eq(guard.key(), &made));
    assert_eq!(Arc::strong_count(&made), 1);
    drop(kept);
    assert_eq!(guard.depth(), 1);
    drop(guard);
    assert!(t.is_empty());
}

// ---- locking ----------------------------------------------------------------------------------------------------

#[test]
fn lock_waits_for_its_own_key_only() {
    // I1, I4: same bucket, same hash.
    fn check<S: std::hash::BuildHasher + Sync>(t: &LockTable<u64, S>) {
        while_held(t, &1, || {
            for k in 2..40 {
                let guard = t.lock(&k); // would hang
                assert_eq!(*guard.key(), k);
            }
            assert!(t.try_lock(&1).is_none());
        });
        assert!(t.try_lock(&1).is_some());
    }
    check(&LockTable::<u64>::new());
    check(&LockTable::with_hasher(OneHash));
    check(&LockTable::<u64>::with_capacity(0));
}

#[test]
fn lock_blocks_until_the_key_is_released() {
    // I1, I6
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let released = AtomicUsize::new(0);
    std::thread::scope(|s| {
        let (outer, inner) = (t.lock(&1), t.lock(&1));
        let waiter = s.spawn(|| {
            let guard = t.lock(&1);
            assert_eq!(released.load(SeqCst), 1, "only the last guard releases");
            guard.depth()
        });
        events.until_began(1);
        drop(outer);
        assert!(!waiter.is_finished());
        released.store(1, SeqCst);
        drop(inner);
        assert_eq!(waiter.join().unwrap(), 1);
    });
    assert!(t.is_empty());
}

#[test]
fn the_holder_takes_its_key_again_in_every_way_there_is() {
    // I3
    let t = Arc::new(LockTable::<u64>::new());
    let first = t.lock(&1);
    let until = Instant::now() + PATIENCE;
    let all = (
        t.lock(&1),
        t.try_lock(&1).unwrap(),
        t.try_lock_for(&1, Duration::ZERO).unwrap(),
        t.try_lock_until(&1, until).unwrap(),
        t.lock_with(&1, |k| *k).unwrap(),
        t.lock_owned(&1),
        t.try_lock_owned(&1).unwrap(),
        t.try_lock_for_owned(&1, Duration::ZERO).unwrap(),
    );
    assert_eq!(first.depth(), 9);
    let handle = t.handle(&1);
    let more = (
        handle.lock(),
        handle.try_lock().unwrap(),
        handle.try_lock_for(Duration::ZERO).unwrap(),
        handle.try_lock_until(until).unwrap(),
    );
    assert_eq!((first.depth(), t.len()), (13, 1));
    drop((handle, all));
    assert_eq!(first.depth(), 5);
    drop(more);
    assert_eq!(first.depth(), 1);
    assert!(!free(&t, 1));
    drop(first);
    assert!(free(&t, 1) && t.is_empty());
}

#[test]
fn try_lock_declines_while_another_thread_holds_the_key_and_leaves_nothing() {
    // I1, I5
    let t = Arc::new(LockTable::<u64>::new());
    while_held(&t, &1, || {
        assert!(t.try_lock(&1).is_none());
        assert!(t.try_lock_owned(&1).is_none());
        assert!(t.try_lock_for(&1, SOON).is_none());
        assert!(t.try_lock_for_owned(&1, SOON).is_none());
        assert!(t.try_lock_for(&1, Duration::ZERO).is_none());
        assert!(t.try_lock_until(&1, Instant::now() + SOON).is_none());
        assert!(t.try_lock_until(&1, Instant::now()).is_none());
        let h = t.handle(&1);
        assert!(h.try_lock().is_none());
        assert!(h.try_lock_for(SOON).is_none());
        assert!(h.try_lock_until(Instant::now()).is_none());
        let h = t.handle_owned(&1);
        assert!(h.try_lock().is_none());
        assert!(h.try_lock_for(SOON).is_none());
        assert!(h.try_lock_until(Instant::now()).is_none());
        assert_eq!(t.len(), 1);
    });
    assert!(t.is_empty() && !t.is_locked(&1));
}

#[test]
fn a_free_key_is_had_even_if_the_time_is_over() {
    let t = LockTable::<u64>::new();
    assert!(t.try_lock_for(&1, Duration::ZERO).is_some());
    assert!(t.try_lock_until(&1, Instant::now()).is_some());
    assert!(t
        .handle(&1)
        .try_lock_until(Instant::now().checked_sub(SOON).unwrap())
        .is_some());
    assert!(t.is_empty());
}

#[test]
fn a_wait_with_a_deadline_ends_with_the_lock_when_it_comes_free() {
    // I6; a time-out too long for the clock is none.
    for (way, timeout) in [PATIENCE, Duration::MAX].into_iter().enumerate() {
        let t = Arc::new(LockTable::<u64>::new());
        let events = Arc::new(Events::default());
        t.set_observer(Some(events.clone()));
        std::thread::scope(|s| {
            let guard = t.lock(&1);
            let waiters: [Box<dyn FnOnce() -> bool + Send>; 5] = [
                Box::new(|| t.try_lock_for(&1, timeout).is_some()),
                Box::new(|| t.try_lock_until(&1, Instant::now() + PATIENCE).is_some()),
                Box::new(|| t.try_lock_for_owned(&1, timeout).is_some()),
                Box::new(|| t.handle(&1).try_lock_for(timeout).is_some()),
                Box::new(|| t.handle_owned(&1).try_lock_for(timeout).is_some()),
            ];
            let waiters = waiters.map(|w| s.spawn(w));
            events.until_began(5);
            assert_eq!(t.len(), 1, "waiters make no entries");
            drop(guard);
            for w in waiters {
                assert!(w.join().unwrap(), "way {way}");
            }
        });
        assert!(t.is_empty());
        let told = events.all();
        assert_eq!(told.iter().filter(|e| **e == Event::Ended(1)).count(), 5);
    }
}

#[test]
fn a_waiter_keeps_its_key_alive() {
    // I5: a guard, a handle or a waiter.
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    std::thread::scope(|s| {
        let guard = t.lock(&1);
        let handle = t.handle(&1);
        let weak = handle.downgrade();
        let (got, has_got) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let t = &t;
        s.spawn(move || {
            let _guard = t.lock(&1);
            got.send(()).unwrap();
            let _ = gone.recv();
        });
        events.until_began(1);
        drop(handle);
        drop(guard);
        assert!(
            weak.upgrade().is_some(),
            "the same life, carried by the waiter"
        );
        assert_eq!(t.len(), 1);
        has_got.recv().unwrap();
        assert!(weak.upgrade().is_some());
        drop(go);
        eventually("the waiter releases", || t.is_empty());
        assert!(weak.upgrade().is_none());
    });
}

// ---- owned guards and handles -----------------------------------------------------------------------------------

#[test]
fn an_owned_guard_keeps_its_table_alive() {
    // I7
    struct Keeper {
        guard: OwnedKeyGuard<String>,
    }
    let t = Arc::new(LockTable::<String>::new());
    let gone = Arc::downgrade(&t);
    let keeper = Keeper {
        guard: t.lock_owned("apple"),
    };
    let second = t.try_lock_owned("apple").unwrap();
    let third = t.try_lock_for_owned("apple", SOON).unwrap();
    drop(t);
    let t = keeper.guard.table();
    assert_eq!(
        (keeper.guard.key().as_str(), third.depth(), t.len()),
        ("apple", 3, 1)
    );
    elsewhere({
        let gone = gone.clone();
        move || assert!(gone.upgrade().unwrap().try_lock("apple").is_none())
    });
    assert!(format!("{:?}", keeper.guard).contains("apple"));
    drop(keeper);
    second.unlock_fair();
    assert_eq!(third.depth(), 1);
    assert!(gone.upgrade().is_some());
    third.unlock_fair();
    assert!(
        gone.upgrade().is_none(),
        "the last guard takes the table with it"
    );
}

/// I5: nobody has looked at a new key since it was made, and its holder asks for a handle on it.
#[test]
fn a_handle_on_a_key_that_was_just_made() {
    let table = LockTable::<u64>::new();
    let guard = table.lock(&1);
    let handle = table.handle(&1);
    drop(guard);
    assert_eq!(table.len(), 1, "the handle keeps it alive");
    assert!(!table.is_locked(&1));
    let weak = handle.downgrade();
    drop(handle);
    assert!(weak.upgrade().is_none() && table.is_empty());
}

#[test]
fn an_owned_handle_goes_to_other_threads_and_keeps_its_table_alive() {
    // I7
    let t = Arc::new(LockTable::<u64>::new());
    let gone = Arc::downgrade(&t);
    let h = t.handle_owned(&1);
    let copy = h.clone();
    assert_eq!((*h.key(), t.len()), (1, 1));
    assert!(Arc::ptr_eq(h.table(), &t) && format!("{h:?}").contains('1'));
    drop(t);
    std::thread::spawn(move || {
        let guard = copy.lock();
        drop(copy);
        assert!(guard.table().is_held(&1));
        assert_eq!((*guard.key(), guard.table().len()), (1, 1));
    })
    .join()
    .unwrap();
    let guard = h.try_lock().unwrap();
    drop(h);
    assert!(
        gone.upgrade().unwrap().is_held(&1),
        "the guard outlives its handle"
    );
    drop(guard);
    assert!(gone.upgrade().is_none());
}

#[test]
fn an_owned_weak_handle_keeps_neither_lock_nor_table() {
    // I5, I7
    let t = Arc::new(LockTable::<u64>::new());
    let gone = Arc::downgrade(&t);
    let h = t.handle_owned(&1);
    let w = h.downgrade();
    let w2 = w.clone();
    let up = w.upgrade().unwrap();
    assert_eq!(*up.key(), 1);
    drop(h);
    assert!(w2.upgrade().is_some());
    drop(up);
    assert!(w.upgrade().is_none() && t.is_empty());
    let h = t.handle_owned(&1);
    assert!(w.upgrade().is_none(), "a new life");
    let w = h.downgrade();
    drop(t);
    assert!(w.upgrade().is_some(), "the handle keeps the table");
    drop(h);
    assert!(gone.upgrade().is_none());
    assert!(w.upgrade().is_none() && w2.upgrade().is_none());
    assert!(!format!("{w:?}").is_empty());
}

// ---- handles ----------------------------------------------------------------------------------------------------

#[test]
fn a_handle_is_the_same_lock_for_everyone() {
    // I1, I2, I5
    for overflow in [0, 9] {
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        let _others: Vec<_> = (100..100 + overflow).map(|k| t.handle(&k)).collect();
        let alive = t.len();
        let h = t.handle(&1u64);
        let h2 = h.clone();
        assert_eq!((t.len() - alive, *h.key(), t.is_locked(&1)), (1, 1, false));
        assert!(format!("{h:?}").contains('1'));
        let guard = h.lock();
        assert!(t.is_held(&1));
        elsewhere(|| {
            assert!(h2.try_lock().is_none() && t.try_lock(&1).is_none());
            assert!(h.try_lock_for(SOON).is_none());
        });
        drop(guard);
        elsewhere(|| {
            let guard = t.lock(&1);
            assert!(h2.try_lock().is_some(), "re-entrant, whatever the way");
            assert_eq!(guard.depth(), 1);
        });
        assert!(free(&t, 1));
        let guard = h.try_lock().unwrap();
        drop((h, h2));
        assert_eq!((*guard.key(), guard.depth(), t.len() - alive), (1, 1, 1));
        assert!(!free(&t, 1), "the guard outlives its handle");
        drop(guard);
        assert_eq!(t.len(), alive);
    }
}

#[test]
fn a_handle_is_shared_by_threads() {
    // I1
    let t = LockTable::<u64>::new();
    let h = t.handle(&1);
    let count = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                let h = h.clone();
                for _ in 0..500 {
                    let _guard = h.lock();
                    let n = count.load(SeqCst);
                    std::hint::spin_loop();
                    count.store(n + 1, SeqCst);
                }
            });
        }
    });
    assert_eq!((count.into_inner(), t.len()), (2000, 1));
    drop(h);
    assert!(t.is_empty());
}

#[test]
fn upgrade_gives_none_once_the_last_strong_one_is_gone() {
    // I5, trap 2; in a slot and in the overflow chain.
    for overflow in [0, 9] {
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        let _others: Vec<_> = (100..100 + overflow).map(|k| t.handle(&k)).collect();
        let alive = t.len();
        // Kept by a handle, then by a guard, then by an upgrade.
        let h = t.handle(&1u64);
        let w = h.downgrade();
        let w2 = w.clone();
        let guard = h.lock();
        drop(h);
        let up = w.upgrade().expect("a guard is a strong one");
        drop(guard);
        let up2 = w2.upgrade().expect("an upgrade is a strong one");
        drop(up);
        assert!(t.is_locked(&1) || up2.try_lock().is_some());
        let w3 = up2.downgrade();
        drop(up2);
        for w in [&w, &w2, &w3] {
            assert!(w.upgrade().is_none());
        }
        assert_eq!(t.len(), alive);
        // Looking at the key, or looking for others with its hash, begins no life and ends no life.
        assert!(!t.is_locked(&1) && !t.is_held(&1) && t.try_lock(&2).is_some());
        assert!(w.upgrade().is_none());
        // In use again: a new life.
        let h = t.handle(&1);
        let guard = t.lock(&1);
        for w in [&w, &w2, &w3] {
            assert!(w.upgrade().is_none(), "in use, but not in the old life");
        }
        let w4 = h.downgrade();
        drop((h, guard));
        assert!(w4.upgrade().is_none());
        // Taken over by other keys, shrunk, come back.
        for k in 200..240 {
            let h = t.handle(&k);
            let w5 = h.downgrade();
            assert!(w5.upgrade().is_some_and(|h| *h.key() == k));
            assert!(w.upgrade().is_none() && w4.upgrade().is_none());
        }
        t.shrink_to_fit();
        let _h = t.handle(&1);
        for w in [&w, &w2, &w3, &w4] {
            assert!(w.upgrade().is_none());
        }
    }
}

#[test]
fn a_weak_handle_of_a_key_that_its_own_thread_holds_can_be_upgraded() {
    // I3
    let t = LockTable::<u64>::new();
    let guard = t.lock(&1);
    let w = t.handle(&1).downgrade();
    let up = w.upgrade().unwrap();
    assert_eq!(up.lock().depth(), 2);
    drop(guard);
    assert!(up.try_lock().is_some_and(|g| g.depth() == 1));
    drop(up);
    assert!(w.upgrade().is_none());
}

#[test]
fn the_passing_reference_of_a_search_is_no_life() {
    // I5: while another thread compares an idle key (it holds a passing reference) the key is not alive.
    struct Slow(u64);
    thread_local!(static STOP: RefCell<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> = const { RefCell::new(None) });
    impl PartialEq for Slow {
        fn eq(&self, other: &Self) -> bool {
            if let Some((stopped, go)) = STOP.take() {
                stopped.send(()).unwrap();
                let _ = go.recv();
            }
            self.0 == other.0
        }
    }
    impl Eq for Slow {}
    impl Hash for Slow {
        fn hash<H: Hasher>(&self, h: &mut H) {
            h.write_u64(self.0);
        }
    }
    impl Clone for Slow {
        fn clone(&self) -> Self {
            Self(self.0)
        }
    }
    for overflow in [0, 9] {
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        let _others: Vec<_> = (100..100 + overflow).map(|k| t.handle(&Slow(k))).collect();
        let alive = t.len();
        let h = t.handle(&Slow(1));
        let w = h.downgrade();
        let (stopped, is_stopped) = mpsc::channel();
        let (go, gone) = mpsc::channel();
        std::thread::scope(|s| {
            s.spawn(|| {
                STOP.set(Some((stopped, gone)));
                // Compares the newest entry of the chain, or slot 0: key 1.
                assert!(t.try_lock(&Slow(2)).is_some());
            });
            is_stopped.recv().unwrap();
            assert_eq!(t.len(), alive + 1);
            drop(h);
            assert_eq!(t.len(), alive, "somebody looks at it, nobody uses it");
            assert!(w.upgrade().is_none());
            drop(go);
        });
        assert_eq!(t.len(), alive);
    }
}

// ---- counting, looking, shrinking, showing ----------------------------------------------------------------------

#[test]
fn len_counts_the_keys_that_are_alive() {
    // I5; in slots and beyond them.
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let mut guards: Vec<KeyGuard<'_, u64>> = Vec::new();
    for k in 0..20u64 {
        assert_eq!((t.len(), t.is_empty()), (guards.len(), k == 0));
        guards.push(t.lock(&k));
    }
    let handles: Vec<_> = (10..30).map(|k| t.handle(&k)).collect();
    assert_eq!(t.len(), 30);
    drop(guards);
    assert_eq!(t.len(), 20);
    drop(handles);
    assert!(t.is_empty());
}

#[test]
fn is_locked_and_is_held_tell_holders_apart() {
    let t = LockTable::<u64>::new();
    assert!(!t.is_locked(&1) && !t.is_held(&1));
    let handle = t.handle(&1);
    assert!(!t.is_locked(&1) && !t.is_held(&1), "a handle holds nothing");
    while_held(&t, &1, || assert!(t.is_locked(&1) && !t.is_held(&1)));
    let guard = t.lock(&1);
    assert!(t.is_locked(&1) && t.is_held(&1));
    elsewhere(|| assert!(t.is_locked(&1) && !t.is_held(&1)));
    drop(guard);
    assert!(!t.is_locked(&1) && !t.is_held(&1));
    drop(handle);
    assert_eq!(t.len(), 0);
}

#[test]
fn shrink_to_fit_drops_idle_keys_and_nothing_else() {
    // I5, I8
    let (idle, used): (Arc<str>, Arc<str>) = ("idle".into(), "used".into());
    let t = LockTable::<Arc<str>>::new();
    let guard = t.lock_with("used", |_| used.clone()).unwrap();
    drop(t.lock_with("idle", |_| idle.clone()).unwrap());
    let handle = t.handle(&Arc::<str>::from("handled"));
    let weak = handle.downgrade();
    assert_eq!(Arc::strong_count(&idle), 2, "kept for the next");
    t.shrink_to_fit();
    assert_eq!((Arc::strong_count(&idle), Arc::strong_count(&used)), (1, 2));
    assert!(t.is_held("used") && weak.upgrade().is_some());
    assert_eq!(t.len(), 2);
    drop((guard, handle));
    t.shrink_to_fit();
    assert_eq!((Arc::strong_count(&used), t.len()), (1, 0));
    assert!(weak.upgrade().is_none());
    t.shrink_to_fit();
    assert!(t.lock_with("used", |k| Arc::from(k)).is_ok());
}

#[test]
fn debug_never_blocks() {
    // Held here, held and waited for elsewhere.
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::<u64>::default());
    assert!(format!("{t:?}").contains("none"));
    t.set_observer(Some(events.clone()));
    let _guard = t.lock(&1);
    std::thread::scope(|s| {
        let waiter = s.spawn(|| t.try_lock_for(&2, PATIENCE).is_some());
        while_held(&t, &3, || {
            let text = format!("{t:?}");
            assert!(
                text.starts_with("LockTable") && text.contains("len"),
                "{text}"
            );
            assert!(!format!("{t:#?}").is_empty());
        });
        assert!(waiter.join().unwrap());
    });
    let guard = t.lock(&4);
    let text = format!("{guard:?}");
    assert!(text.contains('4') && text.contains("depth"), "{text}");
}

// ---- observers --------------------------------------------------------------------------------------------------

#[test]
fn an_observer_is_told_of_every_wait_with_its_key() {
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    while_held(&t, &1, || assert!(t.try_lock_for(&1, SOON).is_none()));
    assert_eq!(events.all(), [Event::Began(1), Event::TimedOut(1)]);
    std::thread::scope(|s| {
        let guard = t.lock(&2);
        let waiter = s.spawn(|| drop(t.lock(&2)));
        events.until_began(2);
        assert_eq!(events.all()[2..], [Event::Began(2)]);
        drop(guard);
        waiter.join().unwrap();
    });
    assert_eq!(events.all()[2..], [Event::Began(2), Event::Ended(2)]);
    while_held(&t, &3, || {
        assert!(t.handle(&3).try_lock_for(SOON).is_none());
    });
    assert_eq!(events.all()[4..], [Event::Began(3), Event::TimedOut(3)]);
}

#[test]
fn an_observer_is_not_called_on_the_uncontended_path() {
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let guards: Vec<_> = (0..500)
        .map(|k| (t.lock(&k), t.lock(&k), t.try_lock(&k)))
        .collect();
    elsewhere(|| {
        assert!(t.try_lock(&1).is_none(), "does not wait");
        assert!(t.handle(&1).try_lock().is_none());
        drop(t.lock(&1000));
    });
    drop(guards);
    let _ = t.handle(&1).downgrade();
    t.shrink_to_fit();
    assert_eq!((events.all(), t.len()), (vec![], 0));
}

#[test]
fn observers_are_swapped_while_the_table_is_in_use() {
    let t = LockTable::<u64>::new();
    let (first, second) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let try_in_vain = |key| while_held(&t, &key, || assert!(t.try_lock_for(&key, SOON).is_none()));
    t.set_observer(Some(first.clone()));
    try_in_vain(1);
    // A wait that has begun is told to the observer of its beginning.
    std::thread::scope(|s| {
        let guard = t.lock(&2);
        let waiter = s.spawn(|| drop(t.lock(&2)));
        first.until_began(2);
        t.set_observer(Some(second.clone()));
        drop(guard);
        waiter.join().unwrap();
    });
    try_in_vain(3);
    t.set_observer(None);
    try_in_vain(4);
    assert_eq!(
        first.all(),
        [
            Event::Began(1),
            Event::TimedOut(1),
            Event::Began(2),
            Event::Ended(2)
        ]
    );
    assert_eq!(second.all(), [Event::Began(3), Event::TimedOut(3)]);
    assert_eq!(Arc::strong_count(&first), 1, "the table lets go of it");
    assert_eq!(Arc::strong_count(&second), 1);
}

#[test]
fn observers_are_swapped_under_fire() {
    // Every beginning has its end, in the same observer, whatever is swapped meanwhile.
    let t = LockTable::<u64>::new();
    let all: Vec<_> = (0..4).map(|_| Arc::new(Events::default())).collect();
    let done = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for _ in 0..2000 {
                    let _guard = t.lock(&1);
                    std::thread::yield_now();
                }
                done.fetch_add(1, SeqCst);
            });
        }
        let mut i = 0;
        while done.load(SeqCst) < 3 {
            t.set_observer(match i % 5 {
                4 => None,
                i => Some(all[i].clone()),
            });
            i += 1;
            std::thread::yield_now();
        }
    });
    t.set_observer(None);
    for events in all {
        let told = events.all();
        let count = |e| told.iter().filter(|t| **t == e).count();
        assert_eq!(count(Event::Began(1)), count(Event::Ended(1)));
        assert_eq!(count(Event::TimedOut(1)), 0);
        assert_eq!(Arc::strong_count(&events), 1);
    }
}

/// Calls a closure with what it is told.
struct Calls<F>(F);

impl<F: Fn(Event<u64>) + Send + Sync> Observer<u64> for Calls<F> {
    fn wait_began(&self, key: &u64) {
        (self.0)(Event::Began(*key));
    }
    fn wait_ended(&self, key: &u64, _: Duration) {
        (self.0)(Event::Ended(*key));
    }
    fn wait_timed_out(&self, key: &u64, _: Duration) {
        (self.0)(Event::TimedOut(*key));
    }
}

fn observe(t: &LockTable<u64>, f: impl Fn(Event<u64>) + Send + Sync + 'static) {
    t.set_observer(Some(Arc::new(Calls(f))));
}

/// A wait for key 1 that ends with the lock, on another thread. `began` counts beginnings.
fn wait_and_get<R: Send>(
    t: &LockTable<u64>,
    began: &AtomicUsize,
    f: impl FnOnce(&LockTable<u64>) -> R + Send,
) -> std::thread::Result<R> {
    let before = began.load(SeqCst);
    std::thread::scope(|s| {
        let guard = t.lock(&1);
        let waiter = s.spawn(|| catch_unwind(AssertUnwindSafe(|| f(t))));
        eventually("the wait begins", || began.load(SeqCst) > before);
        drop(guard);
        waiter.join().unwrap()
    })
}

#[test]
fn an_observer_that_panics_leaks_no_lock() {
    // I5, I9, trap 32: in each of the three calls.
    let t = LockTable::<u64>::new();
    let began = Arc::new(AtomicUsize::new(0));
    for bad in [Event::Began(1), Event::Ended(1), Event::TimedOut(1)] {
        let count = began.clone();
        observe(&t, move |event| {
            if matches!(event, Event::Began(_)) {
                count.fetch_add(1, SeqCst);
            }
            assert!(event != bad, "told {event:?}");
        });
        // A wait that times out.
        let handle = t.handle(&1);
        while_held(&t, &1, || {
            for by_handle in [false, true] {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    if by_handle {
                        handle.try_lock_for(SOON).is_some()
                    } else {
                        t.try_lock_for(&1, SOON).is_some()
                    }
                }));
                match result {
                    Err(p) => {
                        assert!(bad != Event::Ended(1));
                        assert_eq!(message(&*p), format!("told {bad:?}"));
                    }
                    Ok(got) => assert!(!got && bad == Event::Ended(1)),
                }
                assert!(t.is_locked(&1) && !t.is_held(&1));
            }
            assert_eq!(t.len(), 1);
        });
        drop(handle);
        assert!(t.is_empty() && free(&t, 1), "{bad:?}");
        // A wait that ends with the lock.
        let result = wait_and_get(&t, &began, |t| t.lock(&1).depth());
        assert_eq!(result.is_ok(), bad == Event::TimedOut(1), "{bad:?}");
        assert!(t.is_empty() && free(&t, 1), "{bad:?}");
    }
    t.set_observer(None);
    drop(t.lock(&1));
}

#[test]
fn an_observer_may_use_the_table_and_the_same_key() {
    // I9
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let calls = Arc::new(AtomicUsize::new(0));
    let table = Arc::downgrade(&t);
    let (count, called) = (began.clone(), calls.clone());
    observe(&t, move |event| {
        let t = table.upgrade().unwrap();
        calls_on(&t, event, &count);
        called.fetch_add(1, SeqCst);
    });
    fn calls_on(t: &Arc<LockTable<u64>>, event: Event<u64>, count: &AtomicUsize) {
        let other = t.lock(&2);
        assert!(!format!("{t:?}").is_empty() && t.len() >= 2);
        t.shrink_to_fit();
        match event {
            Event::Began(k) => {
                count.fetch_add(1, SeqCst);
                assert!(t.is_locked(&k) || t.handle(&k).try_lock().is_some());
                let _ = t.try_lock(&k);
                // A wait of its own: it is not told of it.
                let _ = t.try_lock_for(&k, SOON);
            }
            Event::Ended(k) => {
                assert!(t.is_held(&k));
                assert_eq!((t.lock(&k).depth(), t.handle(&k).lock().depth()), (2, 3));
            }
            Event::TimedOut(k) => {
                assert!(!t.is_held(&k));
                assert!(t.try_lock(&k).is_none());
            }
        }
        drop(other);
    }
    while_held(&t, &1, || assert!(t.try_lock_for(&1, SOON).is_none()));
    assert_eq!((began.load(SeqCst), calls.load(SeqCst)), (1, 2));
    assert_eq!(wait_and_get(&t, &began, |t| t.lock(&1).depth()).unwrap(), 1);
    assert_eq!((began.load(SeqCst), calls.load(SeqCst)), (2, 4));
    t.set_observer(None);
    assert!(t.is_empty() && free(&t, 1) && free(&t, 2));
}

#[test]
fn an_observer_may_take_the_very_lock_whose_wait_begins() {
    // I3, I6: it waits in the observer, unreported; the wait proper then ends at once.
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let (table, count) = (Arc::downgrade(&t), began.clone());
    observe(&t, move |event| {
        if event == Event::Began(1) {
            count.fetch_add(1, SeqCst);
            let t: Arc<LockTable<u64>> = table.upgrade().unwrap();
            assert_eq!(t.lock(&1).depth(), 1);
        }
    });
    assert_eq!(wait_and_get(&t, &began, |t| t.lock(&1).depth()).unwrap(), 1);
    assert_eq!(began.load(SeqCst), 1, "its own wait is not reported");
    t.set_observer(None);
    assert!(t.is_empty());
}

#[test]
fn an_observer_may_keep_the_lock_whose_wait_begins() {
    // I3: the thread holds the key when the observer returns, so it must not wait for itself.
    thread_local!(static KEPT: RefCell<Vec<OwnedKeyGuard<u64>>> = const { RefCell::new(Vec::new()) });
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let (table, count): (Weak<LockTable<u64>>, _) = (Arc::downgrade(&t), began.clone());
    observe(&t, move |event| {
        if event == Event::Began(1) {
            count.fetch_add(1, SeqCst);
            let guard = table.upgrade().unwrap().lock_owned(&1);
            KEPT.with_borrow_mut(|k| k.push(guard));
        }
    });
    #[allow(clippy::type_complexity)]
    let ways: [fn(&LockTable<u64>) -> Option<usize>; 2] = [
        |t| {
            t.try_lock_for(&1, Duration::from_secs(5))
                .map(|g| g.depth())
        },
        |t| {
            let h = t.handle(&1);
            h.try_lock_for(Duration::from_secs(5)).map(|g| g.depth())
        },
    ];
    for way in ways {
        let depth = wait_and_get(&t, &began, |t| {
            let depth = way(t);
            assert!(t.is_held(&1), "kept");
            KEPT.take();
            assert!(!t.is_held(&1));
            depth
        });
        assert_eq!(depth.unwrap(), Some(2));
        assert!(t.is_empty());
    }
    t.set_observer(None);
}

#[test]
fn a_key_guard_may_be_dropped_by_the_observer_of_a_wait() {
    // I9: the wait for one key gives back another one.
    thread_local!(static KEPT: RefCell<Vec<OwnedKeyGuard<u64>>> = const { RefCell::new(Vec::new()) });
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let count = began.clone();
    observe(&t, move |_| {
        count.fetch_add(1, SeqCst);
        KEPT.take();
    });
    let depth = wait_and_get(&t, &began, |_| {
        KEPT.with_borrow_mut(|k| k.push(t.lock_owned(&2)));
        let guard = t.lock(&1);
        assert!(!t.is_held(&2) && free(&t, 2));
        guard.depth()
    });
    assert_eq!(depth.unwrap(), 1);
    t.set_observer(None);
}

#[test]
fn contention_counts_waits_and_their_length() {
    let t = LockTable::<u64>::new();
    let c = Arc::new(Contention::new());
    t.set_observer(Some(c.clone()));
    for k in 0..100 {
        drop(t.lock(&k));
    }
    assert_eq!((c.waits(), c.acquired(), c.timed_out()), (0, 0, 0));
    assert_eq!((c.quantile(0.5), c.longest()), (None, Duration::ZERO));
    while_held(&t, &1, || {
        for n in 1..=3 {
            assert!(t.try_lock_for(&1, SOON).is_none());
            assert_eq!((c.waits(), c.acquired(), c.timed_out()), (n, 0, n));
        }
    });
    // It waited for as long as it was told to, at least: a property of the clock, not of the speed.
    assert!(c.longest() >= SOON && c.total() >= 3 * SOON);
    std::thread::scope(|s| {
        let guard = t.lock(&2);
        let waiter = s.spawn(|| drop(t.lock(&2)));
        eventually("the wait begins", || c.waits() == 4);
        drop(guard);
        waiter.join().unwrap();
    });
    assert_eq!((c.waits(), c.acquired(), c.timed_out()), (4, 1, 3));
    let histogram = c.histogram();
    assert_eq!(histogram.iter().sum::<u64>(), 4);
    assert!(
        histogram[SOON.as_nanos().ilog2() as usize..]
            .iter()
            .sum::<u64>()
            >= 3
    );
    assert_eq!(c.quantile(1.0), Some(c.longest()));
    assert!(c.total() >= c.longest());
    let text = format!("{c:?}");
    assert!(
        text.contains("waits: 4") && text.contains("timed_out: 3"),
        "{text}"
    );
}

// ---- guards -----------------------------------------------------------------------------------------------------

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
