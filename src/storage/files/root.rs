//! [`Root`]: the directory of a store that is open, and where things are in it.

use super::disk::{at, is_missing, make_directories, make_directory, sync_directory};
use super::open::enter;
use crate::mutant::mutant;
use crate::storage::{Digest, Failure, Prefix};
use crate::sync::Mutex;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where values are written before they are renamed.
pub(super) const TEMPORARY: &str = "tmp";

pub(super) struct Root {
    path: PathBuf,
    place: String,
    sync: bool,
    /// Folders that are known to be there and, if values are synced, to last.
    settled: Mutex<BTreeSet<u8>>,
    /// Locked, shared, until it is closed.
    _marker: File,
}

impl Root {
    pub(super) fn open(path: &Path, sync: bool) -> Result<Self, Failure> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(at("open", path)(ErrorKind::NotADirectory.into())),
            Err(e) if e.kind() == ErrorKind::NotFound => make_directories(path)?,
            Err(e) => return Err(at("open", path)(e)),
        }
        let path = path.canonicalize().map_err(at("open", path))?;
        let marker = enter(&path)?;
        Ok(Self {
            place: place(&path)?,
            path,
            sync,
            settled: Mutex::new(BTreeSet::new()),
            _marker: marker,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same for all that is opened at this directory, by whatever path.
    pub(super) fn place(&self) -> String {
        self.place.clone()
    }

    pub(super) fn syncs(&self) -> bool {
        self.sync
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.path.join(TEMPORARY)
    }

    /// Where the file of a key is, by the first byte.
    pub(super) fn folder(&self, key: &Digest) -> PathBuf {
        self.path.join(folder_name(key.as_bytes()[0]))
    }

    /// The place of a key.
    pub(super) fn file(&self, key: &Digest) -> PathBuf {
        self.folder(key).join(key.to_string())
    }

    /// Makes the folder of a key, if it is not there.
    pub(super) fn make_folder(&self, key: &Digest) -> Result<(), Failure> {
        if !self.is_settled(key) {
            make_directory(&self.folder(key))?;
        }
        self.settle(key)
    }

    /// Makes the folder of a key last, if it is there, and what others have left in it: they may have been killed just before they would have done so
    /// themselves, and to find a value there is to be as good as to save it. Once is enough, as to what was there when we came.
    pub(super) fn settle(&self, key: &Digest) -> Result<(), Failure> {
        let folder = self.folder(key);
        if self.is_settled(key) || !folder.is_dir() {
            return Ok(());
        }
        if self.sync && !mutant("folder_not_synced") {
            sync_directory(&folder)?;
            sync_directory(&self.path)?;
        }
        self.settled.lock().insert(key.as_bytes()[0]);
        Ok(())
    }

    fn is_settled(&self, key: &Digest) -> bool {
        self.settled.lock().contains(&key.as_bytes()[0])
    }

    /// The keys that begin so and have a file, in any order.
    pub(super) fn keys(&self, prefix: &Prefix) -> Result<Vec<Digest>, Failure> {
        let range = prefix.range();
        let mut keys = Vec::new();
        for byte in range.start().as_bytes()[0]..=range.end().as_bytes()[0] {
            let name = folder_name(byte);
            let folder = self.path.join(&name);
            let entries = match fs::read_dir(&folder) {
                Err(e) if is_missing(&e) => continue,
                entries => entries.map_err(at("list", &folder))?,
            };
            for entry in entries {
                let entry = entry.map_err(at("list", &folder))?;
                let name = entry.file_name();
                let Some(key) = key_of(&name) else { continue };
                if key.as_bytes()[0] == byte && prefix.matches(&key) && is_file(&entry) {
                    keys.push(key);
                }
            }
        }
        Ok(keys)
    }
}

fn folder_name(byte: u8) -> String {
    format!("{byte:02x}")
}

/// The key whose file has this name.
fn key_of(name: &OsString) -> Option<Digest> {
    let key = name.to_str()?.parse::<Digest>().ok()?;
    (*name == *key.to_string()).then_some(key)
}

fn is_file(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if !kind.is_symlink() => kind.is_file(),
        _ => entry.path().is_file(),
    }
}

#[cfg(unix)]
fn place(path: &Path) -> Result<String, Failure> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).map_err(at("open", path))?;
    Ok(format!("files {}:{}", metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)]
fn place(path: &Path) -> Result<String, Failure> {
    Ok(format!("files {}", path.display()))
}
