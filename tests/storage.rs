//! The trait `Storage`, sentence by sentence: what each operation does, and under which context.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use perkey::storage::{
    BoxError, Bytes, Digest, DynStorage, Error, Failure, Intent, Memory, PerKey, Prefix, Scope,
    Serializing, Storage, Verb,
};
use probe::{contents, key, text, Brittle, How, Log, Probe};
use std::cell::Cell;
use std::ops::ControlFlow;

type Closure = Result<Option<&'static str>, BoxError>;

// ---- what they do -------------------------------------------------------------------------------------------------

#[test]
fn what_is_saved_is_loaded_until_it_is_evicted() {
    on_every_stack!(|s, _memory| {
        let apple = s.save("apple").unwrap();
        assert_eq!(apple, Digest::of("apple"), "BLAKE3 unless given");
        assert_eq!(s.load(&apple).unwrap(), "apple");
        assert!(s.contains(&apple).unwrap());
        let given = key("abcd");
        s.save_as(&given, [0, 255]).unwrap();
        assert_eq!(*s.load(&given).unwrap(), [0, 255]);
        s.save_as(&given, "").unwrap();
        assert_eq!(s.load(&given).unwrap(), "", "no bytes are a value");
        s.evict(&given).unwrap();
        assert!(!s.contains(&given).unwrap());
        assert_eq!(s.list().unwrap(), [apple]);
    });
}

#[test]
fn values_go_in_as_bytes_of_any_kind() {
    let s = Memory::new();
    let text = String::from("apple");
    let keys = [
        s.save("apple").unwrap(),
        s.save(&text).unwrap(),
        s.save(text).unwrap(),
        s.save(b"apple").unwrap(),
        s.save(vec![b'a', b'p', b'p', b'l', b'e']).unwrap(),
        s.save(Bytes::from_static(b"apple")).unwrap(),
    ];
    assert!(keys.iter().all(|k| *k == keys[0]));
    // Cheap out: the same bytes, not copies of them.
    let [one, other] = [(); 2].map(|()| s.load(&keys[0]).unwrap());
    assert_eq!(one.as_ptr(), other.as_ptr());
}

#[test]
fn keys_are_listed_in_ascending_order() {
    on_every_stack!(|s, _memory| {
        let mut keys = Vec::new();
        for i in 0..100 {
            keys.push(s.save(format!("{i}")).unwrap());
        }
        keys.sort();
        assert_eq!(s.list().unwrap(), keys);
        let mut op = s.operation(Scope::Store, Intent::Read).unwrap();
        let prefix = keys[50].prefix(4).unwrap();
        assert_eq!(op.list(&prefix).unwrap(), [keys[50]]);
        assert_eq!(op.list(&Prefix::ALL).unwrap(), keys);
    });
}

#[test]
fn many_are_saved_and_loaded_in_the_order_given() {
    on_every_stack!(|s, _memory| {
        let values = ["pear", "apple", "pear", "plum"];
        let keys = s.save_many(values).unwrap();
        assert_eq!(keys, values.map(Digest::of));
        assert_eq!(s.load_many(&keys).unwrap(), values);
        assert_eq!(s.list().unwrap().len(), 3);
        let short: Vec<String> = keys.iter().map(|k| k.to_string()[..9].into()).collect();
        assert_eq!(s.load_many(short).unwrap(), values);
        assert_eq!(s.save_many::<&str>([]).unwrap(), []);
        assert!(s.load_many::<Digest>([]).unwrap().is_empty());
    });
}

#[test]
fn many_are_all_or_none() {
    // 100 bytes: the second of two values does not fit.
    let memory = Memory::with_limit(100);
    let s = PerKey::new(memory.clone());
    let saved = s.save_many(["a".repeat(60), "b".repeat(60)]);
    assert!(matches!(
        saved,
        Err(Error::Full {
            verb: Verb::Save,
            ..
        })
    ));
    assert!(memory.is_empty());
    let a = s.save("a").unwrap();
    assert!(!memory.is_empty());
    let missing = key("abcd");
    let loaded = s.load_many([a, missing]).unwrap_err();
    assert_eq!((loaded.verb(), loaded.key()), (Verb::Load, Some(missing)));
    assert!(s.table().is_empty());
}

#[test]
fn a_value_is_made_once_and_kept() {
    on_every_stack!(|s, _memory| {
        let k = key("abcd");
        let made = Cell::new(0);
        for _ in 0..3 {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, BoxError>("apple")
            };
            assert_eq!(s.get_or_insert_with(&k, make).unwrap(), "apple");
        }
        assert_eq!((made.get(), text(&s, &k).unwrap().as_str()), (1, "apple"));
    });
}

#[test]
fn update_reads_changes_and_removes() {
    on_every_stack!(|s, _memory| {
        let k = key("abcd");
        let set = |expected: Option<&'static str>, new: Option<&'static str>| {
            s.update(&k, |old| {
                assert_eq!(old.as_deref(), expected.map(str::as_bytes));
                Ok::<_, BoxError>(new)
            })
            .unwrap();
            assert_eq!(text(&s, &k).as_deref(), new);
        };
        set(None, None);
        set(None, Some("apple"));
        set(Some("apple"), Some("pear"));
        set(Some("pear"), None);
        assert!(s.list().unwrap().is_empty());
    });
}

#[test]
fn rename_moves_and_never_overwrites() {
    on_every_stack!(|s, _memory| {
        let (a, b, c) = (key("aaaa"), key("bbbb"), key("cccc"));
        s.save_as(&a, "apple").unwrap();
        s.rename("AAAA", &b).unwrap();
        assert_eq!(contents(&s), [(b, "apple".into())]);
        s.rename(&b, &b).unwrap();
        s.save_as(&c, "pear").unwrap();
        match s.rename(&b, &c) {
            Err(Error::Exists { verb, key }) => assert_eq!((verb, key), (Verb::Rename, c)),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(&s), [(b, "apple".into()), (c, "pear".into())]);
        // The same value there is as good as moved.
        s.save_as(&c, "apple").unwrap();
        s.rename(&b, &c).unwrap();
        assert_eq!(contents(&s), [(c, "apple".into())]);
        let gone = s.rename(&a, &c).unwrap_err();
        assert!(
            matches!(gone, Error::Unknown { .. }) && gone.key() == Some(a),
            "{gone}"
        );
        let gone = s.rename(&a, &a).unwrap_err();
        assert!(matches!(gone, Error::Unknown { .. }));
    });
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let s = Brittle::default();
    let apple = s.save("apple").unwrap();
    s.trap.set("put", How::Fails);
    s.save("apple").unwrap();
    s.save_as(&apple, "apple").unwrap();
    s.save_many(["apple", "apple"]).unwrap();
    assert!(s.trap.unset());
    s.trap.set("put", How::Fails);
    s.save_as(&apple, "pear").unwrap_err();
}

// ---- under which context ------------------------------------------------------------------------------------------

/// What the layers around a store are told of each operation, in the order of the issue.
#[test]
fn every_operation_is_entered_and_left_once() {
    let log = Log::default();
    let s = Probe::new("p", &log, Memory::new());
    let (a, b) = (key("aaaa"), key("bbbb"));
    let other = Memory::new();
    let told = |lines: &[&str]| {
        let all = log.take();
        let mut expected = Vec::new();
        for line in lines {
            expected.push(format!("enter p {line}"));
            expected.extend(["leave p".to_owned(), "drop p".to_owned()]);
        }
        assert_eq!(all, expected);
    };
    s.save_as(&a, "apple").unwrap();
    told(&["aaaa Write"]);
    s.load(&a).unwrap();
    told(&["aaaa Read"]);
    s.load("aaaa").unwrap();
    told(&["store Read", "aaaa Read"]); // the search has no key
    s.contains(&a).unwrap();
    told(&["aaaa Read"]);
    s.contains("ffff").unwrap();
    assert_eq!(log.take(), ["enter p store Read", "drop p"]);
    s.expand("aaaa").unwrap();
    told(&["store Read", "aaaa Read"]);
    s.shrink(&a).unwrap();
    told(&["aaaa Read"]);
    s.shrink_many([a, a]).unwrap();
    told(&["2 keys Read"]);
    s.list().unwrap();
    told(&["store Read"]);
    s.get_or_insert_with(&a, || Err::<&str, _>("not called"))
        .unwrap();
    told(&["aaaa Write"]);
    s.update(&a, |_| Closure::Ok(Some("pear"))).unwrap();
    told(&["aaaa Write"]);
    s.rename(&a, &b).unwrap();
    told(&["2 keys Write"]);
    s.rename("bbbb", &a).unwrap();
    told(&["store Read", "2 keys Write"]);
    s.load_many(["aaaa", "aaaa"]).unwrap();
    told(&["store Read", "2 keys Read"]); // one search
    s.transfer(&a, &other).unwrap();
    told(&["aaaa Write"]);
    other.transfer(&a, &s).unwrap();
    told(&["aaaa Write"]);
    s.evict(&a).unwrap();
    told(&["aaaa Write"]);
    s.save_many(["apple", "pear"]).unwrap();
    told(&["2 keys Write"]);
}

/// A backend whose contexts have numbers.
#[derive(Default)]
struct Numbered {
    last: Cell<u32>,
    used: std::cell::RefCell<Vec<u32>>,
    memory: Memory,
}

impl Storage for Numbered {
    type Context<'a> = (u32, <Memory as Storage>::Context<'a>);
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Failure> {
        self.last.set(self.last.get() + 1);
        Ok((
            self.last.get(),
            self.memory.operation_context(scope, intent)?,
        ))
    }
    fn leave(&self, (number, c): Self::Context<'_>) -> Result<(), Failure> {
        self.used.borrow_mut().push(number);
        Storage::leave(&self.memory, c)
    }
    fn get(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        self.used.borrow_mut().push(c.0);
        self.memory.get(&mut c.1, key)
    }
    fn put(&self, c: &mut Self::Context<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        self.used.borrow_mut().push(c.0);
        self.memory.put(&mut c.1, key, value)
    }
    fn remove(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        self.used.borrow_mut().push(c.0);
        self.memory.remove(&mut c.1, key)
    }
    fn keys(
        &self,
        c: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.used.borrow_mut().push(c.0);
        self.memory.keys(&mut c.1, prefix, each)
    }
}

/// A layer around it hands its context through: a transaction or a connection in it is the operation's own.
#[test]
fn all_primitives_of_an_operation_get_the_context_that_was_entered() {
    let s = PerKey::new(Numbered::default());
    let n = s.inner();
    let uses = |count: usize| {
        let used = n.used.take();
        assert_eq!(used, vec![n.last.get(); count]);
    };
    let (a, b) = (key("aaaa"), key("bbbb"));
    s.save_as(&a, "apple").unwrap();
    uses(3); // get, put, leave
    s.update(&a, |_| Closure::Ok(Some("pear"))).unwrap();
    uses(3);
    s.rename(&a, &b).unwrap();
    uses(5); // get, get, put, remove, leave
    s.shrink(&b).unwrap();
    uses(2);
    s.save_many(["a", "b", "c"]).unwrap();
    uses(7);
    s.get_or_insert_with(&a, || Ok::<_, BoxError>("plum"))
        .unwrap();
    uses(3);
    let mut op = s.operation(Scope::Key(&a), Intent::Write).unwrap();
    op.load(&a).unwrap();
    op.evict(&a).unwrap();
    op.leave().unwrap();
    uses(3);
    // An operation beside another one has a context of its own.
    s.update(&a, |_| Closure::Ok(s.load(&b).ok().map(|_| "fig")))
        .unwrap();
    let used = n.used.take();
    let outer = n.last.get() - 1;
    assert_eq!(used, [outer, outer + 1, outer + 1, outer, outer]);
}

/// What a key has already is not written again, by an operation of its own or twice by the same one.
#[test]
fn what_is_there_is_not_written_again() {
    fn check(s: &impl Storage, brittle: &Brittle) {
        let key = s.save("apple").unwrap();
        let mut operation = s.operation(Scope::Key(&key), Intent::Write).unwrap();
        operation.save_as(&key, "pear").unwrap();
        brittle.trap.set("put", How::Fails);
        operation.save_as(&key, "pear").unwrap();
        operation.leave().unwrap();
        s.save_as(&key, "pear").unwrap();
        assert!(brittle.trap.unset(), "it was written");
    }
    let b = Brittle::default();
    check(&b, &b);
    check(&PerKey::new(b.clone()), &b);
    check(&Serializing::new(b.clone()), &b);
    check(&DynStorage::new(PerKey::new(b.clone())), &b);
}
