//! The first things a user does; small enough for Miri.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

use perkey::LockTable;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn lock_reenter_release() {
    let t = LockTable::<String>::new();
    let a = t.lock("a");
    let b = t.lock("a");
    assert_eq!((a.depth(), b.depth(), t.len()), (2, 2, 1));
    assert!(t.is_held("a") && t.is_locked("a") && !t.is_locked("b"));
    std::thread::scope(|s| {
        s.spawn(|| {
            assert!(t.try_lock("a").is_none());
            assert!(t.try_lock_for("a", Duration::from_millis(5)).is_none());
            assert!(t.try_lock("b").is_some());
            assert!(t.is_locked("a") && !t.is_held("a"));
        });
    });
    drop(a);
    assert_eq!(b.depth(), 1);
    drop(b);
    assert!(t.is_empty() && !t.is_locked("a"));
}

#[test]
fn handles_and_weak_handles() {
    let t = Arc::new(LockTable::<u64>::new());
    let h = t.handle(&1);
    let w = h.downgrade();
    assert_eq!(t.len(), 1);
    assert_eq!(*w.upgrade().unwrap().key(), 1);
    drop(h);
    assert!(w.upgrade().is_none());
    let h2 = t.handle(&1);
    assert!(w.upgrade().is_none(), "a new life");
    drop(h2.lock());
    let o = t.handle_owned(&2);
    let ow = o.downgrade();
    let g = o.lock();
    drop(o);
    assert!(ow.upgrade().is_some());
    drop(g);
    assert!(ow.upgrade().is_none());
}

#[test]
fn more_keys_than_slots() {
    let t = LockTable::<u64>::new();
    let guards: Vec<_> = (0..500).map(|k| t.lock(&k)).collect();
    assert_eq!(t.len(), 500);
    for k in 0..500 {
        assert!(t.is_held(&k));
    }
    drop(guards);
    assert!(t.is_empty());
}
