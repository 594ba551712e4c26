//! Where the objects go: what `--store` means, and what it must not be.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A store that is not open yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Memory,
    /// A directory.
    Files(PathBuf),
    /// A file.
    Sqlite(PathBuf),
}

/// How a database begins, unless it is empty.
const SQLITE: &[u8; 16] = b"SQLite format 3\0";

impl Place {
    /// What is there decides; where nothing is, the name: `memory`, or NAME.db for a database, or else a directory.
    pub(crate) fn parse(name: &Path) -> Result<Self, String> {
        if name.as_os_str() == "memory" {
            return Ok(Self::Memory);
        }
        let is_db = name.extension() == Some(OsStr::new("db"));
        let path = name.to_owned();
        match name.metadata() {
            Ok(m) if m.is_dir() => Ok(Self::Files(path)),
            Ok(m) if m.is_file() => {
                let begins = beginning(name).map_err(|e| e.to_string())?;
                if begins == SQLITE || begins.is_empty() && is_db {
                    return Ok(Self::Sqlite(path));
                }
                Err("a file, but no SQLite database".to_owned())
            }
            Ok(_) => Err("neither a directory nor a file".to_owned()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.to_string()),
            Err(_) if name.as_os_str().is_empty() => Err("no name".to_owned()),
            Err(_) if name.symlink_metadata().is_ok() => Err("a link to nothing".to_owned()),
            Err(_) if !parent(name).is_dir() => {
                Err(format!("there is no directory {}", parent(name).display()))
            }
            Err(_) if is_db => Ok(Self::Sqlite(path)),
            Err(_) => Ok(Self::Files(path)),
        }
    }

    /// A store of the same kind in a new place below `dir`.
    pub(crate) fn fresh(&self, dir: &Path) -> Self {
        match self {
            Self::Memory => Self::Memory,
            Self::Files(_) => Self::Files(dir.join("objects")),
            Self::Sqlite(_) => Self::Sqlite(dir.join("objects.db")),
        }
    }

    /// How many files are best stored in one operation: of a database many, as each waits for a commit; of others one, as each has to wait for
    /// the keys of all.
    pub(crate) fn batch(&self) -> usize {
        match self {
            Self::Memory | Self::Files(_) => 1,
            Self::Sqlite(_) => 64,
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Files(path) | Self::Sqlite(path) => Some(path),
        }
    }

    /// An error if one of the two is in the other: the store would be fed with itself.
    pub(crate) fn apart_from(&self, tree: &Path) -> Result<(), String> {
        let Some(path) = self.path() else {
            return Ok(());
        };
        let path = absolute(path).map_err(|e| e.to_string())?;
        let tree = tree.canonicalize().map_err(|e| e.to_string())?;
        if path.starts_with(&tree) {
            let tree = tree.display();
            return Err(format!("it is in {tree}, which it is to take in"));
        }
        if tree.starts_with(&path) {
            let tree = tree.display();
            return Err(format!("{tree}, which it is to take in, is in it"));
        }
        Ok(())
    }
}

/// Where `path` comes up in a walk through `tree`, if it does.
pub(crate) fn within(tree: &Path, path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    let below = path.strip_prefix(tree.canonicalize().ok()?).ok()?;
    Some(tree.join(below))
}

/// Without links and dots; what is not there yet is named in the directory where it will be.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    match (path.canonicalize(), path.file_name()) {
        (Err(e), Some(name)) if e.kind() == io::ErrorKind::NotFound => {
            Ok(parent(path).canonicalize()?.join(name))
        }
        (path, _) => path,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(SQLITE.len() as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
