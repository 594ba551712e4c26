//! Opening a file: is it ours, and if there is none, making it.

use crate::storage::sqlite::pool::{at, failure};
use crate::storage::sqlite::{sql, SqliteOptions};
use crate::storage::Failure;
use rusqlite::{ffi, Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, MAIN_DB};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Marks a database as one of ours: "prky".
const APPLICATION: i32 = 0x7072_6b79;
/// The format that this version writes and reads.
const FORMAT: i32 = 1;
/// Less than this is no database.
const PAGE: u64 = 512;
/// Where neither was ever said.
const NONE: (i32, i32) = (0, 0);

/// A connection to the store in a file, and where that really is.
pub(super) fn open(path: &Path, options: &SqliteOptions) -> Result<(PathBuf, Connection), Failure> {
    let name = path.display().to_string();
    let because = |e: io::Error| Failure::Other(at(&name, e));
    // Absolute, so that no name is special to SQLite (`:memory:`, `file:…`) and it stays where it is.
    let path = std::path::absolute(path).map_err(because)?;
    match length(&path).map_err(because)? {
        0 => {}
        1..PAGE => return Err(Failure::Corrupt(at(&name, "file is not a database"))),
        PAGE.. => look(&path, &name)?,
    }
    let mut connection = connect(&path, options, true).map_err(|e| failure(&name, e))?;
    make(&mut connection, options, &name)?;
    let path = fs::canonicalize(&path).map_err(because)?;
    Ok((path, connection))
}

/// How long the file is.
fn length(path: &Path) -> io::Result<u64> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => Err(io::Error::other("not a regular file")),
        Ok(found) => Ok(found.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// Looks at the first page of the file, without its log and any lock, so that nothing is touched: is it ours? `File` could not do this:
/// closing it would release all locks that other connections of this process have on the file.
fn look(path: &Path, name: &str) -> Result<(), Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = format!("file:{}?immutable=1", escaped(path));
    let marks = Connection::open_with_flags(uri, flags).and_then(|mut c| marks(&c.transaction()?));
    match marks {
        Ok(marks) => check(marks, name),
        // Perhaps only because somebody else is writing. It is looked at again, under a lock.
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => Ok(()),
        Err(e) => Err(failure(name, e)),
    }
}

/// A path in a URI.
fn escaped(path: &Path) -> String {
    use std::fmt::Write;
    let mut uri = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            b'\\' if cfg!(windows) => uri.push('/'),
            _ => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    if cfg!(windows) {
        uri.insert(0, '/');
    }
    uri
}

/// Whose it is, and in which format: both at one moment, as somebody else may be making it.
fn marks(moment: &Transaction<'_>) -> rusqlite::Result<(i32, i32)> {
    let number = |pragma| moment.pragma_query_value(None, pragma, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn check(marks: (i32, i32), name: &str) -> Result<(), Failure> {
    let why = match marks {
        (APPLICATION, FORMAT) => return Ok(()),
        (APPLICATION, other) => {
            format!("a store in format {other}; this version knows format {FORMAT}")
        }
        _ => "an SQLite database of another application".into(),
    };
    Err(Failure::Other(at(name, why)))
}

/// A connection to a file that is ours, or nobody's yet.
pub(super) fn connect(
    path: &Path,
    options: &SqliteOptions,
    create: bool,
) -> rusqlite::Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let connection = Connection::open_with_flags(path, flags)?;
    if connection.is_readonly(MAIN_DB)? {
        // Else it would show at the first change.
        let code = ffi::Error::new(ffi::SQLITE_READONLY);
        let why = "the file cannot be written to".into();
        return Err(rusqlite::Error::SqliteFailure(code, Some(why)));
    }
    set_up(&connection, options)?;
    Ok(connection)
}

/// What every connection needs to be told.
pub(super) fn set_up(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    connection.busy_timeout(options.busy_timeout)?;
    let synchronous = if options.sync { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // Where `fsync` does not reach the disk, macOS, and there is something that does.
    connection.pragma_update(None, "fullfsync", options.sync)?;
    if let Some(limit) = options.limit {
        let page = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?;
        let pages = u32::try_from(limit / u64::from(page)).unwrap_or(u32::MAX);
        connection.pragma_update(None, "max_page_count", pages.max(1))?;
    }
    Ok(())
}

/// Makes a store of an empty file. Whoever else opens it meanwhile waits, and finds it made.
fn make(connection: &mut Connection, options: &SqliteOptions, name: &str) -> Result<(), Failure> {
    let because = |e| failure(name, e);
    let reading = connection.transaction().map_err(because)?;
    let found = marks(&reading).map_err(because)?;
    drop(reading);
    if found == NONE {
        // Before there is a log: so that what says that the file is ours is in the file itself.
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(because)?;
        let found = marks(&transaction).map_err(because)?;
        if found == NONE && is_empty(&transaction).map_err(because)? {
            create(&transaction).map_err(because)?;
        } else {
            check(found, name)?;
        }
        transaction.commit().map_err(because)?;
    } else {
        check(found, name)?;
    }
    let mode = keep_log(connection, options).map_err(because)?;
    if mode != "wal" {
        let why = format!("SQLite cannot keep a write-ahead log here, only {mode:?}");
        return Err(Failure::Other(at(name, why)));
    }
    Ok(())
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(sql::IS_EMPTY, (), |row| row.get(0))
}

/// An empty store in an empty database.
pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(sql::SCHEMA)
}

/// Switches to a write-ahead log, unless it is there already.
fn keep_log(connection: &mut Connection, options: &SqliteOptions) -> rusqlite::Result<String> {
    let start = Instant::now();
    loop {
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            // Somebody else is switching. For the lock that this takes SQLite does not wait, but for another one that cannot be had meanwhile.
            Err(e) if is_busy(&e) && start.elapsed() < options.busy_timeout => connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?
                .commit()?,
            mode => return mode,
        }
    }
}

fn is_busy(e: &rusqlite::Error) -> bool {
    e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}
