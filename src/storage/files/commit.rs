//! [`commit`]: what an operation has changed is made to last.
//!
//! New values first, removals last, and the directories synced in between: a value that is moved is at one place at least at any moment, also for
//! a machine that crashes. Several changes are not one step for the file system, but an error between them takes back those before it.

use super::disk::{remove, sync_directory, Staged};
use super::root::Root;
use crate::mutant::mutant;
use crate::storage::journal::Changes;
use crate::storage::{Digest, Failure};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All of the changes; of several, none if one fails.
pub(super) fn commit(root: &Root, changes: Changes<Arc<Staged>>) -> Result<(), Failure> {
    let mut commit = Commit {
        root,
        several: changes.len() > 1,
        undo: Vec::new(),
    };
    let done = commit.apply(changes);
    match done {
        Ok(()) => commit.undo.clear(),
        Err(_) => commit.take_back(),
    }
    done
}

struct Commit<'a> {
    root: &'a Root,
    several: bool,
    /// What was in the places that were changed.
    undo: Vec<(Digest, Option<Staged>)>,
}

impl Commit<'_> {
    fn apply(&mut self, changes: Changes<Arc<Staged>>) -> Result<(), Failure> {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for (key, value) in changes {
            match value {
                Some(staged) => new.push((key, staged)),
                None => gone.push(key),
            }
        }
        let removals_first = mutant("files_removed_first");
        if removals_first {
            self.remove(&gone)?;
        }
        let places: Vec<Digest> = new.iter().map(|(key, _)| *key).collect();
        for (key, staged) in new {
            let old = self.keep(&key)?;
            let staged = Arc::into_inner(staged).expect("the page had the only one");
            staged.persist(&self.root.file(&key))?;
            self.undo.push((key, old));
        }
        self.sync(&places)?;
        if removals_first {
            return Ok(());
        }
        self.remove(&gone)
    }

    fn remove(&mut self, keys: &[Digest]) -> Result<(), Failure> {
        for key in keys {
            let old = self.keep(key)?;
            remove(&self.root.file(key))?;
            self.undo.push((*key, old));
        }
        self.sync(keys)
    }

    /// Keeps what is in a place, if it may have to come back. A single change needs no keeping: it fails and changes nothing, or it is done.
    fn keep(&self, key: &Digest) -> Result<Option<Staged>, Failure> {
        if self.several {
            Staged::kept(self.root, key)
        } else {
            Ok(None)
        }
    }

    fn sync(&self, keys: &[Digest]) -> Result<(), Failure> {
        if !self.root.syncs() || mutant("places_not_synced") {
            return Ok(());
        }
        let folders: BTreeSet<_> = keys.iter().map(|key| self.root.folder(key)).collect();
        folders.iter().try_for_each(|folder| sync_directory(folder))
    }

    /// As well as it can be done: the error that led here is the one to report.
    fn take_back(&mut self) {
        if !self.several || mutant("changes_not_taken_back") {
            return;
        }
        for (key, old) in self.undo.drain(..).rev() {
            let place = self.root.file(&key);
            let _ = match old {
                Some(old) => old.persist(&place),
                None => remove(&place),
            };
        }
    }
}
