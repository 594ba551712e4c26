//! [`SqliteOptions`]: how to open a store.

use crate::storage::sqlite::{file, pool, Pool, Sqlite};
use crate::storage::Failure;
use crate::sync::Mutex;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// How to open a [`Sqlite`]: for those to whom [`Sqlite::open`] is not enough.
///
/// ```
/// use perkey::storage::{SqliteOptions, Storage};
/// use std::time::Duration;
///
/// let options = SqliteOptions::new().busy_timeout(Duration::from_secs(60)).connections(16);
/// let dir = tempfile::tempdir().unwrap();
/// let store = options.open(dir.path().join("fruit.db")).unwrap();
/// store.save("apple").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub(super) busy_timeout: Duration,
    pub(super) connections: usize,
    pub(super) durable: bool,
    pub(super) limit: Option<u64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(10),
            connections: 8,
            durable: true,
            limit: None,
        }
    }
}

impl SqliteOptions {
    /// As [`Sqlite::open`] has it: ten seconds, eight connections, durable, without a limit.
    ///
    /// ```
    /// assert!(perkey::storage::SqliteOptions::new().in_memory().is_ok());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// How long to wait while somebody else is writing to the file through another store, or in another process. Then it is
    /// [`Error::Busy`](crate::storage::Error::Busy).
    ///
    /// ```
    /// use perkey::storage::SqliteOptions;
    /// use std::time::Duration;
    ///
    /// let impatient = SqliteOptions::new().busy_timeout(Duration::ZERO);
    /// ```
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many connections to keep open. If more are needed at once, more are opened, and closed after use.
    ///
    /// ```
    /// use perkey::storage::SqliteOptions;
    ///
    /// let options = SqliteOptions::new().connections(1); // seldom used by two threads at once
    /// ```
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// Whether to wait until a change is on the disk. If not, operations are much faster, and what was acknowledged
    /// still survives a `kill -9`; but a crash of the machine may take back the last changes, in order, each as a whole.
    ///
    /// ```
    /// use perkey::storage::SqliteOptions;
    ///
    /// let cache = SqliteOptions::new().durable(false);
    /// ```
    #[must_use]
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// How many bytes the database may have at most, for changes made through this store; its log comes on top. What would be more
    /// fails with [`Error::Full`](crate::storage::Error::Full), and changes nothing.
    ///
    /// ```
    /// use perkey::storage::{Error, SqliteOptions, Storage};
    ///
    /// let store = SqliteOptions::new().limit(100_000).in_memory().unwrap();
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
    /// use perkey::storage::SqliteOptions;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let path = dir.path().join("notes");
    /// std::fs::write(&path, "milk, apples").unwrap();
    /// let wrong = SqliteOptions::new().open(&path).unwrap_err();
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
    /// use perkey::storage::{SqliteOptions, Storage};
    ///
    /// assert!(SqliteOptions::new().in_memory().unwrap().list().unwrap().is_empty());
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
