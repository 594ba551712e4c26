//! What somebody else, whom no lock keeps out, changes while an operation is under way: noticed when it is left.

use crate::{count, counted, open};
use perkey::storage::{BoxError, Digest, Error, Intent, PerKey, Scope, Sqlite, Storage};

/// Two stores on one file, which know nothing of each other.
struct Two {
    mine: PerKey<Sqlite>,
    other: PerKey<Sqlite>,
    _dir: tempfile::TempDir,
}

fn two() -> Two {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let [mine, other] = [0, 1].map(|_| PerKey::new(open(&path)));
    Two {
        mine,
        other,
        _dir: dir,
    }
}

#[track_caller]
fn is_busy<T: std::fmt::Debug>(result: Result<T, Error>, key: &Digest) {
    match result {
        Err(e @ Error::Busy { .. }) => {
            let text = e.to_string();
            assert!(text.contains(&format!("{key} was changed")), "{text}");
            assert!(text.contains("s.db"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_update_of_what_was_changed_meanwhile_is_busy_and_can_be_repeated() {
    let Two { mine, other, _dir } = two();
    let a = Digest::of("a");
    // Missing and then there, there and then another one, there and then missing.
    let changes: [&dyn Fn(); 3] = [
        &|| count(&other, &a).unwrap(),
        &|| count(&other, &a).unwrap(),
        &|| other.evict(&a).unwrap(),
    ];
    for change in changes {
        let result = mine.update(&a, |_| {
            change();
            Ok::<_, BoxError>(Some("lost"))
        });
        is_busy(result, &a);
        assert!(mine.load(&a).map_or(true, |value| value != "lost"));
    }
    count(&mine, &a).unwrap();
    assert_eq!(counted(&other, &a), 1);
}

/// The values are equal, but each of the two has counted.
#[test]
fn equal_values_under_a_given_key_are_two_changes() {
    let Two { mine, other, _dir } = two();
    let a = Digest::of("a");
    let result = mine.update(&a, |_| {
        count(&other, &a).unwrap();
        Ok::<_, BoxError>(Some("1"))
    });
    is_busy(result, &a);
}

#[test]
fn a_value_saved_twice_under_its_own_digest_is_one() {
    let Two { mine, other, _dir } = two();
    let keys = [Digest::of("apple"), Digest::of("pear")];
    let scope = Scope::Keys(&keys);
    let mut operation = mine.operation(scope, Intent::Write).unwrap();
    operation.save_as(&keys[0], "apple").unwrap();
    operation.save_as(&keys[1], "pear").unwrap();
    other.save("apple").unwrap();
    operation.leave().unwrap();
    assert_eq!(other.load_many(keys).unwrap(), ["apple", "pear"]);
    // Another value is another matter.
    let mut operation = mine.operation(scope, Intent::Write).unwrap();
    operation.evict(&keys[0]).unwrap();
    other.save_as(&keys[0], "a peach").unwrap();
    is_busy(operation.leave(), &keys[0]);
}

#[test]
fn none_of_several_keys_is_changed_if_one_was() {
    let Two { mine, other, _dir } = two();
    let keys @ [a, b, c] = ["a", "b", "c"].map(Digest::of);
    for changed in keys {
        for key in &keys {
            mine.save_as(key, "old").unwrap();
        }
        let mut operation = mine.operation(Scope::Keys(&keys), Intent::Write).unwrap();
        operation.save_as(&a, "new").unwrap();
        operation.evict(&b).unwrap();
        operation.save_as(&c, "new").unwrap();
        other.save_as(&changed, "another").unwrap();
        is_busy(operation.leave(), &changed);
        for key in keys {
            let expected = if key == changed { "another" } else { "old" };
            assert_eq!(mine.load(&key).unwrap(), expected);
        }
    }
}

#[test]
fn the_place_that_a_value_was_moved_to_is_looked_at_too() {
    let Two { mine, other, _dir } = two();
    let [a, b] = ["a", "b"].map(Digest::of);
    mine.save_as(&a, "apple").unwrap();
    let scope = Scope::Keys(&[a, b]);
    let mut operation = mine.operation(scope, Intent::Write).unwrap();
    operation.rename(&a, &b).unwrap();
    other.save_as(&b, "pear").unwrap();
    is_busy(operation.leave(), &b);
    assert_eq!(mine.load_many([a, b]).unwrap(), ["apple", "pear"]);
}

#[test]
fn what_was_only_read_or_only_written_may_change() {
    let Two { mine, other, _dir } = two();
    let [a, b] = ["a", "b"].map(Digest::of);
    mine.save_as(&a, "1").unwrap();
    let mut operation = mine.operation(Scope::Keys(&[a, b]), Intent::Write).unwrap();
    operation.load(&a).unwrap();
    operation.save_as(&b, "pear").unwrap();
    other.save_as(&a, "2").unwrap();
    assert_eq!(operation.load(&a).unwrap(), "2");
    operation.leave().unwrap();
    let store = mine.inner();
    let mut context = store
        .operation_context(Scope::Key(&a), Intent::Write)
        .unwrap();
    store.put(&mut context, &a, b"3").unwrap();
    other.save_as(&a, "4").unwrap();
    store.leave(context).unwrap();
    assert_eq!(other.load_many([a, b]).unwrap(), ["3", "pear"]);
}

#[test]
fn a_value_that_is_back_again_was_changed_if_that_was_seen() {
    let Two { mine, other, _dir } = two();
    let a = Digest::of("a");
    for seen in [false, true] {
        mine.save_as(&a, "1").unwrap();
        let mut operation = mine.operation(Scope::Key(&a), Intent::Write).unwrap();
        assert_eq!(operation.load(&a).unwrap(), "1");
        other.save_as(&a, "2").unwrap();
        if seen {
            assert_eq!(operation.load(&a).unwrap(), "2");
        }
        other.save_as(&a, "1").unwrap();
        operation.save_as(&a, "3").unwrap();
        match seen {
            false => operation.leave().unwrap(),
            true => is_busy(operation.leave(), &a),
        }
    }
}

#[test]
fn what_an_inner_operation_has_seen_counts_for_the_one_that_it_is_part_of() {
    let Two { mine, other, _dir } = two();
    let a = Digest::of("a");
    mine.save_as(&a, "1").unwrap();
    let mut operation = mine.operation(Scope::Key(&a), Intent::Write).unwrap();
    assert_eq!(mine.load(&a).unwrap(), "1");
    other.save_as(&a, "2").unwrap();
    operation.save_as(&a, "3").unwrap();
    is_busy(operation.leave(), &a);
    // One on other keys is not part of it, and done with when it is left.
    let b = Digest::of("b");
    let operation = mine.operation(Scope::Key(&b), Intent::Write).unwrap();
    assert_eq!(mine.load(&a).unwrap(), "2");
    other.save_as(&a, "4").unwrap();
    mine.save_as(&a, "5").unwrap();
    operation.leave().unwrap();
}

#[test]
fn what_the_same_thread_did_is_no_conflict() {
    let Two { mine, other, _dir } = two();
    let keys @ [a, b] = ["a", "b"].map(Digest::of);
    mine.save_as(&a, "1").unwrap();
    let store = mine.inner(); // an order of locks is not what this is about
    let update = |between: &dyn Fn()| {
        store.update(&a, |_| {
            // Has a key more, so it is an operation of its own.
            let mut inner = store.operation(Scope::Keys(&keys), Intent::Write).unwrap();
            inner.save_as(&a, "2").unwrap();
            inner.save_as(&b, "2").unwrap();
            inner.leave().unwrap();
            between();
            Ok::<_, BoxError>(Some("3"))
        })
    };
    update(&|| assert_eq!(other.load(&a).unwrap(), "2")).unwrap();
    assert_eq!(other.load_many(keys).unwrap(), ["3", "2"]);
    // Unless somebody else comes after that.
    is_busy(update(&|| count(&other, &a).unwrap()), &a);
}
