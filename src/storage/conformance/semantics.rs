//! What each operation does, one after another in one thread.

use super::draw::{any, Dice};
use super::model::Model;
use super::ops::{Name, K, KEYS, SHARED, SHORT};
use super::{listing, nested, part, short, Check};
use crate::storage::{BoxError, Digest, Error, Intent, Prefix, Scope, Storage, Verb};
use stateright::semantics::SequentialSpec;
use std::sync::Arc;

/// Puts every operation to the test, in one thread: what it returns, what it leaves, which error it gives; keys by every name; operations in
/// operations; what an error, a panic and a dropped operation take back. `make` makes an empty store.
///
/// ```
/// use perkey::storage::{conformance, Memory};
///
/// conformance::semantics(Memory::new);
/// ```
///
/// # Panics
/// If something is not as [`Storage`] says.
pub fn semantics<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S) {
    plain(&make);
    part::<S>("what is taken back", || {
        nested::taken_back(&Arc::new(make()));
    });
}

/// What holds for a store that takes nothing back, too.
pub(super) fn plain<S: Storage + Send + Sync + 'static>(make: &impl Fn() -> S) {
    let parts: [Check<S>; 12] = [
        ("an empty store", empty),
        ("replacing a value", replacing),
        ("listings", listing::in_order),
        ("values of all kinds", values),
        ("closures", closures),
        ("renaming", renaming),
        ("several keys at once", many),
        ("an operation of one's own", operations),
        ("all names of a key", short::aliases),
        ("what is no name of a key", short::wrong_names),
        ("a name of several keys", short::ambiguous),
        ("many operations", as_the_model),
    ];
    for (what, f) in parts {
        part::<S>(what, || f(&make()));
    }
    part::<S>("transfers", || transferring(&make(), &make()));
    let meddled = || short::meddled(&make(), &make());
    part::<S>("a name that changes hands", meddled);
    part::<S>("the store in a listing", || {
        listing::the_store_meanwhile(&make());
    });
    nested::inside(make);
}

fn is_unknown<T: std::fmt::Debug>(result: Result<T, Error>, verb: Verb, of: &Digest) {
    match result {
        Err(e @ Error::Unknown { .. }) => assert_eq!((e.verb(), e.key()), (verb, Some(*of))),
        other => panic!("{verb} of an unknown key: {other:?}"),
    }
}

fn empty<S: Storage>(store: &S) {
    let [a, b, _] = KEYS;
    assert_eq!(
        store.list().expect("a listing"),
        [],
        "the store is to be empty at first"
    );
    is_unknown(store.load(&a), Verb::Load, &a);
    is_unknown(store.evict(&a), Verb::Evict, &a);
    is_unknown(store.expand(&a), Verb::Expand, &a);
    is_unknown(store.shrink(&a), Verb::Shrink, &a);
    is_unknown(store.rename(&a, &b), Verb::Rename, &a);
    is_unknown(store.rename(&a, &a), Verb::Rename, &a);
    assert!(!store.contains(&a).expect("it can be asked for"));
    assert_eq!(store.list().expect("a listing"), []);
}

fn values<S: Storage>(store: &S) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let sizes = [0, 1, 63, 64, 4_095, 4_096, 4_097, 65_536, 1 << 20];
    let sized = sizes.map(|size| every_byte.iter().cycle().take(size).copied().collect());
    let all: Vec<Vec<u8>> = sized.into_iter().chain([every_byte, vec![0; 3]]).collect();
    for value in &all {
        let key = store.save(value).expect("a value is saved");
        assert_eq!(key, Digest::of(value), "{} bytes", value.len());
        assert_eq!(store.save(value).expect("a value is saved again"), key);
        let given = Digest::of(key.as_bytes());
        store
            .save_as(&given, value)
            .expect("a value is saved under a key");
        for key in [key, given] {
            let there = store.contains(&key).expect("it can be asked for");
            assert!(there, "a value of {} bytes is not there", value.len());
            let loaded = store.load(&key).expect("a value is loaded");
            assert!(
                loaded == *value,
                "{} bytes came back as others",
                value.len()
            );
        }
    }
    assert_eq!(store.list().expect("a listing").len(), 2 * all.len());
    for value in &all {
        let key = Digest::of(value);
        store.evict(&key).expect("a value goes");
        is_unknown(store.load(&key), Verb::Load, &key);
        is_unknown(store.evict(&key), Verb::Evict, &key);
        assert!(!store.contains(&key).expect("it can be asked for"));
    }
    assert_eq!(store.list().expect("a listing").len(), all.len());
}

fn replacing<S: Storage>(store: &S) {
    let [a, ..] = KEYS;
    for value in ["one", "", "another one, longer than that", "1", "1", "one"] {
        store.save_as(&a, value).expect("a value is replaced");
        let loaded = store.load(&a).expect("it is loaded");
        assert_eq!(loaded, value, "what is loaded is not what was saved last");
        assert_eq!(store.list().expect("a listing"), [a]);
    }
    let loaded = store.load(&a).expect("it is loaded");
    store.save_as(&a, "two").expect("a value is replaced");
    assert_eq!(loaded, "one", "what was loaded does not change any more");
}

fn closures<S: Storage>(store: &S) {
    let [a, b, _] = KEYS;
    let made = store.get_or_insert_with(&a, || Ok::<_, BoxError>("one"));
    assert_eq!(made.expect("a value is made"), "one");
    let again =
        store.get_or_insert_with(&a, || -> Result<&str, BoxError> { panic!("there is one") });
    assert_eq!(again.expect("it is there"), "one");
    let empty = store.get_or_insert_with(&b, || Ok::<_, BoxError>(""));
    assert_eq!(empty.expect("an empty value is made"), "");
    let again =
        store.get_or_insert_with(&b, || -> Result<&str, BoxError> { panic!("there is one") });
    assert_eq!(again.expect("an empty value is one"), "");
    // A value or none, to a value or none.
    let steps = [
        None,
        Some("two"),
        Some("three"),
        Some(""),
        Some(""),
        None,
        None,
    ];
    let mut before = Some("one");
    for after in steps {
        let closure = |old: Option<crate::storage::Bytes>| {
            assert_eq!(
                old.as_deref(),
                before.map(str::as_bytes),
                "what an update is given"
            );
            Ok::<_, BoxError>(after)
        };
        store.update(&a, closure).expect("an update");
        assert_eq!(
            store.contains(&a).expect("it can be asked for"),
            after.is_some()
        );
        before = after;
    }
    // The error comes out, with its source.
    let failed = store.update(&a, |_| Err::<Option<&str>, _>("on purpose"));
    let made = store
        .get_or_insert_with(&a, || Err::<&str, _>("on purpose"))
        .map(drop);
    for (result, of) in [(failed, Verb::Update), (made, Verb::GetOrInsertWith)] {
        match result {
            Err(Error::Closure { verb, key, source }) => {
                assert_eq!(
                    (verb, key, source.to_string()),
                    (of, a, "on purpose".to_owned())
                );
            }
            other => panic!("{of} whose closure failed: {other:?}"),
        }
    }
    assert_eq!(
        store.list().expect("a listing"),
        [b],
        "a closure that fails leaves nothing"
    );
}

fn renaming<S: Storage>(store: &S) {
    let [a, b, c] = KEYS;
    Model::with(["one", "two"]).restore(store);
    store.rename(&a, &c).expect("to a free key");
    is_unknown(store.load(&a), Verb::Load, &a);
    assert_eq!(store.load(&c).expect("it is there now"), "one");
    store.rename(&c, &c).expect("to itself");
    assert_eq!(store.load(&c).expect("it stays"), "one");
    match store.rename(&c, &b) {
        Err(Error::Exists { verb, key }) => assert_eq!((verb, key), (Verb::Rename, b)),
        other => panic!("rename to a key that is taken: {other:?}"),
    }
    assert_eq!(store.load(&c).expect("it stays"), "one");
    assert_eq!(store.load(&b).expect("it stays, too"), "two");
    store.save_as(&b, "one").expect("a value is replaced");
    store.rename(&c, &b).expect("to the same value");
    assert_eq!(store.list().expect("a listing"), [b]);
}

fn transferring<S: Storage>(here: &S, there: &S) {
    let [a, b, c] = KEYS;
    let one = Model::with(["one"]);
    for (name, key) in [(Name::Full(K::A), a), (SHORT[0], a), (Name::Upper(K::A), a)] {
        one.restore(here);
        Model::default().restore(there);
        assert_eq!(here.transfer(&name, there).expect("a transfer"), key);
        assert_eq!(
            (Model::of(here), Model::of(there)),
            (Model::default(), one.clone())
        );
        assert_eq!(there.transfer(&name, here).expect("and back"), key);
        assert_eq!(
            (Model::of(here), Model::of(there)),
            (one.clone(), Model::default())
        );
        assert_eq!(here.transfer(&name, here).expect("to where it is"), key);
        assert_eq!(
            Model::of(here),
            one,
            "a transfer to where it is changes nothing"
        );
    }
    is_unknown(here.transfer(&c, there), Verb::Transfer, &c);
    one.restore(there);
    here.transfer(&a, there)
        .expect("to where the same value is");
    assert_eq!(
        (Model::of(here), Model::of(there)),
        (Model::default(), one.clone())
    );
    here.save_as(&a, "another one").expect("a value is saved");
    here.save_as(&b, "two").expect("a value is saved");
    match here.transfer(&a, there) {
        Err(Error::Exists { verb, key }) => assert_eq!((verb, key), (Verb::Transfer, a)),
        other => panic!("transfer to where another value is: {other:?}"),
    }
    assert_eq!(Model::of(there), one);
    assert_eq!(Model::of(here), Model::with(["another one", "two"]));
    let ambiguous = here.transfer(&SHARED, there);
    assert!(
        matches!(ambiguous, Err(Error::Ambiguous { .. })),
        "{ambiguous:?}"
    );
}

fn many<S: Storage>(store: &S) {
    let none: [&str; 0] = [];
    assert_eq!(store.save_many(none).expect("no values"), []);
    assert!(store.load_many(none).expect("no keys").is_empty());
    assert!(store.shrink_many(none).expect("no keys").is_empty());
    let values = ["pear", "apple", "", "pear"];
    let keys = store.save_many(values).expect("values are saved");
    assert_eq!(keys, values.map(Digest::of), "in their order");
    assert_eq!(store.load_many(&keys).expect("values are loaded"), values);
    let names = keys.iter().map(|key| key.to_string()[..8].to_owned());
    assert_eq!(
        store.load_many(names).expect("by their first digits"),
        values
    );
    let short = store.shrink_many(&keys).expect("short keys");
    for (short, key) in short.iter().zip(&keys) {
        assert_eq!(store.expand(short).expect("a short key is expanded"), *key);
    }
    let missing = Digest::of("missing");
    is_unknown(
        store.load_many([keys[0], missing]).map(drop),
        Verb::Load,
        &missing,
    );
    is_unknown(
        store.shrink_many([keys[0], missing]).map(drop),
        Verb::Shrink,
        &missing,
    );
    assert_eq!(store.list().expect("a listing").len(), 3);
}

/// An operation of one's own: what it may touch.
fn operations<S: Storage>(store: &S) {
    let [a, b, c] = KEYS;
    Model::with(["one", "two"]).restore(store);
    let not_entered = |result: Result<(), Error>, of: Verb, key: Digest| match result {
        Err(e @ Error::NotEntered { .. }) => assert_eq!((e.verb(), e.key()), (of, Some(key))),
        other => panic!("{of} without the right to it: {other:?}"),
    };
    let mut op = store
        .operation(Scope::Keys(&[a, c]), Intent::Write)
        .expect("an operation");
    assert_eq!(op.entered(), [a, c]);
    not_entered(op.load(&b).map(drop), Verb::Load, b);
    not_entered(op.contains(&b).map(drop), Verb::Contains, b);
    not_entered(op.save_as(&b, "x"), Verb::Save, b);
    not_entered(op.evict(&b), Verb::Evict, b);
    not_entered(op.rename(&a, &b), Verb::Rename, b);
    not_entered(op.rename(&b, &a), Verb::Rename, b);
    let update = |old| Ok::<_, BoxError>(old);
    not_entered(op.update(&b, update), Verb::Update, b);
    let make = || Ok::<_, BoxError>("x");
    not_entered(
        op.get_or_insert_with(&b, make).map(drop),
        Verb::GetOrInsertWith,
        b,
    );
    // What was refused has not harmed it: it goes on, and sees what it does.
    assert!(!op.contains(&c).expect("it can be asked for"));
    op.rename(&a, &c).expect("a value is renamed");
    op.update(&c, |old| {
        Ok::<_, BoxError>(old.map(|old| [&*old, b"!"].concat()))
    })
    .expect("an update");
    assert_eq!(op.load(&c).expect("it sees what it has done"), "one!");
    assert_eq!(
        op.get_or_insert_with(&a, make)
            .expect("it sees what is gone"),
        "x"
    );
    op.evict(&a).expect("a value goes");
    is_unknown(op.evict(&a), Verb::Evict, &a);
    assert_eq!(op.list(&Prefix::ALL).expect("a listing"), [b, c]);
    op.leave().expect("the operation is left");
    let mut op = store
        .operation(Scope::Key(&b), Intent::Read)
        .expect("an operation");
    assert_eq!(op.load(&b).expect("reading is allowed"), "two");
    not_entered(op.save_as(&b, "x"), Verb::Save, b);
    not_entered(op.evict(&b), Verb::Evict, b);
    not_entered(op.update(&b, update), Verb::Update, b);
    not_entered(
        op.get_or_insert_with(&b, make).map(drop),
        Verb::GetOrInsertWith,
        b,
    );
    op.leave().expect("the operation is left");
    let mut op = store
        .operation(Scope::Store, Intent::Write)
        .expect("an operation");
    assert!(op.entered().is_empty());
    not_entered(op.load(&b).map(drop), Verb::Load, b);
    op.leave().expect("the operation is left");
    assert_eq!(store.load(&c).expect("it stays"), "one!");
    assert_eq!(store.list().expect("a listing"), [b, c]);
}

/// Some hundred operations, drawn at random.
fn as_the_model<S: Storage>(store: &S) {
    let mut dice = Dice(0);
    let mut model = Model::default();
    for step in 0..600 {
        let op = any(&mut dice);
        let before = model.clone();
        let told = op.run(store);
        assert_eq!(told, model.invoke(&op), "step {step}: {op:?} on {before:?}");
        if step % 8 == 0 {
            assert_eq!(Model::of(store), model, "step {step}: {op:?} on {before:?}");
        }
    }
    assert_eq!(Model::of(store), model);
}
