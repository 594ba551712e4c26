//! The chain of the overflow, one step a thread: what a search concludes from what it finds there, and from what it no longer finds.
//!
//! Where it is about I1 the epoch is left out, as the fences of pins would hide an ordering of ours that is missing. Where it is about I7 the
//! real one is inside.
#![cfg(perkey_loom)]

use loom_tests::{
    all_in_full, bounds, explore, two, Hashing, Key, World, A, A1, ALL, B, C, C1, D, E,
};
use perkey::model::{leave_out_epoch, set_lagging};
use perkey::OwnedKeyGuard;
use std::sync::Arc;

type Guard = OwnedKeyGuard<Key, Hashing>;

/// Both slots are taken, and `chained` is in the chain, the last one first. What is given is to be kept.
fn world<const N: usize>(chained: [Key; N]) -> (Arc<World>, [Guard; N], [Guard; 2]) {
    let world = World::new();
    let [a, b] = [A, B].map(|key| world.table.lock_owned(&key));
    let chained = chained.map(|key| world.table.lock_owned(&key));
    drop(b);
    let d = world.table.lock_owned(&D); // in the slot of B
    (world, chained, [a, d])
}

/// Touches the key's data and lets go of it.
fn release(w: &World, guard: Guard) {
    w.touch(*guard.key());
    drop(guard);
}

/// Takes the key, if it is to be had, and touches its data.
fn try_(w: &World, key: Key) {
    w.try_all(&[key]);
}

/// I1: the chain is empty again: its only key has been released.
#[test]
fn release_c_against_c() {
    explore("release_c_against_c", ALL, || {
        leave_out_epoch();
        let (world, [c], _kept) = world([C]);
        two(&world, |w| release(w, c), |w| try_(w, C));
    });
}

/// I1: the key is gone from behind one with another hash, and there is room in a slot.
#[test]
fn release_c_behind_a1_against_c() {
    explore("release_c_behind_a1_against_c", ALL, || {
        leave_out_epoch();
        let (world, [c, _a1], [_a, d]) = world([C, A1]);
        drop(d);
        two(&world, |w| release(w, c), |w| try_(w, C));
    });
}

/// I1: the key is gone from behind one with the same hash, which was compared under a reference.
#[test]
fn release_c1_behind_c_against_c1() {
    explore("release_c1_behind_c_against_c1", ALL, || {
        leave_out_epoch();
        let (world, [c1, _c], _kept) = world([C1, C]);
        two(&world, |w| release(w, c1), |w| try_(w, C1));
    });
}

/// I1: the same, and there is room in a slot now: who looks for the key does not look for a free node after that.
#[test]
fn release_c1_behind_c_against_c1_in_a_slot() {
    explore("release_c1_behind_c_against_c1_in_a_slot", ALL, || {
        leave_out_epoch();
        let (world, [c1, _c], [_a, d]) = world([C1, C]);
        drop(d);
        two(&world, |w| release(w, c1), |w| try_(w, C1));
    });
}

/// I1: the key's node, marked by its last holder, is unlinked by who looks for it next.
#[test]
fn release_c_against_release_a1_and_c() {
    explore("release_c_against_release_a1_and_c", ALL, || {
        leave_out_epoch();
        let (world, [c, a1], _kept) = world([C, A1]);
        two(
            &world,
            |w| release(w, c),
            |w| {
                drop(a1);
                w.try_all(&[C]);
            },
        );
    });
}

/// I7: a node is pushed in front while a search sets out.
#[test]
fn chained_a1_against_walk_over_c() {
    explore("chained_a1_against_walk_over_c", bounds(4, 6), || {
        let (world, _c, _kept) = world([C]);
        two(&world, |w| try_(w, A1), |w| assert!(!w.table.is_locked(&B)));
    });
}

/// I7: a node is pushed in front while another one is unlinked.
#[test]
fn chained_a1_against_release_c() {
    explore("chained_a1_against_release_c", bounds(3, 4), || {
        let (world, [c], _kept) = world([C]);
        two(&world, |w| try_(w, A1), |w| release(w, c));
    });
}

/// Much waits to be freed: nodes stay in the chain, where this one is free.
fn world_with_free_node() -> (Arc<World>, [Guard; 2]) {
    let (world, [e], kept) = world([E]);
    set_lagging(true);
    drop(e);
    (world, kept)
}

/// I1, I7: the key's node is left free in the chain.
#[test]
fn release_c_left_free_against_c() {
    explore("release_c_left_free_against_c", ALL, || {
        leave_out_epoch();
        set_lagging(true);
        let (world, [c], _kept) = world([C]);
        two(&world, |w| release(w, c), |w| try_(w, C));
    });
}

/// I1: the key's node is left free and taken for another key.
#[test]
fn release_c_try_b_in_its_node_against_c() {
    explore("release_c_try_b_in_its_node_against_c", ALL, || {
        leave_out_epoch();
        set_lagging(true);
        let (world, [c], _kept) = world([C]);
        two(
            &world,
            |w| {
                release(w, c);
                try_(w, B);
            },
            |w| try_(w, C),
        );
    });
}

/// I2: two threads make the same entry; a node is free for one of them.
#[test]
fn free_node_c_against_c() {
    explore("free_node_c_against_c", all_in_full(4), || {
        leave_out_epoch();
        let (world, _kept) = world_with_free_node();
        two(&world, |w| try_(w, C), |w| try_(w, C));
        assert!(world.touched(C) > 0, "one has it, or both in turn");
    });
}

/// I2, I7: the node is taken for a key and is free again, while another key is looked for.
#[test]
fn free_node_c_against_b() {
    explore("free_node_c_against_b", ALL, || {
        leave_out_epoch();
        let (world, _kept) = world_with_free_node();
        two(&world, |w| try_(w, C), |w| try_(w, B));
        assert_eq!((world.touched(B), world.touched(C)), (1, 1));
    });
}

/// I7: what is free is taken out while it is taken for a key.
#[test]
fn shrink_against_free_node_c() {
    explore("shrink_against_free_node_c", bounds(1, 2), || {
        let (world, _kept) = world_with_free_node();
        set_lagging(false);
        two(&world, |w| w.table.shrink_to_fit(), |w| try_(w, C));
        assert_eq!(world.touched(C), 1);
    });
}
