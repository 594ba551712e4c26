//! [`SqliteOptions`]: how to open a store.

use crate::storage::sqlite::{file, pool, Pool, Sqlite};
use crate::storage::Failure;
use crate::sync::Mutex;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// How a store in a database is opened; see [`Sqlite::options`].
///
/// ```
/// use perkey::storage::{Sqlite, Storage};
/// use std::time::Duration;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("fruit.db");
/// let options = Sqlite::options().busy_timeout(Duration::from_secs(60)).connections(16);
/// options.open(path).unwrap().save("apple").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub(super) busy_timeout: Duration,
    pub(super) connections: usize,
    pub(super) sync: bool,
    pub(super) limit: Option<u64>,
}

impl Default for SqliteOptions {
    /// As [`Sqlite::options`].
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(10),
            connections: 8,
            sync: true,
            limit: None,
        }
    }
}

impl SqliteOptions {
    /// How long to wait while somebody else is writing to the file, in another process or through another store. Then it is
    /// [`Error::Busy`](crate::storage::Error::Busy). Ten seconds unless told otherwise.
    ///
    /// ```
    /// use perkey::storage::Sqlite;
    /// use std::time::Duration;
    ///
    /// let impatient = Sqlite::options().busy_timeout(Duration::ZERO);
    /// ```
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many connections to keep open at most, eight unless told otherwise. If more are needed at once, more are opened, and closed after use.
    ///
    /// ```
    /// use perkey::storage::Sqlite;
    ///
    /// let options = Sqlite::options().connections(1); // seldom used by two threads at once
    /// ```
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// Whether an operation waits until what it has changed is on the disk. It does unless told otherwise.
    ///
    /// Without, writing is many times faster, and a *kill of the process* still loses nothing. But a *crash of the machine* may
    /// take back the last operations, each as a whole; what is there is intact.
    ///
    /// ```
    /// use perkey::storage::{Sqlite, Storage};
    ///
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("fruit.db");
    /// let cache = Sqlite::options().sync(false).open(path).unwrap();
    /// cache.save("apple").unwrap();
    /// ```
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// How many bytes the database may have at most, for changes made through this store; its log comes on top. What would be more
    /// fails with [`Error::Full`](crate::storage::Error::Full), and changes nothing.
    ///
    /// ```
    /// use perkey::storage::{Error, Sqlite, Storage};
    ///
    /// let store = Sqlite::options().limit(100_000).in_memory().unwrap();
    /// let small = store.save("apple").unwrap();
    /// assert!(matches!(store.save([0; 100_000]), Err(Error::Full { .. })));
    /// assert_eq!(store.list().unwrap(), [small]);
    /// ```
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = Some(bytes);
        self
    }

    /// The store in a file, which is made if it is not there.
    ///
    /// ```
    /// use perkey::storage::Sqlite;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("notes");
    /// std::fs::write(&path, "milk, apples").unwrap();
    /// let wrong = Sqlite::options().open(&path).unwrap_err();
    /// assert!(wrong.to_string().contains("notes"));
    /// ```
    ///
    /// # Errors
    /// As [`Sqlite::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Sqlite, Failure> {
        let (path, connection) = file::open(path.as_ref(), self)?;
        Ok(Sqlite::new(Pool::File {
            path,
            options: self.clone(),
            idle: Mutex::new(vec![connection]),
        }))
    }

    /// A new store in memory. What is said of files and other processes does not matter there.
    ///
    /// ```
    /// use perkey::storage::{Sqlite, Storage};
    ///
    /// assert!(Sqlite::options().in_memory().unwrap().list().unwrap().is_empty());
    /// ```
    ///
    /// # Errors
    /// As [`Sqlite::in_memory`].
    pub fn in_memory(&self) -> Result<Sqlite, Failure> {
        let made = Connection::open_in_memory().and_then(|connection| {
            file::set_up(&connection, self)?;
            file::create(&connection)?;
            Ok(connection)
        });
        let connection = made.map_err(|e| pool::failure("in memory", e))?;
        Ok(Sqlite::new(Pool::Memory(Mutex::new(connection))))
    }
}
