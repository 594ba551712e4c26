//! The table's protocol, one bucket of two slots, nothing in the overflow.
#![cfg(perkey_loom)]

use loom_tests::{all_in_full, bounds, explore, spawn, two, World, A, A1, ALL, B, C};
use perkey::model::leave_out_epoch;

macro_rules! sequences {
    ($($(#[$doc:meta])* $name:ident $bound:expr, $how:ident: $first:expr, $second:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            explore(stringify!($name), $bound, || {
                let world = World::new();
                two(&world, |w| { w.$how(&$first); }, |w| { w.$how(&$second); });
                assert_eq!(world.table.len(), 0, "I5: nobody is left");
            });
        }
    )*};
}

sequences! {
    /// I1, I6: two threads, one key.
    lock_a_lock_a all_in_full(7), lock_all: [A], [A];
    /// I1, I3: and again, so that an idle entry is revived.
    lock_aa_lock_a bounds(5, 6), lock_all: [A, A], [A];
    /// I4: two keys in one bucket.
    lock_a_lock_b ALL, lock_all: [A], [B];
    /// I2, I4: two keys with one hash.
    lock_a_lock_a1 ALL, lock_all: [A], [A1];
    /// I1, I2: two threads make the same entry.
    try_a_try_a ALL, try_all: [A], [A];
    /// I2, I4: two threads make different entries.
    try_a_try_b ALL, try_all: [A], [B];
    /// I1, I2: an idle entry is revived, or found in use.
    try_aa_try_a bounds(7, 7), try_all: [A, A], [A];
    /// I1, I2: and taken over in the end.
    try_aab_try_a bounds(4, 5), try_all: [A, A, B], [A];
    /// I1, I2, I7: the entry is taken over while the key is looked for, and comes back elsewhere.
    try_ab_try_a all_in_full(5), try_all: [A, B], [A];
    /// I1, I2, I7: both threads take over, one of them what the other looks for.
    try_ab_try_ca bounds(3, 4), try_all: [A, B], [C, A];
    /// I4, I7: taken over while a key with the same hash is looked for.
    try_ab_try_a1 bounds(2, 3), try_all: [A, B], [A1];
    /// I1, I2: three keys in two slots, in opposite directions.
    try_abc_try_ba bounds(2, 2), try_all: [A, B, C], [B, A];
    /// I1, I2, I6: as `try_aab_try_a`, waiting.
    lock_aab_lock_a bounds(4, 5), lock_all: [A, A, B], [A];
    /// I1, I2, I6: as `try_ab_try_a`, waiting.
    lock_ab_lock_a bounds(5, 6), lock_all: [A, B], [A];
    /// I1, I2, I6: as `try_ab_try_ca`, waiting.
    lock_ab_lock_ca bounds(3, 4), lock_all: [A, B], [C, A];
    /// I4, I6: as `try_ab_try_a1`, waiting.
    lock_ab_lock_a1 bounds(2, 3), lock_all: [A, B], [A1];
    /// I1, I2, I6: as `try_abc_try_ba`, waiting.
    lock_abc_lock_ba bounds(2, 2), lock_all: [A, B, C], [B, A];
}

/// I1, I2: three threads, of which two make the same entry while the third makes another.
#[test]
fn try_a_try_a_try_b() {
    explore("try_a_try_a_try_b", bounds(1, 1), || {
        let world = World::new();
        let other = [A, B].map(|key| {
            let world = world.clone();
            spawn(move || {
                world.try_all(&[key]);
            })
        });
        world.try_all(&[A]);
        for t in other {
            t.join().unwrap();
        }
        assert_eq!(world.table.len(), 0);
    });
}

/// I1, I2: the entry is there and idle; one thread takes it over, one revives it, one makes it anew.
#[test]
fn idle_a_try_b_try_a_try_a() {
    explore("idle_a_try_b_try_a_try_a", bounds(2, 2), || {
        let world = World::new();
        world.try_all(&[A]);
        let other = [A, B].map(|key| {
            let world = world.clone();
            spawn(move || {
                world.try_all(&[key]);
            })
        });
        world.try_all(&[A]);
        for t in other {
            t.join().unwrap();
        }
        assert_eq!(world.table.len(), 0);
    });
}

/// I1: the key's idle entry is shrunk away between its two holders.
#[test]
fn try_a_shrink_try_a() {
    explore("try_a_shrink_try_a", bounds(3, 4), || {
        leave_out_epoch(); // nothing is retired
        let world = World::new();
        let (shrinks, tries) = (world.clone(), world.clone());
        let shrinks = spawn(move || shrinks.table.shrink_to_fit());
        let tries = spawn(move || tries.try_all(&[A]));
        world.try_all(&[A]);
        shrinks.join().unwrap();
        tries.join().unwrap();
        assert_eq!(world.table.len(), 0);
    });
}

/// I1: the key's idle entry is claimed for another key and given up, as that one turned up elsewhere, between its two holders.
#[test]
fn try_a_try_b_try_ba() {
    explore("try_a_try_b_try_ba", bounds(1, 1), || {
        let world = World::new();
        let (one, two) = (world.clone(), world.clone());
        let other = [
            spawn(move || one.try_all(&[B])),
            spawn(move || two.try_all(&[B, A])),
        ];
        world.try_all(&[A]);
        for t in other {
            t.join().unwrap();
        }
        assert_eq!(world.table.len(), 0);
    });
}

/// I4, I6: equal hashes, only one of the two keys contended: the other thread never waits.
#[test]
fn contended_a_beside_a1() {
    explore("contended_a_beside_a1", bounds(1, 2), || {
        let world = World::new();
        let contender = world.clone();
        let contender = spawn(move || contender.lock_all(&[A]));
        let beside = world.clone();
        let beside = spawn(move || {
            assert_eq!(beside.try_all(&[A1]), 1, "nobody else wants it");
        });
        world.lock_all(&[A]);
        contender.join().unwrap();
        beside.join().unwrap();
        assert_eq!(world.touched(A), 2);
        assert_eq!(world.table.len(), 0);
    });
}
