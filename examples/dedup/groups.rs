//! Files by digest. Here the lock table is at work.

use crate::files::{equal, Digest, Fault, Stamp, Unreadable};
use perkey::{Contention, LockTable};
use std::collections::HashMap;
use std::mem;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// A file that was read.
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// Files with equal contents, at least one.
pub(crate) type Class = Vec<Seen>;

/// Files with equal digests: one class, unless BLAKE3 is broken.
type Group = Vec<Class>;

/// All groups, each guarded by the lock of its digest.
pub(crate) struct Groups {
    locks: LockTable<Digest>,
    taken: AtomicU64,
    contention: Arc<Contention>,
    /// The mutex is held to move a group out or in, never while a file is read.
    by_digest: Mutex<HashMap<Digest, Group>>,
}

impl Groups {
    pub(crate) fn new() -> Self {
        let contention = Arc::new(Contention::new());
        let locks = LockTable::new();
        locks.set_observer(Some(contention.clone()));
        Self {
            locks,
            taken: AtomicU64::new(0),
            contention,
            by_digest: Mutex::default(),
        }
    }

    /// Adds a file to the class it is equal to, or to a new one. Returns what turned out to be unreadable: this file, or
    /// files recorded before.
    pub(crate) fn record(&self, digest: Digest, path: PathBuf, stamp: Stamp) -> Vec<Unreadable> {
        let mut lost = Vec::new();
        // Held to the end: a thread with an equal file waits here, one with another digest does not. Without it, both could
        // find no group, and the one that is put back first would be overwritten.
        let guard = self.locks.lock(&digest);
        self.taken.fetch_add(1, Relaxed);
        let mut group = self.groups().remove(&digest).unwrap_or_default();
        add(&mut group, Seen { path, stamp }, &mut lost);
        if !group.is_empty() {
            self.groups().insert(digest, group);
        }
        drop(guard);
        lost
    }

    /// Takes all classes out.
    pub(crate) fn classes(&self) -> Vec<Class> {
        let groups = mem::take(&mut *self.groups());
        groups.into_values().flatten().collect()
    }

    /// How often a lock was taken.
    pub(crate) fn locks(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// How often a thread had to wait for one.
    pub(crate) fn contended(&self) -> u64 {
        self.contention.waits()
    }

    /// The longest time a thread had to wait.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.contention.longest()
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Digest, Group>> {
        self.by_digest.lock().unwrap()
    }
}

/// Compares the file with the first of each class. A first file that has changed or vanished meanwhile is unreadable; the
/// class goes on without it.
fn add(group: &mut Group, file: Seen, lost: &mut Vec<Unreadable>) {
    for class in group.iter_mut() {
        while let Some(first) = class.first() {
            match equal((&first.path, &first.stamp), (&file.path, &file.stamp)) {
                Ok(true) => return class.push(file),
                Ok(false) => break,
                Err(Fault::First(e)) => lost.push(Unreadable::new(class.swap_remove(0).path, &e)),
                Err(Fault::Second(e)) => return lost.push(Unreadable::new(file.path, &e)),
            }
        }
    }
    group.retain(|class| !class.is_empty());
    group.push(vec![file]);
}
