//! Reading files: what they digest to, whether they are equal, whether they hold still meanwhile.

use indicatif::ProgressBar;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// BLAKE3 of a file's contents.
pub(crate) type Digest = [u8; 32];

/// How much of a file is in memory while it is compared.
const CHUNK: usize = 64 << 10;

/// What could not be read, and why.
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

impl Unreadable {
    pub(crate) fn new(path: PathBuf, why: &impl Display) -> Self {
        let why = why.to_string();
        Self { path, why }
    }
}

/// Which file, and in which state: a file whose stamp is another one has been changed, or is another file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) len: u64,
    /// Device and inode, where there are such: the same for all hard links of a file.
    pub(crate) inode: Option<(u64, u64)>,
    modified: Option<SystemTime>,
    /// When anything about the inode changed; nobody can set that back.
    changed: (i64, i64),
}

impl Stamp {
    fn new(m: &Metadata) -> Self {
        #[cfg(unix)]
        let (inode, changed) = {
            use std::os::unix::fs::MetadataExt;
            (Some((m.dev(), m.ino())), (m.ctime(), m.ctime_nsec()))
        };
        #[cfg(not(unix))]
        let (inode, changed) = (None, (0, 0));
        Self {
            len: m.len(),
            inode,
            modified: m.modified().ok(),
            changed,
        }
    }
}

/// Which of two files is at fault.
pub(crate) enum Fault {
    First(io::Error),
    Second(io::Error),
}

/// Digests a file piece by piece.
pub(crate) fn digest(path: &Path, bar: &ProgressBar) -> io::Result<(Digest, Stamp)> {
    let (file, stamp) = open(path)?;
    // One byte more than there should be: seen if the file grows, but not followed for ever.
    let most = stamp.len.saturating_add(1);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(bar.wrap_read((&file).take(most)))?;
    if hasher.count() != stamp.len {
        return Err(moved());
    }
    holds_still(&file, &stamp)?;
    Ok((hasher.finalize().into(), stamp))
}

/// Are the contents of the two files equal, byte for byte? A file that is no longer as stamped is a fault.
pub(crate) fn equal(first: (&Path, &Stamp), second: (&Path, &Stamp)) -> Result<bool, Fault> {
    if first.1.len != second.1.len {
        return Ok(false);
    }
    if first.1.inode.is_some() && first.1 == second.1 {
        return Ok(true); // two names of one file, which need not be read again
    }
    let (one, _) = open(first.0).map_err(Fault::First)?;
    let (two, _) = open(second.0).map_err(Fault::Second)?;
    let equal = {
        let mut one = BufReader::with_capacity(CHUNK, (&one).take(first.1.len));
        let mut two = BufReader::with_capacity(CHUNK, (&two).take(second.1.len));
        loop {
            let a = one.fill_buf().map_err(Fault::First)?;
            let b = two.fill_buf().map_err(Fault::Second)?;
            let n = a.len().min(b.len());
            if n == 0 {
                break a.is_empty() && b.is_empty();
            }
            if a[..n] != b[..n] {
                break false;
            }
            one.consume(n);
            two.consume(n);
        }
    };
    // Since they were digested, that is.
    holds_still(&one, first.1).map_err(Fault::First)?;
    holds_still(&two, second.1).map_err(Fault::Second)?;
    Ok(equal)
}

/// Opens a regular file, and nothing else: to open a fifo would block, to open a device might do anything.
fn open(path: &Path) -> io::Result<(File, Stamp)> {
    let named = fs::symlink_metadata(path)?;
    if !named.is_file() {
        return Err(moved());
    }
    let file = File::open(path)?;
    let stamp = Stamp::new(&named);
    holds_still(&file, &stamp)?;
    Ok((file, stamp))
}

fn holds_still(file: &File, stamp: &Stamp) -> io::Result<()> {
    if Stamp::new(&file.metadata()?) == *stamp {
        Ok(())
    } else {
        Err(moved())
    }
}

fn moved() -> io::Error {
    io::Error::other("it changed while it was read")
}
