//! What the table offers, sentence by sentence: making tables, asking for keys, locking, counting.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, eventually, free, while_held, Event, Events, OneHash, PATIENCE, SOON};
use perkey::{KeyGuard, LockTable};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

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
    let pear = t.lock_with("pear", Arc::from).unwrap();
    assert!(t.lock_with("pear", |_| plum.clone()).is_ok());
    drop(pear);
    // A panic while making leaves nothing.
    assert!(catch_unwind(AssertUnwindSafe(|| t.lock_with("fig", |_| panic!("no fig")))).is_err());
    assert!(t.is_empty() && !t.is_locked("fig"));
    assert!(t.lock_with("fig", Arc::from).is_ok());
}

#[test]
fn lock_with_may_lock_the_same_key_while_it_makes_one() {
    // I2, I9: the entry that came first wins, the made key is dropped.
    let t = LockTable::<Arc<str>>::new();
    let made: Arc<str> = Arc::from("apple");
    let kept = RefCell::new(None);
    let guard = t
        .lock_with("apple", |k| {
            *kept.borrow_mut() = Some(t.lock_with(k, Arc::from).unwrap());
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
    assert!(t.lock_with("used", Arc::from).is_ok());
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
