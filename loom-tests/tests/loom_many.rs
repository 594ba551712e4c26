//! Many keys in one call. Handles keep both keys in their slots, A before B, so that the scenarios are about the order only;
//! loom itself finds a deadlock.
#![cfg(perkey_loom)]

use loom_tests::{all_in_full, bounds, explore, two, Key, World, A, A1, ALL, B};
use perkey::model::{tick, use_time};
use perkey::{LockManyError, ManyGuard};
use std::sync::Arc;
use std::time::Duration;

/// A world in which A is in the first slot and `last` in the second one; what is given with it keeps them there.
fn world(last: Key) -> (Arc<World>, impl Sized) {
    let world = World::new();
    let handles = [A, last].map(|key| world.table.handle_owned(&key));
    (world, handles)
}

/// Nobody holds A or `last`.
fn all_free(w: &World, last: Key) {
    assert!(!w.table.is_locked(&A) && !w.table.is_locked(&last));
}

fn touch(w: &World, many: &ManyGuard<'_, Key>) {
    for key in many.keys() {
        w.touch(*key);
    }
}

/// Takes all of them, and touches each.
fn lock_many(w: &World, keys: &[Key]) {
    let many = w.table.lock_many(keys).expect("nothing else is held");
    assert!(keys.iter().all(|key| many.contains(key)));
    touch(w, &many);
}

/// I1, M2: crossing orders.
#[test]
fn many_ab_many_ba() {
    explore("many_ab_many_ba", bounds(3, 4), || {
        let (world, _handles) = world(B);
        two(
            &world,
            |w| lock_many(w, &[A, B]),
            |w| lock_many(w, &[B, A, B]),
        );
        assert_eq!((world.touched(A), world.touched(B)), (2, 2));
        all_free(&world, B);
    });
}

/// I1, I2, M2: the same with one hash.
#[test]
fn many_aa1_many_a1a() {
    explore("many_aa1_many_a1a", bounds(3, 5), || {
        let (world, _handles) = world(A1);
        two(
            &world,
            |w| lock_many(w, &[A, A1]),
            |w| lock_many(w, &[A1, A]),
        );
        assert_eq!((world.touched(A), world.touched(A1)), (2, 2));
        all_free(&world, A1);
    });
}

/// I1, I2: nobody holds a key here before it has been waited for: entries come and go with the calls.
#[test]
fn many_a_many_a() {
    explore("many_a_many_a", bounds(4, 5), || {
        let world = World::new();
        two(&world, |w| lock_many(w, &[A, A]), |w| lock_many(w, &[A]));
        assert_eq!(world.touched(A), 2);
        assert_eq!(world.table.len(), 0);
    });
}

/// I6: one key at a time against both at once.
#[test]
fn many_ba_against_lock_b() {
    explore("many_ba_against_lock_b", all_in_full(4), || {
        let (world, _handles) = world(B);
        two(&world, |w| lock_many(w, &[B, A]), |w| w.lock_all(&[B]));
        assert_eq!((world.touched(A), world.touched(B)), (1, 2));
        all_free(&world, B);
    });
}

/// M3: a thread that holds the later key among those it asks for does not wait for the earlier one.
#[test]
fn holding_b_many_ab_against_many_ab() {
    explore("holding_b_many_ab_against_many_ab", bounds(3, 5), || {
        let (world, _handles) = world(B);
        two(
            &world,
            |w| {
                let guard = w.table.lock(&B);
                match w.table.lock_many(&[A, B]) {
                    Ok(many) => touch(w, &many),
                    Err(e) => {
                        assert_eq!(e, LockManyError::WouldDeadlock);
                        w.touch(B); // held still
                    }
                }
                assert_eq!(guard.depth(), 1);
            },
            |w| lock_many(w, &[A, B]),
        );
        assert_eq!(world.touched(B), 2);
        all_free(&world, B);
    });
}

/// M3: nor one that holds a later key and does not ask for it.
#[test]
fn holding_b_many_a_against_many_ab() {
    explore("holding_b_many_a_against_many_ab", bounds(4, 5), || {
        let (world, _handles) = world(B);
        two(
            &world,
            |w| {
                let guard = w.table.lock_many(&[B]).expect("nothing else is held");
                if let Ok(many) = w.table.lock_many(&[A]) {
                    touch(w, &many);
                }
                touch(w, &guard);
            },
            |w| lock_many(w, &[B, A]),
        );
        assert_eq!(world.touched(B), 2);
        all_free(&world, B);
    });
}

/// M2: a thread that holds the earlier key may wait for the later one, and gets it.
#[test]
fn holding_a_many_ba_against_many_ba() {
    explore("holding_a_many_ba_against_many_ba", bounds(4, 5), || {
        let (world, _handles) = world(B);
        two(
            &world,
            |w| {
                let guard = w.table.lock(&A);
                lock_many(w, &[B, A]);
                assert_eq!(guard.depth(), 1);
            },
            |w| lock_many(w, &[B, A]),
        );
        assert_eq!((world.touched(A), world.touched(B)), (2, 2));
        all_free(&world, B);
    });
}

/// M4: all or none: who finds the later key taken does not keep the earlier one.
#[test]
fn try_many_ba_against_try_b() {
    explore("try_many_ba_against_try_b", ALL, || {
        let (world, _handles) = world(B);
        two(
            &world,
            |w| {
                w.try_all(&[B]);
            },
            |w| {
                if let Some(many) = w.table.try_lock_many(&[B, A]) {
                    touch(w, &many);
                }
                assert!(!w.table.is_held(&A) && !w.table.is_held(&B));
            },
        );
        all_free(&world, B);
        lock_many(&world, &[A, B]);
    });
}

/// M4: all or none, when time is over, too.
#[test]
fn timeout_of_many_ab_against_unlock_b() {
    explore("timeout_of_many_ab_against_unlock_b", ALL, || {
        use_time();
        let (world, _handles) = world(B);
        let guard = world.table.lock_owned(&B);
        two(
            &world,
            |w| {
                tick(Duration::from_secs(2));
                w.touch(B);
                drop(guard);
            },
            |w| {
                let got = w.table.try_lock_many_for(&[B, A], Duration::from_secs(1));
                if let Some(many) = got {
                    touch(w, &many);
                }
            },
        );
        all_free(&world, B);
        lock_many(&world, &[A, B]);
    });
}
