//! Invariant I4: with a thread stopped at any access through the facade, or anywhere in the key's code, during any operation
//! on one key, all others finish their work on other keys, in the same bucket and with the same hash, too.
//!
//! A scheduler of our own stops one task, the *victim*, for ever after its n-th scheduling point inside one operation, for n = 0,
//! 1, 2, … until it gets through the operation in fewer; every access through the facade, and every function of the key's code,
//! has at least one. The *others*, three tasks, never use the victim's key. All of them have to finish while it is stopped:
//! if they wait, the victim's being the only task that can run shows it; if they spin, a bound on the steps does. Then
//! everybody goes on, so that the execution ends like any other, with nothing left behind.
//!
//! *Peers* are tasks that may wait for the victim: they use its key (a holder, waiters) or move the clock.
//!
//! Each operation is stopped against each work of the others, with the others one after the other (forwards, backwards), in
//! turn, and interleaved at random with the victim already before it is stopped (`PERKEY_SEED`, `PERKEY_MIXES`).
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic, clippy::needless_update)]

#[path = "stop_anywhere/freezer.rs"]
mod freezer;
mod shuttle_common;
#[path = "stop_anywhere/works.rs"]
mod works;
#[path = "stop_anywhere/world.rs"]
mod world;

use perkey::model::{set_lagging, tick};
use perkey::Observer;
use shuttle_common::{point, Key};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use works::WORKS;
use world::{stop_everywhere, Guard, Operation, TableHasher, Work, World, FILL, OTHER, SAME, V};

const MS: Duration = Duration::from_millis(1);
fn nothing(_: &World) -> Box<dyn Any> {
    Box::new(())
}

fn hold_v(w: &World) -> Box<dyn Any> {
    Box::new(w.lock(V))
}

fn lock_v(w: &World, _: Box<dyn Any>) {
    let guard = w.table.lock(&w.keys[V]);
    assert_eq!(guard.key().id, V);
    w.data.visit(V);
    drop(guard);
}

fn timed_v(w: &World, _: Box<dyn Any>) {
    if let Some(guard) = w.table.try_lock_for(&w.keys[V], MS) {
        w.data.visit(V);
        drop(guard);
    }
}

/// Peers.
fn holder(w: &World) {
    let guard = w.lock(V);
    w.gate();
    w.data.visit(V);
    drop(guard);
}

fn waiter(w: &World) {
    drop(w.lock(V));
}

fn timed_waiter(w: &World) {
    timed_v(w, Box::new(()));
}

fn clock(w: &World) {
    w.gate();
    tick(MS * 2);
}

const DEFAULT: Operation = Operation {
    name: "",
    set_up: nothing,
    prepare: nothing,
    run: lock_v,
    peers: &[],
};

/// An observer whose code takes time.
struct Slow;

impl Observer<Key> for Slow {
    fn wait_began(&self, _: &Key) {
        point();
    }
    fn wait_ended(&self, _: &Key, _: Duration) {
        point();
    }
    fn wait_timed_out(&self, _: &Key, _: Duration) {
        point();
    }
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])* $name:ident { $($field:ident : $value:expr),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[test]
        fn $name() {
            static OPERATION: Operation = Operation {
                name: stringify!($name),
                $($field: $value,)*
                ..DEFAULT
            };
            stop_everywhere(&OPERATION, &WORKS).unwrap_or_else(|e| panic!("{e}"));
        }
    )*};
}

operations! {
    /// I4: the key is new, the table empty.
    lock_a_new_key { run: lock_v }
    /// The key is there, idle.
    lock_a_resident_key {
        set_up: |w| {
            w.leave_idle(&[V]);
            nothing(w)
        },
    }
    /// I4: all slots hold idle keys: one is taken over.
    lock_taking_over {
        set_up: |w| {
            w.leave_idle(&FILL);
            nothing(w)
        },
    }
    /// All slots hold idle keys of the others, with the same hash and with other ones, which the others use again.
    lock_taking_over_the_others_keys {
        set_up: |w| {
            w.leave_idle(&[SAME[0], OTHER[0], SAME[1], OTHER[1], SAME[2], OTHER[2]]);
            nothing(w)
        },
    }
    /// Another key with the same hash is alive, and the others use it.
    lock_beside_an_equal_hash {
        set_up: |w| Box::new(w.handle(SAME[0])),
    }
    /// The same, its key resident too.
    lock_a_resident_key_behind_an_equal_hash {
        set_up: |w| {
            w.leave_idle(&[SAME[0], V]);
            nothing(w)
        },
    }
    /// Another task holds the key and lets go.
    wait_for_the_key { peers: &[holder] }
    /// The same, with an observer.
    wait_with_an_observer {
        set_up: |w| {
            w.table.set_observer(Some(Arc::new(Slow)));
            nothing(w)
        },
        peers: &[holder],
    }
    /// Another task holds the key for good: the victim sleeps until the others are done.
    wait_in_vain { set_up: hold_v }
    /// The time-out races the release.
    wait_with_a_time_out {
        run: timed_v,
        peers: &[holder, clock],
    }
    /// The time is over before the holder lets go.
    time_out {
        set_up: hold_v,
        run: timed_v,
        peers: &[clock],
    }
    /// Two waiters, who are in the queue.
    release_with_waiters {
        prepare: hold_v,
        run: |_, guard| drop(guard),
        peers: &[waiter, waiter],
    }
    /// The same, handing over.
    unlock_fair {
        prepare: hold_v,
        run: |_, guard| guard.downcast::<Guard>().unwrap().unlock_fair(),
        peers: &[waiter, waiter],
    }
    /// The waiter gives up meanwhile.
    release_with_a_timed_waiter {
        prepare: hold_v,
        run: |_, guard| drop(guard),
        peers: &[timed_waiter, clock],
    }
    try_lock_a_new_key {
        run: |w, _| drop(w.table.try_lock(&w.keys[V])),
    }
    try_lock_a_held_key {
        set_up: hold_v,
        run: |w, _| drop(w.table.try_lock(&w.keys[V])),
    }
    lock_again {
        prepare: hold_v,
        run: |w, outer| {
            let inner = w.table.lock(&w.keys[V]);
            assert_eq!(inner.depth(), 2);
            drop(outer);
            w.data.visit(V);
            drop(inner);
        },
    }
    handle_clone_downgrade_upgrade {
        run: |w, _| {
            let h = w.table.handle(&w.keys[V]);
            let again = h.clone();
            let weak = h.downgrade();
            drop(h);
            let up = weak.upgrade().expect("alive by the clone");
            drop(up.lock());
            drop(up.try_lock());
            drop(again);
            drop(up);
            assert!(weak.upgrade().is_none());
        },
    }
    upgrade_after_death {
        prepare: |w| {
            let h = w.handle(V);
            let weak = h.downgrade();
            drop(h);
            drop(w.handle(V));
            Box::new(weak)
        },
        run: |_, weak| {
            let weak = weak.downcast::<perkey::OwnedWeakKeyLock<Key, TableHasher>>().unwrap();
            assert!(weak.upgrade().is_none());
        },
    }
    /// The slots are full: the key goes to the chain and leaves it again.
    lock_in_the_chain { set_up: World::fill_slots }
    /// The same with other nodes before and behind it.
    lock_between_nodes_of_the_chain {
        set_up: |w| Box::new((w.fill(), w.handle(SAME[0]), w.handle(OTHER[0]))),
        run: |w, _| {
            let h = w.handle(V);
            drop(w.lock(V));
            drop(h);
        },
    }
    /// I4: a node is free there, and is taken over; it stays in the chain, as the epoch lags.
    lock_in_a_free_node {
        set_up: |w| {
            set_lagging(true);
            let full = w.fill_slots();
            drop(w.handle(OTHER[0]));
            full
        },
    }
    /// The same, and the others want the node, or have given one up.
    lock_beside_a_free_node {
        set_up: |w| {
            let full = w.fill_slots();
            drop(w.handle(SAME[0]));
            full
        },
        run: |w, _| drop((w.handle(V), w.handle(V))),
    }
    /// What is free is taken out of the chain.
    shrink_to_fit_with_free_nodes {
        set_up: |w| {
            set_lagging(true);
            let full = w.fill_slots();
            drop((w.handle(OTHER[0]), w.handle(SAME[0])));
            set_lagging(false);
            full
        },
        run: |w, _| w.table.shrink_to_fit(),
    }
    /// The last waiter, or the holder, takes the node out.
    wait_in_the_chain {
        set_up: World::fill_slots,
        peers: &[holder],
    }
    release_in_the_chain_with_waiters {
        set_up: World::fill_slots,
        prepare: hold_v,
        run: |_, guard| drop(guard),
        peers: &[waiter, timed_waiter, clock],
    }
    handles_in_the_chain {
        set_up: World::fill_slots,
        run: |w, _| {
            let h = w.handle(V);
            let weak = h.downgrade();
            drop(weak.upgrade().expect("alive by `h`"));
            drop(h);
            assert!(weak.upgrade().is_none());
        },
    }
    shrink_to_fit {
        set_up: |w| {
            let kept = (w.handle(FILL[0]), w.fill(), w.handle(OTHER[0]));
            w.leave_idle(&[V]);
            drop(kept);
            w.leave_idle(&[V, SAME[0]]);
            nothing(w)
        },
        run: |w, _| w.table.shrink_to_fit(),
    }
    shrink_to_fit_with_a_chain {
        set_up: |w| Box::new((w.fill(), w.handle(OTHER[0]), w.handle(SAME[0]))),
        run: |w, _| w.table.shrink_to_fit(),
    }
    len_and_debug {
        set_up: |w| Box::new((w.fill(), w.handle(V))),
        run: |w, _| {
            w.table.is_empty();
            assert!(format!("{:?}", w.table).contains("len"));
        },
    }
    is_locked_and_is_held {
        set_up: hold_v,
        run: |w, _| {
            w.table.is_locked(&w.keys[V]);
            assert!(!w.table.is_held(&w.keys[V]));
        },
    }
    lock_with {
        run: |w, _| {
            let made = w.table.lock_with(&w.keys[V], |key| {
                point();
                key.clone()
            });
            drop(made.unwrap());
        },
    }
    /// The first array is full; the victim puts a segment in front and takes its key there.
    grow_and_lock {
        set_up: World::fill_slots,
        run: |w, _| {
            w.table.grow(1);
            drop(w.lock(V));
        },
    }
    /// The key goes to the newest of three arrays; older buckets are closed on the way.
    lock_a_new_key_in_a_grown_table {
        set_up: |w| w.grown(2),
    }
    /// The key is in a segment that is not the newest.
    lock_a_key_of_an_older_segment {
        set_up: |w| {
            let kept = w.grown(1);
            let v = w.handle(V);
            w.table.grow(1);
            Box::new((kept, v))
        },
    }
    handles_in_a_grown_table {
        set_up: |w| w.grown(1),
        run: |w, _| {
            let h = w.handle(V);
            let weak = h.downgrade();
            w.table.grow(1);
            drop(weak.upgrade().expect("alive by `h`"));
            drop(h);
            assert!(weak.upgrade().is_none());
            w.table.is_locked(&w.keys[V]);
        },
    }
    /// An older segment with an idle key is drained, leaves the list and is retired.
    drain_a_segment {
        set_up: |w| {
            let kept = w.grown(1);
            w.leave_idle(&[V]);
            w.table.grow(1);
            kept
        },
        run: |w, _| (0..3).for_each(|_| w.table.tend()),
    }
    release_in_a_segment_with_waiters {
        set_up: |w| w.grown(1),
        prepare: hold_v,
        run: |w, guard| {
            w.table.grow(1);
            drop(guard);
        },
        peers: &[waiter, timed_waiter, clock],
    }
    shrink_a_grown_table {
        set_up: |w| {
            let kept = w.grown(1);
            w.leave_idle(&[V, SAME[0]]);
            w.table.grow(1);
            kept
        },
        run: |w, _| w.table.shrink_to_fit(),
    }
    lock_owned {
        run: |w, _| {
            let h = w.handle(V);
            let weak = h.downgrade();
            let guard = w.table.lock_owned(&w.keys[V]);
            let again = w.table.try_lock_owned(&w.keys[V]).expect("ours");
            let third = h.lock();
            w.data.visit(V);
            drop((h, guard, again));
            assert_eq!(third.depth(), 1);
            assert!(weak.upgrade().is_some());
            drop(third);
            assert!(weak.upgrade().is_none());
        },
    }
}

impl World {
    fn fill_slots(&self) -> Box<dyn Any> {
        self.fill()
    }
}

/// The failing twin: a mutex around the table, and somebody waits.
#[test]
fn a_mutex_around_the_table_is_seen() {
    fn guarded(w: &World, k: usize) {
        let _all = w.mutex.lock().unwrap();
        drop(w.table.lock(&w.keys[k]));
    }
    static OPERATION: Operation = Operation {
        name: "a mutex around the table",
        run: |w, _| guarded(w, V),
        ..DEFAULT
    };
    static WORK: [Work; 1] = [Work {
        name: "the same",
        others: [
            |w| guarded(w, OTHER[0]),
            |w| guarded(w, OTHER[1]),
            |w| guarded(w, OTHER[2]),
        ],
    }];
    let seen = stop_everywhere(&OPERATION, &WORK).unwrap_err();
    println!("as it should be: {seen}");
    assert!(seen.contains("3 of the others wait"), "{seen}");
}
