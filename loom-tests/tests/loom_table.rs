//! The table's protocol, one bucket of two slots, nothing in the overflow.
#![cfg(perkey_loom)]

use loom_tests::{explore, two, World, A, A1, B, C};

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
    lock_a_lock_a None, lock_all: [A], [A];
    /// I1, I3: and again, so that an idle entry is revived.
    lock_aa_lock_a None, lock_all: [A, A], [A];
    /// I4: two keys in one bucket.
    lock_a_lock_b None, lock_all: [A], [B];
    /// I2, I4: two keys with one hash.
    lock_a_lock_a1 None, lock_all: [A], [A1];
    try_a_try_a None, try_all: [A], [A];
    try_a_try_b None, try_all: [A], [B];
    try_aa_try_a None, try_all: [A, A], [A];
    try_aab_try_a None, try_all: [A, A, B], [A];
    try_ab_try_a None, try_all: [A, B], [A];
    try_ab_try_ca None, try_all: [A, B], [C, A];
    try_ab_try_a1 None, try_all: [A, B], [A1];
    try_abc_try_ba None, try_all: [A, B, C], [B, A];
    lock_aab_lock_a None, lock_all: [A, A, B], [A];
    lock_ab_lock_a None, lock_all: [A, B], [A];
    lock_ab_lock_ca None, lock_all: [A, B], [C, A];
    lock_ab_lock_a1 None, lock_all: [A, B], [A1];
    lock_abc_lock_ba None, lock_all: [A, B, C], [B, A];
}
