//! Growth and shrinking: what is taken, released, looked for and drained while segments come and go.
//!
//! Both slots of the table's first array are taken, so that everything else goes to the segments (of one bucket of two slots each). Where it is about
//! I1 and I2 the epoch is left out, as the fences of pins would hide an ordering of ours that is missing; where it is about I7 the real one is inside.
#![cfg(perkey_loom)]

use loom_tests::{
    all_in_full, bounds, explore, two, Bound, Hashing, Key, World, A, ALL, B, C, C1, D, E, F,
};
use perkey::model::{leave_out_epoch, set_lagging};
use perkey::OwnedKeyGuard;
use std::sync::Arc;

type Guard = OwnedKeyGuard<Key, Hashing>;

/// The first array is full, and there are `segments`. What is given is to be kept.
fn world(segments: usize) -> (Arc<World>, [Guard; 2]) {
    let world = World::new();
    let kept = [A, B].map(|key| world.table.lock_owned(&key));
    for _ in 0..segments {
        world.table.grow(1);
    }
    (world, kept)
}

/// There is one segment, with C in its chain and two idle keys in its slots: D and another one.
fn chained_c(other: Key) -> (Arc<World>, [Guard; 2], Guard) {
    let (world, kept) = world(1);
    let slots = [D, other].map(|key| world.table.lock_owned(&key));
    let c = world.table.lock_owned(&C);
    drop(slots);
    (world, kept, c)
}

/// Takes the key, if it is to be had, and touches its data.
fn try_(w: &World, key: Key) {
    w.try_all(&[key]);
}

/// Puts a segment in front and takes the key there.
fn grow_try_c(w: &World) {
    w.table.grow(1);
    try_(w, C);
}

/// Tends as often as it takes when nobody else is there.
fn settled(w: &World) -> (usize, usize) {
    (0..8).for_each(|_| w.table.tend());
    (w.table.len(), w.table.segments())
}

/// Touches the key's data and lets go of it.
fn release(w: &World, guard: Guard) {
    w.touch(*guard.key());
    drop(guard);
}

/// I1, I2: insert against growth: one goes to the chain of the first array, or finds the first segment; the other has made that and inserts there.
#[test]
fn try_c_against_grow_try_c() {
    explore("try_c_against_grow_try_c", bounds(2, 5), || {
        leave_out_epoch();
        let (world, _kept) = world(0);
        two(&world, |w| try_(w, C), grow_try_c);
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I2: insert against growth: one inserts into a segment that the other makes an older one.
#[test]
fn try_c_in_a_segment_against_grow_try_c() {
    explore(
        "try_c_in_a_segment_against_grow_try_c",
        bounds(2, 4),
        || {
            leave_out_epoch();
            let (world, _kept) = world(1);
            two(&world, |w| try_(w, C), grow_try_c);
            assert_eq!(world.table.len(), 2);
        },
    );
}

/// There is one segment, the bucket of the first array is closed, and C is nowhere.
fn new_c() -> (Arc<World>, [Guard; 2]) {
    let (world, kept) = world(1);
    try_(&world, F);
    (world, kept)
}

/// I1, I2: insert against insert: both take the key for new by the short path.
#[test]
fn try_new_c_against_try_new_c() {
    explore("try_new_c_against_try_new_c", ALL, || {
        leave_out_epoch();
        let (world, _kept) = new_c();
        two(&world, |w| try_(w, C), |w| try_(w, C));
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I2: insert against growth: the short path takes the key for new, and the segment becomes an older one.
#[test]
fn try_new_c_against_grow_try_c() {
    explore("try_new_c_against_grow_try_c", bounds(2, 4), || {
        leave_out_epoch();
        let (world, _kept) = new_c();
        two(&world, |w| try_(w, C), grow_try_c);
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I2: growth against growth: both put a segment in front and insert the same key.
#[test]
fn grow_try_c_against_grow_try_c() {
    explore("grow_try_c_against_grow_try_c", bounds(2, 3), || {
        leave_out_epoch();
        let (world, _kept) = world(0);
        two(&world, grow_try_c, grow_try_c);
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I2: release against growth: a key that is held in a segment is released, and comes back in a newer one.
#[test]
fn release_c_against_grow_try_c() {
    explore("release_c_against_grow_try_c", ALL, || {
        leave_out_epoch();
        let (world, _kept) = world(1);
        let c = world.table.lock_owned(&C);
        two(
            &world,
            |w| release(w, c),
            |w| {
                w.table.grow(1);
                w.table.tend();
                try_(w, C);
            },
        );
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I2: lookup against draining: an idle key is taken out of the older segment while it is asked for.
#[test]
fn try_c_against_tend_try_c() {
    explore("try_c_against_tend_try_c", bounds(2, 3), || {
        leave_out_epoch();
        let (world, _kept) = world(1);
        try_(&world, C);
        world.table.grow(1);
        two(
            &world,
            |w| try_(w, C),
            |w| {
                w.table.tend();
                try_(w, C);
            },
        );
        assert_eq!(world.table.len(), 2);
    });
}

/// I1: the key's last holder in an older segment tends to that, and so does who asks for the key next and finds the bucket drained by either.
#[test]
fn release_c_tend_against_tend_try_c() {
    explore("release_c_tend_against_tend_try_c", bounds(2, 4), || {
        leave_out_epoch();
        let (world, _kept) = world(1);
        let c = world.table.lock_owned(&C);
        world.table.grow(1);
        release_tend_tend_try(&world, c, 1);
    });
}

/// The key is in the chain of a segment, released and asked for while that is drained; its node is left there, free, or taken out.
fn release_chained_c_tend(name: &str, bound: Bound, left_free: bool) {
    explore(name, bound, move || {
        leave_out_epoch();
        set_lagging(left_free);
        let (world, _kept, c) = chained_c(C1);
        world.table.grow(1);
        release_tend_tend_try(&world, c, 2);
    });
}

/// I1: the same, and the key is in the chain of that segment. Who asks may have emptied the slots before the key is released.
#[test]
fn release_chained_c_tend_against_tend_try_c() {
    let name = "release_chained_c_tend_against_tend_try_c";
    release_chained_c_tend(name, bounds(3, 3), false);
}

/// I1: the same, and its node is left free there, until the segment is drained.
#[test]
fn release_c_left_free_tend_against_tend_try_c() {
    let name = "release_c_left_free_tend_against_tend_try_c";
    release_chained_c_tend(name, bounds(2, 2), true);
}

/// I1, I2: a free node is taken for the key in the chain of a segment that is closed, and drained, meanwhile.
#[test]
fn try_c_in_a_free_node_against_grow_tend() {
    explore(
        "try_c_in_a_free_node_against_grow_tend",
        bounds(1, 2),
        || {
            leave_out_epoch();
            set_lagging(true);
            let (world, _kept) = world(1);
            let slots = [D, E].map(|key| world.table.lock_owned(&key));
            drop(world.table.lock(&F));
            two(
                &world,
                |w| {
                    w.table.grow(1);
                    drop(slots);
                    w.table.tend();
                    try_(w, C);
                },
                |w| try_(w, C),
            );
            assert_eq!(settled(&world), (2, 1));
        },
    );
}

/// I1, I2: the key's last holder, in the chain of an older segment, writes down that it is not there any more; who asks for it next looks no further.
#[test]
fn release_chained_c_try_d_against_try_c() {
    explore("release_chained_c_try_d_against_try_c", ALL, || {
        leave_out_epoch();
        let (world, _kept, c) = chained_c(E);
        world.table.grow(1);
        two(
            &world,
            |w| {
                release(w, c);
                try_(w, D);
            },
            |w| try_(w, C),
        );
        assert_eq!(world.table.len(), 2);
    });
}

/// I1: the same, behind another node: who asks for the key writes down himself that it is not there any more.
#[test]
fn release_chained_c_behind_f_against_try_c() {
    explore("release_chained_c_behind_f_against_try_c", ALL, || {
        leave_out_epoch();
        let (world, _kept) = world(1);
        let slots = [D, E].map(|key| world.table.lock_owned(&key));
        let c = world.table.lock_owned(&C);
        let _f = world.table.lock_owned(&F);
        drop(slots);
        world.table.grow(1);
        two(&world, |w| release(w, c), |w| try_(w, C));
        assert_eq!(world.table.len(), 3);
    });
}

/// I1, I7: the key is in the chain of the newest segment, and found there by the short path, while its last holder lets go of it and its node goes.
#[test]
fn release_chained_c_against_try_c() {
    explore("release_chained_c_against_try_c", all_in_full(3), || {
        let (world, _kept, c) = chained_c(C1);
        two(&world, |w| release(w, c), |w| try_(w, C));
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I2: the key is in the chain of the first array, which is closed: the short path finds it there, or takes it for new.
#[test]
fn release_first_chained_c_against_try_c() {
    explore("release_first_chained_c_against_try_c", ALL, || {
        leave_out_epoch();
        let (world, _kept) = world(0);
        let c = world.table.lock_owned(&C);
        world.table.grow(1);
        try_(&world, F); // closes the first bucket
        two(&world, |w| release(w, c), |w| try_(w, C));
        assert_eq!(world.table.len(), 2);
    });
}

/// I1, I7: the key is in the chain of an older segment, as is written down: the short path finds it there, or nothing any more.
#[test]
fn release_noted_c_against_try_c() {
    explore("release_noted_c_against_try_c", ALL, || {
        leave_out_epoch();
        let (world, _kept, c) = chained_c(C1);
        world.table.grow(1);
        try_(&world, F); // writes down what is behind
        two(&world, |w| release(w, c), |w| try_(w, C));
        assert_eq!(world.table.len(), 2);
    });
}

/// I1: a key's slot is being taken over in a segment that becomes an older one: who writes down what is there finds the new key's hash, and takes the
/// old key elsewhere.
#[test]
fn release_c_try_e_against_grow_try_c() {
    explore("release_c_try_e_against_grow_try_c", bounds(2, 4), || {
        leave_out_epoch();
        let (world, _kept) = world(1);
        let _d = world.table.lock_owned(&D);
        let c = world.table.lock_owned(&C);
        two(
            &world,
            |w| {
                release(w, c);
                try_(w, E);
            },
            grow_try_c,
        );
        assert_eq!(world.table.len(), 3);
    });
}

/// I2: the older segment is the larger one, and the keys are in different buckets of it: what is written down for one says nothing of the other.
#[test]
fn try_d_against_try_busy_c_in_a_larger_segment() {
    explore("try_d_against_try_busy_c_in_a_larger_segment", ALL, || {
        leave_out_epoch();
        let (world, _kept) = world(0);
        world.table.grow(2);
        try_(&world, D);
        let _c = world.table.lock_owned(&C);
        world.table.grow(1);
        two(
            &world,
            |w| try_(w, D),
            |w| assert_eq!(w.try_all(&[C]), 0, "it is held"),
        );
        assert_eq!(world.table.len(), 3);
    });
}

fn release_tend_tend_try(world: &Arc<World>, c: Guard, times: usize) {
    two(
        world,
        |w| {
            release(w, c);
            w.table.tend();
        },
        move |w| {
            (0..times).for_each(|_| w.table.tend());
            try_(w, C);
        },
    );
    assert_eq!(world.table.len(), 2);
}

/// I7: lookup against draining: the segment that is searched is drained, taken out of the list and freed; the epoch is made to advance.
#[test]
fn look_against_tend_and_free() {
    explore("look_against_tend_and_free", bounds(1, 1), || {
        let (world, _kept) = world(1);
        try_(&world, C);
        world.table.grow(1);
        two(
            &world,
            |w| {
                w.table.tend();
                w.table.shrink_to_fit();
            },
            |w| assert!(!w.table.is_locked(&C1)),
        );
        assert_eq!(settled(&world), (2, 1));
    });
}

/// I7: shrink against lock: the segment in which a key is taken is drained at the same time.
#[test]
fn shrink_against_try_c() {
    explore("shrink_against_try_c", bounds(1, 1), || {
        let (world, _kept) = world(1);
        try_(&world, C);
        world.table.grow(1);
        two(&world, |w| w.table.shrink_to_fit(), |w| try_(w, C));
        assert_eq!(world.table.len(), 2);
    });
}

/// I2, I7: two tend to the same segment; it leaves the list once.
#[test]
fn tend_against_tend() {
    explore("tend_against_tend", bounds(2, 4), || {
        let (world, _kept) = world(1);
        try_(&world, C);
        world.table.grow(1);
        two(&world, |w| w.table.tend(), |w| w.table.tend());
        assert_eq!(settled(&world), (2, 1));
    });
}

/// I2, I7: a drained segment leaves the list while another one is put in front.
#[test]
fn tend_against_grow() {
    explore("tend_against_grow", ALL, || {
        leave_out_epoch();
        let (world, _kept) = world(1);
        try_(&world, C);
        world.table.grow(1);
        two(&world, |w| w.table.tend(), |w| w.table.grow(1));
        assert_eq!(settled(&world), (2, 1));
    });
}

/// I7: a node of a segment's chain is released while the segment is drained.
#[test]
fn release_chained_c_against_tend() {
    explore("release_chained_c_against_tend", bounds(3, 4), || {
        let (world, _kept, c) = chained_c(C1);
        world.table.grow(1);
        two(
            &world,
            |w| release(w, c),
            |w| {
                w.table.tend();
                w.table.tend();
            },
        );
        assert_eq!(settled(&world), (2, 1));
    });
}

/// I2, I7: a node is to be linked into the chain of a segment that is drained: it comes too late, and goes to the newer one.
#[test]
fn try_chained_c_against_grow_tend() {
    explore("try_chained_c_against_grow_tend", bounds(1, 1), || {
        let (world, _kept) = world(1);
        let slots = [D, C1].map(|key| world.table.lock_owned(&key));
        two(
            &world,
            |w| {
                w.table.grow(1);
                drop(slots);
                w.table.tend();
                w.table.shrink_to_fit();
            },
            |w| try_(w, C),
        );
        settled(&world);
        world.table.shrink_to_fit();
        world.table.shrink_to_fit();
        assert_eq!(world.table.len(), 2);
    });
}
