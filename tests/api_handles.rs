//! What owned guards, handles and weak handles offer, sentence by sentence.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, free, OneHash, SOON};
use perkey::{LockTable, OwnedKeyGuard};
use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc};

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
