//! Moving a value from one store to another: between layers, handles, backends, and in both directions at once.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use common::{elsewhere, Events, PATIENCE};
use perkey::storage::{
    BoxError, Bytes, Digest, Error, Failure, Intent, Memory, PerKey, Prefix, Scope, Serializing,
    Storage, Verb,
};
use probe::{contents, ends, key, text, Brittle, How, Log, Probe};
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{mpsc, Arc};

const A: Digest = Digest::new([0xaa; 32]);
const B: Digest = Digest::new([0xbb; 32]);

#[test]
fn a_value_moves_with_its_key() {
    on_every_stack!(|s, _memory| {
        let there = PerKey::new(Memory::new());
        s.save_as(&A, "apple").unwrap();
        assert_eq!(s.transfer("AAAA", &there).unwrap(), A);
        assert_eq!(contents(&there), [(A, Bytes::from("apple"))]);
        assert!(s.list().unwrap().is_empty());
        // Another value there is not overwritten; the same one is as good as moved.
        s.save_as(&A, "pear").unwrap();
        match s.transfer(&A, &there) {
            Err(Error::Exists { verb, key }) => assert_eq!((verb, key), (Verb::Transfer, A)),
            other => panic!("{other:?}"),
        }
        assert_eq!(text(&s, &A).unwrap(), "pear");
        s.save_as(&A, "apple").unwrap();
        assert_eq!(s.transfer(&A, &there).unwrap(), A);
        assert_eq!(contents(&there), [(A, Bytes::from("apple"))]);
        assert!(s.list().unwrap().is_empty());
        let gone = s.transfer(&A, &there).unwrap_err();
        assert!(matches!(gone, Error::Unknown { .. }) && gone.key() == Some(A));
        assert!(there.table().is_empty());
    });
}

/// A store with no idea of where its values are.
#[derive(Clone, Default)]
struct Placeless(Memory);

impl Storage for Placeless {
    type Context<'a> = <Memory as Storage>::Context<'a>;
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Failure> {
        self.0.operation_context(scope, intent)
    }
    fn leave(&self, c: Self::Context<'_>) -> Result<(), Failure> {
        self.0.leave(c)
    }
    fn get(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        self.0.get(c, key)
    }
    fn put(&self, c: &mut Self::Context<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        self.0.put(c, key, value)
    }
    fn remove(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        self.0.remove(c, key)
    }
    fn keys(
        &self,
        c: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.0.keys(c, prefix, each)
    }
}

#[test]
fn moving_to_the_same_store_by_whatever_way_loses_nothing() {
    fn stays(from: &impl Storage, to: &impl Storage) {
        from.save_as(&A, "apple").unwrap();
        assert_eq!(from.transfer(&A, to).unwrap(), A);
        assert_eq!(text(from, &A).unwrap(), "apple");
        assert_eq!(text(to, "aaaa").unwrap(), "apple");
        from.evict(&A).unwrap();
        let gone = from.transfer(&A, to).unwrap_err();
        assert!(matches!(gone, Error::Unknown { .. }));
    }
    ends("moving to the same store", || {
        let memory = Memory::new();
        let (one, other) = (PerKey::new(memory.clone()), PerKey::new(memory.clone()));
        let serial = Serializing::new(memory.clone());
        stays(&memory, &memory);
        stays(&one, &one);
        stays(&one, &one.clone());
        stays(&one, &other);
        stays(&other, &one);
        stays(&one, &serial);
        stays(&serial, &one);
        stays(&one, &memory);
        stays(&memory, &Serializing::new(one.clone()));
        // Nothing is written, let alone removed for a moment.
        let brittle = Brittle::default();
        for place in ["put", "remove"] {
            brittle.trap.set(place, How::Fails);
            brittle.memory.save_as(&A, "apple").unwrap();
            brittle.transfer(&A, &brittle.clone()).unwrap();
            PerKey::new(&brittle).transfer(&A, &brittle).unwrap();
            assert!(brittle.trap.unset());
        }
        // One that does not say that it is the same.
        let placeless = Placeless::default();
        assert_eq!(placeless.place(), None);
        stays(&placeless, &placeless);
        stays(&placeless, &PerKey::new(placeless.clone()));
        stays(&PerKey::new(placeless.clone()), &placeless);
        stays(&placeless, &placeless.0);
    });
}

#[test]
fn what_has_been_entered_is_left_even_where_nothing_moves() {
    let log = Log::default();
    let memory = Memory::new();
    let (s, t) = (
        Probe::new("s", &log, memory.clone()),
        Probe::new("t", &log, memory.clone()),
    );
    s.save_as(&A, "apple").unwrap();
    log.take();
    s.transfer(&A, &t).unwrap();
    let told = log.take();
    assert!(["leave s", "leave t"]
        .map(String::from)
        .iter()
        .all(|l| told.contains(l)));
}

/// The other store keeps the value before this one lets go of it: whatever goes wrong, it is in one of them, or both.
#[test]
fn a_fault_on_either_side_loses_nothing() {
    for at in ["enter", "get", "put", "remove", "leave"] {
        for how in [How::Fails, How::Panics] {
            for side in 0..2 {
                let sides = [Brittle::default(), Brittle::default()];
                let stores = sides.clone().map(PerKey::new);
                stores[0].save_as(&A, "apple").unwrap();
                sides[side].trap.set(at, how);
                let moved = catch_unwind(AssertUnwindSafe(|| stores[0].transfer(&A, &stores[1])));
                let sprung = !sides[side].trap.unset();
                assert_eq!(sprung, !matches!(moved, Ok(Ok(_))), "{at} {how:?} {side}");
                let there = [0, 1].map(|i| text(&sides[i].memory, &A));
                let apple = Some("apple".to_owned());
                if sprung {
                    let both = side == 0 && ["remove", "leave"].contains(&at);
                    let expected = [apple.clone(), apple.filter(|_| both)];
                    assert_eq!(there, expected, "{at} {how:?} {side}");
                } else {
                    assert_eq!(there, [None, apple]);
                }
                assert!(stores.iter().all(|s| s.table().is_empty()));
            }
        }
    }
}

/// Inside an operation on the key the value goes over at once, and leaves with the operation.
#[test]
fn a_move_inside_an_operation() {
    for fails in [false, true] {
        let (memory, there) = (Memory::new(), Memory::new());
        let s = PerKey::new(memory.clone());
        s.save_as(&A, "apple").unwrap();
        let moved = s.update(&A, |_| {
            s.transfer(&A, &there)?;
            assert_eq!(text(&there, &A).unwrap(), "apple");
            assert!(!s.contains(&A)?);
            assert!(elsewhere(|| memory.contains(&A).unwrap()));
            if fails {
                return Err(BoxError::from("not today"));
            }
            Ok(None::<&str>)
        });
        assert_eq!(moved.is_err(), fails);
        assert_eq!(text(&there, &A).unwrap(), "apple");
        assert_eq!(memory.contains(&A).unwrap(), fails);
    }
}

// ---- in both directions at once -----------------------------------------------------------------------------------------

/// S16. Trap 36. Whichever way a value goes, the two stores are entered in one order: both directions wait for the same lock first.
#[test]
fn trap_36_both_directions_enter_the_stores_in_one_order() {
    let stores = Arc::new([(); 2].map(|()| PerKey::new(Memory::new())));
    stores[0].save_as(&A, "apple").unwrap();
    let events = [(); 2].map(|()| Arc::new(Events::default()));
    for (s, events) in stores.iter().zip(&events) {
        s.table().set_observer(Some(events.clone()));
    }
    let guards: Vec<_> = stores.iter().map(|s| s.table().lock(&A)).collect();
    let (done, are_done) = mpsc::channel();
    for [from, to] in [[0, 1], [1, 0], [0, 1]] {
        let (stores, done) = (stores.clone(), done.clone());
        // Not scoped: if they hang, they may be left hanging.
        std::thread::spawn(move || {
            let moved = stores[from].transfer(&A, &stores[to]);
            assert!(matches!(moved, Ok(A) | Err(Error::Unknown { .. })));
            done.send(()).unwrap();
        });
    }
    let began = || [0, 1].map(|i| events[i].began());
    common::eventually("all wait", || began().iter().sum::<usize>() == 3);
    assert!(began().contains(&3), "in two orders: {:?}", began());
    drop(guards);
    for _ in 0..3 {
        are_done.recv_timeout(PATIENCE).expect("nobody hangs");
    }
    let left: Vec<_> = stores.iter().flat_map(contents).collect();
    assert_eq!(left, [(A, Bytes::from("apple"))]);
}

/// Values go round in circles between stores of every kind, at full speed: none is lost, none is doubled, nobody hangs.
#[test]
fn values_go_round_between_stores() {
    let left = ends("values in circles", || {
        let one = PerKey::new(Memory::new());
        let two = Serializing::new(Memory::new());
        let three = Serializing::with_lock(PerKey::new(Memory::new()), two.lock().clone());
        // Shares the table, with other values.
        let four = PerKey::with_table(Memory::new(), one.table().clone());
        one.save_as(&A, "apple").unwrap();
        three.save_as(&B, "pear").unwrap();
        let go = |result: Result<Digest, Error>| match result {
            Ok(_) | Err(Error::Unknown { .. }) => {}
            Err(e) => panic!("{e}"),
        };
        std::thread::scope(|scope| {
            for t in 0..4 {
                let (one, two, three, four) = (&one, &two, &three, &four);
                scope.spawn(move || {
                    let mut dice = common::Dice(t);
                    for _ in 0..500 {
                        let k = if dice.below(2) == 0 { A } else { B };
                        match dice.below(8) {
                            0 => go(one.transfer(&k, two)),
                            1 => go(two.transfer(&k, one)),
                            2 => go(two.transfer(&k, three)),
                            3 => go(three.transfer(&k, two)),
                            4 => go(one.transfer(&k, four)),
                            5 => go(four.transfer(&k, one)),
                            6 => go(two.transfer(&k, four)),
                            _ => go(four.transfer(&k, two)),
                        }
                    }
                });
            }
        });
        assert!(one.table().is_empty());
        [
            contents(&one),
            contents(&two),
            contents(&three),
            contents(&four),
        ]
        .concat()
    });
    let mut left = left;
    left.sort();
    assert_eq!(left, [(A, Bytes::from("apple")), (B, Bytes::from("pear"))]);
}

/// The key is looked up again when both stores have been entered.
#[test]
fn a_short_key_is_checked_under_the_locks() {
    let memory = Memory::new();
    let (one, other) = (key("abcd1"), key("abcd2"));
    memory.save_as(&one, "apple").unwrap();
    let log = Log::default();
    // The stores may be entered in either order; the search is over when the target is.
    let there = probe::Hook {
        act: |_: Scope<'_>| {
            let _ = memory.evict(&one);
            memory.save_as(&other, "pear").unwrap();
        },
        inner: Memory::new(),
    };
    let s = Probe::new("s", &log, PerKey::new(memory.clone()));
    assert_eq!(s.transfer("abcd", &there).unwrap(), other);
    assert!(memory.is_empty() && s.inner.table().is_empty());
    assert_eq!(text(&there.inner, &other).unwrap(), "pear");
}
