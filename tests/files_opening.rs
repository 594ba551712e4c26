//! A store in a directory: opening it, what a dead process has left in it, and what can go wrong.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/store.rs"]
mod store;

use common::{as_process, elsewhere, orders};
use perkey::storage::{BoxError, Error, Failure, Files, Intent, PerKey, Scope, Storage};
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use store::{file, fixture, key, no_child_starts, staged, start, tree};

// ---- opening ------------------------------------------------------------------------------------------------------

/// Opening fails, with an error that names the path and says `why`, and touches nothing.
#[track_caller]
fn does_not_open(path: &Path, why: &str) {
    let above = path.parent().unwrap();
    let before = tree(above);
    for options in [Files::options(), Files::options().sync(false)] {
        let e = options.open(path).unwrap_err();
        let text = e.to_string();
        assert!(matches!(e, Failure::Other(_)), "{e:?}");
        assert!(
            text.contains(&*path.to_string_lossy()),
            "{text} does not name the path"
        );
        assert!(text.contains(why), "{text} does not say {why:?}");
        assert_eq!(tree(above), before);
    }
}

#[test]
fn a_directory_is_made_with_those_above_it_and_an_empty_one_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    let key = Files::open(&path).unwrap().save("apple").unwrap();
    assert_eq!(Files::open(&path).unwrap().load(&key).unwrap(), "apple");
    let empty = tempfile::tempdir().unwrap();
    assert!(Files::open(empty.path())
        .unwrap()
        .list()
        .unwrap()
        .is_empty());
}

#[test]
fn a_directory_of_something_else_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["notes.txt", "tmp", "ab"] {
        let path = dir
            .path()
            .canonicalize()
            .unwrap()
            .join(format!("with {name}"));
        fs::create_dir_all(path.join(name)).unwrap();
        let why = format!("it is not a store, and not empty: there is {name}");
        does_not_open(&path, &why);
        // Not even if it has an empty file by the name of ours.
        fs::write(path.join("perkey.format"), "").unwrap();
        does_not_open(&path, &why);
    }
}

#[test]
fn a_store_of_another_format_is_not_touched() {
    let f = fixture();
    f.store.save("apple").unwrap();
    let marker = f.path().join("perkey.format");
    fs::write(
        f.path().join("tmp").join(format!("{}-abcdef", key("ab"))),
        "left over",
    )
    .unwrap();
    for (text, why) in [
        (
            "perkey files, format 2\n",
            "it has format 2, this version reads 1",
        ),
        (
            "perkey files, format 12\n",
            "it has format 12, this version reads 1",
        ),
        (
            "perkey files, format 1\n\n",
            "does not say that it is a store",
        ),
        (
            "perkey files, format one\n",
            "does not say that it is a store",
        ),
        (
            "something else",
            "perkey.format does not say that it is a store, but \"something else\"",
        ),
    ] {
        fs::write(&marker, text).unwrap();
        does_not_open(f.path(), why);
    }
}

#[test]
fn a_file_is_not_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "apple").unwrap();
    does_not_open(&path, "not a directory");
    let e = Files::open(path.join("below")).unwrap_err();
    assert!(e.to_string().contains("file/below"), "{e}");
    let e = Files::open("").unwrap_err();
    assert!(matches!(e, Failure::Other(_)), "{e}");
}

#[test]
fn who_dies_while_making_a_store_leaves_one_that_can_be_made() {
    let whole = "perkey files, format 1\n";
    for length in 0..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("perkey.format"), &whole[..length]).unwrap();
        let store = Files::open(dir.path()).unwrap();
        store.save("apple").unwrap();
        let marker = fs::read_to_string(dir.path().join("perkey.format")).unwrap();
        assert_eq!(marker, whole, "of {length} bytes");
    }
    // The folder for temporary files comes back, too.
    let f = fixture();
    fs::remove_dir(f.path().join("tmp")).unwrap();
    f.again().save("apple").unwrap();
}

#[test]
fn eight_threads_that_open_a_new_directory_open_one_store() {
    for _ in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let (path, barrier) = (dir.path().join("new"), Barrier::new(8));
        std::thread::scope(|s| {
            for thread in 0..8_u32 {
                let (path, barrier) = (&path, &barrier);
                s.spawn(move || {
                    barrier.wait();
                    let store = Files::options().sync(false).open(path).unwrap();
                    store.save(thread.to_string()).unwrap();
                });
            }
        });
        assert_eq!(Files::open(&path).unwrap().list().unwrap().len(), 8);
    }
}

#[test]
fn two_opens_of_one_directory_are_one_place_by_whatever_path() {
    let f = fixture();
    let mut paths = vec![
        f.path().to_owned(),
        f.path().join("."),
        f.path().join("tmp/.."),
    ];
    #[cfg(unix)]
    {
        let link = f.dir.path().join("link");
        std::os::unix::fs::symlink(f.path(), &link).unwrap();
        paths.push(link);
    }
    let key = f.store.save("apple").unwrap();
    for path in paths {
        let other = Files::open(&path).unwrap();
        assert_eq!(other.place(), f.store.place());
        assert_eq!(other.path(), f.path());
        f.store.transfer(&key, &other).unwrap();
        assert_eq!(f.store.load(&key).unwrap(), "apple", "moved to itself");
    }
    let other = f.other();
    assert_ne!(other.place(), f.store.place());
    f.store.transfer(&key, &other).unwrap();
    assert!(!f.store.contains(&key).unwrap() && other.contains(&key).unwrap());
}

#[test]
fn the_options_show() {
    let f = fixture();
    let careless = Files::options().sync(false).open(f.path()).unwrap();
    assert_eq!(
        format!("{:?} {careless:?}", f.store),
        format!(
            "Files {{ path: {0:?}, sync: true, .. }} Files {{ path: {0:?}, sync: false, .. }}",
            f.path()
        )
    );
}

// ---- leftovers ----------------------------------------------------------------------------------------------------

/// S11.
#[test]
fn what_another_handle_is_writing_is_not_a_leftover() {
    let f = fixture();
    let a = key("aaaa");
    let mut op = f.store.operation(Scope::Key(&a), Intent::Write).unwrap();
    op.save_as(&a, "apple").unwrap();
    assert_eq!(f.staged().len(), 1);
    let other = f.again();
    elsewhere(|| drop(f.again()));
    assert_eq!(f.staged().len(), 1);
    drop(other);
    op.leave().unwrap();
    assert_eq!(f.again().load(&a).unwrap(), "apple");
}

#[test]
fn opening_and_closing_beside_writers_never_takes_what_they_write() {
    let f = fixture();
    let path = f.path();
    std::thread::scope(|s| {
        for thread in 0..2_u32 {
            s.spawn(move || {
                for n in 0..100 {
                    let store = Files::options().sync(false).open(path).unwrap();
                    let key = store.save(format!("{thread} {n}")).unwrap();
                    assert!(store.contains(&key).unwrap());
                }
            });
        }
    });
    assert_eq!(f.store.list().unwrap().len(), 200);
}

#[test]
fn leftovers_of_a_killed_process_go_but_not_what_a_living_one_writes() {
    let a = key("aaaa");
    if let Some(path) = orders() {
        let store = Files::open(path).unwrap();
        let mut op = store.operation(Scope::Key(&a), Intent::Write).unwrap();
        op.save_as(&a, "pear").unwrap();
        println!("staged");
        assert_eq!(io::stdin().lines().next().unwrap().unwrap(), "leave");
        op.leave().unwrap();
        println!("left");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    Files::open(path).unwrap().save_as(&a, "apple").unwrap();
    let mut writer = Writer::start(path);
    let store = Files::open(path).unwrap();
    drop(Files::open(path).unwrap());
    assert_eq!(staged(path).len(), 1, "of a living process");
    assert_eq!(store.load(&a).unwrap(), "apple");
    writer.leave();
    assert_eq!(store.load(&a).unwrap(), "pear");
    assert_eq!(staged(path).len(), 0);

    store.save_as(&a, "plum").unwrap();
    Writer::start(path).kill();
    drop(Files::open(path).unwrap());
    assert_eq!(
        staged(path).len(),
        1,
        "while the store is open elsewhere it might be in use"
    );
    drop(store);
    let _no_child_starts = no_child_starts();
    let store = Files::open(path).unwrap();
    assert_eq!(staged(path).len(), 0);
    assert_eq!(store.load(&a).unwrap(), "plum");
}

/// A process that has written a value and not yet left the operation.
struct Writer {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Writer {
    fn start(store: &Path) -> Self {
        let test = "leftovers_of_a_killed_process_go_but_not_what_a_living_one_writes";
        let mut child = start(
            as_process(test, store.to_str().unwrap())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let says = BufReader::new(child.stdout.take().unwrap());
        let mut writer = Self { child, says };
        writer.hear("staged");
        writer
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        while !line.ends_with(&format!("{word}\n")) {
            line.clear();
            assert_ne!(self.says.read_line(&mut line).unwrap(), 0, "it has ended");
        }
    }

    fn leave(&mut self) {
        self.child
            .stdin
            .take()
            .unwrap()
            .write_all(b"leave\n")
            .unwrap();
        self.hear("left");
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs this test as a process of its own, and shows what it says if it fails.
fn runs(command: &mut Command) {
    let mut child = start(command.stdout(Stdio::piped()).stderr(Stdio::inherit()));
    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

// ---- what can go wrong --------------------------------------------------------------------------------------------

/// What the system said: the innermost error.
fn os_error(e: &(dyn std::error::Error + 'static)) -> io::ErrorKind {
    match e.source() {
        Some(source) => os_error(source),
        None => e.downcast_ref::<io::Error>().unwrap().kind(),
    }
}

#[test]
#[cfg(unix)]
fn when_the_disk_is_full_nothing_is_lost() {
    // No file of the process may be longer than that: what a full disk does, but for the number of the error.
    let test = "when_the_disk_is_full_nothing_is_lost";
    let Some(path) = orders() else {
        let dir = tempfile::tempdir().unwrap();
        let direct = as_process(test, dir.path().to_str().unwrap());
        let mut limited = Command::new("sh");
        limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"]);
        limited.arg(direct.get_program()).args(direct.get_args());
        limited.envs(direct.get_envs().filter_map(|(k, v)| Some((k, v?))));
        return runs(&mut limited);
    };
    let store = PerKey::new(Files::open(&path).unwrap());
    let path = store.inner().path();
    let [a, b, c] = ["aaaa", "bbbb", "cccc"].map(key);
    let large = vec![7; 1 << 20];
    store.save_as(&a, "apple").unwrap();
    let before = tree(path);
    let is_full = |result: Result<(), Error>| {
        let e = result.unwrap_err();
        assert!(matches!(e, Error::Full { .. }), "{e:?}");
        assert!(
            e.to_string().contains(&*path.join("tmp").to_string_lossy()),
            "{e}"
        );
        assert_eq!(os_error(&e), io::ErrorKind::FileTooLarge);
        let mut after = tree(path);
        after.retain(|path, contents| before.contains_key(path) || contents.is_some()); // folders may stay
        assert!(after == before, "something is lost, or left");
    };
    is_full(store.save_as(&a, &large));
    is_full(store.save(&large).map(drop));
    is_full(store.update(&a, |_| Ok::<_, BoxError>(Some(&large))));
    is_full(
        store
            .get_or_insert_with(&b, || Ok::<_, BoxError>(&large))
            .map(drop),
    );
    is_full(store.save_many([&vec![1; 100], &large]).map(drop));
    let mut op = store
        .operation(Scope::Keys(&[a, b, c]), Intent::Write)
        .unwrap();
    op.evict(&a).unwrap();
    op.save_as(&b, "pear").unwrap();
    is_full(op.save_as(&c, &large).inspect_err(|_| drop(op)));
    // What fits can be saved still.
    store.save_as(&a, "pear").unwrap();
    assert_eq!(store.load(&a).unwrap(), "pear");
}

#[test]
#[cfg(unix)]
fn without_permission_it_says_where_and_touches_nothing() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let permit = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let test = "without_permission_it_says_where_and_touches_nothing";
    let Some(path) = orders() else {
        // Root may do anything, so it asks somebody else to try, who may not see where the tests are.
        let dir = tempfile::tempdir().unwrap();
        let usual = as_process(test, dir.path().to_str().unwrap());
        let program = dir.path().join("test");
        fs::hard_link(usual.get_program(), &program)
            .or_else(|_| fs::copy(usual.get_program(), &program).map(drop))
            .unwrap();
        let mut command = Command::new(program);
        command.args(usual.get_args());
        command.envs(usual.get_envs().filter_map(|(k, v)| Some((k, v?))));
        command.current_dir(dir.path());
        if fs::metadata(dir.path()).unwrap().uid() == 0 {
            permit(dir.path(), 0o777);
            command.uid(65534).gid(65534);
        }
        return runs(&mut command);
    };
    let dir = tempfile::tempdir_in(path).unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let denied = |path: &Path, names: &Path| {
        let e = Files::open(path).unwrap_err();
        let text = e.to_string();
        assert!(text.contains(&*names.to_string_lossy()), "{text}");
        assert_eq!(os_error(&e), io::ErrorKind::PermissionDenied, "{e:?}");
    };
    // A directory that cannot be read, or not written, or whose parent cannot.
    for mode in [0o000, 0o555, 0o333] {
        let empty = dir.join(format!("empty {mode:o}"));
        fs::create_dir(&empty).unwrap();
        permit(&empty, mode);
        denied(&empty, &empty);
        if mode != 0o333 {
            denied(&empty.join("below"), &empty.join("below"));
        }
        permit(&empty, 0o755);
        assert!(tree(&empty).is_empty());
    }
    // A store.
    let path = dir.join("store");
    let a = key("aaaa");
    Files::open(&path).unwrap().save_as(&a, "apple").unwrap();
    let before = tree(&path);
    let marker = path.join("perkey.format");
    for mode in [0o000, 0o444] {
        permit(&marker, mode);
        denied(&path, &marker);
        permit(&marker, 0o644);
    }
    let store = Files::open(&path).unwrap();
    let denied = |result: Result<(), Error>, names: &Path| {
        let e = result.unwrap_err();
        let text = e.to_string();
        assert!(matches!(e, Error::Backend { .. }), "{e:?}");
        assert!(text.contains(&*names.to_string_lossy()), "{text}");
        assert_eq!(os_error(&e), io::ErrorKind::PermissionDenied, "{e:?}");
    };
    permit(&path.join("tmp"), 0o555);
    denied(store.save("pear").map(drop), &path.join("tmp"));
    assert_eq!(store.load(&a).unwrap(), "apple");
    permit(&path.join("tmp"), 0o755);
    permit(&path.join("aa"), 0o555);
    denied(store.save_as(&a, "pear"), &file(&path, &a));
    denied(store.evict(&a), &file(&path, &a));
    permit(&path.join("aa"), 0o000);
    denied(store.load(&a).map(drop), &file(&path, &a));
    denied(store.contains(&a).map(drop), &file(&path, &a));
    denied(store.list().map(drop), &path.join("aa"));
    permit(&path.join("aa"), 0o755);
    permit(&file(&path, &a), 0o000);
    denied(store.load(&a).map(drop), &file(&path, &a));
    assert!(store.contains(&a).unwrap(), "nothing is read for that");
    assert_eq!(store.list().unwrap(), [a]);
    permit(&file(&path, &a), 0o644);
    let mut after = tree(&path);
    after.retain(|path, contents| before.contains_key(path) || contents.is_some());
    assert_eq!(after, before);
}

#[test]
fn a_relative_path_means_the_same_after_a_change_of_directory() {
    let Some(path) = orders() else {
        let dir = tempfile::tempdir().unwrap();
        let test = "a_relative_path_means_the_same_after_a_change_of_directory";
        return runs(as_process(test, dir.path().to_str().unwrap()).current_dir(dir.path()));
    };
    for name in ["store", "a/b", "./c"] {
        std::env::set_current_dir(&path).unwrap();
        let store = Files::open(name).unwrap();
        std::env::set_current_dir("/").unwrap();
        let key = store.save("apple").unwrap();
        assert!(file(&Path::new(&path).join(name), &key).is_file());
        assert_eq!(store.load(&key).unwrap(), "apple");
    }
}
