//! What is done to files and directories, with errors that name them. Tests note it down, see `crash`.

#[cfg(test)]
use super::crash::{note, Step};
use super::root::Root;
use super::value;
use crate::mutant::mutant;
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

/// Is there nothing by this name, as far as a store is concerned? A file that has the name of a folder is none of ours.
pub(super) fn is_missing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

pub(super) fn is_file(path: &Path) -> Result<bool, Failure> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(e) if is_missing(&e) => Ok(false),
        Err(e) => Err(at("look for", path)(e)),
    }
}

/// Waits until the contents of a file are on the disk.
#[cfg_attr(not(test), allow(unused_variables))] // `path` is for the tests
pub(super) fn sync_file(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    note(Step::SyncedFile(path.to_owned()));
    file.sync_all()
}

/// Waits until what was renamed, made and removed in a directory is on the disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), Failure> {
    #[cfg(test)]
    note(Step::SyncedDirectory(path.to_owned()));
    if cfg!(not(unix)) {
        return Ok(()); // only Unix has a way to ask for it
    }
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    match synced {
        // Some network and user-space file systems do not offer it.
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced.map_err(at("sync", path)),
    }
}

/// Makes a directory, with those above it, so that it lasts.
pub(super) fn make_directories(path: &Path) -> Result<(), Failure> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    for directory in missing.into_iter().rev() {
        make_directory(directory)?;
        match directory.parent() {
            Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new("."))?,
            Some(parent) => sync_directory(parent)?,
            None => {}
        }
    }
    Ok(())
}

/// Makes a directory, if it is not there.
pub(super) fn make_directory(path: &Path) -> Result<(), Failure> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => {
            #[cfg(test)]
            note(Step::Made(path.to_owned()));
            made.map_err(at("make the directory", path))
        }
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    #[cfg(test)]
    note(Step::Removed(path.to_owned()));
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(at("remove", path)),
    }
}

/// Writes all of a file, and waits until it is on the disk, if wanted.
pub(super) fn write(file: &mut File, path: &Path, parts: [&[u8]; 2], sync: bool) -> io::Result<()> {
    file.write_all(parts[0])?;
    file.write_all(parts[1])?;
    #[cfg(test)]
    note(Step::Wrote(path.to_owned()));
    if sync && !mutant("file_not_synced") {
        sync_file(file, path)?;
    }
    Ok(())
}

/// A file that is complete and synced, but not yet in its place. Dropping it removes it.
pub(super) struct Staged(TempPath);

impl Staged {
    /// Writes a value to a temporary file.
    pub(super) fn new(root: &Root, key: &Digest, value: &[u8]) -> Result<Self, Failure> {
        let file = temporary(root, key, |path| File::create_new(path))?;
        let (mut file, path) = file.into_parts();
        let parts = [&value::header(key, value), value];
        write(&mut file, &path, parts, root.syncs()).map_err(at("write", &path))?;
        Ok(Self(path))
    }

    /// What is in the place of a key now, if anything, to be put back there.
    pub(super) fn kept(root: &Root, key: &Digest) -> Result<Option<Self>, Failure> {
        let place = root.file(key);
        if !is_file(&place)? {
            return Ok(None);
        }
        let link = |path: &Path| match fs::hard_link(&place, path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                fs::copy(&place, path).map(drop) // not every file system has links
            }
            linked => linked,
        };
        temporary(root, key, link).map(|file| Some(Self(file.into_temp_path())))
    }

    /// Moves it to its place, over what is there.
    pub(super) fn persist(self, place: &Path) -> Result<(), Failure> {
        if mutant("files_written_in_place") {
            return fs::copy(&self.0, place)
                .map(drop)
                .map_err(at("write", place));
        }
        #[cfg(test)]
        note(Step::Renamed(self.0.to_path_buf(), place.to_owned()));
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
