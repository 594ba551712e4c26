//! `examples/dedup`: what the program does to stores, and what stores can do to it.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]
#![forbid(unsafe_code)]

use perkey::storage::{Digest, Files, PerKey, Sqlite, Storage};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
use program::{assert_counts, finish, tree, Output};

fn dedup(store: &str, args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(program::program("dedup"));
    command.args(["--json", "--store", store]);
    command.args(args).arg(dir);
    command
}

fn run(store: &str, args: &[&str], dir: &Path) -> Output {
    finish(dedup(store, args, dir))
}

#[track_caller]
fn number(v: &Value, key: &str) -> u64 {
    v[key].as_u64().unwrap_or_else(|| panic!("no {key} in {v}"))
}

/// Names for a store of each kind that lasts.
fn stores(dir: &TempDir) -> [String; 2] {
    ["objects", "objects.db"].map(|name| dir.path().join(name).to_str().unwrap().to_owned())
}

/// The keys in a store, after having looked at each value.
fn keys(store: &str) -> BTreeSet<Digest> {
    fn of<S: Storage>(store: &S) -> BTreeSet<Digest> {
        let keys = store.list().unwrap();
        for key in &keys {
            assert_eq!(Digest::of(store.load(key).unwrap()), *key);
        }
        keys.into_iter().collect()
    }
    match Path::new(store).is_dir() {
        true => of(&Files::open(store).unwrap()),
        false => of(&Sqlite::open(store).unwrap()),
    }
}

/// The names of all files below.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => all.extend(below(&path)),
            path => all.push(path),
        }
    }
    all
}

fn is_object(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<Digest>().is_ok())
}

const TREE: [(&str, &[u8]); 6] = [
    ("a", b"apple"),
    ("again/a", b"apple"),
    ("b", b"pear"),
    ("empty", b""),
    ("long", &[7; 300_000]),
    ("again/long", &[7; 300_000]),
];
const COUNTS: [u64; 6] = [6, 600_014, 4, 2, 300_005, 0];

fn contents() -> BTreeSet<Digest> {
    TREE.iter().map(|(_, value)| Digest::of(value)).collect()
}

#[test]
fn distinct_contents_are_stored_once_and_loaded_back_by_either_layer_in_every_kind_of_store() {
    let tree = tree(&TREE);
    for layer in ["serializing", "per-key"] {
        let home = TempDir::new().unwrap();
        let [files, db] = stores(&home);
        for store in [&*files, &*db, "memory"] {
            let v = run(store, &["--layer", layer, "--threads", "4"], tree.path()).json();
            assert_counts(&v, COUNTS);
            assert!(v["layer"] == layer && v["store"] == store, "{v}");
            for (key, value) in [
                ("stored", 4),
                ("objects", 4),
                ("verified", 4),
                ("stored_again", 0),
                ("not_stored", 0),
                ("damaged", 0),
                ("repaired", 0),
                ("locks", 6),
            ] {
                assert_eq!(number(&v, key), value, "{key} of {v}");
            }
            assert!(v["failed"].is_null() && v["stopped"] == false);
            for key in [
                "files_per_second",
                "bytes_per_second",
                "ingest_seconds",
                "verify_seconds",
            ] {
                assert!(v[key].as_f64().unwrap() > 0.0, "{key} of {v}");
            }
            if store != "memory" {
                assert_eq!(keys(store), contents());
            }
        }
    }
}

#[test]
fn a_second_run_stores_what_is_new_and_verifies_all() {
    let tree = tree(&TREE);
    let home = TempDir::new().unwrap();
    for store in stores(&home) {
        run(&store, &[], tree.path()).json();
        let v = run(&store, &["--layer", "serializing"], tree.path()).json();
        assert_counts(&v, COUNTS);
        assert_eq!((number(&v, "stored"), number(&v, "verified")), (0, 4));
        // A file more, a file less: what is stored stays stored.
        fs::write(tree.path().join("new"), "plum").unwrap();
        fs::remove_file(tree.path().join("b")).unwrap();
        let v = run(&store, &[], tree.path()).json();
        assert_eq!((number(&v, "distinct"), number(&v, "stored")), (4, 1));
        assert_eq!((number(&v, "objects"), number(&v, "verified")), (5, 5));
        fs::rename(tree.path().join("new"), tree.path().join("b")).unwrap();
        fs::write(tree.path().join("b"), "pear").unwrap();
    }
}

#[test]
fn the_default_store_is_a_database_that_is_named_and_kept() {
    let tree = tree(&TREE);
    let home = TempDir::new().unwrap();
    let mut command = Command::new(program::program("dedup"));
    command.arg(tree.path()).env("TMPDIR", home.path());
    let out = finish(command);
    assert!(out.status.success() && out.stderr.is_empty());
    let store = out.stdout.lines().find_map(|l| l.strip_prefix("store "));
    let store = store.unwrap().trim();
    assert!(Path::new(store).starts_with(home.path()), "{store}");
    assert_eq!(keys(store), contents());
    let v = run(store, &[], tree.path()).json();
    assert_eq!((number(&v, "stored"), number(&v, "verified")), (0, 4));
}

/// Else it would go on for ever, or find what was not there before.
#[test]
fn a_store_does_not_take_itself_in() {
    let tree = tree(&TREE);
    let at = |name: &str| tree.path().join(name);
    let before = below(tree.path()).len();
    for store in [
        at("objects"),
        at("objects.db"),
        at("again"),
        tree.path().into(),
    ] {
        let store = store.to_str().unwrap();
        let out = run(store, &[], tree.path());
        assert_eq!((out.status.code(), &*out.stdout), (Some(2), ""));
        assert!(out.stderr.contains(store), "{}", out.stderr);
    }
    let out = run(tree.path().to_str().unwrap(), &[], &at("again"));
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(below(tree.path()).len(), before);
    // The temporary ones are left out instead.
    fs::create_dir(at("tmp")).unwrap();
    let mut command = dedup("memory", &["--compare"], tree.path());
    command.env("TMPDIR", at("tmp"));
    assert_counts(&finish(command).json(), COUNTS);
    for _ in 0..2 {
        let mut command = Command::new(program::program("dedup"));
        command.arg("--json").arg(tree.path());
        command.env("TMPDIR", at("tmp"));
        assert_counts(&finish(command).json(), COUNTS);
        fs::remove_dir_all(at("tmp")).unwrap();
        fs::create_dir(at("tmp")).unwrap();
    }
}

#[test]
fn what_is_no_store_of_ours_is_told_and_left_alone() {
    let tree = tree(&TREE);
    let home = program::tree(&[
        ("dir/letter", b"dear"),
        ("text", b"some text"),
        ("text.db", b"some text"),
    ]);
    let at = |name: &str| home.path().join(name);
    let other = rusqlite::Connection::open(at("other.db")).unwrap();
    other
        .execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")
        .unwrap();
    drop(other);
    let names = ["dir", "text", "text.db", "other.db", "missing/new.db"];
    let content = || {
        let mut files = below(home.path());
        files.sort();
        files
            .into_iter()
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect::<Vec<_>>()
    };
    let before = content();
    for name in names {
        let store = at(name);
        let out = run(store.to_str().unwrap(), &[], tree.path());
        assert_eq!((out.status.code(), &*out.stdout), (Some(2), ""), "{name}");
        let line = out.stderr.lines().next().unwrap();
        assert!(line.starts_with("dedup: ") && line.contains(name), "{line}");
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
    }
    assert!(content() == before, "something was changed");
}

/// Changes a stored value behind the back of the store.
fn damage(store: &str, key: &Digest) {
    if Path::new(store).is_dir() {
        let objects = below(Path::new(store))
            .into_iter()
            .filter(|path| is_object(path));
        let path = objects
            .into_iter()
            .find(|path| path.ends_with(key.to_string()))
            .unwrap();
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    } else {
        let db = rusqlite::Connection::open(store).unwrap();
        let change = "UPDATE perkey SET value = x'00' WHERE key = ?1";
        assert_eq!(db.execute(change, [key.as_bytes()]).unwrap(), 1);
    }
}

#[test]
fn a_damaged_object_is_named_and_fails_the_run() {
    let home = TempDir::new().unwrap();
    for store in stores(&home) {
        let tree = tree(&TREE);
        run(&store, &[], tree.path()).json();
        let key = Digest::of("pear");
        damage(&store, &key);
        fs::remove_file(tree.path().join("b")).unwrap();
        let out = run(&store, &[], tree.path());
        let v = out.any_json();
        assert_eq!(out.status.code(), Some(1), "{v}");
        assert_eq!((number(&v, "objects"), number(&v, "verified")), (4, 3));
        assert_eq!((number(&v, "damaged"), number(&v, "repaired")), (1, 0));
        assert_eq!(v["damaged_objects"][0], key.to_string());
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
        assert!(out.stderr.contains(&key.to_string()), "{}", out.stderr);
    }
}

#[test]
fn a_damaged_object_is_written_anew_if_its_contents_are_there() {
    let (tree, home) = (tree(&TREE), TempDir::new().unwrap());
    for store in stores(&home) {
        run(&store, &[], tree.path()).json();
        damage(&store, &Digest::of("pear"));
        let v = run(&store, &[], tree.path()).json();
        assert_eq!((number(&v, "stored"), number(&v, "repaired")), (1, 1));
        assert_eq!((number(&v, "damaged"), number(&v, "verified")), (0, 4));
        assert_eq!(keys(&store), contents());
    }
}

/// A store that others use, for values under keys of their choice.
#[test]
fn a_value_under_a_wrong_digest_is_named_and_not_overwritten() {
    let (tree, home) = (tree(&TREE), TempDir::new().unwrap());
    for store in stores(&home) {
        let key = Digest::of("pear");
        let save = |value: &str| match store.ends_with(".db") {
            true => PerKey::new(Sqlite::open(&store).unwrap()).save_as(&key, value),
            false => PerKey::new(Files::open(&store).unwrap()).save_as(&key, value),
        };
        save("no pear").unwrap();
        let out = run(&store, &[], tree.path());
        let v = out.any_json();
        assert_eq!(out.status.code(), Some(1), "{v}");
        assert_counts(&v, COUNTS);
        assert_eq!((number(&v, "stored"), number(&v, "verified")), (3, 3));
        assert_eq!(v["damaged_objects"][0], key.to_string());
        let b = tree.path().join("b");
        assert_eq!(v["not_stored_paths"][0], b.to_str().unwrap());
        assert_eq!(out.stderr.lines().count(), 2, "{}", out.stderr);
        let kept = match store.ends_with(".db") {
            true => Sqlite::open(&store).unwrap().load(&key),
            false => Files::open(&store).unwrap().load(&key),
        };
        assert_eq!(kept.unwrap(), "no pear");
    }
}

#[test]
fn what_is_too_large_is_counted_and_compared_but_not_stored_and_named() {
    const MIB: usize = 1 << 20;
    let (large, other) = (vec![1; MIB + 1], vec![2; MIB + 1]);
    let tree = tree(&[
        ("a", &large),
        ("b", &large),
        ("c", &other),
        ("fits", &large[1..]),
        ("small", b"x"),
    ]);
    let v = run("memory", &["--largest", "1"], tree.path()).json();
    let mib = MIB as u64;
    assert_counts(&v, [5, 4 * mib + 4, 4, 1, mib + 1, 0]);
    assert_eq!((number(&v, "stored"), number(&v, "verified")), (2, 2));
    assert_eq!(number(&v, "not_stored"), 2);
    let out = run("memory", &["--largest", "1"], tree.path());
    assert_eq!(out.stderr.lines().count(), 2, "{}", out.stderr);
    assert!(out.stderr.contains("--largest"), "{}", out.stderr);
    // Once it fits it is stored, and then it may be too large again.
    let home = TempDir::new().unwrap();
    let store = &stores(&home)[0];
    run(store, &["--largest", "2"], tree.path()).json();
    let v = run(store, &["--largest", "1"], tree.path()).json();
    assert_eq!((number(&v, "not_stored"), number(&v, "verified")), (0, 4));
}

#[test]
fn both_layers_are_compared_on_new_stores_of_which_nothing_stays() {
    let tree = tree(&TREE);
    let home = TempDir::new().unwrap();
    let [files, db] = stores(&home);
    for store in [&*files, &*db, "memory"] {
        let temporary = TempDir::new().unwrap();
        let mut command = dedup(store, &["--compare"], tree.path());
        command.env("TMPDIR", temporary.path());
        let v = finish(command).json();
        assert_counts(&v, COUNTS);
        assert_eq!(number(&v, "stored"), 4);
        let compare = &v["compare"];
        assert_eq!(number(compare, "rounds"), 5);
        let time = |layer: &str| {
            let of = |what: &str| compare[layer][what].as_f64().unwrap();
            of("ingest_seconds") + of("verify_seconds")
        };
        let ratio = time("serializing") / time("per-key");
        assert!(
            (compare["ratio"].as_f64().unwrap() - ratio).abs() < 1e-6,
            "{v}"
        );
        assert!(ratio > 0.0);
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
    let mut command = Command::new(program::program("dedup"));
    command
        .args(["--store", "memory", "--compare"])
        .arg(tree.path());
    let out = finish(command);
    assert!(out.stdout.contains("ratio"), "{}", out.stdout);
    assert!(run("memory", &[], tree.path()).json()["compare"].is_null());
}

/// With the default store, too, whose directory is kept.
#[test]
fn a_comparison_leaves_only_the_store_behind() {
    let (tree, home) = (tree(&TREE), TempDir::new().unwrap());
    let mut command = Command::new(program::program("dedup"));
    command.args(["--json", "--compare"]).arg(tree.path());
    command.env("TMPDIR", home.path());
    let v = finish(command).json();
    let store = Path::new(v["store"].as_str().unwrap());
    assert!(store.is_file());
    let around = store.parent().unwrap();
    assert!(fs::read_dir(around)
        .unwrap()
        .flatten()
        .all(|entry| entry.path().is_file()));
}

#[cfg(unix)]
mod unix {
    use super::*;

    /// Files must not grow beyond a limit here, which to the store looks like a disk that is full.
    #[test]
    fn a_full_disk_ends_the_run_with_what_is_stored_intact() {
        let (tree, home) = (tree(&TREE), TempDir::new().unwrap());
        for store in stores(&home) {
            let mut command = Command::new("sh");
            command
                .args(["-c", "trap '' XFSZ; ulimit -f 250; exec \"$0\" \"$@\""])
                .arg(program::program("dedup"))
                .args(["--json", "--threads", "1", "--store", &store])
                .arg(tree.path());
            let out = finish(command);
            let v = out.any_json();
            assert_eq!(out.status.code(), Some(1), "{v}");
            assert!(v["failed"].as_str().unwrap().contains("no room"), "{v}");
            assert!(out.stderr.contains("no room") && out.stderr.contains(&store));
            assert_eq!(number(&v, "stored"), keys(&store).len() as u64);
            assert!(!keys(&store).contains(&Digest::of([7; 300_000])));
            let left = 4 - number(&v, "stored");
            let v = run(&store, &[], tree.path()).json();
            assert_eq!((number(&v, "stored"), number(&v, "verified")), (left, 4));
        }
    }
}

/// Signals to a process whose state can be seen.
#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use program::Running;
    use std::fs::File;
    use std::os::unix::process::ExitStatusExt;
    use std::time::{Duration, Instant};

    const FILES: usize = 1500;

    fn signal(running: &Running, name: &str) {
        let pid = running.child.id();
        let kill = format!("kill -{name} {pid}");
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.unwrap().success(), "{kill}");
    }

    /// A line of /proc/PID/status.
    fn status(running: &Running, line: &str) -> String {
        let path = format!("/proc/{}/status", running.child.id());
        let status = fs::read_to_string(path).unwrap();
        let mut lines = status.lines();
        let value = lines.find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        value
            .unwrap_or_else(|| panic!("no {line}"))
            .trim()
            .to_owned()
    }

    #[track_caller]
    fn until(what: &str, mut f: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !f() {
            assert!(Instant::now() < end, "never happened: {what}");
            std::thread::yield_now();
        }
    }

    fn objects(store: &str) -> usize {
        below(Path::new(store))
            .iter()
            .filter(|path| is_object(path))
            .count()
    }

    fn many_files() -> TempDir {
        let dir = TempDir::new().unwrap();
        for i in 0..FILES {
            fs::write(dir.path().join(format!("{i}")), format!("file {i}")).unwrap();
        }
        dir
    }

    /// A run that stands still (SIGSTOP) in the midst of its work: some objects are stored, not even half of them.
    fn midway(home: &TempDir, tree: &TempDir) -> (String, Running) {
        for i in 0.. {
            assert!(i < 50, "it was never caught at work");
            let store = home.path().join(format!("objects{i}"));
            let store = store.to_str().unwrap().to_owned();
            let running = program::start(dedup(&store, &["--threads", "2"], tree.path()));
            until("some files are stored", || objects(&store) > 10);
            signal(&running, "STOP");
            until("it stands still or is over", || {
                ["T", "Z"]
                    .iter()
                    .any(|state| status(&running, "State").starts_with(state))
            });
            if objects(&store) < FILES / 2 {
                return (store, running);
            }
            signal(&running, "KILL");
            running.finish();
        }
        unreachable!()
    }

    fn goes_on(store: &str, tree: &TempDir, before: usize) {
        let v = run(store, &[], tree.path()).json();
        assert_eq!(number(&v, "stored"), (FILES - before) as u64);
        assert_eq!(number(&v, "verified"), FILES as u64);
        assert_eq!(keys(store).len(), FILES);
    }

    #[test]
    fn ctrl_c_stops_cleanly_and_the_next_run_goes_on_from_there() {
        let (home, tree) = (TempDir::new().unwrap(), many_files());
        let (store, running) = midway(&home, &tree);
        let before = objects(&store);
        signal(&running, "INT");
        signal(&running, "CONT");
        let out = running.finish();
        assert_eq!(out.status.code(), Some(130), "{}", out.stderr);
        let v = out.any_json();
        assert_eq!(
            (&v["stopped"], &v["failed"]),
            (&Value::Bool(true), &Value::Null)
        );
        let stored = number(&v, "stored") as usize;
        assert!(before <= stored && stored < FILES, "{before}, then {v}");
        assert_eq!((objects(&store), keys(&store).len()), (stored, stored));
        assert_eq!(
            number(&v, "files"),
            stored as u64,
            "each file is another one"
        );
        assert!(out.stderr.contains("Ctrl-C"), "{}", out.stderr);
        assert!(out.stderr.contains(&store), "how to go on: {}", out.stderr);
        assert_eq!(below(&Path::new(&store).join("tmp")).len(), 0);
        goes_on(&store, &tree, stored);
    }

    #[test]
    fn after_a_kill_the_next_run_goes_on_as_well() {
        let (home, tree) = (TempDir::new().unwrap(), many_files());
        let (store, running) = midway(&home, &tree);
        signal(&running, "KILL");
        assert_eq!(running.finish().status.signal(), Some(9));
        let before = objects(&store);
        goes_on(&store, &tree, before);
    }

    /// A run that waits for its store, which is locked as if it were being opened elsewhere, as long as the file is open. Whatever it does on a signal, it
    /// does not come to its end meanwhile.
    fn waiting(store: &str, tree: &TempDir) -> (File, Running) {
        drop(Files::open(store).unwrap());
        let marker = File::open(Path::new(store).join("perkey.format")).unwrap();
        marker.lock().unwrap();
        let running = program::start(dedup(store, &[], tree.path()));
        let pid = running.child.id().to_string();
        until("it waits for the lock", || {
            let locks = fs::read_to_string("/proc/locks").unwrap();
            let mut waiting = locks.lines().filter(|line| line.contains("->"));
            waiting.any(|line| line.split_whitespace().any(|word| word == pid))
        });
        (marker, running)
    }

    #[test]
    fn a_second_ctrl_c_kills() {
        let (home, tree) = (TempDir::new().unwrap(), tree(&TREE));
        let store = &stores(&home)[0];
        let (marker, running) = waiting(store, &tree);
        signal(&running, "INT");
        until("it has been told", || {
            u64::from_str_radix(&status(&running, "ShdPnd"), 16).unwrap() & 2 == 0
        });
        signal(&running, "INT");
        assert_eq!(running.finish().status.signal(), Some(2));
        drop(marker);
        assert_eq!(number(&run(store, &[], tree.path()).json(), "stored"), 4);
    }

    #[test]
    fn a_single_ctrl_c_does_not_kill() {
        let (home, tree) = (TempDir::new().unwrap(), tree(&TREE));
        let store = &stores(&home)[0];
        let (marker, running) = waiting(store, &tree);
        signal(&running, "INT");
        drop(marker);
        let out = running.finish();
        assert_eq!(out.status.code(), Some(130), "{}", out.stderr);
        assert_eq!(number(&out.any_json(), "stored"), 0);
    }
}
