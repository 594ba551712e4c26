//! What a crash of the machine leaves, checked on a model of the disk.
//!
//! The real store works on real files and notes down each step. Then, for a crash after each of them: a name in a directory may be as it was when the
//! directory was synced last, or as at any moment since; a file that was not synced may hold rubbish.

use super::value;
use crate::storage::{BoxError, Digest, Files, Storage};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What was done to the disk.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A file has got its contents.
    Wrote(PathBuf),
    SyncedFile(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf),
    Made(PathBuf),
    SyncedDirectory(PathBuf),
}

thread_local! {
    /// The steps of this thread, and the contents of what it wrote.
    static STEPS: RefCell<Vec<(Step, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn note(step: Step) {
    let contents = match &step {
        Step::Wrote(path) => fs::read(path).unwrap(),
        _ => Vec::new(),
    };
    STEPS.with_borrow_mut(|steps| steps.push((step, contents)));
}

/// What can be under a name after a crash: nothing, a directory, or a file by its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Node {
    Nothing,
    Directory,
    File(usize),
}

/// What can be read at a place after a crash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Found {
    Nothing,
    Rubbish,
    Contents(Vec<u8>),
}

#[derive(Default)]
struct Disk {
    /// Under each name, oldest first: what was there when its directory was synced, and since then.
    names: BTreeMap<PathBuf, Vec<Node>>,
    /// The contents of each file, and whether they are on the disk.
    files: Vec<(Vec<u8>, bool)>,
}

impl Disk {
    fn now(&self, path: &Path) -> Node {
        let last = self.names.get(path).and_then(|nodes| nodes.last());
        last.copied().unwrap_or(Node::Nothing)
    }

    fn set(&mut self, path: &Path, node: Node) {
        let nodes = self.names.entry(path.to_owned());
        nodes.or_insert_with(|| vec![Node::Nothing]).push(node);
    }

    fn step(&mut self, step: &Step, contents: &[u8]) {
        match step {
            Step::Wrote(path) => {
                self.files.push((contents.to_vec(), false));
                self.set(path, Node::File(self.files.len() - 1));
            }
            Step::SyncedFile(path) => match self.now(path) {
                Node::File(file) => self.files[file].1 = true,
                other => panic!("{other:?} at {} synced", path.display()),
            },
            Step::Renamed(from, to) => {
                let node = self.now(from);
                self.set(from, Node::Nothing);
                self.set(to, node);
            }
            Step::Removed(path) => self.set(path, Node::Nothing),
            Step::Made(path) => self.set(path, Node::Directory),
            Step::SyncedDirectory(directory) => {
                for (path, nodes) in &mut self.names {
                    if path.parent() == Some(directory) {
                        nodes.drain(..nodes.len() - 1);
                    }
                }
            }
        }
    }

    /// What may be at a path after a crash now. What is `above` was there before all this.
    fn after_crash(&self, path: &Path, above: &Path) -> BTreeSet<Found> {
        let mut found = BTreeSet::new();
        for node in self.names.get(path).into_iter().flatten() {
            found.insert(match node {
                Node::File(file) if self.files[*file].1 => {
                    Found::Contents(self.files[*file].0.clone())
                }
                Node::File(_) => Found::Rubbish,
                Node::Nothing | Node::Directory => Found::Nothing,
            });
        }
        let mut folders = path.ancestors().skip(1).take_while(|path| *path != above);
        let lasts = |path| {
            self.names
                .get(path)
                .is_some_and(|nodes| !nodes.contains(&Node::Nothing))
        };
        if found.is_empty() || !folders.all(lasts) {
            found.insert(Found::Nothing);
        }
        found
    }
}

/// A store in directories that are not there yet, and the disk that it is on.
struct Machine {
    dir: tempfile::TempDir,
    store: Files,
    disk: Disk,
}

impl Machine {
    fn new(sync: bool) -> Self {
        STEPS.take();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap().join("some/where");
        let mut machine = Self {
            store: Files::options().sync(sync).open(path).unwrap(),
            dir,
            disk: Disk::default(),
        };
        machine.proceed(STEPS.take());
        machine
    }

    fn proceed(&mut self, steps: Vec<(Step, Vec<u8>)>) {
        for (step, contents) in steps {
            self.disk.step(&step, &contents);
        }
    }

    fn after_crash(&self, path: &Path) -> BTreeSet<Found> {
        let above = self.dir.path().canonicalize().unwrap();
        self.disk.after_crash(path, &above)
    }

    fn value_after_crash(&self, key: &Digest) -> BTreeSet<Found> {
        self.after_crash(&self.store.shared.root.file(key))
    }

    /// Runs an operation. Then, before and after each of its steps: what might a crash leave of each key? As it was, or as it is to become; after the last step
    /// only the latter. `keeps` says what of all these has to hold besides.
    fn run(
        &mut self,
        operation: impl FnOnce(&Files),
        becomes: &[(Digest, Option<&str>)],
        keeps: impl Fn(&[BTreeSet<Found>]) -> bool,
    ) {
        let left = |machine: &Self| -> Vec<BTreeSet<Found>> {
            let keys = becomes.iter().map(|(key, _)| key);
            keys.map(|key| machine.value_after_crash(key)).collect()
        };
        let before = left(self);
        operation(&self.store);
        let steps = STEPS.take();
        for done in 0..=steps.len() {
            if done > 0 {
                self.proceed(vec![steps[done - 1].clone()]);
            }
            let now = left(self);
            let told = || {
                let steps: Vec<_> = steps[..done].iter().map(|(step, _)| step).collect();
                format!("a crash after {steps:#?}")
            };
            for ((found, old), (key, new)) in now.iter().zip(&before).zip(becomes) {
                let new = contents(key, *new);
                let fits =
                    |found: &Found| *found == new || done < steps.len() && old.contains(found);
                assert!(
                    found.iter().all(fits),
                    "{} may leave {found:?} of {key}",
                    told()
                );
            }
            assert!(keeps(&now), "{} may leave {now:?}", told());
        }
    }
}

fn contents(key: &Digest, value: Option<&str>) -> Found {
    value.map_or(Found::Nothing, |value| {
        let header = value::header(key, value.as_bytes());
        Found::Contents([&header, value.as_bytes()].concat())
    })
}

/// The first two are in one folder.
fn keys() -> [Digest; 3] {
    [[1, 1], [1, 2], [3, 3]].map(|[first, rest]| {
        let mut bytes = [rest; 32];
        bytes[0] = first;
        Digest::new(bytes)
    })
}

/// S9.
#[test]
fn a_saved_value_is_new_or_old() {
    let mut machine = Machine::new(true);
    for key in keys() {
        for value in ["apple", "pear"] {
            let save = |store: &Files| store.save_as(&key, value).unwrap();
            machine.run(save, &[(key, Some(value))], |_| true);
        }
    }
}

/// S9.
#[test]
fn a_folder_that_another_handle_has_made_lasts_before_what_is_saved_in_it() {
    let mut machine = Machine::new(true);
    let [a, b, _] = keys();
    let careless = Files::options()
        .sync(false)
        .open(machine.store.path())
        .unwrap();
    careless.save_as(&a, "apple").unwrap();
    machine.proceed(STEPS.take());
    let save = |store: &Files| store.save_as(&b, "pear").unwrap();
    machine.run(save, &[(b, Some("pear"))], |_| true);
}

/// S9.
#[test]
fn what_a_killed_process_has_put_in_place_lasts_before_it_is_found_there() {
    let [a, ..] = keys();
    let save = |store: &Files| store.save_as(&a, "apple").unwrap();
    let get = |store: &Files| {
        let none = || -> Result<&str, BoxError> { panic!("it is there") };
        assert_eq!(store.get_or_insert_with(&a, none).unwrap(), "apple");
    };
    for again in [&save as &dyn Fn(&Files), &get] {
        let mut machine = Machine::new(true);
        save(&machine.store);
        let mut steps = STEPS.take();
        // Killed when all was done but this:
        assert!(matches!(steps.pop(), Some((Step::SyncedDirectory(_), _))));
        machine.proceed(steps);
        assert_eq!(machine.value_after_crash(&a).len(), 2, "there or not");
        machine.store = Files::open(machine.store.path()).unwrap();
        machine.proceed(STEPS.take());
        machine.run(again, &[(a, Some("apple"))], |_| true);
    }
}

/// S9.
#[test]
fn an_evicted_value_is_there_or_not() {
    let mut machine = Machine::new(true);
    let [a, ..] = keys();
    machine.run(
        |store| store.save_as(&a, "apple").unwrap(),
        &[(a, Some("apple"))],
        |_| true,
    );
    machine.run(|store| store.evict(&a).unwrap(), &[(a, None)], |_| true);
}

/// S9.
#[test]
fn a_renamed_value_is_at_one_place_at_least() {
    let [a, b, c] = keys();
    for to in [b, c] {
        let mut machine = Machine::new(true);
        machine.run(
            |store| store.save_as(&a, "apple").unwrap(),
            &[(a, Some("apple"))],
            |_| true,
        );
        machine.run(
            |store| store.rename(&a, &to).unwrap(),
            &[(a, None), (to, Some("apple"))],
            |left| !left.iter().all(|found| found.contains(&Found::Nothing)),
        );
    }
}

#[test]
fn of_many_saved_values_each_is_new_or_old() {
    let mut machine = Machine::new(true);
    let values = ["apple", "pear", "plum"];
    let becomes = values.map(|value| (Digest::of(value), Some(value)));
    machine.run(
        |store| drop(store.save_many(values).unwrap()),
        &becomes,
        |_| true,
    );
}

#[test]
fn a_store_that_is_not_synced_stays_a_store() {
    let mut machine = Machine::new(false);
    for value in ["apple", "pear"] {
        machine.store.save(value).unwrap();
        machine.proceed(STEPS.take());
        let found = machine.after_crash(&machine.store.path().join("perkey.format"));
        let whole =
            |found: &Found| matches!(found, Found::Contents(text) if text.ends_with(b" 1\n"));
        assert!(found.iter().all(whole), "{found:?}");
    }
    // And the model shows what was not synced.
    let apple = machine.value_after_crash(&Digest::of("apple"));
    assert_eq!(apple, BTreeSet::from([Found::Nothing, Found::Rubbish]));
}
