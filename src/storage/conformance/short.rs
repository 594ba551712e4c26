//! Keys by other names: their first digits, upper case; names that are none; names that stand for another key by the time it is locked.

use super::model::Model;
use super::ops::{Name, K, KEYS, NOBODY, SHARED, SHORT};
use crate::storage::{
    BoxError, Bytes, Digest, Error, Failure, Intent, Key, Layer, ParseError, Scope, Storage, ToKey,
    Verb,
};
use std::sync::{Mutex, PoisonError};

/// Every operation that asks for a key by a name.
const VERBS: [Verb; 7] = [
    Verb::Load,
    Verb::Contains,
    Verb::Evict,
    Verb::Expand,
    Verb::Shrink,
    Verb::Update,
    Verb::Rename,
];

/// Runs an operation on a name. What it gives: that of `contains`, and otherwise `true`.
fn run<S: Storage>(store: &S, verb: Verb, name: &(impl ToKey + ?Sized)) -> Result<bool, Error> {
    let same = |old: Option<Bytes>| Ok::<_, BoxError>(old);
    match verb {
        Verb::Contains => return store.contains(name),
        Verb::Load => store.load(name).map(drop),
        Verb::Evict => store.evict(name),
        Verb::Expand => store.expand(name).map(drop),
        Verb::Shrink => store.shrink(name).map(drop),
        Verb::Update => store.update(name, same),
        _ => store.rename(name, &Digest::of("somewhere else")),
    }?;
    Ok(true)
}

/// All names of a key are one key.
pub(super) fn aliases<S: Storage>(store: &S) {
    let model = Model::with(["one", "two", "three"]);
    for (k, short) in K::ALL.into_iter().zip(SHORT) {
        let key = k.digest();
        for name in [Name::Full(k), Name::Upper(k), short] {
            for verb in VERBS {
                model.restore(store);
                assert!(run(store, verb, &name).unwrap_or_else(|e| panic!("{name:?}: {e}")));
                let gone = matches!(verb, Verb::Evict | Verb::Rename);
                assert_eq!(
                    store.contains(&key).expect("it can be asked for"),
                    !gone,
                    "{verb} {name:?}"
                );
            }
            model.restore(store);
            assert_eq!(store.expand(&name).expect("a name is expanded"), key);
        }
    }
    assert_eq!(Model::of(store), model);
}

/// What is no key, too little of one, or nobody's: three errors.
pub(super) fn wrong_names<S: Storage>(store: &S) {
    let model = Model::with(["one", "two"]);
    model.restore(store);
    let long = "a".repeat(65);
    for verb in VERBS {
        for (name, why) in [
            ("xyz12", ParseError::NotADigit { found: 'x', at: 0 }),
            ("abcd-", ParseError::NotADigit { found: '-', at: 4 }),
            (&long, ParseError::TooLong { digits: 65 }),
        ] {
            match run(store, verb, name) {
                Err(Error::Malformed {
                    verb: of,
                    key,
                    source,
                }) => {
                    assert_eq!((of, &*key, source), (verb, name, why));
                }
                other => panic!("{verb} {name:?}: {other:?}"),
            }
        }
        for name in ["", "a", "abc"] {
            match run(store, verb, name) {
                Err(Error::TooShort {
                    verb: of,
                    key,
                    digits,
                }) => {
                    assert_eq!((of, &*key, digits), (verb, name, name.len()));
                }
                other => panic!("{verb} {name:?}: {other:?}"),
            }
        }
        match run(store, verb, &NOBODY) {
            Ok(false) if verb == Verb::Contains => {}
            Err(Error::Unknown {
                verb: of,
                key: Key::Short(prefix),
            }) => {
                assert_eq!((of, prefix.to_string()), (verb, "beef".to_owned()));
            }
            other => panic!("{verb} of digits that no key has: {other:?}"),
        }
    }
    let asked = store.load_many(["abcd1", "abc"]);
    assert!(matches!(asked, Err(Error::TooShort { .. })), "{asked:?}");
    assert_eq!(Model::of(store), model, "what fails changes nothing");
}

/// Several candidates: they are told, and how many digits would do.
pub(super) fn ambiguous<S: Storage>(store: &S) {
    let [a, b, _] = KEYS;
    let model = Model::with(["one", "two", "three"]);
    model.restore(store);
    for verb in VERBS {
        match run(store, verb, &SHARED) {
            Err(Error::Ambiguous {
                verb: of,
                prefix,
                candidates,
                digits,
            }) => {
                assert_eq!((of, candidates, digits), (verb, vec![a, b], 5));
                assert_eq!(prefix.to_string(), "abcd");
            }
            other => panic!("{verb} of digits that two keys have: {other:?}"),
        }
    }
    assert_eq!(Model::of(store), model, "what fails changes nothing");
    for (key, digits) in [(a, 5), (b, 5), (KEYS[2], 4)] {
        let short = store.shrink(&key).expect("the shortest name of a key");
        assert_eq!(
            short,
            key.prefix(digits).expect("as many digits as there are")
        );
        assert_eq!(store.expand(&short).expect("it is the key's"), key);
    }
    store.evict(&a).expect("a value goes");
    assert_eq!(store.expand(&SHARED).expect("one is left"), b);
}

/// A layer that does something to the store inside just before keys are entered: the moment between the search and the lock.
struct Meddling<'s, S> {
    inner: &'s S,
    act: Mutex<Option<fn(&S)>>,
}

impl<S: Storage> Layer for Meddling<'_, S> {
    type Inner = S;
    type Held<'a>
        = ()
    where
        Self: 'a;

    fn inner(&self) -> &S {
        self.inner
    }

    fn enter(&self, scope: Scope<'_>, _: Intent) -> Result<(), Failure> {
        if scope != Scope::Store {
            let act = self
                .act
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(act) = act {
                act(self.inner);
            }
        }
        Ok(())
    }
}

/// A short name is looked up once more under the lock.
pub(super) fn meddled<S: Storage>(inner: &S, other: &S) {
    let [a, b, _] = KEYS;
    let store = Meddling {
        inner,
        act: Mutex::default(),
    };
    let one = Model::with(["one"]);
    let begin = |act: fn(&S)| {
        one.restore(store.inner);
        *store.act.lock().unwrap_or_else(PoisonError::into_inner) = Some(act);
    };
    for verb in VERBS {
        // It has become another key's.
        begin(|store| {
            let renamed = store.rename(&KEYS[0], &KEYS[1]);
            renamed.expect("a value is renamed");
        });
        let found = run(&store, verb, &SHARED)
            .unwrap_or_else(|e| panic!("the key was renamed before it was locked: {e}"));
        assert!(found, "{verb}");
        let gone = matches!(verb, Verb::Evict | Verb::Rename);
        assert_eq!(
            store.contains(&b).expect("it can be asked for"),
            !gone,
            "{verb}"
        );
        // It has become that of two keys.
        begin(|store| store.save_as(&KEYS[1], "two").expect("a value is saved"));
        match run(&store, verb, &SHARED) {
            Err(Error::Ambiguous { candidates, .. }) => assert_eq!(candidates, [a, b]),
            other => panic!("{verb}: the name was ambiguous before it was locked: {other:?}"),
        }
        assert_eq!(
            Model::of(store.inner),
            Model::with(["one", "two"]),
            "{verb}"
        );
        // It has become nobody's.
        begin(|store| store.evict(&KEYS[0]).expect("a value goes"));
        match run(&store, verb, &SHARED) {
            Ok(false) if verb == Verb::Contains => {}
            Err(Error::Unknown { .. }) => {}
            other => panic!("{verb}: the key was gone before it was locked: {other:?}"),
        }
        assert_eq!(Model::of(store.inner), Model::default(), "{verb}");
    }
    begin(|store| store.save_as(&KEYS[1], "two").expect("a value is saved"));
    let moved = store.transfer(&SHARED, other);
    assert!(matches!(moved, Err(Error::Ambiguous { .. })), "{moved:?}");
    assert_eq!(Model::of(store.inner), Model::with(["one", "two"]));
    assert_eq!(Model::of(other), Model::default());
}
