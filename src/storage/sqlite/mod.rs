//! [`Sqlite`]: a store in an SQLite database.

#![allow(clippy::doc_markdown)] // SQLite is no code

mod commit;
mod file;
mod options;
mod pool;
mod sql;

use crate::storage::journal::{Journal, Page};
use crate::storage::{Bytes, Digest, Failure, Intent, Prefix, Scope, Storage};
use crate::sync::Mutex;
use commit::{Commit, Seen, Sum};
pub use options::SqliteOptions;
use pool::Pool;
use rusqlite::{Connection, OptionalExtension};
use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;
use std::sync::Arc;

/// So many keys are asked for at once.
const BATCH: usize = 256;

/// The longest value: SQLite's limit of a thousand million bytes for a row, less what is stored along with the value.
const LONGEST: usize = 1_000_000_000 - 128;

/// A store in an SQLite database, in a file or in memory. Clones are handles on the same one.
///
/// ```
/// use perkey::storage::{PerKey, Sqlite, Storage};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("fruit.db");
/// let store = PerKey::new(Sqlite::open(&path).unwrap()); // makes the file, if there is none
/// let key = store.save("apple").unwrap();
/// drop(store);
/// assert_eq!(Sqlite::open(&path).unwrap().load(&key).unwrap(), "apple");
/// ```
///
/// # What a crash leaves
/// What an operation changes, on however many keys, is applied in one transaction when it is left: all of it or nothing, if the process is killed
/// at whatever moment. Once the operation has returned it is on the disk, and survives a crash of the machine, too, unless
/// [`SqliteOptions::sync`] was turned off.
///
/// Besides the file there is a log while the store is open (`-wal`, `-shm`), and after a crash. It belongs to the file: they are to be moved or copied together.
///
/// # What is corrupt
/// With a value the BLAKE3 of it and its key is stored, and looked at whenever the value is read: if it does not fit, that is
/// [`Error::Corrupt`](crate::storage::Error::Corrupt). [`save_as`](Storage::save_as) writes over it, and `evict` removes it. `contains` and `list` do not
/// read values. What SQLite itself finds wrong with the file is `Corrupt`, too, and may concern many keys.
///
/// # Threads and processes
/// Sound without any layer, in any number of threads, handles, and processes on one machine. Those who read wait for nobody. Those who write through
/// handles of one store take turns for the time of their transactions, however long that takes; for others who write to the file, they wait as long as
/// [`SqliteOptions::busy_timeout`] says, and fail with [`Error::Busy`](crate::storage::Error::Busy) then. Nothing is held within the
/// store between two steps of an operation, or while a closure runs; so of a long list each part of 256 keys is that of a moment.
///
/// The locks of layers reach no further than the process. But if a value that an operation has read, and is about to change, was changed by
/// anybody else meanwhile, the operation notices when it is left: it fails with `Busy`, has changed nothing, and may be tried again. Only if the other one has
/// saved the very same value, under its own BLAKE3, that does not matter.
#[derive(Clone)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    /// One writer at a time, as in the database; but here they queue, where SQLite would have them ask again and again.
    turn: Mutex<()>,
    journal: Journal<Bytes>,
    /// What the operations under way have seen in the database.
    seen: Journal<Seen>,
}

/// What an operation has changed and seen so far.
pub struct Pending<'a> {
    changes: Page<'a, Bytes>,
    seen: Page<'a, Seen>,
}

impl Sqlite {
    /// Opens the store in a file. If the file is not there it is made; an empty one becomes a store.
    ///
    /// ```
    /// use perkey::storage::Sqlite;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = Sqlite::open(dir.path().join("fruit.db")).unwrap();
    /// std::fs::write(dir.path().join("pear"), "is no store").unwrap();
    /// assert!(Sqlite::open(dir.path().join("pear")).unwrap_err().to_string().contains("not a database"));
    /// ```
    ///
    /// # Errors
    /// If the file is something else, a database of another application, or a store of a later format: it is not touched then. If it cannot be
    /// made, read or written, or nobody else ceases to write to it within [`SqliteOptions::busy_timeout`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Failure> {
        Self::options().open(path)
    }

    /// A new store in memory, gone with its last handle. Operations use its one connection in turn.
    ///
    /// ```
    /// use perkey::storage::{Sqlite, Storage};
    ///
    /// let store = Sqlite::in_memory().unwrap();
    /// let key = store.save("apple").unwrap();
    /// assert_eq!(store.clone().load(&key).unwrap(), "apple"); // the same store
    /// assert!(!Sqlite::in_memory().unwrap().contains(&key).unwrap()); // another one
    /// ```
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn in_memory() -> Result<Self, Failure> {
        Self::options().in_memory()
    }

    /// The ways to open one.
    ///
    /// ```
    /// use perkey::storage::Sqlite;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("fruit.db");
    /// let cache = Sqlite::options().sync(false).open(path).unwrap();
    /// ```
    pub fn options() -> SqliteOptions {
        SqliteOptions::default()
    }

    /// The file, if it is one: absolute, without symbolic links.
    ///
    /// ```
    /// use perkey::storage::Sqlite;
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("fruit.db");
    /// let store = Sqlite::open(&path).unwrap();
    /// assert_eq!(store.path(), Some(&*path.canonicalize().unwrap()));
    /// assert_eq!(Sqlite::in_memory().unwrap().path(), None);
    /// ```
    pub fn path(&self) -> Option<&Path> {
        self.shared.pool.path()
    }

    fn new(pool: Pool) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                turn: Mutex::new(()),
                journal: Journal::default(),
                seen: Journal::default(),
            }),
        }
    }

    /// The next keys of a range, as they are stored: at most [`BATCH`].
    fn batch(&self, range: &RangeInclusive<Digest>) -> Result<Vec<Digest>, Failure> {
        self.shared.pool.with(|connection| {
            let mut query = connection.prepare_cached(sql::KEYS)?;
            let (start, end) = (range.start().as_bytes(), range.end().as_bytes());
            let rows = query.query_map((start, end), |row| Ok(Digest::new(row.get(0)?)))?;
            rows.take(BATCH).collect()
        })
    }
}

/// The next one.
fn after(key: Digest) -> Option<Digest> {
    let mut bytes = *key.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (next, over) = byte.overflowing_add(1);
        *byte = next;
        if !over {
            return Some(Digest::new(bytes));
        }
    }
    None
}

/// A row as it is stored.
fn row(connection: &Connection, key: &Digest) -> rusqlite::Result<Option<(Option<Sum>, Vec<u8>)>> {
    let mut query = connection.prepare_cached(sql::VALUE)?;
    let row = query.query_row([key.as_bytes()], |row| Ok((Sum::in_row(row)?, row.get(1)?)));
    row.optional()
}

impl Storage for Sqlite {
    type Context<'a> = Pending<'a>;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Pending<'_>, Failure> {
        Ok(Pending {
            changes: self.shared.journal.page(scope, intent),
            seen: self.shared.seen.page(scope, Intent::Write), // for reads, too: it tells the operation around it
        })
    }

    fn leave(&self, context: Pending<'_>) -> Result<(), Failure> {
        let Pending { changes, seen } = context;
        changes.leave(|changes| {
            let commit = Commit::new(changes, &seen);
            let turn = self.shared.turn.lock();
            let done = self.shared.pool.with(|connection| commit.apply(connection));
            drop(turn);
            if let Some(key) = done? {
                let why = format!("the value of {key} was changed by another operation meanwhile");
                return Err(Failure::Busy(self.shared.pool.at(why)));
            }
            commit.tell(&seen);
            Ok(())
        })?;
        seen.hand_over(&mut Vec::new());
        Ok(())
    }

    fn get(&self, context: &mut Pending<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        if let Some(pending) = context.changes.get(key) {
            return Ok(pending);
        }
        let Some((sum, value)) = self.shared.pool.with(|connection| row(connection, key))? else {
            Seen::note(&mut context.seen, key, Seen::Missing);
            return Ok(None);
        };
        let fits = sum.filter(|sum| *sum == Sum::of(key, &value));
        let Some(sum) = fits else {
            // Not noted: anybody may save it anew.
            let why = format!("the value of {key} is not the one that was saved");
            return Err(Failure::Corrupt(self.shared.pool.at(why)));
        };
        Seen::note(&mut context.seen, key, Seen::Sum(sum));
        Ok(Some(value.into()))
    }

    fn put(&self, context: &mut Pending<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        if value.len() > LONGEST {
            let why = format!("a value of {} bytes, {LONGEST} at most", value.len());
            return Err(Failure::Other(self.shared.pool.at(why)));
        }
        let value = Bytes::copy_from_slice(value);
        context.changes.set(key, Some(value));
        Ok(())
    }

    fn remove(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        let there = self.exists(context, key)?;
        context.changes.set(key, None);
        Ok(there)
    }

    fn exists(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        if let Some(pending) = context.changes.get(key) {
            return Ok(pending.is_some());
        }
        let found = self.shared.pool.with(|c| Sum::stored(c, key))?;
        match found {
            None => Seen::note(&mut context.seen, key, Seen::Missing),
            Some(Some(sum)) => Seen::note(&mut context.seen, key, Seen::Sum(sum)),
            Some(None) => {} // corrupt; see above
        }
        Ok(found.is_some())
    }

    fn is_tentative(&self, context: &Pending<'_>, key: &Digest) -> bool {
        context.changes.is_tentative(key)
    }

    fn keys(
        &self,
        context: &mut Pending<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let mut range = prefix.range();
        loop {
            // No connection is held while `each` runs.
            let stored = self.batch(&range)?;
            let last = (stored.len() == BATCH).then(|| stored[BATCH - 1]);
            let part = *range.start()..=last.unwrap_or(*range.end());
            let keys = context.changes.keys(part, stored);
            if keys.into_iter().try_for_each(&mut *each).is_break() {
                return Ok(());
            }
            match last.and_then(after) {
                Some(next) if next <= *range.end() => range = next..=*range.end(),
                _ => return Ok(()),
            }
        }
    }

    fn place(&self) -> Option<String> {
        Some(self.shared.pool.place())
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sqlite").field(&self.shared.pool).finish()
    }
}
