//! Operations in operations, and what an error, a panic and a dropped operation take back.

use super::faults::{caught, nothing_is_locked};
use super::model::Model;
use super::ops::{KEYS, SHORT};
use super::{part, Check};
use crate::storage::{BoxError, Bytes, Error, Intent, Scope, Storage};
use crate::sync::threads;
use std::panic::resume_unwind;
use std::sync::Arc;

type Closure = Result<Option<&'static str>, BoxError>;

/// An operation inside another one does not wait for it, and sees what it has done.
pub(super) fn inside<S: Storage + Send + Sync + 'static>(make: &impl Fn() -> S) {
    let parts: [Check<S>; 3] = [
        ("an operation inside another one on its key", same_key),
        ("an operation inside another one on another key", other_keys),
        ("an operation inside an operation of one's own", by_hand),
    ];
    for (what, f) in parts {
        part::<S>(what, || {
            let store = Arc::new(make());
            let inside = store.clone();
            threads::start(what, move || f(&inside)).join();
            nothing_is_locked(&store);
        });
    }
}

fn same_key<S: Storage>(store: &S) {
    let [a, ..] = KEYS;
    let deep = || {
        assert_eq!(store.load(&a)?, "one");
        assert_eq!(store.load(&SHORT[0])?, "one");
        assert_eq!(store.load_many([a, a])?, ["one", "one"]);
        assert!(store.contains(&a)?);
        assert_eq!(store.expand(&SHORT[0])?, a);
        assert_eq!(store.shrink(&a)?.digits(), 4);
        assert_eq!(store.list()?, [a]);
        store.rename(&a, &a)?;
        Ok::<_, BoxError>("not used")
    };
    Model::with(["one"]).restore(store);
    let closure = |old: Option<Bytes>| -> Closure {
        store.update(&a, |inner| {
            assert_eq!(inner, old);
            store.get_or_insert_with(&a, deep)?;
            deep()?;
            Ok::<_, BoxError>(Some("two"))
        })?;
        assert_eq!(store.load(&a)?, "two", "the operation around it sees it");
        store.evict(&a)?;
        assert_eq!(
            store.get_or_insert_with(&a, || Ok::<_, BoxError>("three"))?,
            "three"
        );
        store.save_as(&a, "four")?;
        assert_eq!(store.load(&a)?, "four");
        Ok(Some("five"))
    };
    store
        .update(&a, closure)
        .expect("operations inside an update");
    assert_eq!(
        Model::of(store),
        Model::with(["five"]),
        "the outer one has the last word"
    );
    // The change of an inner one stays if the outer one makes none itself.
    let mut op = store
        .operation(Scope::Key(&a), Intent::Write)
        .expect("an operation");
    assert_eq!(op.load(&a).expect("it is loaded"), "five");
    store
        .save_as(&a, "six")
        .expect("a value is saved inside an operation");
    let seen = op.load(&a).expect("it is loaded");
    assert_eq!(seen, "six", "what an operation inside has done is not seen");
    op.leave().expect("the operation is left");
    assert_eq!(Model::of(store), Model::with(["six"]));
}

fn other_keys<S: Storage>(store: &S) {
    let [a, b, c] = KEYS;
    Model::with(["one", "two"]).restore(store);
    let closure = |_: Option<Bytes>| -> Closure {
        let made = store.get_or_insert_with(&c, || {
            assert_eq!(store.load(&b)?, "two");
            store.update(&b, |_| Ok::<_, BoxError>(Some("second")))?;
            Ok::<_, BoxError>("three")
        })?;
        assert_eq!(made, "three");
        assert_eq!(store.list()?, {
            let mut all = [a, b, c];
            all.sort_unstable();
            all
        });
        store.evict(&c)?;
        store.rename(&b, &c)?;
        assert_eq!(store.load(&SHORT[2])?, "second");
        store.rename(&c, &b)?;
        Ok(None)
    };
    store
        .update(&a, closure)
        .expect("operations on other keys inside an update");
    assert_eq!(store.list().expect("a listing"), [b]);
    assert_eq!(store.load(&b).expect("it is loaded"), "second");
}

/// What an operation of one's own has done is seen by operations inside it.
fn by_hand<S: Storage>(store: &S) {
    let [a, b, _] = KEYS;
    Model::default().restore(store);
    let mut op = store
        .operation(Scope::Keys(&[a, b]), Intent::Write)
        .expect("an operation");
    op.save_as(&a, "one").expect("a value is saved");
    assert_eq!(store.load(&a).expect("an operation inside sees it"), "one");
    assert_eq!(store.list().expect("a listing inside"), [a]);
    store.rename(&a, &b).expect("a value is renamed inside");
    assert_eq!(op.load(&b).expect("it is there"), "one");
    assert!(!op.contains(&a).expect("it can be asked for"));
    op.leave().expect("the operation is left");
    assert_eq!(store.list().expect("a listing"), [b]);
}

/// Nothing is left of an operation that was not left.
pub(super) fn taken_back<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    let [a, b, c] = KEYS;
    let before = Model::with(["one", "two"]);
    before.restore(&**store);
    let unchanged = |what: &str| {
        assert_eq!(Model::of(&**store), before, "after {what}");
        nothing_is_locked(store);
    };
    let mut op = store
        .operation(Scope::Keys(&[a, b, c]), Intent::Write)
        .expect("an operation");
    op.save_as(&a, "new").expect("a value is replaced");
    op.rename(&b, &c).expect("a value is renamed");
    op.evict(&a).expect("a value goes");
    drop(op);
    unchanged("an operation that was dropped");
    for ends in [fails as fn() -> Closure, panics] {
        // An operation inside, on the same key, is part of the one around it, and goes with it.
        let closure = |_: Option<Bytes>| -> Closure {
            store.save_as(&a, "new")?;
            store.evict(&a)?;
            store.save_as(&a, "newer")?;
            ends()
        };
        ends_badly(|| store.update(&a, closure));
        unchanged("an update whose closure does not end well");
        let closure = || {
            store.save_as(&c, "new")?;
            ends().map(|_| "")
        };
        ends_badly(|| store.get_or_insert_with(&c, closure).map(drop));
        unchanged("a value that was not made");
        // One inside that does not end well takes nothing of the outer one with it.
        let closure = |_: Option<Bytes>| -> Closure {
            store.save_as(&a, "new")?;
            let closure = |_: Option<Bytes>| -> Closure {
                store.save_as(&a, "newer")?;
                ends()
            };
            ends_badly(|| store.update(&a, closure));
            assert_eq!(store.load(&a)?, "new", "what the outer one has done stays");
            Ok(Some("one"))
        };
        store
            .update(&a, closure)
            .expect("an update around one that does not end well");
        unchanged("an update inside an update that does not end well");
        // What was done to another key was complete, and stays.
        let closure = |_: Option<Bytes>| -> Closure {
            store.save_as(&c, "three")?;
            store.rename(&c, &b).expect_err("there is another value");
            ends()
        };
        ends_badly(|| store.update(&a, closure));
        assert_eq!(Model::of(&**store), Model::with(["one", "two", "three"]));
        store.evict(&c).expect("a value goes");
        unchanged("all that");
    }
    // After all that it works.
    store.update(&a, Ok::<_, BoxError>).expect("an update");
    unchanged("an update that changes nothing");
}

/// The closure's own error or panic comes out.
fn ends_badly(f: impl FnOnce() -> Result<(), Error>) {
    match caught(f) {
        Ok(Err(Error::Closure { source, .. })) => assert_eq!(source.to_string(), ON_PURPOSE),
        Ok(other) => panic!("a closure that does not end well: {other:?}"),
        Err(panic) if panic.downcast_ref() == Some(&ON_PURPOSE) => {}
        Err(panic) => resume_unwind(panic),
    }
}

const ON_PURPOSE: &str = "on purpose";

fn fails() -> Closure {
    Err(ON_PURPOSE.into())
}

fn panics() -> Closure {
    resume_unwind(Box::new(ON_PURPOSE))
}
