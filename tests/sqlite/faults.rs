//! Values that are damaged, a database that is in use, one that is full: an error that says so, and nothing lost.

use crate::{child, open, orders, raw};
use perkey::storage::{BoxError, Digest, Error, Intent, Scope, Sqlite, Storage};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn is_corrupt<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Corrupt { .. }))
}

fn is_full<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Full { .. }))
}

fn is_busy<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Busy { .. }))
}

// ---- damaged ------------------------------------------------------------------------------------------------------

/// Two values, the first of them damaged so.
fn damaged(path: &Path, how: &str) -> (Sqlite, Digest, Digest) {
    let store = open(path);
    let [a, b] = ["a", "b"].map(Digest::of);
    store.save_as(&a, "apple").unwrap();
    store.save_as(&b, "pear").unwrap();
    let changed = raw(path).execute(how, [a.as_bytes()]).unwrap();
    assert_eq!(changed, 1, "{how}");
    (store, a, b)
}

const DAMAGES: [&str; 5] = [
    "UPDATE perkey SET value = x'00' WHERE key = ?1",
    "UPDATE perkey SET value = x'' WHERE key = ?1",
    "UPDATE perkey SET sum = zeroblob(32) WHERE key = ?1",
    "UPDATE perkey SET sum = x'00' WHERE key = ?1",
    // Right, but for another key.
    "UPDATE perkey SET (sum, value) = (SELECT sum, value FROM perkey WHERE key != ?1) WHERE key = ?1",
];

#[test]
fn a_damaged_value_is_noticed_and_harms_no_other() {
    let dir = tempfile::tempdir().unwrap();
    for (n, how) in DAMAGES.into_iter().enumerate() {
        let (store, a, b) = damaged(&dir.path().join(format!("{n}.db")), how);
        let e = store.load(&a).unwrap_err();
        let text = e.to_string();
        assert!(matches!(e, Error::Corrupt { key: Some(key), .. } if key == a));
        assert!(text.contains(&format!("{n}.db")), "{text}");
        assert!(is_corrupt(&store.load_many([b, a])));
        let not_called = |_| -> Result<Option<&str>, BoxError> { panic!("called") };
        assert!(is_corrupt(&store.update(&a, not_called)));
        assert!(is_corrupt(&store.rename(&a, &Digest::of("c"))));
        let make = || -> Result<&str, BoxError> { panic!("called") };
        assert!(is_corrupt(&store.get_or_insert_with(&a, make)));
        // Nothing of it needs the value.
        assert!(store.contains(&a).unwrap());
        assert_eq!(store.list().unwrap().len(), 2);
        assert_eq!(store.load(&b).unwrap(), "pear");
    }
}

#[test]
fn a_damaged_value_is_healed_by_saving_it_and_can_be_evicted() {
    let dir = tempfile::tempdir().unwrap();
    for (n, how) in DAMAGES.into_iter().enumerate() {
        let path = dir.path().join(format!("{n}.db"));
        let (store, a, b) = damaged(&path, how);
        store.save_as(&a, "apple").unwrap();
        assert_eq!(store.load(&a).unwrap(), "apple");
        raw(&path).execute(how, [a.as_bytes()]).unwrap();
        store.evict(&a).unwrap();
        assert_eq!(store.list().unwrap(), [b]);
    }
}

/// One byte anywhere in the file: what is loaded is right or an error.
#[test]
fn a_flipped_byte_is_never_taken_for_a_value() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let values: Vec<_> = (0..20).map(|n| vec![n; 700]).collect();
    let keys = open(&path).save_many(&values).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut corrupt = 0;
    for at in (0..whole.len()).step_by(101) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(&path, bytes).unwrap();
        let store = match Sqlite::open(&path) {
            Ok(store) => store,
            Err(e) => {
                assert!(at < 4096, "{at}: {e}"); // header and schema
                continue;
            }
        };
        for (key, value) in keys.iter().zip(&values) {
            match store.load(key) {
                Ok(loaded) => assert_eq!(loaded, value, "{at}"),
                Err(Error::Corrupt { .. }) => corrupt += 1,
                Err(Error::Unknown { .. }) => {} // the index is not checked
                Err(e) => panic!("{at}: {e}"),
            }
        }
        if let Err(e) = store.list() {
            assert!(matches!(e, Error::Corrupt { .. }), "{at}: {e}");
        }
    }
    assert!(corrupt > 100, "{corrupt}");
}

#[test]
fn what_is_no_database_any_more_is_corrupt() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let key = open(&path).save(vec![7; 5000]).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[4096..].fill(0xff); // all but the first page
    fs::write(&path, &bytes).unwrap();
    let store = open(&path);
    assert!(is_corrupt(&store.load(&key)));
    assert!(is_corrupt(&store.list()));
    assert!(is_corrupt(&store.save("apple")));
}

// ---- in use -------------------------------------------------------------------------------------------------------

#[test]
fn a_database_that_somebody_else_writes_to_is_busy_and_then_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let options = Sqlite::options().sync(false).connections(1);
    let store = options
        .busy_timeout(Duration::from_millis(10))
        .open(&path)
        .unwrap();
    let key = store.save("apple").unwrap();
    let other = raw(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..3 {
        let e = store.save("pear").unwrap_err();
        assert!(matches!(e, Error::Busy { .. }), "{e}");
        assert!(e.to_string().contains("s.db"), "{e}");
        assert!(is_busy(&store.save_as(&key, "another")));
        assert!(is_busy(&store.evict(&key)));
        assert!(is_busy(&store.save_many(["a", "b"])));
        // Whoever only reads does not mind.
        assert_eq!(store.load(&key).unwrap(), "apple");
        assert_eq!(store.list().unwrap(), [key]);
        store.save("apple").unwrap(); // it is there
    }
    other.execute_batch("COMMIT").unwrap();
    store.save_as(&key, "another").unwrap();
    store.save("pear").unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn somebody_else_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let options = Sqlite::options().sync(false);
    let store = options
        .busy_timeout(crate::common::PATIENCE)
        .open(&path)
        .unwrap();
    let other = raw(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (begin, begun) = std::sync::mpsc::channel();
    std::thread::scope(|s| {
        let saved = s.spawn(|| {
            begin.send(()).unwrap();
            store.save("apple")
        });
        begun.recv().unwrap();
        other.execute_batch("COMMIT").unwrap();
        saved.join().unwrap().unwrap();
    });
}

// ---- full ---------------------------------------------------------------------------------------------------------

#[test]
fn a_full_database_says_so_and_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let options = Sqlite::options().sync(false).connections(1).limit(200_000);
    for store in [
        options.open(dir.path().join("s.db")).unwrap(),
        options.in_memory().unwrap(),
    ] {
        let mut values = Vec::new();
        let full = loop {
            let value = vec![values.len() as u8; 10_000];
            match store.save(&value) {
                Ok(_) => values.push(value),
                Err(e) => break e,
            }
        };
        assert!(matches!(full, Error::Full { .. }), "{full}");
        assert!((10..20).contains(&values.len()), "{}", values.len());
        for _ in 0..3 {
            let large = [vec![100; 10_000], vec![101; 10_000]];
            assert!(is_full(&store.save_many(&large)));
            let first = Digest::of(&values[0]);
            assert!(is_full(&store.save_as(&first, [0; 100_000])));
            // All of an operation, or none: the small one would fit.
            let keys @ [a, b] = ["a", "b"].map(Digest::of);
            let mut operation = store.operation(Scope::Keys(&keys), Intent::Write).unwrap();
            operation.save_as(&a, "small").unwrap();
            operation.save_as(&b, [0; 100_000]).unwrap();
            assert!(is_full(&operation.leave()));
            assert_eq!(store.list().unwrap().len(), values.len());
            for value in &values {
                assert_eq!(store.load(&Digest::of(value)).unwrap(), value);
            }
        }
        for value in &values[..2] {
            store.evict(&Digest::of(value)).unwrap();
        }
        store.save([200; 10_000]).unwrap();
    }
}

/// The system refuses to let files grow.
#[cfg(unix)]
#[test]
fn a_disk_without_room_is_full_too() {
    let value = |n: u8| vec![n; 10_000];
    if let Some(path) = orders() {
        let store = open(path);
        let mut saved = 0;
        let full = loop {
            match store.save(value(saved)) {
                Ok(_) => saved += 1,
                Err(e) => break e,
            }
        };
        assert!(matches!(full, Error::Full { .. }), "{full:?}");
        assert!(saved > 5, "{saved}");
        for n in 0..saved {
            assert_eq!(store.load(&Digest::of(value(n))).unwrap(), value(n));
        }
        assert!(is_full(&store.save(value(saved))));
        println!("saved {saved}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let test = "faults::a_disk_without_room_is_full_too";
    // The signal that comes along is ignored, so that it is an error.
    let limited = "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"";
    let itself = child(&std::env::current_exe().unwrap(), test, &path);
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", limited])
        .arg(itself.get_program())
        .args(itself.get_args());
    let output = shell.env(crate::ORDERS, &path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let saved = said.lines().find_map(|line| line.strip_prefix("saved "));
    let saved: u8 = saved.unwrap().parse().unwrap();
    let store = open(&path);
    assert_eq!(store.list().unwrap().len(), usize::from(saved));
    for n in 0..saved {
        assert_eq!(store.load(&Digest::of(value(n))).unwrap(), value(n));
    }
    store.save(value(saved)).unwrap();
}

// ---- too long -----------------------------------------------------------------------------------------------------

#[test]
fn a_value_longer_than_the_database_can_hold_is_refused() {
    let store = Sqlite::in_memory().unwrap();
    let key = Digest::of("long");
    store.save_as(&key, "short").unwrap();
    let long = vec![0; 1_000_000_000]; // never looked at
    let e = store.save_as(&key, &long).unwrap_err();
    assert!(
        matches!(e, Error::Backend { key: Some(of), .. } if of == key),
        "{e}"
    );
    assert!(e.to_string().contains("a value of 1000000000 bytes"), "{e}");
    assert_eq!(store.load(&key).unwrap(), "short");
}
