//! What one execution works on, and what is noted of it: who holds what, who uses what, which keys are alive.
//!
//! The notes are behind mutexes of std: all tasks run on one thread, and a note is no scheduling point.

use shuttle::scheduler::TaskId;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A scheduling point without any other effect.
pub(super) fn point() {
    shuttle::sync::atomic::AtomicBool::new(false).load(shuttle::sync::atomic::Ordering::SeqCst);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of each key that was ever made for the table: which one, and is it alive?
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Vec<(usize, bool)>>);

impl Registry {
    /// How many of them are alive, of one key.
    pub(super) fn alive(&self, id: usize) -> usize {
        let all = lock(&self.0);
        all.iter().filter(|key| **key == (id, true)).count()
    }
}

/// A key whose hash is chosen, and whose code takes time: there are scheduling points in each of its functions.
pub(super) struct Key {
    pub(super) id: usize,
    hash: u64,
    /// Its place in the registry, unless it only asks.
    serial: Option<usize>,
    registry: Arc<Registry>,
}

impl Key {
    /// One to ask with.
    pub(super) fn asking(registry: &Arc<Registry>, id: usize, hash: u64) -> Self {
        Self {
            id,
            hash,
            serial: None,
            registry: registry.clone(),
        }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        point();
        let mut all = lock(&self.registry.0);
        all.push((self.id, true));
        Self {
            id: self.id,
            hash: self.hash,
            serial: Some(all.len() - 1),
            registry: self.registry.clone(),
        }
    }

    fn clone_from(&mut self, source: &Self) {
        point();
        self.hash = source.hash;
        point();
        self.id = source.id;
        if let Some(serial) = self.serial {
            lock(&self.registry.0)[serial].0 = self.id;
        }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if let Some(serial) = self.serial {
            let was = std::mem::replace(&mut lock(&self.registry.0)[serial].1, false);
            assert!(was || std::thread::panicking(), "a key is dropped twice");
            point();
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        point();
        let same = self.id == other.id;
        point();
        same
    }
}
impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The hash is what the key says.
#[derive(Default)]
pub(super) struct Said(u64);

impl Hasher for Said {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys write one u64")
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

pub(super) type Table = perkey::LockTable<Key, BuildHasherDefault<Said>>;

/// What is noted of a key.
#[derive(Debug, Default)]
struct Note {
    holder: Option<TaskId>,
    depth: usize,
    /// What the lock is there for: nothing atomic.
    value: u64,
    /// What was found in it when the key was taken.
    found: u64,
    taken: u64,
    /// Guards and handles, and operations that may have become users by now: at least as many as there are users.
    users: usize,
    /// How often there was surely none.
    deaths: usize,
}

/// The notes of all keys.
pub(super) struct Notes(Vec<Mutex<Note>>);

impl Notes {
    pub(super) fn new(keys: usize) -> Self {
        Self((0..keys).map(|_| Mutex::default()).collect())
    }

    /// An operation begins that may make the calling task a user of the key.
    pub(super) fn comes(&self, key: usize) {
        lock(&self.0[key]).users += 1;
    }

    /// It has not; or the guard or handle is gone.
    pub(super) fn goes(&self, key: usize) {
        let mut note = lock(&self.0[key]);
        note.users -= 1;
        note.deaths += usize::from(note.users == 0);
    }

    /// How many lives of the key are surely over.
    pub(super) fn deaths(&self, key: usize) -> usize {
        lock(&self.0[key]).deaths
    }

    /// I1: the calling task has the key, and nobody else.
    pub(super) fn taken(&self, key: usize, depth: usize) {
        let me = shuttle::current::me();
        let mut note = lock(&self.0[key]);
        assert!(
            note.holder.is_none_or(|h| h == me),
            "two holders of key {key}"
        );
        note.holder = Some(me);
        note.depth += 1;
        assert_eq!(depth, note.depth, "the depth of key {key}");
        note.taken += u64::from(depth == 1);
        if depth == 1 {
            note.found = note.value;
        }
        drop(note);
        point();
    }

    /// The calling task is about to give up a guard of the key.
    pub(super) fn given_back(&self, key: usize) {
        point();
        let mut note = lock(&self.0[key]);
        assert_eq!(note.holder, Some(shuttle::current::me()), "key {key}");
        note.depth -= 1;
        if note.depth == 0 {
            note.holder = None;
            note.value = note.found + 1;
        }
    }

    /// At the end: nobody holds or uses anything, and nothing was lost.
    pub(super) fn verify(&self) {
        for (key, note) in self.0.iter().enumerate() {
            let note = lock(note);
            assert_eq!(
                (note.holder, note.depth, note.users),
                (None, 0, 0),
                "key {key}"
            );
            assert_eq!(note.value, note.taken, "a change of key {key} was lost");
        }
    }
}
