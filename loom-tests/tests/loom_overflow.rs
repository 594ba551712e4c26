//! Overflow: more keys alive than slots, with the real crossbeam-epoch inside. Bounded, as its registration and collection explode.
#![cfg(perkey_loom)]

use loom_tests::{bounds, explore, two, World, A, A1, B, C};

/// I1, I2, I7: both slots are taken; two threads make, find and end the same entry of the chain.
#[test]
fn chained_c_against_chained_c() {
    explore("chained_c_against_chained_c", bounds(1, 2), || {
        let world = World::new();
        let held = (world.table.lock(&A), world.table.lock(&B));
        two(
            &world,
            |w| {
                w.try_all(&[C]);
            },
            |w| {
                w.try_all(&[C]);
            },
        );
        drop(held);
        assert_eq!(world.table.len(), 0);
    });
}

/// I2, I7: two keys in the chain at once; one leaves while the other is looked for.
#[test]
fn chained_c_against_chained_a1() {
    explore("chained_c_against_chained_a1", bounds(1, 1), || {
        let world = World::new();
        let held = (world.table.lock(&A), world.table.lock(&B));
        two(
            &world,
            |w| {
                w.try_all(&[C]);
            },
            |w| {
                w.try_all(&[A1, C]);
            },
        );
        drop(held);
        assert_eq!(world.table.len(), 0);
    });
}

/// I7: a search walks over a node that is unlinked and retired meanwhile; the epoch is made to advance.
#[test]
fn walk_against_removal() {
    explore("walk_against_removal", bounds(2, 2), || {
        let world = World::new();
        let held = (world.table.lock(&A), world.table.lock(&B));
        let chained = world.table.lock(&C);
        two(
            &world,
            |w| {
                drop(chained);
                w.table.shrink_to_fit();
            },
            |w| assert!(!w.table.is_locked(&A1)),
        );
        drop(held);
        assert_eq!(world.table.len(), 0);
    });
}

/// I1: a key that leaves the chain and comes back in a slot.
#[test]
fn chained_c_against_slot_c() {
    explore("chained_c_against_slot_c", bounds(1, 2), || {
        let world = World::new();
        let a = world.table.lock(&A);
        let b = world.table.lock(&B);
        two(
            &world,
            |w| {
                w.try_all(&[C]);
                drop(b);
                w.try_all(&[C]);
            },
            |w| {
                w.try_all(&[C]);
            },
        );
        drop(a);
        assert_eq!(world.table.len(), 0);
    });
}
