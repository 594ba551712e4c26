//! Files by digest, and what is written to the store for them. Here perkey is at work.

use crate::files::{equal, Fault, Left, Read, Stamp};
use perkey::storage::{Digest, Error, Intent, Operation, Scope, Storage};
use std::collections::HashMap;
use std::convert::Infallible;
use std::mem;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

/// A file whose contents are known.
pub(crate) struct Seen {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
}

/// Files with equal contents.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) files: Vec<Seen>,
    /// How often these contents were written to the store.
    pub(crate) writes: usize,
}

/// All that was found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) groups: HashMap<Digest, Group>,
    pub(crate) unreadable: Vec<Left>,
    /// Of each contents that the store does not have, one file.
    pub(crate) not_stored: Vec<Left>,
    /// How many damaged objects were written anew.
    pub(crate) repaired: usize,
    /// How often the lock of a digest was asked for: once for each file, whether it is locked alone, together with others, or with all.
    pub(crate) locks: usize,
}

/// What has been found so far. The mutex is held to look something up or to note it, never while a file is read or the store is used.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Found>);

impl Groups {
    /// Stores the contents of some files and notes the files, each beside those that it is equal to.
    ///
    /// All of it is one operation on the digests: the layer of the store lets another thread with an equal file wait until it is over, so that
    /// of equal files one is written and the others are compared with it. If the operation fails nothing is stored.
    pub(crate) fn record<S: Storage>(&self, store: &S, files: Vec<Read>) -> Result<(), Error> {
        let keys: Vec<_> = files.iter().map(|file| file.digest).collect();
        let scope = match &keys[..] {
            [key] => Scope::Key(key),
            keys => Scope::Keys(keys),
        };
        let mut operation = store.operation(scope, Intent::Write)?;
        let mut written = Vec::new();
        for file in files {
            let seen = Seen {
                path: file.path,
                stamp: file.stamp,
            };
            match file.contents {
                Some(contents) => {
                    if self.store(&mut operation, file.digest, seen, &contents)? {
                        written.push(file.digest);
                    }
                }
                None => self.compare(&mut operation, file.digest, seen)?,
            }
        }
        operation.leave()?;
        let mut found = self.found();
        found.locks += keys.len();
        for digest in written {
            found.groups.entry(digest).or_default().writes += 1;
        }
        Ok(())
    }

    /// Puts the contents into the store, unless they are there. Were they not?
    fn store<S: Storage>(
        &self,
        operation: &mut Operation<'_, S>,
        digest: Digest,
        seen: Seen,
        contents: &[u8],
    ) -> Result<bool, Error> {
        let mut written = false;
        let put = || {
            written = true;
            Ok::<_, Infallible>(contents)
        };
        match operation.get_or_insert_with(&digest, put) {
            Ok(object) if *object == *contents => {}
            Ok(_) => {
                let why = format!("the store has something else under its digest, {digest}");
                let mut found = self.found();
                found.not_stored.push(Left::new(seen.path.clone(), &why));
            }
            Err(Error::Corrupt { .. }) => {
                operation.save_as(&digest, contents)?;
                written = true;
                self.found().repaired += 1;
            }
            Err(e) => return Err(e),
        }
        self.note(digest, seen);
        Ok(written)
    }

    /// Compares a file that is too large for the store with the first one of its group. One that has changed or vanished meanwhile is
    /// unreadable; the group goes on without it.
    fn compare<S: Storage>(
        &self,
        operation: &mut Operation<'_, S>,
        digest: Digest,
        seen: Seen,
    ) -> Result<(), Error> {
        while let Some((path, stamp)) = self.first(digest) {
            let fault = match equal((&path, &stamp), (&seen.path, &seen.stamp)) {
                Ok(true) => {
                    self.note(digest, seen);
                    return Ok(());
                }
                Ok(false) => {
                    let why = format!("it differs from {}, which has its digest", path.display());
                    Left::new(seen.path, &why)
                }
                Err(Fault::Second(e)) => Left::new(seen.path, &e),
                Err(Fault::First(e)) => {
                    let mut found = self.found();
                    let group = found.groups.entry(digest).or_default();
                    group.files.retain(|file| file.path != path);
                    found.unreadable.push(Left::new(path, &e));
                    continue;
                }
            };
            self.found().unreadable.push(fault);
            return Ok(());
        }
        if !operation.contains(&digest)? {
            let why = "too large for the store, see --largest";
            let left = Left::new(seen.path.clone(), &why);
            self.found().not_stored.push(left);
        }
        self.note(digest, seen);
        Ok(())
    }

    pub(crate) fn unreadable(&self, left: impl IntoIterator<Item = Left>) {
        self.found().unreadable.extend(left);
    }

    /// Takes all out.
    pub(crate) fn take(&self) -> Found {
        mem::take(&mut *self.found())
    }

    fn first(&self, digest: Digest) -> Option<(PathBuf, Stamp)> {
        let found = self.found();
        let first = found.groups.get(&digest)?.files.first()?;
        Some((first.path.clone(), first.stamp))
    }

    fn note(&self, digest: Digest, seen: Seen) {
        let mut found = self.found();
        found.groups.entry(digest).or_default().files.push(seen);
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap()
    }
}
