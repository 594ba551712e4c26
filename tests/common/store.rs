//! A store in a directory of its own, and a look at its files.
#![allow(dead_code, unreachable_pub, missing_docs)]

use perkey::storage::{Digest, Error, Files};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{RwLock, RwLockReadGuard};

/// A store in a new directory, which goes with it.
pub struct Fixture {
    pub store: Files,
    pub dir: tempfile::TempDir,
    pub _no_child_starts: RwLockReadGuard<'static, ()>,
}

/// A process that is being started has copies of all files that are open here, and of their locks, until it is the other program. So nothing is, meanwhile.
/// One fixture for each test, therefore.
static STARTS: RwLock<()> = RwLock::new(());

/// While it is there, no process is started.
pub fn no_child_starts() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(|e| e.into_inner())
}

pub fn fixture() -> Fixture {
    let no_child_starts = no_child_starts();
    let dir = tempfile::tempdir().unwrap();
    Fixture {
        store: Files::open(dir.path().join("store")).unwrap(),
        dir,
        _no_child_starts: no_child_starts,
    }
}

impl Fixture {
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    pub fn file(&self, key: &Digest) -> PathBuf {
        file(self.path(), key)
    }

    pub fn again(&self) -> Files {
        Files::open(self.path()).unwrap()
    }

    /// Another store.
    pub fn other(&self) -> Files {
        Files::open(self.dir.path().join("other")).unwrap()
    }

    pub fn staged(&self) -> Vec<PathBuf> {
        staged(self.path())
    }
}

/// Where the file of a key is.
pub fn file(store: &Path, key: &Digest) -> PathBuf {
    let digits = key.to_string();
    store.join(&digits[..2]).join(digits)
}

/// The temporary files.
pub fn staged(store: &Path) -> Vec<PathBuf> {
    let folder = fs::read_dir(store.join("tmp")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// All that is in a directory: folders, and files with their contents.
pub fn tree(path: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
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
pub fn key(digits: &str) -> Digest {
    format!("{digits:0<64}").parse().unwrap()
}

#[track_caller]
pub fn is_corrupt<T: std::fmt::Debug>(result: Result<T, Error>, file: &Path, how: &str) {
    let e = result.unwrap_err();
    assert!(matches!(e, Error::Corrupt { .. }), "{e}");
    let (text, path) = (e.to_string(), file.display().to_string());
    assert!(text.contains(&path), "{text} does not name {path}");
    assert!(text.contains(how), "{text} does not say {how:?}");
}

/// Starts a process, while no other test has anything open.
pub fn start(command: &mut Command) -> Child {
    let _alone = STARTS.write().unwrap_or_else(|e| e.into_inner());
    command.spawn().unwrap()
}
