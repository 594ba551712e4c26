//! [`Files`]: a store in a directory.

mod commit;
#[cfg(test)]
mod crash;
mod disk;
mod open;
mod root;
mod value;

use crate::mutant::mutant;
use crate::storage::journal::{Journal, Page};
use crate::storage::{Bytes, Digest, Failure, Intent, Prefix, Scope, Storage};
use disk::Staged;
use root::Root;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// A store in a directory, a file for each value. Clones are handles on the same one.
///
/// ```
/// use perkey::storage::{Files, PerKey, Storage};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("fruit");
/// let store = PerKey::new(Files::open(&path).unwrap()); // makes the directory, if there is none
/// let key = store.save("apple").unwrap();
/// drop(store);
/// assert_eq!(Files::open(&path).unwrap().load(&key).unwrap(), "apple");
/// ```
///
/// # On the disk
/// ```text
/// perkey.format     says that this is a store, and in which format; locked while it is open
/// tmp/              values that are being written
/// 3f/3fa9…64 digits a value, behind 80 bytes of header: format, key, length, BLAKE3 of these and the value
/// ```
/// Anything else in there is ignored and left alone.
///
/// # What a crash leaves
/// A value is written to a temporary file, synced, renamed to its place, and the directory is synced; only then does the operation return. Killed
/// at any moment, the process leaves the old value or the new one, never half of one, and loses none that an operation has returned for. The
/// same holds for a crash of the machine, unless [`FilesOptions::sync`] was turned off. (Should the disk fail at the last sync, the operation fails, though what
/// it has changed may be seen.)
///
/// An operation on several keys puts all new values in their places before it removes a key. A crash in between leaves some of its keys new and
/// the others as they were: `rename` may leave the value under both keys, never under none. An *error* in between takes back what was done.
///
/// Temporary files of a killed process are removed by the next [`open`](Self::open) that finds the store open nowhere else.
///
/// # What is corrupt
/// [`load`](Storage::load) and whatever else reads a value find out if it was cut off, extended, changed, or belongs to another key, and fail with
/// [`Error::Corrupt`](crate::storage::Error::Corrupt), which names the file and what is wrong. [`save_as`](Storage::save_as) writes over it,
/// and `evict` removes it. `contains` and `list` look at names only.
///
/// # Threads and processes
/// Sound without any layer, in any number of threads, handles and processes: each value is there at once or not at all. But the locks of layers
/// reach no further than the process (and no further than their table, see [`PerKey::with_table`](crate::storage::PerKey::with_table)): two
/// processes that `update` a key at the same time may lose one of the changes.
///
/// Nothing is held open or locked within the store between two operations, or while a closure runs. What blocks is the disk.
#[derive(Clone)]
pub struct Files {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal<Arc<Staged>>, // dropped before the lock is let go of
    root: Root,
}

/// How a store in a directory is opened; see [`Files::options`].
#[derive(Clone, Debug)]
pub struct FilesOptions {
    sync: bool,
}

/// What an operation has changed so far.
pub struct Pending<'a> {
    page: Page<'a, Arc<Staged>>,
    intent: Intent,
}

impl Files {
    /// Opens the store in a directory. If the directory is not there it is made, with those above it; an empty one becomes a store.
    ///
    /// Waits, if another process or thread is opening the same store just now.
    ///
    /// ```
    /// use perkey::storage::Files;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Files::open(dir.path().join("fruit")).unwrap();
    /// std::fs::write(dir.path().join("pear"), "is no store").unwrap();
    /// assert!(Files::open(dir.path()).unwrap_err().to_string().contains("not a store"));
    /// ```
    ///
    /// # Errors
    /// If the directory is neither a store nor empty, or a store of a later format; if it is a file; if it or its parent cannot be read or
    /// written, or has no locks for files. Nothing was changed then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Failure> {
        Self::options().open(path)
    }

    /// The ways to open one.
    ///
    /// ```
    /// use perkey::storage::Files;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = Files::options().sync(false).open(dir.path()).unwrap();
    /// ```
    pub fn options() -> FilesOptions {
        FilesOptions { sync: true }
    }

    /// The directory: absolute, without symbolic links.
    ///
    /// ```
    /// use perkey::storage::Files;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Files::open(dir.path()).unwrap();
    /// assert_eq!(store.path(), dir.path().canonicalize().unwrap());
    /// ```
    pub fn path(&self) -> &Path {
        self.shared.root.path()
    }
}

impl FilesOptions {
    /// Whether an operation waits until what it has changed is on the disk. It does unless told otherwise.
    ///
    /// Without, writing is many times faster, and a *kill of the process* still loses nothing. But a *crash of the machine*
    /// may lose the values of the last half minute or so, or leave them corrupt, which is noticed when they are read. Fit for
    /// what can be made again. A value that one handle has written so does not last any longer for being saved again by another.
    ///
    /// ```
    /// use perkey::storage::{Files, Storage};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let cache = Files::options().sync(false).open(dir.path()).unwrap();
    /// cache.save("apple").unwrap();
    /// ```
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Opens the store in a directory; see [`Files::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Files, Failure> {
        let shared = Shared {
            journal: Journal::default(),
            root: Root::open(path.as_ref(), self.sync)?,
        };
        Ok(Files {
            shared: Arc::new(shared),
        })
    }
}

impl Default for FilesOptions {
    /// As [`Files::options`].
    fn default() -> Self {
        Files::options()
    }
}

impl Storage for Files {
    type Context<'a> = Pending<'a>;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Pending<'_>, Failure> {
        let page = self.shared.journal.page(scope, intent);
        Ok(Pending { page, intent })
    }

    fn leave(&self, context: Pending<'_>) -> Result<(), Failure> {
        let page = context.page;
        page.leave(|changes| commit::commit(&self.shared.root, changes))
    }

    fn get(&self, context: &mut Pending<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let root = &self.shared.root;
        match context.page.get(key) {
            None => {
                if context.intent == Intent::Write && !mutant("found_not_settled") {
                    root.settle(key)?;
                }
                value::read(&root.file(key), key)
            }
            Some(None) => Ok(None),
            Some(Some(staged)) => value::read(staged.path(), key),
        }
    }

    fn put(&self, context: &mut Pending<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        let root = &self.shared.root;
        root.make_folder(key)?;
        let staged = Staged::new(root, key, value)?;
        context.page.set(key, Some(Arc::new(staged)));
        Ok(())
    }

    fn remove(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        let there = self.exists(context, key)?;
        context.page.set(key, None);
        Ok(there)
    }

    fn exists(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        match context.page.get(key) {
            None => disk::is_file(&self.shared.root.file(key)),
            Some(pending) => Ok(pending.is_some()),
        }
    }

    fn is_tentative(&self, context: &Pending<'_>, key: &Digest) -> bool {
        context.page.is_tentative(key)
    }

    fn keys(
        &self,
        context: &mut Pending<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let stored = self.shared.root.keys(prefix)?;
        let keys = context.page.keys(prefix.range(), stored);
        let _ = keys.into_iter().try_for_each(each);
        Ok(())
    }

    fn place(&self) -> Option<String> {
        Some(self.shared.root.place())
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("path", &self.path())
            .field("sync", &self.shared.root.syncs())
            .finish_non_exhaustive()
    }
}
