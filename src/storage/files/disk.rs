//! What is done to files and directories, with errors that name them.

use super::root::Root;
use super::value;
use crate::storage::{BoxError, Digest, Failure};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile, TempPath};

/// An error, and what it is about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub(super) struct At {
    doing: &'static str,
    path: PathBuf,
    source: BoxError,
}

impl At {
    pub(super) fn new(doing: &'static str, path: &Path, source: impl Into<BoxError>) -> Self {
        Self {
            doing,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Says what could not be done, and where.
pub(super) fn at<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Failure + 'a {
    move |e| io::Error::new(e.kind(), At::new(doing, path, e)).into()
}

/// Whatever was to be removed or made may be so already.
pub(super) fn already(kind: io::ErrorKind, done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if e.kind() == kind => Ok(()),
        done => done,
    }
}

pub(super) fn is_file(path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(at("look for", path)(e)),
    }
}

/// Waits until what was renamed, made and removed in a directory is on the disk.
#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> Result<(), Failure> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    match synced {
        // Some network and user-space file systems do not offer it.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(at("sync", path)),
    }
}

/// Only Unix has a way to ask for it.
#[cfg(not(unix))]
pub(super) fn sync_directory(_: &Path) -> Result<(), Failure> {
    Ok(())
}

/// Makes a directory, with those above it, so that it lasts.
pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(path).map_err(at("make the directory", path))?;
    for parent in missing.iter().filter_map(|path| path.parent()) {
        let here = parent.as_os_str().is_empty();
        sync_directory(if here { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// A file that is complete and synced, but not yet in its place. Dropping it removes it.
pub(super) struct Staged(TempPath);

impl Staged {
    /// Writes a value to a temporary file.
    pub(super) fn new(root: &Root, key: &Digest, value: &[u8]) -> Result<Self, Failure> {
        let mut file = temporary(root, key, |path| File::create_new(path))?;
        let mut written = file.write_all(&value::header(key, value));
        written = written.and_then(|()| file.write_all(value));
        if root.syncs() {
            written = written.and_then(|()| file.as_file().sync_all());
        }
        written.map_err(at("write", file.path()))?;
        Ok(Self(file.into_temp_path()))
    }

    /// What is in the place of a key now, if anything, to be put back there.
    pub(super) fn kept(root: &Root, key: &Digest) -> Result<Option<Self>, Failure> {
        let place = root.file(key);
        if !is_file(&place)? {
            return Ok(None);
        }
        let link = |path: &Path| match fs::hard_link(&place, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => fs::copy(&place, path).map(drop), // not every file system has links
            linked => linked,
        };
        temporary(root, key, link).map(|file| Some(Self(file.into_temp_path())))
    }

    /// Moves it to its place, over what is there.
    pub(super) fn persist(self, place: &Path) -> Result<(), Failure> {
        self.0
            .persist(place)
            .map_err(|e| at("rename a temporary file to", place)(e.error))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// Makes a temporary file for a key, by the name that is handed to `make`.
fn temporary<R>(
    root: &Root,
    key: &Digest,
    make: impl FnMut(&Path) -> io::Result<R>,
) -> Result<NamedTempFile<R>, Failure> {
    let folder = root.temporary();
    Builder::new()
        .prefix(&format!("{key}-"))
        .make_in(&folder, make)
        .map_err(at("make a temporary file in", &folder))
}

/// Is this the name of a temporary file?
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.split_once('-'));
    digits.is_some_and(|(key, _)| key.parse::<Digest>().is_ok())
}
