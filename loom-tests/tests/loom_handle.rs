//! Handles: lives, upgrades, and entries that must stay while somebody has a handle on them.
#![cfg(perkey_loom)]

use loom::sync::atomic::{AtomicBool, Ordering};
use loom_tests::{all_in_full, explore, two, World, A, ALL, B, C};
use perkey::model::{leave_out_epoch, tick, use_time};
use std::sync::Arc;
use std::time::Duration;

/// I5: an upgrade races the end of the last strong handle: it gets the lock alive, or nothing.
#[test]
fn upgrade_against_last_drop() {
    explore("upgrade_against_last_drop", ALL, || {
        let world = World::new();
        let strong = world.table.handle_owned(&A);
        let weak = strong.downgrade();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        two(
            &world,
            move |_| {
                drop(strong);
                over.store(true, Ordering::Release);
            },
            move |w| {
                let was_over = ended.load(Ordering::Acquire);
                if let Some(strong) = weak.upgrade() {
                    assert!(!was_over, "that life is over");
                    assert_eq!(*strong.key(), A);
                    assert_eq!(w.table.len(), 1, "alive as long as we have it");
                }
            },
        );
        assert_eq!(world.table.len(), 0);
    });
}

/// I5: the same key in use again is a new life, which an old weak handle does not reach.
#[test]
fn upgrade_against_drop_and_handle() {
    explore("upgrade_against_drop_and_handle", ALL, || {
        let world = World::new();
        let strong = world.table.handle_owned(&A);
        let weak = strong.downgrade();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        two(
            &world,
            move |w| {
                drop(strong);
                over.store(true, Ordering::Release);
                let next = w.table.handle_owned(&A);
                let _weak = next.downgrade();
            },
            move |_| {
                let was_over = ended.load(Ordering::Acquire);
                assert!(!(weak.upgrade().is_some() && was_over), "that life is over");
            },
        );
        assert_eq!(world.table.len(), 0);
    });
}

/// I5: the passing reference of a search neither ends nor prolongs a life.
#[test]
fn upgrade_against_passing_search() {
    explore("upgrade_against_passing_search", ALL, || {
        let world = World::new();
        let strong = world.table.handle_owned(&A);
        let weak = strong.downgrade();
        drop(strong);
        two(
            &world,
            |w| assert!(!w.table.is_locked(&A)),
            move |_| assert!(weak.upgrade().is_none(), "a search is no user"),
        );
    });
}

/// I1, I5: an entry with a handle is not taken over, however many keys come by.
#[test]
fn handle_against_other_keys() {
    explore("handle_against_other_keys", ALL, || {
        let world = World::new();
        let strong = world.table.handle_owned(&A);
        two(
            &world,
            |w| {
                let _guard = strong.lock();
                w.touch(A);
            },
            |w| {
                w.try_all(&[B, C, A]);
            },
        );
        assert_eq!(*strong.key(), A);
        drop(strong);
        assert_eq!(world.table.len(), 0);
    });
}

/// I1, I6: waiting through a handle whose other users leave meanwhile.
#[test]
fn handle_lock_against_lock() {
    explore("handle_lock_against_lock", all_in_full(8), || {
        let world = World::new();
        let strong = world.table.handle_owned(&A);
        two(
            &world,
            move |w| {
                let guard = strong.lock();
                drop(strong);
                w.touch(A);
                drop(guard);
            },
            |w| w.lock_all(&[A]),
        );
        assert_eq!(world.touched(A), 2);
        assert_eq!(world.table.len(), 0);
    });
}

/// I7: shrinking takes idle entries only, and whoever comes for one finds it or makes it anew.
#[test]
fn shrink_against_lock() {
    explore("shrink_against_lock", ALL, || {
        leave_out_epoch(); // nothing is retired
        let world = World::new();
        world.lock_all(&[A]);
        two(&world, |w| w.table.shrink_to_fit(), |w| w.lock_all(&[A, A]));
        assert_eq!(world.touched(A), 3);
        assert_eq!(world.table.len(), 0);
    });
}

/// I5, I7: the queue stays until the release that wakes is done with it, though the only waiter has given up and the entry is
/// idle and shrunk away.
#[test]
fn timeout_and_shrink_against_unlock() {
    explore("timeout_and_shrink_against_unlock", ALL, || {
        use_time();
        let world = World::new();
        let guard = world.table.lock_owned(&A);
        two(
            &world,
            |_| {
                tick(Duration::from_secs(2));
                drop(guard);
            },
            |w| {
                drop(w.table.try_lock_for(&A, Duration::from_secs(1)));
                w.table.shrink_to_fit();
            },
        );
        assert_eq!(world.table.len(), 0);
    });
}
