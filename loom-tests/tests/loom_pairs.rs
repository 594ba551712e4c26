//! Every two operations on one bucket, from ten states that it can be in: small enough that a pair has no bound, and five of the states have none.
//!
//! One operation is on the key `a`, the other on `a`, on `a1` (of the same hash) or on `b`; or it shrinks the table. The longer scenarios of the other files are
//! made of such steps; here each meets each. The epoch is left out, as its fences would have each execution explored many times: what it keeps, nodes and arrays, is tried in other files.
#![cfg(perkey_loom)]

use loom_tests::{
    all_in_full, bounds, explore_each, two, Bound, Hashing, Key, World, A, A1, B, C, D, E,
};
use perkey::model::leave_out_epoch;
use perkey::OwnedKeyLock;
use std::sync::Arc;

/// One operation, from its beginning to its end.
#[derive(Clone, Copy, Debug)]
enum Op {
    Lock,
    Try,
    Handle,
    Look,
    Shrink,
}
use Op::{Handle, Lock, Look, Shrink, Try};

impl Op {
    fn run(self, world: &World, key: Key) {
        match self {
            Lock => world.lock_all(&[key]),
            Try => {
                world.try_all(&[key]);
            }
            Handle => {
                let handle = world.table.handle(&key);
                assert_eq!(*handle.key(), key, "the handle is for the asked key");
                assert!(!world.table.is_empty(), "it is alive");
            }
            Look => {
                world.table.is_locked(&key);
                assert!(!world.table.is_held(&key), "this thread does not hold it");
            }
            Shrink => world.table.shrink_to_fit(),
        }
    }
}

/// Two operations that meet: each with each. Keys that differ do not wait for each other: `Lock` does as `Try` does.
fn pairs() -> Vec<(Op, Op, Key)> {
    let mut all = Vec::new();
    let ops = [Lock, Try, Handle, Look];
    for (i, first) in ops.into_iter().enumerate() {
        all.extend(ops[i..].iter().map(|second| (first, *second, A)));
        all.push((first, Shrink, A));
    }
    for key in [A1, B] {
        for first in [Try, Handle, Look] {
            all.extend([Try, Handle, Look].map(|second| (first, second, key)));
        }
    }
    all
}

/// What is kept while the two operations meet.
type Kept = Vec<OwnedKeyLock<Key, Hashing>>;

/// Explores all pairs, each from where `begin` has brought a table of two slots to.
fn each(name: &str, bound: Bound, begin: fn(&Arc<World>) -> Kept) {
    let name_of = |key| match key {
        A => "a",
        A1 => "a1",
        _ => "b",
    };
    let models = pairs().into_iter().map(|(first, second, key)| {
        let case = format!(" ({first:?} a, {second:?} {})", name_of(key));
        let model = move || {
            leave_out_epoch();
            let world = World::new();
            let kept = begin(&world);
            two(&world, |w| first.run(w, A), move |w| second.run(w, key));
            for handle in kept {
                let _guard = handle.lock();
                assert!(
                    world.table.is_held(handle.key()),
                    "I2: its key has this entry only"
                );
            }
            assert_eq!(world.table.len(), 0, "I5: nobody is left");
        };
        (case, model)
    });
    explore_each(name, bound, models);
}

/// I1, I2, I3, I4, I5, I6: nothing is there.
#[test]
fn from_nothing() {
    each("from_nothing", bounds(3, 4), |_| Vec::new());
}

/// I1, I2, I4, I5, I6, I7: the key is idle, and a slot is free.
#[test]
fn from_idle_a() {
    each("from_idle_a", all_in_full(3), |w| idle(w, &[A]));
}

/// I1, I2, I4, I5, I6, I7: both keys are idle: there is no other room for a third one.
#[test]
fn from_idle_a_and_b() {
    each("from_idle_a_and_b", all_in_full(3), |w| idle(w, &[A, B]));
}

/// I1, I2, I4, I5, I6, I7: both keys of one hash are idle.
#[test]
fn from_idle_a_and_a1() {
    each("from_idle_a_and_a1", all_in_full(3), |w| idle(w, &[A, A1]));
}

/// I1, I2, I4, I5, I6, I7: another key is idle in the place that is taken over first.
#[test]
fn from_idle_c_and_b() {
    each("from_idle_c_and_b", bounds(3, 4), |w| idle(w, &[C, B]));
}

/// I1, I2, I4, I5, I6, I7: both slots are in use, and somebody has a handle on the key, which is in the chain.
#[test]
fn from_chained_a() {
    each("from_chained_a", bounds(2, 3), |w| used(w, &[C, D, A]));
}

/// All of them are idle. (In use at the same time before, or one would take the place of the other.)
fn idle(w: &World, keys: &[Key]) -> Kept {
    drop(used(w, keys));
    Vec::new()
}

fn used(w: &World, keys: &[Key]) -> Kept {
    keys.iter().map(|key| w.table.handle_owned(key)).collect()
}

/// A table that has grown: the first bucket is closed, and `a` belongs into the segment.
fn grown(w: &World) -> Kept {
    let full = used(w, &[C, D]);
    w.table.grow(1);
    full
}

/// I1, I2, I4, I5, I6, I7: the key is idle in the segment.
#[test]
fn from_idle_a_in_a_segment() {
    each("from_idle_a_in_a_segment", bounds(3, 3), |w| {
        let full = grown(w);
        w.try_all(&[A]);
        full
    });
}

/// I1, I2, I4, I5, I6, I7: other keys are idle in the segment, and are taken over.
#[test]
fn from_idle_e_and_b_in_a_segment() {
    each("from_idle_e_and_b_in_a_segment", bounds(3, 3), |w| {
        let full = grown(w);
        idle(w, &[E, B]);
        full
    });
}

/// I1, I2, I4, I5, I6, I7: somebody has a handle on the key, which is in an older segment; there is room in the newest one.
#[test]
fn from_used_a_in_an_older_segment() {
    each("from_used_a_in_an_older_segment", all_in_full(3), |w| {
        let mut kept = grown(w);
        kept.extend(used(w, &[A, E]));
        w.table.grow(1);
        w.try_all(&[B]);
        kept
    });
}

/// I1, I4, I5, I6, I7: somebody has a handle on the key.
#[test]
fn from_used_a() {
    each("from_used_a", all_in_full(3), |w| used(w, &[A]));
}
