//! `examples/dedup`: what the program counts, on real trees.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]
#![forbid(unsafe_code)]

use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use tempfile::TempDir;

#[path = "common/program.rs"]
mod program;
use program::{assert_counts, finish, tree, Output};

fn dedup() -> Command {
    Command::new(program::program("dedup"))
}

fn run(args: &[&str], dir: &Path) -> Output {
    let mut command = dedup();
    command.args(args).arg(dir);
    finish(command)
}

fn json(threads: usize, dir: &Path) -> Value {
    run(&["--json", "--threads", &threads.to_string()], dir).json()
}

#[test]
fn everything_below_counts_hidden_or_ignored_or_empty() {
    let dir = tree(&[
        (".gitignore", b"*.log\nskipped/\n"),
        (".ignore", b"*"),
        (".git/objects/ab", b"object"),
        (".hidden/.deeper/x", b"object"),
        ("a.log", b"object"),
        ("skipped/b", b"other"),
        ("empty", b""),
        ("skipped/empty", b""),
    ]);
    for threads in [1, 2, 8] {
        let v = json(threads, dir.path());
        assert_counts(&v, [8, 39, 5, 3, 12, 0]);
        assert_eq!(
            (v["threads"].as_u64(), v["locks"].as_u64()),
            (Some(threads as u64), Some(8))
        );
        assert!(v["seconds"].as_f64().unwrap() > 0.0);
        assert!(v["longest_wait_seconds"].is_f64() && v["contended"].is_u64());
        let largest = v["largest"].as_array().unwrap();
        assert_eq!(largest.len(), 1, "what wastes nothing is not shown: {v}");
        assert_eq!(largest[0]["paths"].as_array().unwrap().len(), 3);
        assert_eq!(largest[0]["wasted_bytes"], 12);
    }
}

#[test]
fn the_table_is_all_there_is_on_stdout_and_no_bar_in_a_pipe() {
    let dir = tree(&[("one", b"same"), ("two", b"same"), ("three", b"else")]);
    let out = run(&[], dir.path());
    assert!(out.status.success());
    assert_eq!(out.stderr, "");
    assert!(!out.stdout.contains(['\r', '\x1b']));
    let rows: HashMap<_, _> = out
        .stdout
        .lines()
        .filter_map(|l| l.split_at_checked(12))
        .collect();
    for (what, value) in [
        ("files", "3"),
        ("bytes", "12 B"),
        ("distinct", "2"),
        ("duplicates", "1"),
        ("wasted bytes", "4 B"),
        ("unreadable", "0"),
        ("locks taken", "3"),
    ] {
        assert_eq!(
            rows[&*format!("{what:<12}")].trim(),
            value,
            "{}",
            out.stdout
        );
    }
    assert!(out.stdout.contains("contended") && out.stdout.contains("longest wait"));
    assert!(out
        .stdout
        .contains(dir.path().join("one").to_str().unwrap()));
    assert_eq!(run(&["--json"], dir.path()).stderr, "");
}

#[test]
fn the_default_is_the_current_directory() {
    let dir = tree(&[("a", b"1"), ("b/c", b"1")]);
    let mut command = dedup();
    command.arg("--json").current_dir(dir.path());
    assert_counts(&finish(command).json(), [2, 2, 1, 1, 1, 0]);
    let empty = TempDir::new().unwrap();
    assert_counts(&json(2, empty.path()), [0; 6]);
}

#[test]
fn wrong_options_are_told() {
    let dir = tree(&[("file", b"")]);
    for wrong in [dir.path().join("missing"), dir.path().join("file")] {
        let out = run(&["--json"], &wrong);
        assert_eq!((out.status.code(), &*out.stdout), (Some(2), ""));
        assert!(
            out.stderr.contains(wrong.to_str().unwrap()),
            "{}",
            out.stderr
        );
    }
    for args in [
        &["--threads", "0"][..],
        &["--threads", "many"],
        &["--layer", "both"],
        &["--largest", "0"],
        &["--largest", "901"],
        &["--what"],
    ] {
        let out = run(args, dir.path());
        assert_eq!((out.status.code(), &*out.stdout), (Some(2), ""));
        assert!(out.stderr.contains(args[0]), "{}", out.stderr);
    }
    let help = run(&["--help"], dir.path());
    assert!(help.status.success() && help.stderr.is_empty());
    for word in [
        "DIR",
        "--threads",
        "--json",
        "hard link",
        "--store",
        "--layer",
        "--compare",
        "Ctrl-C",
    ] {
        assert!(
            help.stdout.contains(word),
            "{word} is not in {}",
            help.stdout
        );
    }
}

/// Files of many pieces, that differ in the last byte only, or in length only.
#[test]
fn long_files_are_told_apart() {
    let long = vec![7; 3_000_001];
    let mut last = long.clone();
    *last.last_mut().unwrap() = 8;
    let dir = tree(&[
        ("long", &long),
        ("again", &long),
        ("last", &last),
        ("short", &long[..3_000_000]),
    ]);
    assert_counts(&json(4, dir.path()), [4, 12_000_003, 3, 1, 3_000_001, 0]);
}

/// Whatever the number of threads: what a simple count says.
#[test]
fn agrees_with_a_simple_count() {
    let dir = TempDir::new().unwrap();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut bytes, mut wasted, mut contents) = (0, 0, HashSet::new());
    for i in 0..600 {
        let content =
            vec![u8::try_from(random(5)).unwrap(); usize::try_from(random(12)).unwrap() * 5_000];
        let len = content.len() as u64;
        let at = dir.path().join(format!("d{}/e{}", random(4), random(4)));
        fs::create_dir_all(&at).unwrap();
        fs::write(at.join(format!("{i}")), &content).unwrap();
        bytes += len;
        if !contents.insert(content) {
            wasted += len;
        }
    }
    let distinct = contents.len() as u64;
    for threads in [1, 2, 3, 16] {
        assert_counts(
            &json(threads, dir.path()),
            [600, bytes, distinct, 600 - distinct, wasted, 0],
        );
    }
}

/// Equal files only, so that all threads want one lock all the time.
#[test]
fn equal_files_are_recorded_once_whatever_the_timing() {
    let dir = TempDir::new().unwrap();
    for i in 0..400 {
        fs::write(dir.path().join(format!("{i}")), b"the same in all of them").unwrap();
    }
    for _ in 0..10 {
        let v = json(8, dir.path());
        assert_counts(&v, [400, 23 * 400, 1, 399, 23 * 399, 0]);
        assert_eq!(v["locks"], 400);
        assert!(v["contended"].as_u64().unwrap() <= 400);
    }
}

/// Files that come, grow, shrink and go while it runs: some are unreadable, none is fatal.
#[test]
fn a_restless_tree_is_not_fatal() {
    let dir = TempDir::new().unwrap();
    let at = |name: String| dir.path().join(name);
    for i in 0..50 {
        fs::write(at(format!("still-{i}")), vec![3; 100_000]).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            let mut log = File::create(at("log".into())).unwrap();
            for i in (0..20).cycle() {
                if stop.load(Relaxed) {
                    break;
                }
                log.write_all(&[4; 1000]).unwrap();
                let path = at(format!("restless-{i}"));
                fs::write(&path, vec![3; 100_000 - i]).unwrap();
                fs::write(&path, [5; 10]).unwrap();
                if i % 2 == 0 {
                    fs::remove_file(&path).unwrap();
                }
                if log.metadata().unwrap().len() > 1 << 20 {
                    log.set_len(0).unwrap();
                }
            }
        });
        let runs: Vec<_> = (0..20)
            .map(|_| run(&["--json", "--threads", "4"], dir.path()))
            .collect();
        stop.store(true, Relaxed);
        for out in runs {
            let v = out.json();
            let n = |key: &str| v[key].as_u64().unwrap();
            assert!(n("files") >= 50 && n("files") == n("distinct") + n("duplicates"));
            assert_eq!(
                n("unreadable"),
                v["unreadable_paths"].as_array().unwrap().len() as u64
            );
            assert_eq!(
                n("unreadable"),
                out.stderr.lines().count() as u64,
                "{}",
                out.stderr
            );
        }
    });
}

/// Whoever reads the result goes away before it comes.
#[test]
fn a_broken_pipe_is_no_panic() {
    let dir = tree(&[("a", b"1"), ("b", b"1")]);
    for args in [&["--json"][..], &[]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let home = TempDir::new().unwrap();
        let out = dedup()
            .env("TMPDIR", home.path())
            .args(args)
            .arg(dir.path())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        assert_eq!((out.status.code(), out.stderr), (Some(0), vec![]));
    }
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixListener;
    use std::os::unix::process::CommandExt;

    #[test]
    fn links_are_not_followed_and_special_files_not_opened() {
        let dir = tree(&[("sub/a", b"12"), ("b", b"12")]);
        let at = |name: &str| dir.path().join(name);
        symlink(dir.path(), at("sub/loop")).unwrap();
        symlink("self", at("self")).unwrap();
        symlink("sub/a", at("link")).unwrap();
        symlink("nowhere", at("dangling")).unwrap();
        let fifo = Command::new("mkfifo").arg(at("fifo")).status();
        assert!(fifo.is_ok_and(|s| s.success()));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        assert_counts(&json(2, dir.path()), [2, 4, 1, 1, 2, 0]);
        // The directory that is asked for may itself be a link.
        let link = TempDir::new().unwrap();
        let link = link.path().join("to");
        symlink(dir.path(), &link).unwrap();
        assert_counts(&json(2, &link), [2, 4, 1, 1, 2, 0]);
    }

    #[test]
    fn hard_links_are_duplicates_that_waste_nothing() {
        let dir = tree(&[("a", b"12345"), ("copy", b"12345")]);
        for name in ["b", "c"] {
            fs::hard_link(dir.path().join("a"), dir.path().join(name)).unwrap();
        }
        for threads in [1, 4] {
            assert_counts(&json(threads, dir.path()), [4, 20, 1, 3, 5, 0]);
        }
        fs::remove_file(dir.path().join("copy")).unwrap();
        let v = json(2, dir.path());
        assert_counts(&v, [3, 15, 1, 2, 0, 0]);
        assert_eq!(v["largest"].as_array().unwrap().len(), 0);
    }

    #[test]
    fn odd_names_survive() {
        let dir = TempDir::new().unwrap();
        for name in [&b"caf\xE9"[..], b"caf\xE8", b"line\nbreak \x1b[31m"] {
            // Some file systems take no such name.
            if fs::write(dir.path().join(OsStr::from_bytes(name)), b"same").is_err() {
                return;
            }
        }
        let v = json(2, dir.path());
        assert_counts(&v, [3, 12, 1, 2, 8, 0]);
        let paths = v["largest"][0]["paths"].as_array().unwrap();
        let paths: Vec<_> = paths.iter().map(|p| p.as_str().unwrap()).collect();
        assert!(
            paths.iter().any(|p| p.ends_with("/caf\\xE9\"")),
            "{paths:?}"
        );
        assert!(
            paths.iter().any(|p| p.ends_with("/caf\\xE8\"")),
            "{paths:?}"
        );
        assert!(
            paths.iter().any(|p| p.ends_with("/line\nbreak \x1b[31m")),
            "{paths:?}"
        );
        fs::remove_file(dir.path().join(OsStr::from_bytes(b"caf\xE8"))).unwrap();
        fs::remove_file(dir.path().join(OsStr::from_bytes(b"caf\xE9"))).unwrap();
        fs::write(dir.path().join("m"), b"same").unwrap();
        let out = run(&[], dir.path());
        assert!(out.status.success() && !out.stdout.contains('\x1b'));
        assert!(out.stdout.contains("line\\nbreak"), "{}", out.stdout);
    }

    /// Root may read everything, so root has somebody else run it.
    #[test]
    fn the_unreadable_is_counted_and_named() {
        let dir = tree(&[
            ("ok", b"1"),
            ("also", b"1"),
            ("secret", b"1"),
            ("closed/in", b"1"),
        ]);
        let at = |name: &str| dir.path().join(name);
        let mode =
            |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        let mut command;
        let home = TempDir::new().unwrap();
        if dir.path().metadata().unwrap().uid() == 0 {
            let copy = home.path().join("dedup");
            // Not copied here: a child of another test could inherit the open file, and what is open cannot be run.
            let cp = Command::new("cp")
                .arg(program::program("dedup"))
                .arg(&copy)
                .status();
            assert!(cp.unwrap().success());
            mode(home.path(), 0o777); // its store goes there, too
            mode(dir.path(), 0o755);
            command = Command::new(copy);
            command.uid(65534).gid(65534);
        } else {
            command = dedup();
        }
        mode(&at("secret"), 0);
        mode(&at("closed"), 0);
        command
            .arg("--json")
            .arg(dir.path())
            .env("TMPDIR", home.path());
        let out = finish(command);
        mode(&at("closed"), 0o755); // or it could not be removed
        let v = out.json();
        assert_counts(&v, [2, 2, 1, 1, 1, 2]);
        for (i, name) in ["closed", "secret"].into_iter().enumerate() {
            let path = at(name);
            assert_eq!(v["unreadable_paths"][i], path.to_str().unwrap());
            let line = out.stderr.lines().nth(i).unwrap();
            assert!(line.contains(path.to_str().unwrap()), "{line}");
            assert!(line.contains("ermission denied"), "{line}");
        }
    }
}
