//! Operations that go wrong: nothing of them stays, nothing is locked, and the error says what it was.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use perkey::storage::{
    BoxError, Bytes, Digest, Error, Failure, Intent, Memory, PerKey, Prefix, Scope, Serializing,
    Storage, Verb,
};
use probe::{contents, key, text, Brittle, How, Sprung, PLACES};
use std::error::Error as _;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

type Closure = Result<Option<&'static str>, BoxError>;

type Change<S> = fn(&S) -> Result<(), Error>;

/// All operations that change something, on a store with "apple" under `aaaa` and another key beside it.
fn changes<S: Storage>() -> Vec<(&'static str, Change<S>)> {
    vec![
        ("save", |s| s.save("pear").map(drop)),
        ("save_as", |s| s.save_as(&key("aaaa"), "pear")),
        ("save_many", |s| s.save_many(["plum", "pear"]).map(drop)),
        ("evict", |s| s.evict("aaaa")),
        ("update", |s| {
            s.update("aaaa", |_| Closure::Ok(Some("pear")))
        }),
        ("update to nothing", |s| {
            s.update("aaaa", |_| Closure::Ok(None))
        }),
        ("get_or_insert_with", |s| {
            let made = s.get_or_insert_with(&key("cccc"), || Ok::<_, BoxError>("pear"));
            made.map(drop)
        }),
        ("rename", |s| s.rename("aaaa", &key("cccc"))),
        ("transfer", |s| s.transfer("aaaa", &Memory::new()).map(drop)),
        ("operation", |s| {
            let keys = [key("aaaa"), key("cccc")];
            let mut op = s.operation(Scope::Keys(&keys), Intent::Write)?;
            op.evict(&keys[0])?;
            op.save_as(&keys[1], "pear")?;
            op.contains(&keys[1])?;
            op.leave()
        }),
    ]
}

/// Springs each trap in each operation. Afterwards all is as it was, no lock is held, and the same operation succeeds.
fn springs<S: Storage + Sync>(make: impl Fn(Brittle) -> S, free: impl Fn(&S)) {
    let mut sprung = 0;
    for (name, change) in changes::<S>() {
        for place in PLACES {
            for how in [How::Fails, How::Panics] {
                let what = format!("{name}: {place} {how:?}");
                let brittle = Brittle::default();
                let s = make(brittle.clone());
                s.save_as(&key("aaaa"), "apple").unwrap();
                s.save_as(&key("bbbb"), "fig").unwrap();
                let before = contents(&s);
                brittle.trap.set(place, how);
                let result = catch_unwind(AssertUnwindSafe(|| change(&s)));
                if brittle.trap.unset() {
                    result.unwrap().unwrap(); // does not come by there
                    continue;
                }
                sprung += 1;
                match result {
                    Ok(result) => {
                        let e = result.expect_err(&what);
                        assert_eq!(how, How::Fails, "{what}");
                        assert!(matches!(e, Error::Backend { .. }), "{what}: {e:?}");
                        assert!(e.to_string().ends_with(&format!("{place} fails")), "{e}");
                    }
                    Err(panic) => assert!(how == How::Panics && panic.is::<Sprung>(), "{what}"),
                }
                free(&s);
                assert_eq!(contents(&s), before, "{what}");
                change(&s).unwrap();
                free(&s);
                assert_ne!(contents(&s), before, "{what}");
            }
        }
    }
    assert!(sprung >= 2 * 35, "{sprung}");
}

#[test]
fn a_fault_of_the_backend_at_any_primitive_undoes_the_operation() {
    springs(|b| b, |_| ());
    springs(Serializing::new, |s| {
        assert!(common::elsewhere(|| s.lock().try_lock().is_some()));
    });
    springs(PerKey::new, |s| assert!(s.table().is_empty()));
}

#[test]
fn a_closure_that_fails_or_panics_undoes_the_operation() {
    on_every_stack!(|s, memory| {
        let k = key("aaaa");
        for there in [false, true] {
            if there {
                s.save_as(&k, "apple").unwrap();
            }
            let before = contents(&s);
            let e = s.update(&k, |_| Err::<Option<&str>, _>("not today"));
            match e.unwrap_err() {
                Error::Closure { verb, key, source } => {
                    assert_eq!((verb, key), (Verb::Update, k));
                    assert_eq!(source.to_string(), "not today");
                }
                other => panic!("{other:?}"),
            }
            let closure = |_| -> Closure { std::panic::resume_unwind(Box::new(Sprung)) };
            let panic = catch_unwind(AssertUnwindSafe(|| s.update(&k, closure)));
            assert!(panic.unwrap_err().is::<Sprung>());
            assert_eq!(contents(&s), before);
            if !there {
                let e = s.get_or_insert_with(&k, || Err::<&str, _>("not today"));
                assert!(matches!(
                    e,
                    Err(Error::Closure {
                        verb: Verb::GetOrInsertWith,
                        ..
                    })
                ));
                let make =
                    || -> Result<&str, BoxError> { std::panic::resume_unwind(Box::new(Sprung)) };
                let panic = catch_unwind(AssertUnwindSafe(|| s.get_or_insert_with(&k, make)));
                assert!(panic.is_err());
                assert_eq!(contents(&s), before);
            }
            // Another thread gets in, and the next one succeeds.
            common::elsewhere(|| assert_eq!(memory.list().unwrap().len(), before.len()));
            common::elsewhere(|| s.update(&k, |_| Closure::Ok(None)).unwrap());
            s.get_or_insert_with(&k, || Ok::<_, BoxError>("pear"))
                .unwrap();
            s.evict(&k).unwrap();
        }
    });
}

#[test]
fn an_operation_that_is_dropped_is_undone() {
    on_every_stack!(|s, memory| {
        let keys = [key("aaaa"), key("bbbb")];
        s.save_as(&keys[0], "apple").unwrap();
        let mut op = s.operation(Scope::Keys(&keys), Intent::Write).unwrap();
        op.rename(&keys[0], &keys[1]).unwrap();
        assert_eq!(op.load(&keys[1]).unwrap(), "apple", "it sees its own");
        assert_eq!(op.list(&Prefix::ALL).unwrap(), [keys[1]]);
        assert!(!op.contains(&keys[0]).unwrap());
        common::elsewhere(|| assert_eq!(memory.list().unwrap(), [keys[0]]));
        drop(op);
        assert_eq!(contents(&s), [(keys[0], "apple".into())]);
    });
}

#[test]
fn an_operation_keeps_to_what_it_has_entered() {
    on_every_stack!(|s, _memory| {
        let (a, b) = (key("aaaa"), key("bbbb"));
        s.save_as(&a, "apple").unwrap();
        s.save_as(&b, "pear").unwrap();
        let refused = |result: Result<(), Error>, of: Digest| match result {
            Err(Error::NotEntered { key, .. }) => assert_eq!(key, of),
            other => panic!("{other:?}"),
        };
        let mut op = s.operation(Scope::Key(&a), Intent::Write).unwrap();
        refused(op.load(&b).map(drop), b);
        refused(op.contains(&b).map(drop), b);
        refused(op.save_as(&b, "plum"), b);
        refused(op.evict(&b), b);
        refused(op.update(&b, |_| Closure::Ok(None)), b);
        refused(op.rename(&a, &b), b);
        refused(op.rename(&b, &a), b);
        let make = || Ok::<_, BoxError>("plum");
        refused(op.get_or_insert_with(&b, make).map(drop), b);
        op.leave().unwrap();
        let mut op = s.operation(Scope::Key(&a), Intent::Read).unwrap();
        op.load(&a).unwrap();
        refused(op.save_as(&a, "plum"), a);
        refused(op.evict(&a), a);
        refused(op.update(&a, |_| Closure::Ok(None)), a);
        refused(op.rename(&a, &a), a);
        refused(op.get_or_insert_with(&a, make).map(drop), a);
        op.leave().unwrap();
        let mut op = s.operation(Scope::Store, Intent::Write).unwrap();
        refused(op.load(&a).map(drop), a);
        op.leave().unwrap();
        assert_eq!(contents(&s), [(a, "apple".into()), (b, "pear".into())]);
        // Of many keys, too, each is known.
        let many: Vec<Digest> = (0..100u8).rev().map(|i| Digest::new([i; 32])).collect();
        let mut op = s.operation(Scope::Keys(&many), Intent::Write).unwrap();
        assert_eq!(op.entered(), many);
        for k in &many {
            op.save_as(k, "fig").unwrap();
        }
        refused(op.load(&a).map(drop), a);
        op.leave().unwrap();
        assert_eq!(s.list().unwrap().len(), 102);
    });
}

// ---- errors -------------------------------------------------------------------------------------------------------

/// A backend each of whose errors is another.
struct Failing(fn() -> Failure);

impl Storage for Failing {
    type Context<'a> = ();
    type Error = Failure;

    fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Failure> {
        Ok(())
    }
    fn get(&self, (): &mut (), _: &Digest) -> Result<Option<Bytes>, Failure> {
        Err((self.0)())
    }
    fn put(&self, (): &mut (), _: &Digest, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }
    fn remove(&self, (): &mut (), _: &Digest) -> Result<bool, Failure> {
        Err((self.0)())
    }
    fn keys(
        &self,
        (): &mut (),
        _: &Prefix,
        _: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        Err((self.0)())
    }
}

#[test]
fn errors_say_which_operation_which_key_and_why() {
    use std::io;
    let full = || io::Error::from(io::ErrorKind::StorageFull).into();
    let busy = || io::Error::from(io::ErrorKind::ResourceBusy).into();
    let other = || io::Error::other("on fire").into();
    let corrupt = || Failure::corrupt("too long");
    let k = key("abcd");
    let e = PerKey::new(Failing(full)).load(&k).unwrap_err();
    assert!(matches!(e, Error::Full { .. }));
    assert_eq!((e.verb(), e.key()), (Verb::Load, Some(k)));
    let source = e.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::StorageFull, "what it was");
    let e = PerKey::new(Failing(busy)).evict(&k).unwrap_err();
    assert!(matches!(e, Error::Busy { .. }) && e.verb() == Verb::Evict);
    let e = Serializing::new(Failing(other)).list().unwrap_err();
    assert!(matches!(e, Error::Backend { .. }) && e.key().is_none());
    assert_eq!(e.to_string(), "list: on fire");
    let s = PerKey::new(Failing(corrupt));
    let e = s.load(&k).unwrap_err();
    assert_eq!(e.to_string(), format!("load {k}: corrupt: too long"));
    assert!(matches!(e, Error::Corrupt { .. }));
    // Corrupt values cannot be read, moved or changed, but replaced.
    let read = s.update(&k, |_| Closure::Ok(None)).unwrap_err();
    assert!(matches!(read, Error::Corrupt { .. }));
    s.save_as(&k, "new").unwrap();
    // An error goes through every layer as it is, and is an error to `?`.
    let e = Serializing::new(&s).load(&k).unwrap_err();
    assert!(matches!(e, Error::Corrupt { .. }));
    let boxed: BoxError = e.into();
    assert!(boxed.is::<Error>());
}

#[test]
fn a_memory_with_a_limit_counts_what_is_there() {
    let s = PerKey::new(Memory::with_limit(10));
    let (a, b) = (key("aaaa"), key("bbbb"));
    s.save_as(&a, "12345").unwrap();
    s.save_as(&b, "12345").unwrap();
    let more = s.save_as(&a, "123456").unwrap_err();
    assert!(matches!(more, Error::Full { .. }));
    assert_eq!(
        more.to_string(),
        format!("save {a}: no room: 11 bytes of values, 10 at most")
    );
    assert_eq!(text(&s, &a).unwrap(), "12345", "nothing is lost");
    s.save_as(&a, "1234").unwrap();
    s.save_as(&b, "123456").unwrap();
    s.save("").unwrap();
    s.save("1").unwrap_err();
    s.rename(&a, &key("cccc")).unwrap(); // no more than before
    s.evict(&b).unwrap();
    s.save("123456").unwrap();
    // What is taken back was never counted.
    s.evict("cccc").unwrap();
    for _ in 0..3 {
        s.update(&a, |_| Err::<Option<&str>, _>("no")).unwrap_err();
        let mut op = s.operation(Scope::Key(&a), Intent::Write).unwrap();
        op.save_as(&a, "1234").unwrap();
    }
    s.save_as(&a, "1234").unwrap();
    assert!(matches!(s.save("1"), Err(Error::Full { .. })));
}

/// Threads fill it up, empty it, and what is counted is what is there.
#[test]
fn a_limit_holds_while_threads_come_and_go() {
    const LIMIT: usize = 1000;
    let s = Memory::with_limit(LIMIT);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for t in 0..4u8 {
            let (s, refused) = (&s, &refused);
            scope.spawn(move || {
                let mut dice = common::Dice(u64::from(t));
                for _ in 0..2000 {
                    let k = Digest::new([t * 64 + dice.below(8) as u8; 32]);
                    let value = vec![0; dice.below(200) as usize];
                    match dice.below(3) {
                        0 => drop(s.evict(&k)),
                        _ => match s.save_as(&k, value) {
                            Ok(()) => {}
                            Err(Error::Full { .. }) => drop(refused.fetch_add(1, Relaxed)),
                            other => panic!("{other:?}"),
                        },
                    }
                }
            });
        }
    });
    assert!(refused.load(Relaxed) > 0);
    let used = |s: &Memory| contents(s).iter().map(|(_, v)| v.len()).sum::<usize>();
    let left = LIMIT - used(&s);
    let k = key("0123");
    let more = s.save_as(&k, vec![0; left + 1]);
    assert!(matches!(more, Err(Error::Full { .. })));
    s.save_as(&k, vec![0; left]).unwrap();
    assert_eq!(used(&s), LIMIT);
}
