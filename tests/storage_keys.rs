//! How a key is asked for: all its digits or the first ones, and that these are one key with one lock.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use common::{Events, PATIENCE};
use perkey::storage::{
    BoxError, Digest, Error, Key, Memory, ParseError, PerKey, Prefix, Scope, Serializing, Storage,
    ToKey, Verb,
};
use probe::{contents, key, text, Hook};
use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{mpsc, Arc};

/// Every way to ask for a key that is alone with its first four digits.
fn aliases(key: &Digest) -> Vec<Box<dyn ToKey + Send + Sync>> {
    let digits = key.to_string();
    vec![
        Box::new(*key),
        Box::new(digits.clone()),
        Box::new(digits.to_uppercase()),
        Box::new(digits[..4].to_owned()),
        Box::new(digits[..4].to_uppercase()),
        Box::new(digits[..63].to_owned()),
        Box::new(key.prefix(7).unwrap()),
        Box::new(Prefix::from(*key)),
        Box::new(Key::Full(*key)),
        Box::new(Key::Short(key.prefix(64).unwrap())),
        Box::new(Arc::new(Key::Short(key.prefix(5).unwrap()))),
    ]
}

#[test]
fn a_key_may_be_given_away_and_is_a_key_by_reference_too() {
    let s = Box::new(PerKey::new(Memory::new())); // a boxed store is one
    let key = s.save("apple").unwrap();
    let prefix = Prefix::try_from(&key.to_string()[..5]).unwrap();
    assert_eq!(s.load(key).unwrap(), "apple");
    assert_eq!(s.load(&key).unwrap(), "apple");
    assert_eq!(s.load(key.to_string()).unwrap(), "apple");
    assert_eq!(s.load(key.to_string().as_str()).unwrap(), "apple");
    assert_eq!(s.load(Key::Full(key)).unwrap(), "apple");
    assert_eq!(s.expand(prefix).unwrap(), key);
    assert_eq!(
        Prefix::try_from("12"),
        Err(ParseError::TooShort { digits: 2 })
    );
    assert_eq!(key.as_ref(), key.as_bytes());
    assert_eq!(format!("{key:.8}"), format!("{:.8}", Prefix::from(key)));
    assert_eq!(format!("{key:>66}|"), format!("  {key}|"));
    s.evict(key).unwrap();
    assert!(s.list().unwrap().is_empty());
}

#[test]
fn a_key_is_its_digits_and_a_prefix_matches_what_begins_with_it() {
    let key = Digest::of("apple");
    assert_eq!(String::from(key), key.to_string());
    let other = Digest::of("pear");
    for digits in [4, 5, 63, 64] {
        let prefix = key.prefix(digits).unwrap();
        assert!(prefix.matches(&key) && !prefix.matches(&other), "{digits}");
    }
    // They differ in the last digit that counts, and in the first one that does not.
    let near = |at: usize| {
        let mut digits = key.to_string().into_bytes();
        digits[at] = if digits[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(digits)
            .unwrap()
            .parse::<Digest>()
            .unwrap()
    };
    let prefix = key.prefix(7).unwrap();
    assert!(!prefix.matches(&near(6)) && prefix.matches(&near(7)));
}

#[test]
fn digits_that_make_no_key_are_an_error_of_their_own() {
    fn asked(name: &str) -> Result<Key, Box<dyn std::error::Error>> {
        Ok(name.to_key()?)
    }
    let e = asked("abc!").unwrap_err();
    assert_eq!(
        e.to_string(),
        "\"abc!\": '!' at position 3 is no hexadecimal digit"
    );
    assert_eq!(
        e.source().unwrap().to_string(),
        "'!' at position 3 is no hexadecimal digit"
    );
    assert!(asked("abcd").is_ok());
}

#[test]
fn every_alias_is_the_same_key_to_every_operation() {
    on_every_stack!(|s, _memory| {
        let apple = Digest::of("apple");
        let to = key("abcd");
        s.save("pear").unwrap();
        for alias in aliases(&apple) {
            s.save("apple").unwrap();
            assert_eq!(s.load(&alias).unwrap(), "apple");
            assert!(s.contains(&alias).unwrap());
            assert_eq!(s.expand(&alias).unwrap(), apple);
            assert_eq!(s.shrink(&alias).unwrap(), apple.prefix(4).unwrap());
            let set = |_| Ok::<_, BoxError>(Some("apple"));
            s.update(&alias, set).unwrap();
            s.rename(&alias, &to).unwrap();
            s.rename(&to, &apple).unwrap();
            let there = Memory::new();
            assert_eq!(s.transfer(&alias, &there).unwrap(), apple);
            there.transfer(&alias, &s).unwrap();
            s.evict(&alias).unwrap();
            assert_eq!(s.list().unwrap(), [Digest::of("pear")]);
        }
    });
}

/// "abcd" is asked for, and what it is a prefix of is another key than its zeros.
#[test]
fn short_keys_of_what_is_not_there_are_unknown() {
    on_every_stack!(|s, _memory| {
        s.save_as(&key("abcd1"), "apple").unwrap();
        for short in ["abc0", "abcd2", "bcde", "ABCE"] {
            let e = s.load(short).unwrap_err();
            assert_eq!(e.key(), None);
            match e {
                Error::Unknown { verb, key } => {
                    assert_eq!(verb, Verb::Load);
                    assert_eq!(key.to_string(), short.to_lowercase());
                }
                other => panic!("{other:?}"),
            }
            let set = |_| -> Result<Option<&str>, BoxError> { panic!("not called") };
            assert!(matches!(s.update(short, set), Err(Error::Unknown { .. })));
            assert!(matches!(s.evict(short), Err(Error::Unknown { .. })));
            assert!(matches!(s.expand(short), Err(Error::Unknown { .. })));
            assert!(matches!(s.shrink(short), Err(Error::Unknown { .. })));
            assert!(!s.contains(short).unwrap());
        }
        let missing = key("abcd");
        assert!(matches!(s.expand(&missing), Err(Error::Unknown { .. })));
        assert!(matches!(s.shrink(&missing), Err(Error::Unknown { .. })));
        assert!(!s.contains(&missing).unwrap());
        // All digits are not short: what is not there has a name, and can be made.
        let digits = missing.to_string().to_uppercase();
        assert_eq!(s.load(&digits).unwrap_err().key(), Some(missing));
        s.update(&digits, |old| {
            assert!(old.is_none());
            Ok::<_, BoxError>(Some("made"))
        })
        .unwrap();
        assert_eq!(text(&s, &missing).unwrap(), "made");
    });
}

#[test]
fn ambiguous_keys_are_listed_with_the_digits_that_tell_them_apart() {
    on_every_stack!(|s, _memory| {
        let keys = [key("abcd123"), key("abcd129"), key("abcde")];
        for k in keys {
            s.save_as(&k, "apple").unwrap();
        }
        s.save_as(&key("abce"), "pear").unwrap();
        let e = s.load("ABCD").unwrap_err();
        assert_eq!(
            e.to_string(),
            "load abcd: 3 keys begin so, 7 digits tell them apart: abcd123, abcd129, abcde00"
        );
        match e {
            Error::Ambiguous {
                verb,
                prefix,
                candidates,
                digits,
            } => {
                assert_eq!((verb, prefix.to_string().as_str()), (Verb::Load, "abcd"));
                assert_eq!(candidates, keys);
                // They do, and one less does not.
                let found = |digits| keys.map(|k| s.expand(&k.prefix(digits).unwrap()).ok());
                assert_eq!(found(digits), keys.map(Some));
                assert_ne!(found(digits - 1), keys.map(Some));
            }
            other => panic!("{other:?}"),
        }
        let set = |_| -> Result<Option<&str>, BoxError> { panic!("not called") };
        let verb = |e: Error| {
            assert!(matches!(e, Error::Ambiguous { .. }), "{e}");
            e.verb()
        };
        assert_eq!(verb(s.contains("abcd").unwrap_err()), Verb::Contains);
        assert_eq!(verb(s.evict("abcd").unwrap_err()), Verb::Evict);
        assert_eq!(verb(s.expand("abcd").unwrap_err()), Verb::Expand);
        assert_eq!(verb(s.shrink("abcd").unwrap_err()), Verb::Shrink);
        assert_eq!(verb(s.update("abcd", set).unwrap_err()), Verb::Update);
        let to = key("ffff");
        assert_eq!(verb(s.rename("abcd", &to).unwrap_err()), Verb::Rename);
        let there = Memory::new();
        assert_eq!(
            verb(s.transfer("abcd", &there).unwrap_err()),
            Verb::Transfer
        );
        assert_eq!(verb(s.load_many(["abce", "abcd"]).unwrap_err()), Verb::Load);
        assert_eq!(s.list().unwrap().len(), 4, "nothing was done");
        assert!(there.is_empty());
    });
    // Of many, some are shown.
    let s = Memory::new();
    for i in 0..20 {
        s.save_as(&key(&format!("abcd{i:02}")), "apple").unwrap();
    }
    let said = s.load("abcd").unwrap_err().to_string();
    assert!(said.starts_with("load abcd: 20 keys begin so, 6 digits"));
    assert!(said.ends_with("abcd06, abcd07, …"), "{said}");
}

#[test]
fn a_key_is_shrunk_to_what_no_other_begins_with() {
    on_every_stack!(|s, _memory| {
        let keys = [key("abcd123"), key("abcd129"), key("abcde"), key("ffff")];
        for k in keys {
            s.save_as(&k, "apple").unwrap();
        }
        let short = s.shrink_many(keys).unwrap();
        let digits = short.iter().map(Prefix::to_string).collect::<Vec<_>>();
        assert_eq!(digits, ["abcd123", "abcd129", "abcde", "ffff"]);
        for (k, short) in keys.iter().zip(&short) {
            assert_eq!(s.expand(short).unwrap(), *k);
            assert_eq!(s.shrink(short).unwrap(), *short);
        }
        // Nearly the same: all digits but one, or all.
        let (one, other) = (key(&"a".repeat(63)), key(&"a".repeat(64)));
        s.save_as(&one, "apple").unwrap();
        s.save_as(&other, "apple").unwrap();
        assert_eq!(s.shrink(&one).unwrap().digits(), 64);
        assert_eq!(s.shrink(&other).unwrap(), Prefix::from(other));
        assert!(matches!(
            s.load("aaaa"),
            Err(Error::Ambiguous { digits: 64, .. })
        ));
    });
}

#[test]
fn too_short_and_malformed_are_errors_of_their_own() {
    on_every_stack!(|s, _memory| {
        let key = s.save("apple").unwrap();
        for (asked, digits) in [("", 0), ("a", 1), ("abc", 3)] {
            match s.load(asked).unwrap_err() {
                Error::TooShort {
                    verb,
                    key,
                    digits: n,
                } => {
                    assert_eq!((verb, key.as_str(), n), (Verb::Load, asked, digits));
                }
                other => panic!("{other:?}"),
            }
        }
        for (asked, why) in [
            ("pear", ParseError::NotADigit { found: 'p', at: 0 }),
            ("abcdé", ParseError::NotADigit { found: 'é', at: 4 }),
            ("0xabcd", ParseError::NotADigit { found: 'x', at: 1 }),
            (&"a".repeat(65), ParseError::TooLong { digits: 65 }),
        ] {
            match s.evict(asked).unwrap_err() {
                Error::Malformed { verb, key, source } => {
                    assert_eq!((verb, key.as_str(), source), (Verb::Evict, asked, why));
                }
                other => panic!("{other:?}"),
            }
        }
        let said = s.load("xy").unwrap_err().to_string();
        assert_eq!(
            said,
            "load \"xy\": 'x' at position 0 is no hexadecimal digit"
        );
        let said = s.expand("ab").unwrap_err().to_string();
        assert_eq!(
            said,
            "expand \"ab\": 2 digits are too few, at least 4 are needed"
        );
        // No digits at all are no key, even where there is only one.
        let all = s.evict(&Prefix::ALL);
        assert!(matches!(all, Err(Error::TooShort { digits: 0, .. })));
        let all = s.load(&Key::Short(Prefix::ALL));
        assert!(matches!(all, Err(Error::TooShort { digits: 0, .. })));
        // A bad one among many is found before anything is done.
        assert!(matches!(
            s.load_many([key.to_string(), "abc".into()]),
            Err(Error::TooShort { .. })
        ));
        assert_eq!(s.list().unwrap(), [key]);
    });
}

// ---- checked again under the lock -----------------------------------------------------------------------------------

/// A store in which `act` is called whenever an operation on a key begins: after the search, before the lock.
fn between<'a>(
    memory: &Memory,
    act: impl Fn(u32) + 'a,
) -> Hook<PerKey<Memory>, impl Fn(Scope<'_>) + 'a> {
    let (inside, rounds) = (Cell::new(false), Cell::new(0));
    Hook {
        act: move |scope: Scope<'_>| {
            if scope != Scope::Store && !inside.replace(true) {
                rounds.set(rounds.get() + 1);
                act(rounds.get());
                inside.set(false);
            }
        },
        inner: PerKey::new(memory.clone()),
    }
}

/// S7.
#[test]
fn a_short_key_that_becomes_ambiguous_before_the_lock_is_an_error() {
    let memory = Memory::new();
    let (one, other) = (key("abcd1"), key("abcd2"));
    memory.save_as(&one, "apple").unwrap();
    let s = between(&memory, |_| memory.save_as(&other, "pear").unwrap());
    match s.evict("abcd").unwrap_err() {
        Error::Ambiguous { candidates, .. } => assert_eq!(candidates, [one, other]),
        e => panic!("{e:?}"),
    }
    assert_eq!(memory.len(), 2, "nothing was evicted");
    assert!(s.inner.table().is_empty());
}

#[test]
fn a_short_key_that_becomes_another_before_the_lock_is_that_one() {
    let (one, other) = (key("abcd1"), key("abcd2"));
    for round in ["load", "evict", "rename", "transfer", "update", "load_many"] {
        let memory = Memory::new();
        memory.save_as(&one, "apple").unwrap();
        let swap = |rounds| {
            if rounds == 1 {
                memory.evict(&one).unwrap();
                memory.save_as(&other, "pear").unwrap();
            }
        };
        let s = between(&memory, swap);
        let there = Memory::new();
        match round {
            "load" => assert_eq!(s.load("abcd").unwrap(), "pear"),
            "load_many" => assert_eq!(s.load_many(["abcd"]).unwrap(), ["pear"]),
            "evict" => s.evict("abcd").unwrap(),
            "rename" => s.rename("abcd", &key("ffff")).unwrap(),
            "transfer" => assert_eq!(s.transfer("abcd", &there).unwrap(), other),
            _ => s
                .update("abcd", |old| {
                    assert_eq!(old.unwrap(), "pear");
                    Ok::<Option<&str>, BoxError>(None)
                })
                .unwrap(),
        }
        let left = text(&memory, &other);
        assert_eq!(left.is_some(), round.starts_with("load"), "{round}");
        assert!(s.inner.table().is_empty());
    }
}

#[test]
fn a_short_key_that_is_gone_before_the_lock_is_unknown() {
    let memory = Memory::new();
    let one = key("abcd1");
    memory.save_as(&one, "apple").unwrap();
    let s = between(&memory, |_| drop(memory.evict(&one)));
    assert!(!s.contains("abcd").unwrap());
    memory.save_as(&one, "apple").unwrap();
    let e = s.load("abcd").unwrap_err();
    assert!(matches!(e, Error::Unknown { key, .. } if key.to_string() == "abcd"));
}

/// As long as somebody changes what it stands for, it is looked up again; and no longer.
#[test]
fn a_short_key_that_changes_and_changes_is_followed() {
    let memory = Memory::new();
    let nth = |n: u32| key(&format!("abcd{n:04}"));
    memory.save_as(&nth(0), "0").unwrap();
    let entered = RefCell::new(0);
    let s = between(&memory, |round| {
        *entered.borrow_mut() = round;
        if round <= 50 {
            let value = memory.load(&nth(round - 1)).unwrap();
            assert_eq!(value, (round - 1).to_string());
            memory.evict(&nth(round - 1)).unwrap();
            memory.save_as(&nth(round), round.to_string()).unwrap();
        }
    });
    s.evict("abcd").unwrap();
    assert_eq!((*entered.borrow(), memory.len()), (51, 0));
}

// ---- traps ----------------------------------------------------------------------------------------------------------

/// S7. Trap 28. The ancestor locked the digits it was given: an `evict` by prefix ran while another thread was inside an operation on the full
/// key, and the other way round. For every pair of aliases: who comes second waits for the key of the first.
#[test]
fn trap_28_aliases_of_one_key_lock_the_same_thing() {
    let apple = Digest::of("apple");
    for first in aliases(&apple) {
        for second in aliases(&apple) {
            let s = PerKey::new(Memory::new());
            s.save("apple").unwrap();
            s.save("pear").unwrap();
            let events = Arc::new(Events::default());
            s.table().set_observer(Some(events.clone()));
            let (inside, is_inside) = mpsc::channel();
            let (go, gone) = mpsc::channel::<()>();
            let evicted = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let (s, evicted, first, second) = (&s, &evicted, &first, &second);
                scope.spawn(move || {
                    let change = |old: Option<perkey::storage::Bytes>| {
                        assert_eq!(old.unwrap(), "apple");
                        inside.send(()).unwrap();
                        gone.recv_timeout(PATIENCE).unwrap();
                        assert!(!evicted.load(SeqCst), "evicted under the lock");
                        Ok::<_, BoxError>(Some("changed"))
                    };
                    s.update(first, change).unwrap();
                });
                is_inside.recv().unwrap();
                scope.spawn(move || {
                    s.evict(second).unwrap();
                    evicted.store(true, SeqCst);
                });
                common::eventually("the second one waits or is through", || {
                    events.began() == 1 || evicted.load(SeqCst)
                });
                go.send(()).unwrap();
            });
            assert_eq!(events.all().len(), 2, "one wait, which ended");
            assert_eq!(contents(&s), [(Digest::of("pear"), "pear".into())]);
        }
    }
}

/// S7. The same under one lock for all: nothing is between the search and the change of an `evict` by prefix but the check.
#[test]
fn trap_28_under_serializing_too() {
    let memory = Memory::new();
    let s = Serializing::new(memory.clone());
    let (one, other) = (key("abcd1"), key("abcd2"));
    s.save_as(&one, "apple").unwrap();
    // Between the two, while the lock is free, another thread comes.
    let rounds = Cell::new(0);
    let hooked = Hook {
        act: |scope: Scope<'_>| {
            rounds.set(rounds.get() + 1);
            if scope != Scope::Store && rounds.get() == 2 {
                common::elsewhere(|| s.save_as(&other, "pear").unwrap());
            }
        },
        inner: &s,
    };
    let e = hooked.evict("abcd").unwrap_err();
    assert!(matches!(e, Error::Ambiguous { .. }));
    assert_eq!(memory.len(), 2);
}
