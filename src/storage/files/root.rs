//! [`Root`]: the directory, where things are in it, and how it is opened.
//!
//! Whoever has the store open holds a shared lock on the marker; only then are there temporary files. Whoever gets the lock for
//! itself alone, for the time of opening, may set the store up and remove the temporary files that are left over.

use super::disk::{
    at, is_missing, is_temporary, make_directories, make_directory, remove, sync_directory, write,
    At,
};
use crate::mutant::mutant;
use crate::storage::{Digest, Failure, Prefix};
use crate::sync::Mutex;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

/// The file that makes a directory a store.
const MARKER: &str = "perkey.format";
/// What it says, before the number of the format.
const SAYS: &str = "perkey files, format ";
/// The format that this version writes, and the only one there has been.
const FORMAT: u32 = 1;
/// Where values are written before they are renamed.
const TEMPORARY: &str = "tmp";

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

/// The marker of the store at `path`, locked as shared. Sets the store up if nothing else is there, and cleans up if nobody else is.
fn enter(path: &Path) -> Result<File, Failure> {
    let name = path.join(MARKER);
    let mut marker = open_marker(path, &name)?;
    loop {
        match marker.try_lock() {
            Ok(()) => {
                set_up(path, &mut marker)?;
                if !mutant("leftovers_kept") {
                    clean(path)?;
                }
                marker.unlock().map_err(at("unlock", &name))?;
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(at("lock", &name)(e)),
        }
        // Whoever comes in between may clean up once more: nothing of ours is there yet.
        if !mutant("opened_without_lock") {
            marker.lock_shared().map_err(at("lock", &name))?;
        }
        if is_complete(path, &mut marker)? {
            make_directory(&path.join(TEMPORARY))?;
            return Ok(marker);
        }
        // Who was to set it up has died over it.
        marker.unlock().map_err(at("unlock", &name))?;
    }
}

/// Opens the marker. Makes one where there is nothing else.
fn open_marker(path: &Path, name: &Path) -> Result<File, Failure> {
    let mut options = File::options();
    options.read(true).write(true);
    match options.open(name) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        opened => return opened.map_err(at("open", name)),
    }
    let stranger = stranger(path)?;
    match (options.create(stranger.is_none()).open(name), stranger) {
        // Somebody has made it a store just now.
        (Ok(marker), _) => Ok(marker),
        (Err(e), Some(stranger)) if e.kind() == ErrorKind::NotFound => {
            Err(not_a_store(path, &stranger))
        }
        (Err(e), _) => Err(at("open", name)(e)),
    }
}

fn not_a_store(path: &Path, stranger: &OsString) -> Failure {
    let why = format!(
        "it is not a store, and not empty: there is {}",
        stranger.display()
    );
    Failure::other(At::new("open", path, why))
}

/// Something in the directory that a store which is being set up does not have.
fn stranger(path: &Path) -> Result<Option<OsString>, Failure> {
    for entry in fs::read_dir(path).map_err(at("list", path))? {
        let name = entry.map_err(at("list", path))?.file_name();
        if name != MARKER {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Does the marker say that this is a store? An error, if it is one that we do not know, or something else. Not yet, if it is only begun.
fn is_complete(path: &Path, marker: &mut File) -> Result<bool, Failure> {
    let mut text = Vec::new();
    let name = path.join(MARKER);
    let ours = format!("{SAYS}{FORMAT}\n");
    let read = marker.rewind();
    read.and_then(|()| marker.take(100).read_to_end(&mut text))
        .map_err(at("read", &name))?;
    if text == ours.as_bytes() {
        return Ok(true);
    }
    if ours.as_bytes().starts_with(&text) {
        return Ok(false);
    }
    let text = String::from_utf8_lossy(&text);
    let format = text.strip_prefix(SAYS);
    let format = format.and_then(|rest| rest.strip_suffix('\n')?.parse::<u64>().ok());
    let why = match format {
        Some(format) => format!("it has format {format}, this version reads {FORMAT}"),
        None => format!("{MARKER} does not say that it is a store, but {text:?}"),
    };
    Err(Failure::other(At::new("open", path, why)))
}

/// Makes it a store, if it is not one yet. Only with the lock for oneself. The marker lasts before anything else is there, whether values are synced
/// or not: without it nothing could be opened again.
fn set_up(path: &Path, marker: &mut File) -> Result<(), Failure> {
    let name = path.join(MARKER);
    if !is_complete(path, marker)? {
        if let Some(stranger) = stranger(path)? {
            return Err(not_a_store(path, &stranger));
        }
        let says = format!("{SAYS}{FORMAT}\n");
        let parts = [says.as_bytes(), &[]];
        let rewound = marker.set_len(0).and_then(|()| marker.rewind());
        rewound
            .and_then(|()| write(marker, &name, parts, true))
            .map_err(at("write", &name))?;
        sync_directory(path)?;
    }
    Ok(())
}

/// Removes the temporary files. Only with the lock for oneself: nobody has any then.
fn clean(path: &Path) -> Result<(), Failure> {
    let folder = path.join(TEMPORARY);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(at("list", &folder))?,
    };
    for entry in entries {
        let name = entry.map_err(at("list", &folder))?.file_name();
        if is_temporary(&name) {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}
