//! What does not depend on a file: the same operations as on `Memory` have the same results.

use crate::common::Dice;
use crate::{open, raw};
use perkey::storage::{
    BoxError, Bytes, Digest, Error, Intent, Memory, Prefix, Scope, Sqlite, Storage,
};
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// Keys that have four digits in common, or six.
fn keys() -> Vec<Digest> {
    let key = |third, last| {
        let mut bytes = [0xab; 32];
        (bytes[2], bytes[31]) = (third, last);
        Digest::new(bytes)
    };
    vec![key(0, 0), key(0, 1), key(0xff, 0), key(0xff, 0xff)]
}

fn value(dice: &mut Dice) -> Vec<u8> {
    match dice.below(4) {
        0 => Vec::new(),
        1 => b"apple".into(),
        2 => b"pear".into(),
        _ => vec![7; 10_000],
    }
}

/// A program that follows from a seed, and what came of each of its steps.
struct Run<'s, S> {
    store: &'s S,
    dice: Dice,
    depth: u64,
    results: Vec<String>,
}

impl<S: Storage> Run<'_, S> {
    fn key(&mut self) -> Digest {
        let keys = keys();
        keys[self.dice.below(keys.len() as u64) as usize]
    }

    fn short(&mut self) -> String {
        let digits = [3, 4, 5, 6, 64][self.dice.below(5) as usize];
        self.key().to_string()[..digits].to_uppercase()
    }

    fn note<T: Debug>(&mut self, what: &str, result: Result<T, Error>) {
        let result = result.map_err(|e| e.to_string());
        let line = format!("{} {what} {result:?}", self.depth);
        self.results.push(line);
    }

    /// What is done inside a closure: more steps perhaps, and then it returns a value or fails or panics.
    fn closure(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        self.inside();
        match self.dice.below(6) {
            0 => Err("no".into()),
            1 => resume_unwind(Box::new("on purpose")),
            2 => Ok(None),
            _ => Ok(Some(value(&mut self.dice))),
        }
    }

    fn inside(&mut self) {
        self.depth += 1;
        if self.depth < 4 {
            for _ in 0..self.dice.below(3) {
                self.step();
            }
        }
        self.depth -= 1;
    }

    fn caught(&mut self, what: &str, f: impl FnOnce(&mut Self) -> Result<Option<Bytes>, Error>) {
        let depth = self.depth;
        match catch_unwind(AssertUnwindSafe(|| f(self))) {
            Ok(result) => self.note(what, result),
            Err(panic) => {
                self.depth = depth;
                self.results.push(format!("{panic:?} in {what}"));
                assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
            }
        }
    }

    fn step(&mut self) {
        let (store, key, other) = (self.store, self.key(), self.key());
        match self.dice.below(15) {
            0 => {
                let value = value(&mut self.dice);
                self.note("save_as", store.save_as(&key, value));
            }
            1 => {
                let value = value(&mut self.dice);
                self.note("save", store.save(value));
            }
            2 => {
                let short = self.short();
                self.note("load", store.load(&short));
            }
            3 => {
                let short = self.short();
                self.note("contains", store.contains(&short));
            }
            4 => {
                let short = self.short();
                self.note("evict", store.evict(&short));
            }
            5 => {
                let short = self.short();
                self.note("expand", store.expand(&short));
            }
            6 => self.note("shrink", store.shrink(&key)),
            7 => self.note("list", store.list()),
            8 => self.note("rename", store.rename(&key, &other)),
            9 => self.note("load_many", store.load_many([key, other])),
            10 => {
                let values = [value(&mut self.dice), value(&mut self.dice)];
                self.note("save_many", store.save_many(values));
            }
            11 | 12 => self.caught("update", |run| {
                store.update(&key, |_| run.closure()).map(|()| None)
            }),
            13 => self.caught("get_or_insert_with", |run| {
                let make = || run.closure().map(Option::unwrap_or_default);
                store.get_or_insert_with(&key, make).map(Some)
            }),
            _ => self.operation(&[key, other]),
        }
    }

    /// Several keys, with other operations in between; left, or not.
    fn operation(&mut self, keys: &[Digest]) {
        let mut operation = self
            .store
            .operation(Scope::Keys(keys), Intent::Write)
            .unwrap();
        for key in keys {
            let loaded = operation.load(key);
            self.note("operation load", loaded);
            self.inside();
            let value = value(&mut self.dice);
            let saved = operation.save_as(key, value);
            self.note("operation save_as", saved);
            self.inside();
        }
        if self.dice.below(2) == 0 {
            let evicted = operation.evict(&keys[0]);
            self.note("operation evict", evicted);
        }
        if self.dice.below(3) > 0 {
            self.note("leave", operation.leave());
        }
    }
}

fn results(store: &impl Storage, seed: u64) -> Vec<String> {
    let mut run = Run {
        store,
        dice: Dice(seed),
        depth: 0,
        results: Vec::new(),
    };
    for _ in 0..40 {
        run.step();
    }
    for key in store.list().unwrap() {
        run.note("in the end", store.load(&key).map(|value| (key, value)));
    }
    run.results
}

#[test]
fn the_same_operations_have_the_same_results_as_on_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = String::new();
    for seed in 0..60 {
        let expected = results(&Memory::new(), seed);
        let in_memory = results(&Sqlite::in_memory().unwrap(), seed);
        let in_file = results(&open(dir.path().join(format!("{seed}.db"))), seed);
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(&in_memory[i], expected, "seed {seed}, result {i}");
            assert_eq!(&in_file[i], expected, "seed {seed}, result {i}");
        }
        assert!(in_memory.len() == expected.len() && in_file.len() == expected.len());
        all += &expected.join("\n");
    }
    for kind in [
        "3 save",
        "no such key",
        "keys begin so",
        "too few",
        "the closure failed",
        "Any { .. } in update",
        "another value already",
        "leave Ok",
        "in the end",
    ] {
        assert!(all.contains(kind), "never happened: {kind}");
    }
}

#[test]
fn handles_are_on_one_store_and_stores_in_memory_are_not() {
    let store = Sqlite::in_memory().unwrap();
    let key = store.save("apple").unwrap();
    let handle = store.clone();
    assert_eq!(handle.load(&key).unwrap(), "apple");
    handle.evict(&key).unwrap();
    assert!(!store.contains(&key).unwrap());
    let other = Sqlite::in_memory().unwrap();
    store.save("pear").unwrap();
    assert!(other.list().unwrap().is_empty());
    assert_eq!(store.place(), handle.place());
    assert_ne!(store.place(), other.place());
    assert_eq!(store.transfer("", &other).unwrap_err().key(), None);
}

#[test]
fn a_value_moves_between_stores_and_not_within_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let (store, other) = (open(&path), open(dir.path().join("b.db")));
    let key = store.save("apple").unwrap();
    assert_eq!(store.transfer(&key, &open(&path)).unwrap(), key);
    assert_eq!(store.load(&key).unwrap(), "apple");
    store.transfer(&key, &other).unwrap();
    assert!(!store.contains(&key).unwrap());
    other.transfer(&key, &Memory::new()).unwrap();
    assert!(other.list().unwrap().is_empty());
}

#[test]
fn nothing_is_there_until_an_operation_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let [a, b] = [Digest::of("a"), Digest::of("b")];
    let rows = || -> i64 {
        let count = raw(&path).query_row("SELECT count(*) FROM perkey", (), |row| row.get(0));
        count.unwrap()
    };
    let mut operation = store
        .operation(Scope::Keys(&[a, b]), Intent::Write)
        .unwrap();
    operation.save_as(&a, "apple").unwrap();
    operation.save_as(&b, "pear").unwrap();
    assert_eq!(rows(), 0);
    operation.leave().unwrap();
    assert_eq!(rows(), 2);
}

fn many(store: &Sqlite) -> Vec<Digest> {
    let values = (0..1000).map(|n| n.to_string());
    let mut keys = store.save_many(values).unwrap();
    keys.sort_unstable();
    keys
}

/// The keys that begin so, until there are `enough`, with something done at each.
fn walk(
    store: &Sqlite,
    context: &mut <Sqlite as Storage>::Context<'_>,
    prefix: &Prefix,
    enough: usize,
    mut at_each: impl FnMut(usize),
) -> Vec<Digest> {
    let mut keys = Vec::new();
    let mut each = |key| {
        at_each(keys.len());
        keys.push(key);
        match keys.len() < enough {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    };
    store.keys(context, prefix, &mut each).unwrap();
    keys
}

#[test]
fn a_listing_longer_than_a_batch_has_every_key_once_in_order() {
    let store = Sqlite::in_memory().unwrap();
    let keys = many(&store);
    assert_eq!(store.list().unwrap(), keys);
    // At, before and behind the end of a batch.
    let values = (0..).map(|n| Bytes::from(format!("more {n}")));
    let mut more = values.map(|value| store.save(value).unwrap());
    let mut all = keys;
    while all.len() < 1026 {
        all.push(more.next().unwrap());
        all.sort_unstable();
        assert_eq!(store.list().unwrap(), all);
    }
    let mut outermost = Vec::from([Digest::new([0; 32]), Digest::new([0xff; 32])]);
    for key in &outermost {
        store.save_as(key, "").unwrap();
    }
    outermost.splice(1..1, all);
    assert_eq!(store.list().unwrap(), outermost);
}

#[test]
fn a_listing_has_what_the_operation_has_changed_whatever_the_batch() {
    let store = Sqlite::in_memory().unwrap();
    let mut keys = many(&store);
    let mut context = store
        .operation_context(Scope::Store, Intent::Write)
        .unwrap();
    for n in (0..keys.len()).step_by(3) {
        assert!(store.remove(&mut context, &keys[n]).unwrap());
    }
    let mut n = 0;
    keys.retain(|_| {
        n += 1;
        n % 3 != 1
    });
    for n in 0..500 {
        let key = Digest::of(format!("new {n}"));
        store.put(&mut context, &key, b"").unwrap();
        keys.push(key);
    }
    keys.sort_unstable();
    let listed = walk(&store, &mut context, &Prefix::ALL, usize::MAX, |_| {});
    assert_eq!(listed, keys);
    let prefix = keys[700].prefix(4).unwrap();
    let listed = walk(&store, &mut context, &prefix, usize::MAX, |_| {});
    keys.retain(|key| prefix.matches(key));
    assert_eq!(listed, keys);
}

#[test]
fn keys_are_not_collected_before_the_first_is_handed_out() {
    let store = Sqlite::in_memory().unwrap();
    let keys = many(&store);
    let mut context = store.operation_context(Scope::Store, Intent::Read).unwrap();
    let listed = walk(&store, &mut context, &Prefix::ALL, usize::MAX, |n| {
        if n == 0 {
            store.evict(&keys[999]).unwrap();
        }
    });
    assert_eq!(listed, keys[..999], "the last one has gone meanwhile");
    let listed = walk(&store, &mut context, &Prefix::ALL, 3, |_| {});
    assert_eq!(listed, keys[..3], "no more than are wanted");
}

/// With one connection: it would wait for itself.
#[test]
fn no_connection_is_held_while_keys_are_handed_out() {
    let dir = tempfile::tempdir().unwrap();
    for store in [
        Sqlite::in_memory().unwrap(),
        Sqlite::options()
            .sync(false)
            .connections(1)
            .open(dir.path().join("s.db"))
            .unwrap(),
    ] {
        let keys = many(&store);
        let mut context = store.operation_context(Scope::Store, Intent::Read).unwrap();
        walk(&store, &mut context, &Prefix::ALL, usize::MAX, |n| {
            assert_eq!(store.list().unwrap().len(), 1000 - n);
            store.evict(&keys[n]).unwrap();
        });
        assert!(store.list().unwrap().is_empty());
    }
}

#[test]
fn a_value_may_be_empty_or_any_bytes() {
    let store = Sqlite::in_memory().unwrap();
    for value in [&b""[..], b"\0", &[0; 5000], &[0xff; 70_000]] {
        let key = store.save(value).unwrap();
        assert_eq!(store.load(&key).unwrap(), value);
    }
}
