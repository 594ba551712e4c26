//! Foreign code (I9, trap 12): `Hash`, `Eq`, `Borrow`, `to_owned`, `clone_into` and `Drop` of a key panic, or use the same table,
//! at every call of every operation, in every state of a bucket.
//!
//! A test runs an operation again and again and springs a trap at the first, second, third … call of one kind, until the
//! operation ends without reaching it. After each run the table must be as a simple account of the living guards and handles
//! says, and every key that was ever made must have been dropped once.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/trap.rs"]
mod trap;

use common::{elsewhere, Pick};
use foreign::*;
use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::Arc;
use trap::{trapped, Call};

// ---- panics -----------------------------------------------------------------------------------------------------

fn panics(call: Call) {
    let act = trap::panics();
    let times = everywhere(call, &act, true, "a panic");
    assert!(times > 10, "{call:?} was reached {times} times only");
}

#[test]
fn hash_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::Hash);
}

/// I9: a panic of `Eq` leaves nothing behind.
#[test]
fn eq_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::Eq);
}

#[test]
fn borrow_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::Borrow);
}

#[test]
fn to_owned_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::ToOwned);
}

#[test]
fn clone_into_may_panic_at_every_call_before_and_after_the_change() {
    // I9, trap 12
    panics(Call::CloneInto);
}

#[test]
fn drop_may_panic_at_every_call() {
    // I9, traps 12, 32
    panics(Call::Drop);
}

// ---- re-entrance ------------------------------------------------------------------------------------------------

fn home() -> Option<Home> {
    HOME.with_borrow(Clone::clone)
}

type Act = (&'static str, fn(&Home));

/// What foreign code does with the table that called it.
const ACTS: &[Act] = &[
    ("lock another key", |h| {
        assert_eq!(h.table.lock(&h.ledger.asked(40)).key().asked.n, 40);
    }),
    ("lock and keep another key", |h| {
        lock(&h.table, &h.ledger, 40);
    }),
    ("lock the same key", |h| {
        // Not if another thread has it.
        if let Some(guard) = h.table.try_lock(&h.ledger.asked(h.key)) {
            assert_eq!(guard.key().asked.n, h.key);
        }
    }),
    ("lock and keep the same key", |h| {
        if let Some(guard) = h.table.try_lock_owned(&h.ledger.asked(h.key)) {
            GUARDS.with_borrow_mut(|g| g.push(guard));
        }
    }),
    ("keep a handle on the same key", |h| {
        handle(&h.table, &h.ledger, h.key);
    }),
    ("drop the first guard", |_| drop_guards(false)),
    ("drop the last guard", |_| drop_last_guard()),
    ("drop all guards and handles", |_| {
        drop_guards(true);
        drop_handles();
    }),
    ("shrink", |h| h.table.shrink_to_fit()),
    ("use many other keys", |h| {
        for n in 31..50 {
            drop(h.table.lock(&h.ledger.asked(n)));
        }
    }),
    ("keep many other keys", |h| {
        (31..40).for_each(|n| lock(&h.table, &h.ledger, n));
    }),
    ("look and count", |h| {
        assert!(!h.table.is_locked(&h.ledger.asked(41)) && !format!("{:?}", h.table).is_empty());
        let _ = (h.table.is_held(&h.ledger.asked(h.key)), h.table.len());
    }),
    ("let another thread use the same key", |h| {
        elsewhere(|| drop(h.table.try_lock(&h.ledger.asked(h.key))));
    }),
    ("let another thread use many keys", |h| {
        elsewhere(|| {
            for n in 31..50 {
                drop(h.table.lock(&h.ledger.asked(n)));
            }
        });
    }),
];

fn reenters(call: Call) {
    for (name, act) in ACTS {
        let act: Rc<dyn Fn()> = Rc::new(|| act(&home().expect("set while an operation runs")));
        let times = everywhere(call, &act, false, name);
        assert!(times > 10, "{call:?} was reached {times} times only");
    }
}

#[test]
fn hash_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Hash);
}

#[test]
fn eq_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Eq);
}

#[test]
fn borrow_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Borrow);
}

#[test]
fn to_owned_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::ToOwned);
}

#[test]
fn clone_into_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::CloneInto);
}

#[test]
fn drop_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Drop);
}

// ---- the end of a table -----------------------------------------------------------------------------------------

#[test]
fn a_dropped_table_drops_every_key_once_though_drop_panics() {
    // I5, I9: idle, forgotten while held, forgotten in the chain, forgotten handles; for every n.
    for hash in [Pick::One, Pick::Plain] {
        for n in 1..=14 {
            let ledger = Arc::new(Ledger::default());
            let table = Table::with_capacity_and_hasher(1, hash);
            let guards: Vec<_> = (0..10).map(|k| table.lock(&ledger.asked(k))).collect();
            guards.into_iter().for_each(std::mem::forget);
            std::mem::forget(table.lock(&ledger.asked(3)));
            std::mem::forget(table.handle(&ledger.asked(11)));
            drop(table.lock(&ledger.asked(12)));
            assert_eq!(
                ledger.live(),
                11,
                "ten forgotten guards, one forgotten handle"
            );
            let (sprung, result) = trapped(Call::Drop, n, trap::panics(), || drop(table));
            assert_eq!((sprung, result.is_err()), (n <= 11, n <= 11));
            assert_eq!((ledger.live(), ledger.dropped_twice.load(SeqCst)), (0, 0));
        }
    }
}

/// I9: a panic in the middle of a takeover gives the slot back, every time.
#[test]
fn a_panic_while_a_slot_is_rewritten_costs_no_slot() {
    thread_local!(static ARMED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });

    #[derive(PartialEq, Eq, Debug)]
    struct Touchy(u64);
    impl std::hash::Hash for Touchy {
        fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
            h.write_u64(0); // one bucket
        }
    }
    impl Clone for Touchy {
        fn clone(&self) -> Self {
            assert!(!ARMED.get(), "armed");
            Self(self.0)
        }
    }

    let table = perkey::LockTable::<Touchy>::new();
    for k in 0..12 {
        drop(table.lock(&Touchy(k))); // fills the slots with idle keys
    }
    ARMED.set(true);
    for k in 100..120 {
        let lock = std::panic::AssertUnwindSafe(|| drop(table.lock(&Touchy(k))));
        assert!(std::panic::catch_unwind(lock).is_err());
    }
    ARMED.set(false);
    let held: Vec<_> = (200..206).map(|k| table.lock(&Touchy(k))).collect();
    let shown = format!("{table:?}");
    assert!(
        shown.contains("overflow: 0"),
        "six slots for six keys: {shown}"
    );
    drop(held);
}
