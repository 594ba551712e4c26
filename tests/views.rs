//! What stands around a store: spans (`Traced`) and types (`Typed`).
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

use perkey::storage::{
    BoxError, Digest, Error, Intent, Memory, PerKey, Scope, Serializing, Storage, Traced, Typed,
    Verb,
};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down what happens: one line each.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>, Arc<AtomicU64>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("perkey")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("new {}", span.metadata().name()));
        span.record(&mut line);
        self.add(line.0);
        Id::from_u64(self.1.fetch_add(1, Relaxed) + 1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line("event".into());
        event.record(&mut line);
        self.add(line.0);
    }
    fn enter(&self, id: &Id) {
        self.add(format!("enter {}", id.into_u64()));
    }
    fn exit(&self, id: &Id) {
        self.add(format!("exit {}", id.into_u64()));
    }
}

fn logged(f: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), f);
    log.take()
}

#[test]
fn a_span_for_every_operation_outer_first() {
    let store = Traced::new("outer", PerKey::new(Traced::new("inner", Memory::new())));
    let key = Digest::of("apple");
    let lines = logged(|| {
        store.save("apple").unwrap();
    });
    assert_eq!(
        lines,
        [
            format!("new storage store=\"outer\" scope={key} intent=Write"),
            "enter 1".into(),
            format!("new storage store=\"inner\" scope={key} intent=Write"),
            "enter 2".into(),
            "event message=left".into(),
            "exit 2".into(),
            "event message=left".into(),
            "exit 1".into(),
        ]
    );
}

#[test]
fn every_scope_has_a_name() {
    let store = Traced::new("s", Memory::new());
    let keys = store.save_many(["apple", "pear"]).unwrap();
    let scope = |f: &dyn Fn()| logged(f).remove(0);
    assert_eq!(
        scope(&|| drop(store.list())),
        "new storage store=\"s\" scope=* intent=Read"
    );
    assert_eq!(
        scope(&|| drop(store.load_many(&keys))),
        "new storage store=\"s\" scope=2 keys intent=Read"
    );
}

#[test]
fn what_fails_is_told_from_what_is_left() {
    let store = Traced::new("s", Memory::new());
    let key = Digest::of("apple");
    let ends = |f: &dyn Fn()| {
        let lines = logged(f);
        let ends: Vec<_> = lines
            .into_iter()
            .filter(|l| l.starts_with("event"))
            .collect();
        ends.join("")
    };
    assert_eq!(ends(&|| drop(store.contains(&key))), "event message=left");
    assert_eq!(ends(&|| drop(store.load(&key))), "event message=failed");
    let panics = || {
        let closure = |_| -> Result<Option<&str>, BoxError> { panic!("on purpose") };
        let result = catch_unwind(AssertUnwindSafe(|| store.update(&key, closure)));
        assert!(result.is_err());
    };
    assert_eq!(ends(&panics), "event message=failed");
    let dropped = || drop(store.operation(Scope::Key(&key), Intent::Write).unwrap());
    assert_eq!(ends(&dropped), "event message=failed");
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Fruit {
    name: String,
    grams: u32,
}

fn apple() -> Fruit {
    Fruit {
        name: "apple".into(),
        grams: 150,
    }
}

#[test]
fn values_come_back_as_they_were() {
    let fruits = Typed::<_, Fruit>::new(Serializing::new(Memory::new()));
    let key = fruits.save(&apple()).unwrap();
    assert_eq!(fruits.save(&apple()).unwrap(), key, "equal values, one key");
    assert_eq!(fruits.load(&key).unwrap(), apple());
    assert_eq!(fruits.load(&key.to_string()[..5]).unwrap(), apple());
    let other = Digest::of("other");
    let made = fruits.get_or_insert_with(&other, || Ok::<_, BoxError>(apple()));
    assert_eq!(made.unwrap(), apple());
    let again = fruits.get_or_insert_with(&other, || Err::<Fruit, _>("not called"));
    assert_eq!(again.unwrap(), apple());
    fruits.update(&key, |_| Ok::<_, BoxError>(None)).unwrap();
    assert!(!fruits.store().contains(&key).unwrap());
    fruits
        .save_as(
            &key,
            &Fruit {
                grams: 1,
                ..apple()
            },
        )
        .unwrap();
    assert_eq!(fruits.clone().into_store().list().unwrap().len(), 2);
}

#[test]
fn what_is_no_value_of_the_type_is_an_error_and_stays() {
    let memory = Memory::new();
    let fruits = Typed::<_, Fruit>::new(&memory);
    let key = memory.save("no fruit").unwrap();
    match fruits.load(&key) {
        Err(Error::Encoding { verb, key: of, .. }) => {
            assert_eq!((verb, of), (Verb::Load, Some(key)));
        }
        other => panic!("{other:?}"),
    }
    let made = fruits.get_or_insert_with(&key, || Ok::<_, BoxError>(apple()));
    assert!(matches!(made, Err(Error::Encoding { .. })));
    let updated = fruits.update(&key, |_| Ok::<_, BoxError>(Some(apple())));
    assert!(matches!(updated, Err(Error::Closure { .. })));
    assert_eq!(memory.load(&key).unwrap(), "no fruit");
}

/// A map whose keys JSON cannot have.
#[test]
fn what_cannot_be_written_is_an_error() {
    type Map = std::collections::BTreeMap<Vec<u8>, u8>;
    let maps = Typed::<_, Map>::new(Memory::new());
    let map = Map::from([(vec![1], 1)]);
    let saved = maps.save(&map);
    assert!(matches!(saved, Err(Error::Encoding { .. })));
    let key = Digest::of("map");
    let made = maps.get_or_insert_with(&key, || Ok::<_, BoxError>(map.clone()));
    assert!(matches!(made, Err(Error::Closure { .. })));
    assert!(maps.store().is_empty());
}

#[test]
fn digests_are_json_strings() {
    let key = Digest::of("apple");
    let json = serde_json::to_string(&key).unwrap();
    assert_eq!(json, format!("\"{key}\""));
    assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), key);
    assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
}
