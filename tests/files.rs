//! A store in a directory: what is on the disk, what is left alone, what is noticed, and what an operation does.
//!
//! Opening, leftovers and full disks are in `files_opening.rs`, kills in `killed.rs`, crashes of the machine in `src/storage/files/crash.rs`.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/store.rs"]
mod store;

use common::{elsewhere, Dice};
use perkey::storage::{BoxError, Digest, Error, Files, Intent, PerKey, Prefix, Scope, Storage};
use std::fs;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use store::{fixture, is_corrupt, key, tree, Fixture};

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
