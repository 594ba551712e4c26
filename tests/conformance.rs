//! The suite for storages, on every backend and layer there is here. What it has to reject is in `conformance_rejects.rs`, what it finds under
//! shuttle in `loom-tests/tests/shuttle_storage.rs`.
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

use perkey::storage::conformance::{
    self, chain, exclusion, handles, races, semantics, stack, Promise,
};
use perkey::storage::{Files, Memory, PerKey, Serializing, Sqlite, Traced};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A directory for a test, and a new path in it each time.
struct Places {
    dir: tempfile::TempDir,
    used: AtomicUsize,
}

impl Places {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            used: AtomicUsize::new(0),
        }
    }

    fn next(&self) -> PathBuf {
        let n = self.used.fetch_add(1, Relaxed);
        self.dir.path().join(n.to_string())
    }
}

/// The suite looks at what threads and operations see, not at what a crash leaves: most of it need not wait for the disk.
fn files(path: impl AsRef<Path>) -> Files {
    let opened = Files::options().sync(false).open(path);
    opened.expect("a store in an empty directory")
}

#[test]
fn memory() {
    conformance::backend(Memory::new);
}

#[test]
fn memory_with_a_limit() {
    let make = || PerKey::new(Memory::with_limit(1 << 24));
    stack(make, Promise::PerKey);
}

#[test]
fn files_in_a_directory() {
    let places = Places::new();
    conformance::backend(|| files(places.next()));
}

#[test]
fn files_that_are_synced() {
    let places = Places::new();
    let make = || PerKey::new(Files::open(places.next()).expect("an empty directory"));
    semantics(make);
    exclusion(make, Promise::PerKey);
    races(make);
}

#[test]
fn sqlite_in_a_file() {
    let places = Places::new();
    conformance::backend(|| {
        let opened = Sqlite::options().sync(false).open(places.next());
        opened.expect("a database in a new file")
    });
}

#[test]
fn sqlite_in_memory() {
    conformance::backend(|| Sqlite::in_memory().expect("a database in memory"));
}

#[test]
fn sqlite_that_is_synced() {
    let places = Places::new();
    let make = || PerKey::new(Sqlite::open(places.next()).expect("a new file"));
    semantics(make);
    exclusion(make, Promise::PerKey);
    races(make);
}

#[test]
fn layers() {
    conformance::layer(Serializing::new, Promise::Serial);
    conformance::layer(PerKey::new, Promise::PerKey);
    conformance::layer(|inner| Traced::new("traced", inner), Promise::Nothing);
}

#[test]
fn layers_around_layers() {
    conformance::layer(
        |inner| Traced::new("outer", PerKey::new(Traced::new("inner", inner))),
        Promise::PerKey,
    );
    conformance::layer(
        |inner| Serializing::new(PerKey::new(inner)),
        Promise::Serial,
    );
    chain(|inner| PerKey::new(Serializing::new(inner)));
}

/// Trap 29: two handles on one store, and two stores over one root, keep each other out.
#[test]
fn handles_share_their_locks() {
    let places = Places::new();
    let clones = || {
        let store = PerKey::new(Memory::new());
        [store.clone(), store]
    };
    handles(clones, Promise::PerKey);
    let clones = || {
        let store = Serializing::new(Memory::new());
        [store.clone(), store]
    };
    handles(clones, Promise::Serial);
    let one_root = || {
        let path = places.next();
        let one = PerKey::new(files(&path));
        let other = PerKey::with_table(files(&path), one.table().clone());
        [one, other]
    };
    handles(one_root, Promise::PerKey);
}
