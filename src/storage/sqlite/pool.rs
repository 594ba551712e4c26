//! [`Pool`]: connections, handed out for one step each; and what their errors mean.

use crate::storage::sqlite::{file, SqliteOptions};
use crate::storage::{BoxError, Failure};
use crate::sync::Mutex;
use rusqlite::{Connection, ErrorCode};
use std::fmt;
use std::path::{Path, PathBuf};

/// The connections of a store.
///
/// One is handed out for the time of a closure of ours, which calls nobody else's code and takes no second one. So nobody waits for a connection
/// while holding one. For a file nobody waits at all: who finds none opens one.
pub(super) enum Pool {
    /// With its one connection the data would go.
    Memory(Mutex<Connection>),
    File {
        path: PathBuf,
        options: SqliteOptions,
        idle: Mutex<Vec<Connection>>,
    },
}

impl Pool {
    /// Runs `f` with a connection that is in no transaction.
    pub(super) fn with<R>(
        &self,
        f: impl FnOnce(&mut Connection) -> rusqlite::Result<R>,
    ) -> Result<R, Failure> {
        self.lend(f).map_err(|e| failure(&self.name(), e))
    }

    fn lend<R>(
        &self,
        f: impl FnOnce(&mut Connection) -> rusqlite::Result<R>,
    ) -> rusqlite::Result<R> {
        let (path, options, idle) = match self {
            Self::Memory(connection) => return f(&mut connection.lock()),
            Self::File {
                path,
                options,
                idle,
            } => (path, options, idle),
        };
        let found = idle.lock().pop();
        let mut connection = match found {
            Some(connection) => connection,
            None => file::connect(path, options, false)?,
        };
        let result = f(&mut connection);
        // One that did not get out of its transaction is closed, which does.
        if connection.is_autocommit() {
            let mut idle = idle.lock();
            if idle.len() < options.connections {
                idle.push(connection);
            }
        }
        result
    }

    /// What went wrong, and where.
    pub(super) fn at(&self, why: impl Into<BoxError>) -> BoxError {
        at(&self.name(), why)
    }

    /// See [`Storage::place`](crate::storage::Storage::place).
    #[allow(clippy::unnecessary_debug_formatting)] // two paths that are no text may look the same
    pub(super) fn place(&self) -> String {
        match self {
            Self::Memory(connection) => format!("sqlite in memory {connection:p}"),
            Self::File { path, .. } => format!("sqlite {path:?}"),
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory(_) => None,
            Self::File { path, .. } => Some(path),
        }
    }

    fn name(&self) -> String {
        let path = self.path().map(|path| path.display().to_string());
        path.unwrap_or_else(|| "in memory".into())
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(_) => f.write_str("in memory"),
            Self::File { path, .. } => path.fmt(f),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{place}: {source}")]
struct At {
    place: String,
    source: BoxError,
}

/// What went wrong in `place`.
pub(super) fn at(place: &str, why: impl Into<BoxError>) -> BoxError {
    Box::new(At {
        place: place.into(),
        source: why.into(),
    })
}

/// What an error of SQLite in `place` means.
pub(super) fn failure(place: &str, e: rusqlite::Error) -> Failure {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    let kind = match &e {
        FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) => {
            Failure::Corrupt
        }
        _ => match e.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Failure::Corrupt,
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => Failure::Busy,
            Some(ErrorCode::DiskFull) => Failure::Full,
            // A write that is refused at once, not by the disk: the file must not grow, or its owner's quota is used up.
            Some(ErrorCode::SystemIoFailure) if is_refused(&e) => Failure::Full,
            _ => Failure::Other,
        },
    };
    kind(at(place, e))
}

fn is_refused(e: &rusqlite::Error) -> bool {
    let code = e.sqlite_error().map(|e| e.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Sqlite;
    use std::time::Duration;

    fn file(options: &SqliteOptions) -> (tempfile::TempDir, Sqlite) {
        let dir = tempfile::tempdir().unwrap();
        let store = options.open(dir.path().join("s.db")).unwrap();
        (dir, store)
    }

    fn idle(store: &Sqlite) -> usize {
        match &store.shared.pool {
            Pool::Memory(_) => unreachable!(),
            Pool::File { idle, .. } => idle.lock().len(),
        }
    }

    /// Takes so many connections at once, and asks each.
    fn ask(store: &Sqlite, connections: usize, question: &mut dyn FnMut(&Connection)) {
        if connections > 0 {
            let asked = store.shared.pool.with(|connection| {
                question(connection);
                ask(store, connections - 1, question);
                Ok(())
            });
            asked.unwrap();
        }
    }

    #[test]
    fn whoever_finds_none_opens_one_and_so_many_are_kept() {
        let (_dir, store) = file(&Sqlite::options().connections(2));
        assert_eq!(idle(&store), 1);
        ask(&store, 5, &mut |_| {});
        assert_eq!(idle(&store), 2);
        ask(&store, 1, &mut |_| assert_eq!(idle(&store), 1));
        let (_dir, store) = file(&Sqlite::options().connections(0));
        ask(&store, 3, &mut |_| {});
        assert_eq!(idle(&store), 0);
    }

    #[test]
    fn every_connection_is_told_what_was_asked_for() {
        for (sync, expected) in [(true, (2, 1)), (false, (1, 0))] {
            let options = Sqlite::options().sync(sync).limit(1 << 20);
            let (_dir, store) = file(&options.busy_timeout(Duration::from_millis(1234)));
            let mut asked = 0;
            ask(&store, 3, &mut |connection| {
                let number = |pragma| -> i64 {
                    let number = connection.pragma_query_value(None, pragma, |row| row.get(0));
                    number.unwrap()
                };
                assert_eq!((number("synchronous"), number("fullfsync")), expected);
                assert_eq!(number("busy_timeout"), 1234);
                assert_eq!(number("max_page_count"), 256);
                asked += 1;
            });
            assert_eq!(asked, 3);
        }
    }

    #[test]
    fn one_that_is_in_a_transaction_still_is_not_handed_out_again() {
        let (_dir, store) = file(&Sqlite::options());
        let begun = store
            .shared
            .pool
            .with(|c| c.execute_batch("BEGIN IMMEDIATE"));
        begun.unwrap();
        assert_eq!(idle(&store), 0);
        let other = store
            .shared
            .pool
            .with(|c| c.execute_batch("BEGIN IMMEDIATE; COMMIT"));
        other.unwrap();
    }
}
