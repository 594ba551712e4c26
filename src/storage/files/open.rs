//! [`enter`]: how a directory becomes a store, and how a store is opened.
//!
//! Whoever has the store open holds a shared lock on the marker; only then are there temporary files. Whoever gets the lock for
//! itself alone, for the time of opening, may set the store up and remove the temporary files that are left over.

use super::disk::{at, is_temporary, make_directory, remove, sync_directory, write, At};
use super::root::TEMPORARY;
use crate::mutant::mutant;
use crate::storage::Failure;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek};
use std::path::Path;

/// The file that makes a directory a store.
const MARKER: &str = "perkey.format";
/// What it says, before the number of the format.
const SAYS: &str = "perkey files, format ";
/// The format that this version writes, and the only one there has been.
const FORMAT: u32 = 1;

/// The marker of the store at `path`, locked as shared. Sets the store up if nothing else is there, and cleans up if nobody else is.
pub(super) fn enter(path: &Path) -> Result<File, Failure> {
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
