//! Layers around layers: entered from the outside in, left from the inside out, whatever goes wrong and wherever.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use perkey::storage::{
    BoxError, Digest, DynStorage, Error, Failure, Intent, Layer, Memory, PerKey, Prefix, Scope,
    Serializing, Storage, Traced,
};
use probe::{contents, key, text, Brittle, How, Log, Probe, Sprung, Trap};
use std::error::Error as _;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::Arc;

type Stack = Probe<PerKey<Probe<Serializing<Probe<Brittle>>>>>;

/// Three layers that write down what happens, with those that lock in between. Also the three traps, from the outside in.
fn stack(log: &Log, brittle: Brittle) -> (Stack, [Trap; 3]) {
    let inner = Probe::new("inner", log, brittle);
    let inner_trap = inner.trap.clone();
    let middle = Probe::new("middle", log, Serializing::new(inner));
    let middle_trap = middle.trap.clone();
    let outer = Probe::new("outer", log, PerKey::new(middle));
    let outer_trap = outer.trap.clone();
    (outer, [outer_trap, middle_trap, inner_trap])
}

/// No lock of the stack is held.
#[track_caller]
fn free(s: &Stack) {
    assert!(s.inner.table().is_empty());
    let serializing = &s.inner.inner().inner;
    assert!(common::elsewhere(|| serializing
        .lock()
        .try_lock()
        .is_some()));
}

const A: Digest = Digest::new([0xaa; 32]);

/// S13.
#[test]
fn the_outer_context_is_entered_first_and_left_last_for_reads_too() {
    let log = Log::default();
    let (s, _) = stack(&log, Brittle::default());
    let chained = |what: &str| {
        let entered = ["outer", "middle", "inner"].map(|l| format!("enter {l} {what}"));
        let left =
            ["inner", "middle", "outer"].map(|l| [format!("leave {l}"), format!("drop {l}")]);
        let expected: Vec<_> = entered
            .into_iter()
            .chain(left.into_iter().flatten())
            .collect();
        assert_eq!(log.take(), expected);
    };
    let name = A.to_string();
    s.save_as(&A, "apple").unwrap();
    chained(&format!("{name} Write"));
    s.load(&A).unwrap();
    chained(&format!("{name} Read"));
    s.contains(&A).unwrap();
    chained(&format!("{name} Read"));
    s.list().unwrap();
    chained("store Read");
    s.load_many([A, A]).unwrap();
    chained("2 keys Read");
}

/// What happens on the way in and out, if a layer goes wrong: `level` of three, from the outside in.
fn goes_wrong(at: &'static str, level: usize, how: How) {
    let names = ["outer", "middle", "inner"];
    let log = Log::default();
    let (s, traps) = stack(&log, Brittle::default());
    s.save_as(&A, "old").unwrap();
    log.take();
    traps[level].set(at, how);
    let result = catch_unwind(AssertUnwindSafe(|| s.save_as(&A, "new")));
    match how {
        How::Panics => assert!(result.unwrap_err().is::<Sprung>()),
        How::Fails => {
            let e = result.unwrap().unwrap_err();
            assert_eq!(e.to_string(), format!("save {A}: {at} fails"));
            assert_eq!(e.key(), Some(A));
        }
    }
    let mut expected = Vec::new();
    if at == "enter" {
        // Those around it had been entered, and let go, the innermost first; those inside never heard of it.
        let entered = names[..=level]
            .iter()
            .map(|l| format!("enter {l} {A} Write"));
        expected.extend(entered);
        expected.extend(names[..level].iter().rev().map(|l| format!("drop {l}")));
    } else {
        expected.extend(names.iter().map(|l| format!("enter {l} {A} Write")));
        for (i, name) in names.iter().enumerate().rev() {
            if i >= level {
                expected.push(format!("leave {name}"));
            }
            expected.push(format!("drop {name}"));
        }
    }
    assert_eq!(log.take(), expected, "{at} {level} {how:?}");
    free(&s);
    // What is inside had been left by the time that a layer could not be: then it is there, and the error says that something went wrong.
    let there = if at == "enter" { "old" } else { "new" };
    assert_eq!(text(&s, &A).unwrap(), there);
    s.save_as(&A, "next").unwrap();
    assert_eq!(text(&s, &A).unwrap(), "next");
}

/// S13.
#[test]
fn a_layer_that_cannot_be_entered_or_left_at_any_level() {
    for at in ["enter", "leave"] {
        for level in 0..3 {
            for how in [How::Fails, How::Panics] {
                goes_wrong(at, level, how);
            }
        }
    }
}

#[test]
fn where_the_backend_cannot_be_left_no_layer_is_and_nothing_stays() {
    for how in [How::Fails, How::Panics] {
        let (log, brittle) = (Log::default(), Brittle::default());
        let (s, _) = stack(&log, brittle.clone());
        s.save_as(&A, "old").unwrap();
        log.take();
        brittle.trap.set("leave", how);
        let result = catch_unwind(AssertUnwindSafe(|| s.save_as(&A, "new")));
        assert_eq!(result.is_err(), how == How::Panics);
        let out = ["drop inner", "drop middle", "drop outer"];
        assert_eq!(log.take()[3..], out);
        free(&s);
        assert_eq!(text(&s, &A).unwrap(), "old");
    }
}

#[test]
fn what_fails_inside_is_let_go_from_the_inside_out_and_never_left() {
    let log = Log::default();
    let (s, _) = stack(&log, Brittle::default());
    let out = |expected: &[&str]| assert_eq!(log.take()[3..], *expected);
    s.load(&A).unwrap_err();
    out(&["drop inner", "drop middle", "drop outer"]);
    s.update(&A, |_| Err::<Option<&str>, _>("no")).unwrap_err();
    out(&["drop inner", "drop middle", "drop outer"]);
    let panics = |_| -> Result<Option<&str>, BoxError> { resume_unwind(Box::new(Sprung)) };
    catch_unwind(AssertUnwindSafe(|| s.update(&A, panics))).unwrap_err();
    out(&["drop inner", "drop middle", "drop outer"]);
    drop(s.operation(Scope::Key(&A), Intent::Write).unwrap());
    out(&["drop inner", "drop middle", "drop outer"]);
    free(&s);
}

/// What a layer holds may panic when it is dropped; those around it are let go all the same.
#[test]
fn a_panic_of_what_is_held_lets_the_rest_go() {
    struct Touchy<S>(S);
    struct Ouch;
    impl Drop for Ouch {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                resume_unwind(Box::new(Sprung));
            }
        }
    }
    impl<S: Storage> Layer for Touchy<S> {
        type Inner = S;
        type Held<'a>
            = Ouch
        where
            S: 'a;
        fn inner(&self) -> &S {
            &self.0
        }
        fn enter(&self, _: Scope<'_>, _: Intent) -> Result<Ouch, Failure> {
            Ok(Ouch)
        }
    }
    let s = PerKey::new(Touchy(PerKey::new(Memory::new())));
    let free = || s.table().is_empty() && s.inner().0.table().is_empty();
    let left = catch_unwind(AssertUnwindSafe(|| s.save_as(&A, "apple")));
    assert!(left.unwrap_err().is::<Sprung>() && free());
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        drop(s.operation(Scope::Key(&A), Intent::Write).unwrap());
    }));
    assert!(dropped.unwrap_err().is::<Sprung>() && free());
    let failed = catch_unwind(AssertUnwindSafe(|| s.load(&key("abcd"))));
    assert!(failed.unwrap_err().is::<Sprung>() && free());
    assert_eq!(text(s.inner().0.inner(), &A).unwrap(), "apple");
}

/// Nested operations: the contexts of the inner one are entered after, and left before, those of the outer.
#[test]
fn contexts_of_operations_inside_are_inside() {
    let log = Log::default();
    let s = Probe::new("p", &log, PerKey::new(Memory::new()));
    s.update(&A, |_| {
        s.contains(&key("bb"))?;
        Ok::<_, BoxError>(Some("apple"))
    })
    .unwrap();
    let a = A.to_string();
    let expected = [
        &format!("enter p {a} Write"),
        "enter p bb Read",
        "leave p",
        "drop p",
        "leave p",
        "drop p",
    ];
    assert_eq!(log.take(), expected);
}

/// A reference to a store and a shared one are stores, and everything around a store says where the values are and which locks it takes.
#[test]
fn what_wraps_a_store_is_as_good_as_the_store() {
    fn on<S: Storage>(s: S) -> Digest {
        s.save("apple").unwrap()
    }
    let memory = Memory::new();
    let place = memory.place();
    assert!(place.is_some() && place == memory.clone().place());
    assert_ne!(place, Memory::new().place());
    let s = Arc::new(Traced::new("t", PerKey::new(Serializing::new(memory))));
    let k = on(&*s);
    on(&s);
    on(s.clone());
    let through: &&_ = &&s;
    on(through);
    assert_eq!(contents(&s), [(k, "apple".into())]);
    assert_eq!(through.place(), place);
    let table = Arc::as_ptr((*s).inner().table()).addr();
    let lock = Arc::as_ptr((*s).inner().inner().lock()).addr();
    assert_eq!(Storage::lock_order(&&s), [table, lock]);
    assert_eq!(Memory::new().lock_order(), [0; 0]);
    // Without its type it is the same.
    let dynamic = DynStorage::new(s.clone());
    assert_eq!(
        (dynamic.place(), dynamic.lock_order()),
        (place, vec![table, lock])
    );
    assert_eq!(contents(&dynamic.clone()), [(k, "apple".into())]);
    dynamic.transfer(&k, &s).unwrap();
    assert_eq!(text(&dynamic, &k).unwrap(), "apple");
}

/// A failure goes out as it is, whatever kind the backend's error is.
#[test]
fn errors_of_layers_keep_their_source() {
    #[derive(Debug, thiserror::Error)]
    #[error("closed on Mondays")]
    struct Closed;
    struct Shop<S>(S);
    impl<S: Storage> Layer for Shop<S> {
        type Inner = S;
        type Held<'a>
            = ()
        where
            S: 'a;
        fn inner(&self) -> &S {
            &self.0
        }
        fn enter(&self, _: Scope<'_>, intent: Intent) -> Result<(), Failure> {
            match intent {
                Intent::Read => Ok(()),
                Intent::Write => Err(Failure::other(Closed)),
            }
        }
    }
    let s = Serializing::new(Shop(PerKey::new(Memory::new())));
    assert!(s.list().unwrap().is_empty());
    let e = s.save("apple").unwrap_err();
    assert!(e.source().unwrap().is::<Closed>());
    assert!(matches!(e, Error::Backend { .. }));
    assert!(e.to_string().ends_with(": closed on Mondays"));
}

/// The documentation's layer that counts, under threads and nested operations.
#[test]
fn a_layer_of_ones_own_sees_every_operation_of_every_thread() {
    struct Count<S>(S, AtomicU32, AtomicU32);
    impl<S: Storage> Layer for Count<S> {
        type Inner = S;
        type Held<'a>
            = ()
        where
            S: 'a;
        fn inner(&self) -> &S {
            &self.0
        }
        fn enter(&self, _: Scope<'_>, _: Intent) -> Result<(), Failure> {
            self.1.fetch_add(1, Relaxed);
            Ok(())
        }
        fn leave(&self, (): ()) -> Result<(), Failure> {
            self.2.fetch_add(1, Relaxed);
            Ok(())
        }
    }
    let s = PerKey::new(Count(Memory::new(), 0.into(), 0.into()));
    std::thread::scope(|scope| {
        for t in 0..4u8 {
            let s = &s;
            scope.spawn(move || {
                for i in 0..100u8 {
                    let k = Digest::new([i % 3; 32]);
                    s.update(&k, |_| {
                        s.load(&k).unwrap_or_default();
                        Ok::<_, BoxError>(Some([t]))
                    })
                    .unwrap();
                }
            });
        }
    });
    let counted = (s.inner().1.load(Relaxed), s.inner().2.load(Relaxed));
    assert_eq!(counted, (800, 797), "three keys were not there at first");
    let mut op = s.operation(Scope::Store, Intent::Read).unwrap();
    assert_eq!(op.list(&Prefix::ALL).unwrap().len(), 3);
}
