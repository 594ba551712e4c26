//! Lock order between layers, which debug builds watch: two orders are reported before they can deadlock, and nothing else is.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(all(debug_assertions, not(any(perkey_loom, perkey_shuttle))))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use common::{elsewhere, message};
use perkey::storage::{
    BoxError, Digest, Intent, Memory, PerKey, Scope, Serializing, Storage, Traced,
};
use perkey::LockTable;
use probe::ends;
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

const A: Digest = Digest::new([0xaa; 32]);
const B: Digest = Digest::new([0xbb; 32]);

/// Inside an operation on `outer` one on `inner`. What was said, if it panicked.
fn nest(outer: &impl Storage, inner: &impl Storage) -> Option<String> {
    nest_on(outer, &A, inner, &B)
}

fn nest_on(
    outer: &impl Storage,
    first: &Digest,
    inner: &impl Storage,
    then: &Digest,
) -> Option<String> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        outer
            .update(first, |_| {
                inner.contains(then)?;
                Ok::<_, BoxError>(None::<&str>)
            })
            .unwrap();
    }));
    Some(message(&*result.err()?).to_owned())
}

// ---- what is reported -----------------------------------------------------------------------------------------------

/// Trap 36. The ancestor's layers took the store's lock, then a key's, in one path, and the other way round in another. Here the second one panics
/// before it waits, and shows both places.
#[test]
fn trap_36_locks_taken_in_two_orders_are_reported_with_both_places() {
    let (store, keys) = (Serializing::new(Memory::new()), PerKey::new(Memory::new()));
    assert_eq!(nest(&store, &keys), None);
    assert_eq!(nest(&store, &keys), None, "in the same order, any time");
    let said = nest(&keys, &store).expect("reported");
    let first_line = said.lines().next().unwrap();
    assert!(first_line.starts_with("perkey: locks taken in two orders: the lock of a Serializing"));
    assert!(first_line.contains("while a key of a PerKey's table"));
    // Where it was taken the other way, and here: this function is in both.
    let places: Vec<_> = said.match_indices("storage_order::nest").collect();
    assert!(places.len() >= 2, "{said}");
    assert!(said.contains("\nhere:\n"));
    // Nothing is left: no lock, and the right order goes on, as does the other in being reported, on every thread.
    assert!(keys.table().is_empty() && elsewhere(|| store.lock().try_lock().is_some()));
    assert_eq!(nest(&store, &keys), None);
    elsewhere(|| assert!(nest(&keys, &store).is_some()));
    elsewhere(|| assert_eq!(nest(&store, &keys), None));
}

#[test]
fn a_circle_of_three_is_one_too() {
    let stores = [(); 3].map(|()| PerKey::new(Memory::new()));
    let [one, two, three] = &stores;
    assert_eq!(nest(one, two), None);
    assert_eq!(nest(two, three), None);
    let said = nest(three, one).expect("reported");
    assert_eq!(said.matches(", at:\n").count(), 2, "both edges of the way");
    assert_eq!(nest(one, three), None);
}

/// `PerKey<Serializing<_>>`: an operation on another key inside waits for that key while it has the one lock; whoever has the key waits for the lock.
/// The other way round there is nothing to report.
#[test]
fn another_key_is_waited_for_under_a_lock_for_all_keys() {
    let s = PerKey::new(Serializing::new(Memory::new()));
    assert_eq!(nest_on(&s, &A, &s, &A), None, "the same key is held");
    assert!(nest_on(&s, &A, &s, &B).is_some());
    let s = Serializing::new(PerKey::new(Memory::new()));
    assert_eq!(nest_on(&s, &A, &s, &A), None);
    assert_eq!(nest_on(&s, &A, &s, &B), None);
    // Entered before as one of many.
    let s = PerKey::new(Serializing::new(Memory::new()));
    let op = s.operation(Scope::Keys(&[A, B]), Intent::Write).unwrap();
    assert_eq!(nest_on(&s, &A, &s, &B), None);
    s.rename(&A, &B).unwrap_err();
    op.leave().unwrap();
}

// ---- what is not ------------------------------------------------------------------------------------------------------

#[test]
fn nesting_in_one_store_is_no_order() {
    let s = Serializing::new(PerKey::new(Traced::new("t", PerKey::new(Memory::new()))));
    for (first, then) in [(A, A), (A, B), (B, A)] {
        assert_eq!(nest_on(&s, &first, &s, &then), None);
        assert_eq!(nest_on(&s, &first, &s.clone(), &then), None);
    }
    s.update(&A, |_| {
        s.save_many(["apple", "pear"])?;
        s.rename(&Digest::of("apple"), &B)?;
        Ok::<_, BoxError>(Some(s.load(&B)?))
    })
    .unwrap();
}

/// Stores come and go, and with them their addresses: what was said of one that is gone does not count for another in its place.
#[test]
fn what_is_gone_does_not_count() {
    let store = Serializing::new(Memory::new());
    for i in 0..200 {
        let keys = PerKey::new(Memory::new());
        let said = if i % 2 == 0 {
            nest(&store, &keys)
        } else {
            nest(&keys, &store)
        };
        assert_eq!(said, None, "round {i}");
    }
    // Nor does a way that leads over it.
    let (one, other) = (PerKey::new(Memory::new()), PerKey::new(Memory::new()));
    let between = Serializing::new(Memory::new());
    assert_eq!(nest(&one, &between), None);
    assert_eq!(nest(&between, &other), None);
    drop(between);
    assert_eq!(nest(&other, &one), None);
}

/// The table is one node, by whatever store it is used.
#[test]
fn a_table_that_two_stores_share_is_one_lock() {
    let table = Arc::new(LockTable::new());
    let one = PerKey::with_table(Memory::new(), table.clone());
    let other = PerKey::with_table(Memory::new(), table);
    assert_eq!(nest(&one, &other), None);
    assert_eq!(nest(&other, &one), None);
    assert_eq!(nest_on(&one, &A, &other, &A), None);
}

#[test]
fn transfers_in_both_directions_are_no_two_orders() {
    let (one, other) = (
        Serializing::new(PerKey::new(Memory::new())),
        PerKey::new(Memory::new()),
    );
    for _ in 0..3 {
        one.save_as(&A, "apple").unwrap();
        one.transfer(&A, &other).unwrap();
        other.transfer(&A, &one).unwrap();
    }
}

#[test]
fn threads_that_keep_to_one_order_are_left_alone() {
    ends("nested in one order", || {
        let stores = [(); 4].map(|()| PerKey::new(Memory::new()));
        std::thread::scope(|scope| {
            for t in 0..4u8 {
                let stores = &stores;
                scope.spawn(move || {
                    for i in 0..25 {
                        let k = Digest::new([t * 4 + i % 4; 32]);
                        stores[0]
                            .update(&k, |_| {
                                stores[1].update(&k, |_| {
                                    stores[2].save_as(&k, "apple")?;
                                    Ok::<_, BoxError>(stores[3].load(&k).ok())
                                })?;
                                Ok::<_, BoxError>(None::<&str>)
                            })
                            .unwrap();
                    }
                });
            }
        });
    });
}

/// A panic or an error on the way leaves nothing noted as held: afterwards the locks are taken in the other order for the first time.
#[test]
fn what_was_let_go_by_a_panic_is_not_held() {
    let (one, other) = (PerKey::new(Memory::new()), PerKey::new(Memory::new()));
    let panic = catch_unwind(AssertUnwindSafe(|| {
        one.update(&A, |_| -> Result<Option<&str>, BoxError> {
            std::panic::resume_unwind(Box::new(()))
        })
    }));
    assert!(panic.is_err());
    one.load(&A).unwrap_err();
    drop(one.operation(Scope::Key(&A), Intent::Write).unwrap());
    other.save_as(&A, "apple").unwrap();
    elsewhere(|| assert_eq!(nest(&other, &one), None, "and not the second order"));
}

/// A lock is held until the last of the operations that took it has ended, in whatever order they do.
#[test]
fn what_is_held_is_what_has_not_been_left() {
    let stores = [(); 4].map(|()| PerKey::new(Memory::new()));
    let [one, other, third, fourth] = &stores;
    let first = one.operation(Scope::Key(&A), Intent::Write).unwrap();
    let again = one.operation(Scope::Key(&A), Intent::Write).unwrap();
    first.leave().unwrap();
    let second = other.operation(Scope::Key(&A), Intent::Write).unwrap();
    again.leave().unwrap();
    third.save_as(&A, "apple").unwrap();
    second.leave().unwrap();
    fourth.save_as(&A, "apple").unwrap();
    elsewhere(|| {
        assert!(nest(other, one).is_some(), "one was held still");
        assert!(
            nest(third, other).is_some(),
            "it was the other that was held"
        );
        assert_eq!(nest(fourth, third), None, "neither was any more");
        assert_eq!(nest(fourth, one), None);
    });
}

/// A store that is gone while an operation on it was forgotten is nobody's concern any more.
#[test]
fn a_forgotten_operation_is_in_nobodys_way() {
    elsewhere(|| {
        for _ in 0..3 {
            let s = Serializing::new(Memory::new());
            std::mem::forget(s.operation(Scope::Key(&A), Intent::Write).unwrap());
            drop(s);
            let (one, other) = (PerKey::new(Memory::new()), PerKey::new(Memory::new()));
            assert_eq!(nest(&one, &other), None);
            assert!(nest(&other, &one).is_some());
        }
    });
}

/// A destructor of a thread-local may use a store, whatever of the thread is gone by then.
#[test]
fn stores_can_be_used_at_the_end_of_a_thread() {
    struct Late(RefCell<Option<Arc<PerKey<Serializing<Memory>>>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            let s = self.0.take().unwrap();
            s.save_as(&A, "late").unwrap();
            s.update(&A, |old| {
                assert_eq!(s.load(&A)?, "late");
                Ok::<_, BoxError>(old)
            })
            .unwrap();
        }
    }
    thread_local!(static LATE: Late = const { Late(RefCell::new(None)) });
    let s = Arc::new(PerKey::new(Serializing::new(Memory::new())));
    for first in [true, false] {
        let theirs = s.clone();
        elsewhere(move || {
            // Destructors run in the order of the first uses, or the reverse.
            if first {
                theirs.save_as(&B, "early").unwrap();
            }
            LATE.with(|late| *late.0.borrow_mut() = Some(theirs.clone()));
            theirs.save_as(&B, "early").unwrap();
        });
        assert_eq!(s.load(&A).unwrap(), "late");
        s.evict(&A).unwrap();
    }
    assert!(s.table().is_empty());
}

/// A second panic would end the process: while one unwinds, nothing is reported.
#[test]
fn while_a_panic_unwinds_nothing_is_reported() {
    let (one, other) = (PerKey::new(Memory::new()), PerKey::new(Memory::new()));
    assert_eq!(nest(&one, &other), None);
    struct CleansUp<'a>(&'a PerKey<Memory>, &'a PerKey<Memory>);
    impl Drop for CleansUp<'_> {
        fn drop(&mut self) {
            assert!(nest_on(self.0, &A, self.1, &B).is_none());
        }
    }
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _cleans_up = CleansUp(&other, &one);
        std::panic::resume_unwind(Box::new("first"));
    }));
    assert_eq!(message(&*panic.unwrap_err()), "first");
}
