//! Reading files: what they digest to, whether they are equal, whether they hold still meanwhile.

use indicatif::ProgressBar;
use perkey::storage::Digest;
use std::fmt::Display;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How much of a large file is in memory while it is digested or compared.
const CHUNK: usize = 64 << 10;

/// A file that could not be read, or not be stored, and why.
pub(crate) struct Left {
    pub(crate) path: PathBuf,
    pub(crate) why: String,
}

impl Left {
    pub(crate) fn new(path: PathBuf, why: &impl Display) -> Self {
        let why = why.to_string();
        Self { path, why }
    }
}

/// A file that was read.
pub(crate) struct Read {
    pub(crate) path: PathBuf,
    pub(crate) stamp: Stamp,
    pub(crate) digest: Digest,
    /// `None` if the file is too large to be held in memory.
    pub(crate) contents: Option<Vec<u8>>,
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

/// Reads and digests a file: piece by piece, if it is larger than `largest`.
pub(crate) fn read(path: PathBuf, largest: u64, bar: &ProgressBar) -> Result<Read, Left> {
    match contents(&path, largest, bar) {
        Ok((digest, stamp, contents)) => Ok(Read {
            path,
            stamp,
            digest,
            contents,
        }),
        Err(e) => Err(Left::new(path, &e)),
    }
}

fn contents(
    path: &Path,
    largest: u64,
    bar: &ProgressBar,
) -> io::Result<(Digest, Stamp, Option<Vec<u8>>)> {
    let (file, stamp) = open(path)?;
    // One byte more than there should be: seen if the file grows, but not followed for ever.
    let mut reader = bar.wrap_read((&file).take(stamp.len.saturating_add(1)));
    let (digest, count, contents) = if stamp.len > largest {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader)?;
        (Digest::new(hasher.finalize().into()), hasher.count(), None)
    } else {
        let mut contents = Vec::new();
        let len = usize::try_from(stamp.len).map_err(io::Error::other)?;
        contents.try_reserve_exact(len.saturating_add(1))?;
        reader.read_to_end(&mut contents)?;
        let digest = Digest::of(&contents);
        (digest, contents.len() as u64, Some(contents))
    };
    if count != stamp.len {
        return Err(moved());
    }
    holds_still(&file, &stamp)?;
    Ok((digest, stamp, contents))
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
