//! Which files are stores, and what becomes of them.

use crate::{child, each_thread, open, orders, raw, Together, THREADS};
use perkey::storage::{Digest, Failure, Sqlite, Storage};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Stdio;

/// All files of a directory.
fn contents(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let read = files.map(|file| (file.file_name(), fs::read(file.path()).unwrap_or_default()));
    read.collect()
}

/// The path cannot be opened as a store: `why`. Nothing is touched.
#[track_caller]
fn is_refused(path: &Path, why: &str) {
    let dir = path.parent().unwrap();
    let before = contents(dir);
    let e = Sqlite::open(path).unwrap_err();
    let text = e.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    assert!(text.contains(why), "{text}");
    assert_eq!(contents(dir), before, "something was touched");
}

#[test]
fn what_was_saved_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let key = Sqlite::open(&path).unwrap().save("apple").unwrap();
    for _ in 0..3 {
        let store = Sqlite::open(&path).unwrap();
        assert_eq!(store.load(&key).unwrap(), "apple");
        assert_eq!(store.list().unwrap(), [key]);
    }
    let names: Vec<_> = contents(dir.path()).into_keys().collect();
    assert_eq!(names, ["s.db"], "the log goes with the last handle");
}

#[test]
fn there_is_a_log_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = Sqlite::open(&path).unwrap();
    store.save("apple").unwrap();
    let mode = raw(&path).pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
    assert_eq!(mode.unwrap(), "wal");
    assert!(dir.path().join("s.db-wal").exists());
}

/// The other side of a kill; `killed.rs` does it at any moment.
#[test]
fn what_was_acknowledged_outlives_the_process() {
    let values = (0..50).map(|n| format!("value {n}"));
    if let Some(path) = orders() {
        let store = Sqlite::open(path).unwrap();
        for value in values {
            store.save(value).unwrap();
        }
        std::process::abort(); // no handle is dropped
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let program = std::env::current_exe().unwrap();
    let test = "files::what_was_acknowledged_outlives_the_process";
    let mut child = child(&program, test, &path);
    assert!(!child.stdout(Stdio::null()).status().unwrap().success());
    assert!(dir.path().join("s.db-wal").exists());
    let store = Sqlite::open(&path).unwrap();
    for value in values {
        assert_eq!(store.load(&Digest::of(&value)).unwrap(), value);
    }
}

/// The first page says how many there are, and the others are in the log only.
#[test]
fn a_file_that_was_being_written_when_its_process_was_killed_is_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    let values: Vec<_> = (0..20).map(|n| vec![n; 5000]).collect();
    let keys = store.save_many(&values).unwrap();
    raw(&path)
        .execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
        .unwrap();
    let left = tempfile::tempdir().unwrap();
    let page = &fs::read(&path).unwrap()[..4096];
    fs::write(left.path().join("s.db"), page).unwrap();
    fs::copy(dir.path().join("s.db-wal"), left.path().join("s.db-wal")).unwrap();
    let store = open(left.path().join("s.db"));
    assert_eq!(store.load_many(keys).unwrap(), values);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let key = open(file.path()).save("apple").unwrap();
    assert_eq!(open(file.path()).load(&key).unwrap(), "apple");
}

#[test]
fn what_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("short", "a"),
        ("notes", "milk, apples"),
        ("long", &"milk, apples\n".repeat(10_000)),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        is_refused(&path, "file is not a database");
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    is_refused(&dir.path().join("folder"), "is a directory");
    let nowhere = dir.path().join("folder/none/s.db");
    let e = Sqlite::open(&nowhere).unwrap_err().to_string();
    assert!(e.contains(&nowhere.display().to_string()), "{e}");
    assert!(!dir.path().join("folder/none").exists());
    assert!(Sqlite::open("").is_err());
    assert!(Sqlite::open("a\0b").is_err());
}

#[test]
fn a_database_of_somebody_else_is_refused() {
    let another = "an SQLite database of another application";
    for set_up in [
        "CREATE TABLE t (x)",
        "CREATE TABLE perkey (key, value)",
        "PRAGMA application_id = 7",
        "PRAGMA user_version = 1",
        "PRAGMA journal_mode = WAL",
        "PRAGMA journal_mode = WAL; CREATE TABLE t (x)",
        "PRAGMA page_size = 512; CREATE TABLE t (x)",
        "PRAGMA encoding = 'UTF-16'; CREATE TABLE t (x)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.db");
        raw(&path).execute_batch(set_up).unwrap();
        is_refused(&path, another);
    }
}

/// Whoever opens it as usual writes the log back and removes it.
#[test]
fn a_log_that_somebody_else_left_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let theirs = raw(&path);
    theirs
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    // As if their process had been killed.
    let left = tempfile::tempdir().unwrap();
    for (name, bytes) in contents(dir.path()) {
        fs::write(left.path().join(name), bytes).unwrap();
    }
    assert_eq!(contents(left.path()).len(), 3);
    is_refused(&left.path().join("s.db"), "another application");
    // And while they are at it.
    theirs
        .execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (2)")
        .unwrap();
    is_refused(&path, "another application");
    theirs.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let store = open(&path);
    store.save("apple").unwrap();
    let later = raw(&path);
    later.pragma_update(None, "user_version", 2).unwrap();
    // In the log, and then in the file.
    let e = Sqlite::open(&path).unwrap_err();
    assert!(e.to_string().contains("format 2"), "{e}");
    drop((store, later));
    is_refused(&path, "a store in format 2; this version knows format 1");
}

/// Every name is one of a file, in the directory that was the current one when it was opened.
#[test]
fn no_name_is_special() {
    let names = [
        ":memory:",
        "file:s.db?mode=memory",
        "file::memory:",
        "a b#c?d%41&e",
        "'\"",
    ];
    if orders().is_some() {
        for name in names {
            let store = open(name);
            std::env::set_current_dir("..").unwrap();
            let key = store.save(name).unwrap();
            assert_eq!(open(store.path().unwrap()).load(&key).unwrap(), name);
            std::env::set_current_dir("in").unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("in");
    fs::create_dir(&inner).unwrap();
    let program = std::env::current_exe().unwrap();
    let mut child = child(&program, "files::no_name_is_special", &inner);
    child.current_dir(&inner).stdout(Stdio::null());
    assert!(child.status().unwrap().success());
    for name in names {
        let path = inner.join(name);
        assert_eq!(open(&path).load(&Digest::of(name)).unwrap(), name);
    }
    assert_eq!(contents(&inner).len(), names.len(), "and no others");
    // A path is written into a URI on the way.
    for name in names {
        let path = inner.join(name);
        fs::write(&path, "milk, apples").unwrap();
        is_refused(&path, "not a database");
    }
}

#[cfg(unix)]
#[test]
fn a_name_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = [b"\xff", b"\xfe"].map(|name| dir.path().join(std::ffi::OsStr::from_bytes(name)));
    let [a, b] = [open(a), open(b)];
    let key = a.save("apple").unwrap();
    assert_ne!(a.place(), b.place(), "though they look alike");
    a.transfer(&key, &b).unwrap();
    assert!(a.list().unwrap().is_empty());
    assert_eq!(open(b.path().unwrap()).load(&key).unwrap(), "apple");
}

#[cfg(unix)]
#[test]
fn a_store_has_one_place_by_whatever_way_it_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let link = dir.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let through = open(&link); // makes the file
    let store = open(dir.path().join(".").join("s.db"));
    assert_eq!(store.place(), through.place());
    assert_eq!(store.path().unwrap(), path.canonicalize().unwrap());
    let key = through.save("apple").unwrap();
    assert_eq!(store.load(&key).unwrap(), "apple");
}

/// For the superuser no file is read-only, so somebody else looks.
#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_written_to_is_refused() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    if let Some(path) = orders() {
        is_refused(&path, "the file cannot be written to");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let allow =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(dir.path(), 0o755);
    // Where anybody can run it.
    let program = dir.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    allow(&program, 0o755);
    let inner = dir.path().join("in");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("s.db");
    open(&path).save("apple").unwrap();
    allow(&path, 0o444);
    let test = "files::a_file_that_cannot_be_written_to_is_refused";
    let mut child = child(&program, test, &path);
    if fs::metadata(&path).unwrap().uid() == 0 {
        child.uid(65534);
    }
    let output = child.current_dir(&inner).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{output:?}"
    );
}

#[test]
fn many_open_it_for_the_first_time_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let start = Together::default();
    let path = |n: usize| dir.path().join(format!("{n}.db"));
    each_thread(|thread| {
        for n in 0..20 {
            start.wait();
            open(path(n)).save(thread.to_string()).unwrap();
        }
    });
    for n in 0..20 {
        assert_eq!(open(path(n)).list().unwrap().len(), THREADS);
    }
}

#[test]
fn a_store_that_somebody_is_writing_to_can_be_opened_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let key = open(&path).save("apple").unwrap();
    let writer = raw(&path);
    writer
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM perkey")
        .unwrap();
    let impatient = Sqlite::options().busy_timeout(std::time::Duration::ZERO);
    assert_eq!(impatient.open(&path).unwrap().load(&key).unwrap(), "apple");
    writer
        .execute_batch("ROLLBACK; PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT")
        .unwrap();
    drop(writer);
    let other = raw(dir.path().join("new.db"));
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let opened = impatient.open(dir.path().join("new.db"));
    assert!(matches!(opened, Err(Failure::Busy(_))), "{opened:?}");
}
