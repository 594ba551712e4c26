//! A store in a directory: what is on the disk, what is left alone, what is noticed, and what can go wrong.
//!
//! Kills are in `killed.rs`, crashes of the machine in `src/storage/files/crash.rs`.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{as_process, elsewhere, orders, Dice};
use perkey::storage::{
    BoxError, Digest, Error, Failure, Files, Intent, PerKey, Prefix, Scope, Storage,
};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Barrier, RwLock, RwLockReadGuard};

/// A store in a new directory, which goes with it.
struct Fixture {
    store: Files,
    dir: tempfile::TempDir,
    _no_child_starts: RwLockReadGuard<'static, ()>,
}

/// A process that is being started has copies of all files that are open here, and of their locks, until it is the other program. So nothing is, meanwhile.
/// One fixture for each test, therefore.
static STARTS: RwLock<()> = RwLock::new(());

fn fixture() -> Fixture {
    let no_child_starts = STARTS.read().unwrap_or_else(|e| e.into_inner());
    let dir = tempfile::tempdir().unwrap();
    Fixture {
        store: Files::open(dir.path().join("store")).unwrap(),
        dir,
        _no_child_starts: no_child_starts,
    }
}

impl Fixture {
    fn path(&self) -> &Path {
        self.store.path()
    }

    fn file(&self, key: &Digest) -> PathBuf {
        file(self.path(), key)
    }

    fn again(&self) -> Files {
        Files::open(self.path()).unwrap()
    }

    /// Another store.
    fn other(&self) -> Files {
        Files::open(self.dir.path().join("other")).unwrap()
    }

    fn staged(&self) -> Vec<PathBuf> {
        staged(self.path())
    }
}

/// Where the file of a key is.
fn file(store: &Path, key: &Digest) -> PathBuf {
    let digits = key.to_string();
    store.join(&digits[..2]).join(digits)
}

/// The temporary files.
fn staged(store: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(store.join("tmp")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// All that is in a directory: folders, and files with their contents.
fn tree(path: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, None);
            } else {
                found.insert(path.clone(), Some(fs::read(path).unwrap()));
            }
        }
    }
    found
}

/// A key with these first digits.
fn key(digits: &str) -> Digest {
    format!("{digits:0<64}").parse().unwrap()
}

#[track_caller]
fn is_corrupt<T: std::fmt::Debug>(result: Result<T, Error>, file: &Path, how: &str) {
    let e = result.unwrap_err();
    assert!(matches!(e, Error::Corrupt { .. }), "{e}");
    let (text, path) = (e.to_string(), file.display().to_string());
    assert!(text.contains(&path), "{text} does not name {path}");
    assert!(text.contains(how), "{text} does not say {how:?}");
}

// ---- what is on the disk ------------------------------------------------------------------------------------------

#[test]
fn values_of_any_length_are_there_in_another_handle_and_after_another_open() {
    let f = fixture();
    let values: Vec<Vec<u8>> = [0, 1, 79, 80, 81, 4096, 3_000_000]
        .map(|length| (0..length).map(|i| (i % 251) as u8).collect())
        .into();
    let keys = f.store.save_many(&values).unwrap();
    for store in [f.store.clone(), f.again()] {
        for (key, value) in keys.iter().zip(&values) {
            assert!(store.load(key).unwrap() == value, "{} bytes", value.len());
            assert!(store.contains(key).unwrap());
        }
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(store.list().unwrap(), sorted);
    }
}

#[test]
fn a_value_has_one_file_named_like_its_key_behind_a_header_of_80_bytes() {
    let f = fixture();
    let key = f.store.save("apple").unwrap();
    let other = key.as_bytes()[0] ^ 1;
    f.store.save_as(&Digest::new([other; 32]), "pear").unwrap();
    f.store.evict(&Digest::new([other; 32])).unwrap();
    let found = tree(f.path());
    let names: Vec<_> = found
        .keys()
        .map(|p| p.strip_prefix(f.path()).unwrap())
        .collect();
    let digits = key.to_string();
    let mut expected = [
        PathBuf::from("perkey.format"),
        PathBuf::from("tmp"),
        PathBuf::from(&digits[..2]),
        PathBuf::from(format!("{other:02x}")),
        Path::new(&digits[..2]).join(&digits),
    ];
    expected.sort();
    assert_eq!(names, expected);
    assert_eq!(
        fs::read_to_string(f.path().join("perkey.format")).unwrap(),
        "perkey files, format 1\n"
    );
    // The format, written down once more: a change of it needs a new number.
    let mut header = b"perkey1\n".to_vec();
    header.extend(key.as_bytes());
    header.extend(5_u64.to_le_bytes());
    let sum = Digest::of([&header[..], b"apple"].concat());
    header.extend(sum.as_bytes());
    assert_eq!(
        fs::read(f.file(&key)).unwrap(),
        [&header[..], b"apple"].concat()
    );
}

#[test]
#[cfg(unix)]
fn files_have_the_permissions_of_any_other_file() {
    use std::os::unix::fs::PermissionsExt;
    let f = fixture();
    let key = f.store.save("apple").unwrap();
    let other = f.dir.path().join("other");
    fs::write(&other, "").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&f.file(&key)), mode(&other));
}

#[test]
fn keys_are_found_by_each_prefix_in_ascending_order() {
    let f = fixture();
    let keys = ["00", "abcd", "abcdef", "abcdeff", "abce", "ac", "ff"].map(key);
    for key in keys.iter().rev() {
        f.store.save_as(key, "apple").unwrap();
    }
    let list = |prefix: &Prefix| {
        let mut op = f.store.operation(Scope::Store, Intent::Read).unwrap();
        op.list(prefix).unwrap()
    };
    assert_eq!(list(&Prefix::ALL), keys);
    for digits in 4..=64 {
        for key in &keys {
            let prefix = key.prefix(digits).unwrap();
            let expected: Vec<_> = keys.iter().copied().filter(|k| prefix.matches(k)).collect();
            assert_eq!(list(&prefix), expected, "{prefix}");
        }
    }
    assert_eq!(list(&"1234".parse().unwrap()), []);
    assert!(matches!(
        f.store.load("abcd"),
        Err(Error::Ambiguous { candidates, .. }) if candidates == keys[1..4]
    ));
}

#[test]
fn what_is_not_named_like_a_key_is_ignored_and_stays() {
    let f = fixture();
    let kept = f
        .store
        .save_as(&key("abcd"), "apple")
        .map(|()| key("abcd"))
        .unwrap();
    let digits = key("abcdef").to_string();
    let folder = f.path().join("ab");
    for folder in ["AB", "zz", "abc", "cd", "tmp/folder"] {
        fs::create_dir(f.path().join(folder)).unwrap();
    }
    for (folder, name) in [
        ("", "notes.txt"),
        ("", "ef"),
        ("", &*digits),
        ("ab", &digits.to_uppercase()),
        ("ab", &digits[..63]),
        ("ab", &format!("{digits}0")),
        ("ab", &format!("{digits}.bak")),
        ("cd", &*digits),
        ("AB", &*digits),
        ("zz", &*digits),
        ("abc", &*digits),
        ("tmp", "notes.txt"),
        ("tmp", &*digits),
        ("tmp", "abcd-notes.txt"),
    ] {
        fs::write(f.path().join(folder).join(name), "a stranger").unwrap();
    }
    fs::create_dir(folder.join(key("abcd5").to_string())).unwrap();
    let before = tree(f.path());
    let path = f.path().to_owned();
    let Fixture {
        store,
        dir: _dir,
        _no_child_starts,
    } = f;
    drop(store); // the last handle: the next one cleans up
    let store = Files::open(&path).unwrap();
    assert_eq!(store.list().unwrap(), [kept]);
    assert_eq!(store.expand("abcd").unwrap(), kept);
    for key in [key("abcdef"), key("abcd5"), key("ef")] {
        assert!(!store.contains(&key).unwrap(), "{key}");
        assert!(
            matches!(store.load(&key), Err(Error::Unknown { .. })),
            "{key}"
        );
        assert!(
            matches!(store.evict(&key), Err(Error::Unknown { .. })),
            "{key}"
        );
    }
    assert_eq!(tree(&path), before);
    // Where a stranger is in the way, nothing can be saved, and it says so.
    for (key, way) in [(key("abcd5"), "ab"), (key("ef"), "ef")] {
        let e = store.save_as(&key, "pear").unwrap_err();
        let way = store.path().join(way).display().to_string();
        assert!(
            matches!(e, Error::Backend { .. }) && e.to_string().contains(&way),
            "{e}"
        );
    }
    assert_eq!(tree(&path), before);
}

#[test]
#[cfg(unix)]
fn links_to_files_are_values() {
    let f = fixture();
    let key = f.store.save("apple").unwrap();
    let elsewhere = f.dir.path().join("elsewhere");
    fs::rename(f.file(&key), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, f.file(&key)).unwrap();
    assert_eq!(f.store.list().unwrap(), [key]);
    assert_eq!(f.store.load(&key).unwrap(), "apple");
    f.store.evict(&key).unwrap();
    assert!(elsewhere.exists(), "only the link is removed");
}

// ---- what is corrupt ----------------------------------------------------------------------------------------------

/// S10.
#[test]
fn every_byte_that_is_changed_is_noticed() {
    let f = fixture();
    let key = f
        .store
        .save_as(&key("abcd"), "apple")
        .map(|()| key("abcd"))
        .unwrap();
    let whole = fs::read(f.file(&key)).unwrap();
    assert_eq!(whole.len(), 85);
    for at in 0..whole.len() {
        for bit in [0x01, 0x80] {
            let mut changed = whole.clone();
            changed[at] ^= bit;
            fs::write(f.file(&key), changed).unwrap();
            let how = match at {
                0..8 => "it does not begin as the file of a value does",
                8..40 => "it is the file of another key",
                40..48 => "it has 5 bytes of a value of ",
                _ => "the checksum is wrong",
            };
            is_corrupt(f.store.load(&key), &f.file(&key), how);
        }
    }
}

#[test]
fn what_is_cut_off_or_extended_anywhere_is_noticed() {
    let f = fixture();
    let key = f.store.save("apple").unwrap();
    let whole = fs::read(f.file(&key)).unwrap();
    for length in 0..whole.len() {
        fs::write(f.file(&key), &whole[..length]).unwrap();
        let how = match length {
            0..80 => format!("{length} bytes are less than a header"),
            _ => format!("it has {} bytes of a value of 5", length - 80),
        };
        is_corrupt(f.store.load(&key), &f.file(&key), &how);
    }
    for more in [1, 80, 10_000] {
        fs::write(f.file(&key), [&whole[..], &vec![0; more]].concat()).unwrap();
        let how = format!("it has {} bytes of a value of 5", 5 + more);
        is_corrupt(f.store.load(&key), &f.file(&key), &how);
    }
    // However long it says that it is, nothing is reserved for it before it turns out to be there.
    let mut endless = whole.clone();
    endless[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(f.file(&key), endless).unwrap();
    is_corrupt(
        f.store.load(&key),
        &f.file(&key),
        "5 bytes of a value of 18446744073709551615",
    );
}

#[test]
fn the_file_of_another_key_is_noticed() {
    let f = fixture();
    let [apple, pear] = ["apple", "pear"].map(|value| f.store.save(value).unwrap());
    fs::copy(f.file(&pear), f.file(&apple)).unwrap();
    let how = format!("it is the file of another key, {pear}");
    is_corrupt(f.store.load(&apple), &f.file(&apple), &how);
    assert_eq!(f.store.load(&pear).unwrap(), "pear");
}

#[test]
fn a_corrupt_value_is_reported_by_whatever_reads_it_and_by_nothing_else() {
    let f = fixture();
    let (key, to) = (f.store.save("apple").unwrap(), key("abcd"));
    fs::write(f.file(&key), "rubbish").unwrap();
    let (how, file) = ("7 bytes are less than a header", f.file(&key));
    let s = &f.store;
    is_corrupt(s.load(&key), &file, how);
    is_corrupt(s.load_many([&key]), &file, how);
    let make = || -> Result<&str, BoxError> { panic!("there is a value") };
    is_corrupt(s.get_or_insert_with(&key, make), &file, how);
    let change = |_| -> Result<Option<&str>, BoxError> { panic!("there is no value") };
    is_corrupt(s.update(&key, change), &file, how);
    is_corrupt(s.rename(&key, &to), &file, how);
    let other = f.other();
    is_corrupt(s.transfer(&key, &other), &file, how);
    assert!(other.list().unwrap().is_empty());

    assert!(s.contains(&key).unwrap());
    assert_eq!(s.list().unwrap(), [key]);
    assert_eq!(s.expand(&key.to_string()[..4]).unwrap(), key);
    assert_eq!(s.shrink(&key).unwrap().digits(), 4);
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "rubbish",
        "it is left as evidence"
    );
}

#[test]
fn a_corrupt_value_is_healed_by_saving_and_goes_by_evicting() {
    let f = fixture();
    let key = f.store.save("apple").unwrap();
    fs::write(f.file(&key), "rubbish").unwrap();
    f.store.save("apple").unwrap();
    assert_eq!(f.store.load(&key).unwrap(), "apple");
    fs::write(f.file(&key), "rubbish").unwrap();
    f.store.evict(&key).unwrap();
    assert!(f.store.list().unwrap().is_empty());
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let f = fixture();
    let key = f.store.save("apple").unwrap();
    let read_only = |read_only| {
        let mut permissions = fs::metadata(f.file(&key)).unwrap().permissions();
        permissions.set_readonly(read_only);
        fs::set_permissions(f.file(&key), permissions).unwrap();
    };
    read_only(true); // another file would not be
    f.store.save("apple").unwrap();
    assert!(fs::metadata(f.file(&key)).unwrap().permissions().readonly());
    f.store.save_as(&key, "pear").unwrap();
    assert!(!fs::metadata(f.file(&key)).unwrap().permissions().readonly());
}

// ---- operations ---------------------------------------------------------------------------------------------------

#[test]
fn nothing_is_seen_of_an_operation_until_it_is_left() {
    let f = fixture();
    let keys @ [a, b] = [key("aaaa"), key("bbbb")];
    f.store.save_as(&a, "apple").unwrap();
    let mut op = f
        .store
        .operation(Scope::Keys(&keys), Intent::Write)
        .unwrap();
    op.evict(&a).unwrap();
    op.save_as(&b, "pear").unwrap();
    assert_eq!(op.load(&b).unwrap(), "pear");
    assert!(!op.contains(&a).unwrap());
    assert_eq!(op.list(&Prefix::ALL).unwrap(), [b]);
    elsewhere(|| {
        assert_eq!(f.store.list().unwrap(), [a]);
        assert_eq!(f.store.load(&a).unwrap(), "apple");
        assert!(!f.store.contains(&b).unwrap());
    });
    op.leave().unwrap();
    assert_eq!(f.store.list().unwrap(), [b]);
    assert_eq!(f.staged(), [] as [PathBuf; 0]);
}

#[test]
fn what_is_dropped_fails_or_panics_leaves_nothing() {
    let f = fixture();
    let a = key("aaaa");
    f.store.save_as(&a, "apple").unwrap();
    let before = tree(f.path());
    let inside = |end: &dyn Fn() -> Result<Option<&'static str>, BoxError>| {
        f.store.update(&a, |_| {
            let mut op = f.store.operation(Scope::Key(&a), Intent::Write)?;
            op.save_as(&a, "pear")?;
            op.save_as(&a, "plum")?;
            assert_eq!(f.staged().len(), 1, "the first one has gone");
            op.leave()?;
            assert_eq!(f.store.load(&a)?, "plum");
            end()
        })
    };
    let failed = inside(&|| Err("no more".into()));
    assert!(matches!(failed, Err(Error::Closure { .. })));
    assert_eq!(tree(f.path()), before);
    catch_unwind(AssertUnwindSafe(|| inside(&|| panic!("no more")))).unwrap_err();
    assert_eq!(tree(f.path()), before);
    let mut op = f.store.operation(Scope::Key(&a), Intent::Write).unwrap();
    op.save_as(&a, "pear").unwrap();
    assert_eq!(f.staged().len(), 1);
    drop(op);
    assert_eq!(tree(f.path()), before);
}

#[test]
fn an_operation_inside_another_is_part_of_it_or_one_of_its_own() {
    let f = fixture();
    let [a, b] = [key("aaaa"), key("bbbb")];
    f.store.save_as(&a, "apple").unwrap();
    f.store
        .update(&a, |old| {
            f.store.save_as(&a, "pear")?; // part of it
            f.store.save_as(&b, "plum")?; // on its own
            elsewhere(|| {
                assert_eq!(f.store.load(&a).unwrap(), "apple");
                assert_eq!(f.store.load(&b).unwrap(), "plum");
            });
            Ok::<_, BoxError>(Some([&old.unwrap()[..], &f.store.load(&a)?].concat()))
        })
        .unwrap();
    assert_eq!(f.store.load(&a).unwrap(), "applepear");
}

/// S12.
#[test]
fn of_several_changes_none_stays_if_one_fails() {
    let f = fixture();
    let keys @ [a, b, c, d] = ["aaaa", "bbbb", "cccc", "dddd"].map(key);
    f.store.save_as(&b, "banana").unwrap();
    f.store.save_as(&c, "cherry").unwrap();
    for broken in [c, d] {
        fs::create_dir_all(f.file(&d).parent().unwrap()).unwrap();
        let before = tree(f.path());
        let mut op = f
            .store
            .operation(Scope::Keys(&keys), Intent::Write)
            .unwrap();
        op.save_as(&a, "new").unwrap();
        op.save_as(&b, "newer").unwrap();
        op.evict(&c).unwrap();
        op.save_as(&d, "newest").unwrap();
        // Something gets into the way of the last of the new values, or of the removal.
        let hidden = f.dir.path().join("hidden");
        if broken == c {
            fs::rename(f.file(&c), &hidden).unwrap();
        }
        fs::create_dir_all(f.file(&broken).join("full")).unwrap();
        let e = op.leave().unwrap_err();
        assert!(matches!(e, Error::Backend { .. }), "{e}");
        assert!(
            e.to_string().contains(&*f.file(&broken).to_string_lossy()),
            "{e}"
        );
        fs::remove_dir_all(f.file(&broken)).unwrap();
        if broken == c {
            fs::rename(&hidden, f.file(&c)).unwrap();
        }
        let mut after = tree(f.path());
        after.retain(|path, _| before.contains_key(path) || path.is_file());
        assert_eq!(after, before);
    }
}

#[test]
fn without_a_layer_whoever_reads_sees_whole_values() {
    let f = fixture();
    let keys: Vec<Digest> = (0..3).map(|k| Digest::new([k; 32])).collect();
    let value = |n: u64| n.to_string().repeat(1 + n as usize * 500).into_bytes();
    let options = Files::options().sync(false).clone();
    let barrier = Barrier::new(4);
    std::thread::scope(|s| {
        for thread in 0..4 {
            let (store, keys, barrier) = (options.open(f.path()).unwrap(), &keys, &barrier);
            s.spawn(move || {
                let mut dice = Dice(thread);
                barrier.wait();
                for _ in 0..300 {
                    let key = &keys[dice.below(3) as usize];
                    let n = dice.below(10);
                    let other = |e: Error| assert!(matches!(e, Error::Unknown { .. }), "{e}");
                    match dice.below(4) {
                        0 => store.save_as(key, value(n)).unwrap(),
                        1 => store.evict(key).unwrap_or_else(other),
                        2 => store.list().map(drop).unwrap(),
                        _ => match store.load(key) {
                            Err(e) => other(e),
                            Ok(found) => {
                                let n = u64::from(found[0] - b'0');
                                assert!(found == value(n), "{n}: {} bytes", found.len());
                            }
                        },
                    }
                }
            });
        }
    });
    assert_eq!(f.staged(), [] as [PathBuf; 0]);
}

#[test]
fn under_a_layer_no_change_is_lost() {
    let f = fixture();
    let store = PerKey::new(Files::options().sync(false).open(f.path()).unwrap());
    let keys = [key("aaaa"), key("bbbb")];
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for key in keys.iter().cycle().take(100) {
                    store
                        .update(key, |old| {
                            let old: u64 = old.map_or(Ok(0), |v| {
                                std::str::from_utf8(&v)?.parse().map_err(BoxError::from)
                            })?;
                            Ok::<_, BoxError>(Some((old + 1).to_string()))
                        })
                        .unwrap();
                }
            });
        }
    });
    for key in keys {
        assert_eq!(store.load(&key).unwrap(), "200");
    }
}

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
    let _no_child_starts = STARTS.read().unwrap_or_else(|e| e.into_inner());
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

/// Starts a process, while no other test has anything open.
fn start(command: &mut Command) -> Child {
    let _alone = STARTS.write().unwrap_or_else(|e| e.into_inner());
    command.spawn().unwrap()
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
