//! `examples/dedup`, its parts: how files are read and recorded, with the timing and the digests made up; which store a name means.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]
#![forbid(unsafe_code)]

use indicatif::ProgressBar;
use perkey::storage::{
    Bytes, Digest, Error, Failure, Intent, Memory, PerKey, Prefix, Scope, Serializing, Storage,
};
use perkey::Contention;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

mod common;
#[path = "common/program.rs"]
mod program;

#[allow(dead_code)]
#[path = "../examples/dedup/compare.rs"]
mod compare;
#[allow(dead_code)]
#[path = "../examples/dedup/files.rs"]
mod files;
#[allow(dead_code)]
#[path = "../examples/dedup/groups.rs"]
mod groups;
#[allow(dead_code)]
#[path = "../examples/dedup/job.rs"]
mod job;
#[allow(dead_code)]
#[path = "../examples/dedup/layers.rs"]
mod layers;
#[allow(dead_code)]
#[path = "../examples/dedup/place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../examples/dedup/stop.rs"]
mod stop;

use files::{Left, Read};
use groups::{Found, Groups};
use job::{Bars, Job};
use layers::{Kind, Watched};
use place::Place;
use program::tree;
use stop::Stop;

/// Files larger than this are not stored.
const LARGEST: u64 = 100;

fn read(path: PathBuf) -> Result<Read, Left> {
    files::read(path, LARGEST, &ProgressBar::hidden())
}

fn read_at(dir: &TempDir, name: &str) -> Read {
    read(dir.path().join(name)).unwrap_or_else(|left| panic!("{name}: {}", left.why))
}

/// The names of files.
fn names(left: &[Left]) -> Vec<&str> {
    left.iter()
        .map(|left| left.path.file_name().unwrap().to_str().unwrap())
        .collect()
}

fn sizes(found: &Found) -> Vec<usize> {
    let groups = found.groups.values().map(|group| group.files.len());
    let mut sizes: Vec<_> = groups.filter(|len| *len > 0).collect();
    sizes.sort_unstable();
    sizes
}

fn writes(found: &Found) -> usize {
    found.groups.values().map(|group| group.writes).sum()
}

/// A store that calls a closure when a value has been looked for and not found, and is about to be put.
struct OnPut<F> {
    memory: Memory,
    puts: AtomicUsize,
    call: F,
}

type Pending<'a> = <Memory as Storage>::Context<'a>;

impl<F: Fn()> Storage for OnPut<F> {
    type Context<'a>
        = Pending<'a>
    where
        F: 'a;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Pending<'_>, Failure> {
        self.memory.operation_context(scope, intent)
    }
    fn leave(&self, context: Pending<'_>) -> Result<(), Failure> {
        self.memory.leave(context)
    }
    fn get(&self, context: &mut Pending<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        self.memory.get(context, key)
    }
    fn put(&self, context: &mut Pending<'_>, key: &Digest, v: &[u8]) -> Result<(), Failure> {
        (self.call)();
        self.puts.fetch_add(1, SeqCst);
        self.memory.put(context, key, v)
    }
    fn remove(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        self.memory.remove(context, key)
    }
    fn keys(
        &self,
        context: &mut Pending<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.memory.keys(context, prefix, each)
    }
}

fn on_put<F: Fn()>(call: F) -> OnPut<F> {
    OnPut {
        memory: Memory::new(),
        puts: AtomicUsize::new(0),
        call,
    }
}

/// Two threads record two equal files.
fn record_two<S: Storage + Sync>(store: &S) -> Found {
    let dir = tree(&[("a", b"same"), ("b", b"same")]);
    let groups = Groups::default();
    thread::scope(|s| {
        for name in ["a", "b"] {
            let (groups, dir) = (&groups, &dir);
            s.spawn(move || groups.record(store, vec![read_at(dir, name)]).unwrap());
        }
    });
    groups.take()
}

/// The first one of two equal files is about to be stored; it is not, before the second one waits for it.
#[test]
fn the_lock_of_the_digest_lets_an_equal_file_wait_and_writes_it_once() {
    let contention = Arc::new(Contention::new());
    let met = || common::eventually("the other one waits", || contention.waits() > 0);
    let store = PerKey::new(on_put(met));
    store.table().set_observer(Some(contention.clone()));
    let found = record_two(&store);
    assert_eq!((writes(&found), sizes(&found)), (1, vec![2]));
    assert_eq!((found.locks, store.inner().puts.load(SeqCst)), (2, 1));
    assert_eq!(contention.waits(), 1);
}

/// So the layer it is that keeps it from being written twice; and if it did not, that would be seen.
#[test]
fn without_a_layer_equal_files_may_be_written_twice_which_is_counted() {
    let barrier = Barrier::new(2);
    let store = on_put(|| {
        barrier.wait();
    });
    let found = record_two(&store);
    assert_eq!((writes(&found), sizes(&found)), (2, vec![2]));
    assert_eq!(store.puts.load(SeqCst), 2);
}

/// The one lock does the same, and the waits for it are counted as well.
#[test]
fn the_one_lock_lets_an_equal_file_wait_and_writes_it_once() {
    let contention = Arc::new(Contention::new());
    let met = || common::eventually("the other one waits", || contention.waits() > 0);
    let store = Watched {
        inner: Serializing::new(on_put(met)),
        waits: contention.clone(),
    };
    let found = record_two(&store);
    assert_eq!((writes(&found), sizes(&found)), (1, vec![2]));
    assert_eq!(store.inner.inner().puts.load(SeqCst), 1);
    assert_eq!((contention.waits(), contention.acquired()), (1, 1));
    assert!(contention.longest() > Duration::ZERO);
}

/// Files of one operation are compared among each other as well.
#[test]
fn equal_files_of_one_batch_are_written_once() {
    let dir = tree(&[("a", b"same"), ("b", b"same"), ("c", b"else")]);
    let (store, groups) = (PerKey::new(on_put(|| ())), Groups::default());
    let files = ["a", "b", "c"].map(|name| read_at(&dir, name));
    groups.record(&store, files.into()).unwrap();
    let found = groups.take();
    assert_eq!((writes(&found), sizes(&found)), (2, vec![1, 2]));
    assert_eq!((found.locks, store.inner().puts.load(SeqCst)), (3, 2));
}

/// What fails is not stored, and not counted as written.
#[test]
fn a_batch_that_fails_writes_nothing() {
    let dir = tree(&[("a", b"123"), ("b", b"1234567")]);
    let (store, groups) = (PerKey::new(Memory::with_limit(9)), Groups::default());
    let files = ["a", "b"].map(|name| read_at(&dir, name));
    let result = groups.record(&store, files.into());
    assert!(matches!(result, Err(Error::Full { .. })));
    assert_eq!(writes(&groups.take()), 0);
    assert!(store.inner().is_empty());
}

fn job<'a>(tree: &'a TempDir, stop: &'a Stop) -> Job<'a> {
    Job {
        tree: tree.path(),
        skip: None,
        threads: 1,
        largest: LARGEST,
        batch: 1,
        stop,
    }
}

/// A store that has failed is not tried again and again.
#[test]
fn the_first_failure_of_the_store_ends_the_job() {
    let tree = tree(&[("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"4")]);
    let full = OnPut {
        memory: Memory::with_limit(0),
        ..on_put(|| ())
    };
    let stop = Stop::default();
    let done = job(&tree, &stop).run(&full, &Contention::new(), &Bars::hidden());
    assert!(matches!(done.failed, Some(Error::Full { .. })));
    assert_eq!(full.puts.load(SeqCst), 1);
    assert_eq!((writes(&done.found), done.verified.objects), (0, 0));
}

/// It works on stores of its own.
#[test]
fn a_comparison_leaves_the_store_alone() {
    let (tree, home) = (tree(&[("a", b"1")]), TempDir::new().unwrap());
    let (scratch, stop) = (home.path().join("scratch"), Stop::default());
    fs::create_dir(&scratch).unwrap();
    for place in [Place::Files, Place::Sqlite].map(|kind| kind(home.path().join("objects"))) {
        let bar = ProgressBar::hidden();
        let compared = compare::compare(&place, true, &job(&tree, &stop), &scratch, &bar);
        assert!(compared.unwrap().is_some_and(|c| c.ratio() > 0.0));
        assert!(!home.path().join("objects").exists());
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0);
    }
    let done = Kind::PerKey.run(&Place::Memory, true, &job(&tree, &stop), &Bars::hidden());
    assert_eq!(done.unwrap().verified.equal, 1);
}

/// A digest that two different files have: only one of them can be stored, and the other one is named, not overwritten.
#[test]
fn what_the_store_has_under_a_digest_is_compared_and_kept() {
    let dir = tree(&[("a", b"one"), ("b", b"two"), ("c", b"one")]);
    let (store, groups) = (PerKey::new(Memory::new()), Groups::default());
    let digest = Digest::new([0; 32]);
    for name in ["a", "b", "c"] {
        let file = Read {
            digest,
            ..read_at(&dir, name)
        };
        groups.record(&store, vec![file]).unwrap();
    }
    let found = groups.take();
    assert_eq!(names(&found.not_stored), ["b"]);
    assert_eq!(store.load(&digest).unwrap(), "one");
    assert_eq!(writes(&found), 1);
}

/// Of files that are too large to be stored, too.
#[test]
fn large_files_of_equal_digests_are_told_apart() {
    let one = [1; LARGEST as usize + 1];
    let two = [2; LARGEST as usize + 1];
    let dir = tree(&[("a", &one), ("b", &two), ("c", &one[1..]), ("d", &one)]);
    let (store, groups) = (PerKey::new(Memory::new()), Groups::default());
    let digest = Digest::new([0; 32]);
    for name in ["a", "b", "d"] {
        let file = read_at(&dir, name);
        assert!(file.contents.is_none());
        let file = Read { digest, ..file };
        groups.record(&store, vec![file]).unwrap();
    }
    assert!(read_at(&dir, "c").contents.is_some(), "just small enough");
    let found = groups.take();
    assert_eq!(names(&found.unreadable), ["b"]);
    assert!(found.unreadable[0].why.contains("differs"));
    assert_eq!(
        (names(&found.not_stored), sizes(&found)),
        (vec!["a"], vec![2])
    );
    assert!(store.inner().is_empty());
}

/// What has been recorded, is not in the store, and is gone, or another file, when it is wanted for a comparison, is unreadable; the rest is
/// still compared.
#[test]
fn a_recorded_large_file_may_vanish_or_change() {
    let same = [1; LARGEST as usize + 1];
    let dir = tree(&[("a", &same), ("b", &same), ("c", &same), ("d", &same)]);
    let (store, groups) = (PerKey::new(Memory::new()), Groups::default());
    let record = |file| groups.record(&store, vec![file]).unwrap();
    record(read_at(&dir, "a"));
    let b = read_at(&dir, "b");
    fs::remove_file(dir.path().join("a")).unwrap();
    record(b); // stands alone now
    record(read_at(&dir, "c"));
    let d = read_at(&dir, "d");
    fs::write(dir.path().join("d"), b"different").unwrap();
    record(d); // is the one at fault itself
    fs::rename(dir.path().join("d"), dir.path().join("b")).unwrap();
    fs::write(dir.path().join("d"), same).unwrap();
    record(read_at(&dir, "d")); // compared with c instead
    let found = groups.take();
    assert_eq!(names(&found.unreadable), ["a", "d", "b"]);
    assert_eq!(sizes(&found), [2]);
}

/// What is in the store is compared with the store.
#[test]
fn a_stored_file_may_vanish() {
    let dir = tree(&[("a", b"same"), ("b", b"same")]);
    let (store, groups) = (PerKey::new(Memory::new()), Groups::default());
    groups.record(&store, vec![read_at(&dir, "a")]).unwrap();
    fs::remove_file(dir.path().join("a")).unwrap();
    groups.record(&store, vec![read_at(&dir, "b")]).unwrap();
    let found = groups.take();
    assert!(found.unreadable.is_empty() && found.not_stored.is_empty());
    assert_eq!((sizes(&found), writes(&found)), (vec![2], 1));
}

#[test]
fn a_large_file_that_the_store_has_is_not_missed() {
    let large = [1; LARGEST as usize + 1];
    let dir = tree(&[("a", &large)]);
    let (store, groups) = (PerKey::new(Memory::new()), Groups::default());
    store.save(large).unwrap();
    groups.record(&store, vec![read_at(&dir, "a")]).unwrap();
    let found = groups.take();
    assert!(found.not_stored.is_empty() && found.unreadable.is_empty());
    assert_eq!((sizes(&found), writes(&found)), (vec![1], 0));
}

/// By what is there, and where nothing is, by the name.
#[test]
fn a_store_is_what_its_name_means() {
    let dir = tree(&[
        ("db.db", b"SQLite format 3\0 and so on"),
        ("db.other", b"SQLite format 3\0 and so on"),
        ("empty.db", b""),
        ("empty", b""),
        ("text.db", b"SQLite, it says"),
        ("dir.db/x", b""),
    ]);
    let at = |name: &str| dir.path().join(name);
    let kind = |name: &str| match Place::parse(&at(name)) {
        Ok(Place::Memory) => "memory".to_owned(),
        Ok(Place::Files(path)) if path == at(name) => "files".to_owned(),
        Ok(Place::Sqlite(path)) if path == at(name) => "sqlite".to_owned(),
        Ok(other) => panic!("{name} became {other:?}"),
        Err(why) => why,
    };
    assert_eq!(Place::parse(Path::new("memory")), Ok(Place::Memory));
    assert_eq!(kind("memory"), "files", "only the word alone");
    for name in ["db.db", "db.other", "empty.db", "new.db"] {
        assert_eq!(kind(name), "sqlite", "{name}");
    }
    for name in [".", "dir.db", "new", "new.txt"] {
        assert_eq!(kind(name), "files", "{name}");
    }
    for (name, why) in [
        ("text.db", "no SQLite database"),
        ("empty", "no SQLite database"),
        ("missing/new.db", "no directory"),
        ("missing/new", "no directory"),
        ("db.db/new", "ot a directory"),
    ] {
        assert!(kind(name).contains(why), "{name}: {}", kind(name));
    }
    assert_eq!(Place::parse(Path::new("")), Err("no name".to_owned()));
}

#[test]
fn a_store_and_its_tree_are_not_in_each_other() {
    let dir = tree(&[("tree/x", b""), ("tree/store/y", b""), ("tree2/x", b"")]);
    let at = |name: &str| dir.path().join(name);
    let apart = |store: &str, tree: &str| {
        let place = Place::parse(&at(store)).unwrap();
        place.apart_from(&at(tree)).is_ok()
    };
    for inside in [
        "tree",
        "tree/store",
        "tree/new",
        "tree/new.db",
        "tree2/../tree/new",
    ] {
        assert!(!apart(inside, "tree"), "{inside}");
    }
    for outside in ["new", "new.db", "tree2", "tree2/new.db", "tree/../new.db"] {
        assert!(apart(outside, "tree"), "{outside}");
    }
    assert!(!apart("tree", "tree/store"), "the tree is in the store");
    assert!(apart("tree/store", "tree2"));
    assert!(Place::Memory.apart_from(&at("tree")).is_ok());
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::mpsc;

    #[test]
    fn links_do_not_hide_where_a_store_is() {
        let dir = tree(&[("tree/sub/x", b""), ("out/x", b"")]);
        let at = |name: &str| dir.path().join(name);
        symlink(at("tree/sub"), at("out/link")).unwrap();
        symlink(at("tree"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        for (store, tree) in [("out/link", "tree"), ("out/link/new.db", "tree")] {
            let place = Place::parse(&at(store)).unwrap();
            assert!(place.apart_from(&at(tree)).is_err(), "{store}");
        }
        let place = Place::parse(&at("tree/sub")).unwrap();
        assert!(place.apart_from(&at("link")).is_err());
        assert!(Place::parse(&at("dangling")).is_err());
        assert_eq!(
            place::within(&at("link"), &at("out/link")),
            Some(at("link/sub"))
        );
        assert_eq!(place::within(&at("tree"), &at("out")), None);
    }

    #[test]
    fn a_file_that_has_become_a_fifo_or_a_link_is_not_opened() {
        let dir = tree(&[("a", b"12")]);
        let at = |name: &str| dir.path().join(name);
        symlink("a", at("link")).unwrap();
        assert!(Command::new("mkfifo")
            .arg(at("fifo"))
            .status()
            .unwrap()
            .success());
        assert!(Place::parse(&at("fifo")).is_err());
        for name in ["link", "fifo", "missing"] {
            let (send, receive) = mpsc::channel();
            let path = at(name);
            thread::spawn(move || send.send(read(path).is_err()));
            assert_eq!(
                receive.recv_timeout(Duration::from_secs(60)),
                Ok(true),
                "{name}"
            );
        }
    }
}
