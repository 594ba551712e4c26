//! The file of a value: a header of 80 bytes, and the value.
//!
//! | bytes | |
//! |---|---|
//! | 8 | `perkey1`, line feed |
//! | 32 | the key |
//! | 8 | length of the value, least significant byte first |
//! | 32 | BLAKE3 of all of the above, and the value |

use super::disk::{at, is_missing, At};
use crate::mutant::mutant;
use crate::storage::{Bytes, Digest, Failure};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const FORMAT: [u8; 8] = *b"perkey1\n";
const HEADER: usize = 80;

/// How it shows that a file is not what was saved.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("{0} bytes are less than a header")]
    Short(u64),
    #[error("it does not begin as the file of a value does")]
    Format,
    #[error("it is the file of another key, {0}")]
    Key(Digest),
    #[error("it has {found} bytes of a value of {saved}")]
    Length { found: u64, saved: u64 },
    #[error("the checksum is wrong")]
    Checksum,
}

/// The header for a value.
pub(super) fn header(key: &Digest, value: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&FORMAT);
    header[8..40].copy_from_slice(key.as_bytes());
    header[40..48].copy_from_slice(&(value.len() as u64).to_le_bytes());
    let sum = sum(&header, value);
    header[48..].copy_from_slice(&sum);
    header
}

fn sum(header: &[u8; HEADER], value: &[u8]) -> [u8; 32] {
    let mut sum = blake3::Hasher::new();
    sum.update(&header[..48]).update(value).finalize().into()
}

/// The value in a file, if it is there: intact, and that of this key.
pub(super) fn read(path: &Path, key: &Digest) -> Result<Option<Bytes>, Failure> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if is_missing(&e) => return Ok(None),
        Err(e) => return Err(at("open", path)(e)),
    };
    let metadata = file.metadata().map_err(at("read", path))?;
    if !metadata.is_file() {
        return Ok(None);
    }
    match intact(&mut file, metadata.len(), key).map_err(at("read", path))? {
        Ok(value) => Ok(Some(value.into())),
        Err(damage) => Err(Failure::corrupt(At::new("make sense of", path, damage))),
    }
}

fn intact(file: &mut File, length: u64, key: &Digest) -> io::Result<Result<Vec<u8>, Damage>> {
    let Some(found) = length.checked_sub(HEADER as u64) else {
        return Ok(Err(Damage::Short(length)));
    };
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    if header[..8] != FORMAT {
        return Ok(Err(Damage::Format));
    }
    let part = |range| <[u8; 32]>::try_from(&header[range]).expect("as long as that");
    let other = Digest::new(part(8..40));
    if other != *key {
        return Ok(Err(Damage::Key(other)));
    }
    let saved = u64::from_le_bytes(header[40..48].try_into().expect("as long as that"));
    if found != saved {
        return Ok(Err(Damage::Length { found, saved }));
    }
    let mut value = Vec::new();
    value.reserve_exact(usize::try_from(saved).map_err(io::Error::other)?);
    file.read_to_end(&mut value)?;
    if part(48..80) != sum(&header, &value) && !mutant("checksum_not_checked") {
        return Ok(Err(Damage::Checksum));
    }
    Ok(Ok(value))
}
