//! What can go wrong: [`Error`], as operations report it, and [`Failure`], as backends and layers do.

use crate::storage::{BadKey, Digest, Key, ParseError, Prefix, Verb};
use crate::LockManyError;
use std::io;

/// Any error, as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation failed: which one, on which key. Nothing was changed then, unless the backend says otherwise, or all went well but for a layer that
/// could not be [left](super::Layer::leave).
///
/// ```
/// use perkey::storage::{Digest, Error, Memory, Storage};
///
/// let store = Memory::new();
/// let missing = Digest::of("apple");
/// match store.load(&missing) {
///     Err(Error::Unknown { key, .. }) => assert_eq!(key.to_string(), missing.to_string()),
///     other => panic!("{other:?}"),
/// }
/// assert!(matches!(store.load("abc"), Err(Error::TooShort { digits: 3, .. })));
/// assert!(matches!(store.load("apple"), Err(Error::Malformed { .. })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The digits make no key.
    #[error("{verb} {key:?}: {source}")]
    Malformed {
        /// Which operation.
        verb: Verb,
        /// What was asked for.
        key: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Fewer digits than a prefix has to have.
    #[error(
        "{verb} {key:?}: {digits} digits are too few, at least {} are needed",
        Prefix::LEAST
    )]
    TooShort {
        /// Which operation.
        verb: Verb,
        /// What was asked for.
        key: String,
        /// How many digits that are.
        digits: usize,
    },
    /// No such key.
    #[error("{verb} {key}: no such key")]
    Unknown {
        /// Which operation.
        verb: Verb,
        /// What was asked for.
        key: Key,
    },
    /// Several keys begin with these digits.
    #[error("{verb} {prefix}: {} keys begin so, {digits} digits tell them apart: {}", candidates.len(), shown(candidates, *digits))]
    Ambiguous {
        /// Which operation.
        verb: Verb,
        /// What was asked for.
        prefix: Prefix,
        /// The keys, in ascending order.
        candidates: Vec<Digest>,
        /// How many digits tell all of them apart.
        digits: usize,
    },
    /// There is another value under the key that a value was to be moved to.
    #[error("{verb} {key}: there is another value already")]
    Exists {
        /// Which operation.
        verb: Verb,
        /// Where to.
        key: Digest,
    },
    /// An operation was asked for a key that it has not entered, or for a change without [`Intent::Write`](super::Intent).
    #[error("{verb} {key}: {why}")]
    NotEntered {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Digest,
        /// What is missing.
        why: &'static str,
    },
    /// The caller's closure failed.
    #[error("{verb} {key}: the closure failed: {source}")]
    Closure {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Digest,
        /// The closure's error.
        source: BoxError,
    },
    /// A value could not be encoded or decoded (by a typed view).
    #[error("{verb}{}: {source}", of(*key))]
    Encoding {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Option<Digest>,
        /// Why.
        source: BoxError,
    },
    /// What is stored under the key is not what was saved.
    #[error("{verb}{}: corrupt: {source}", of(*key))]
    Corrupt {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Option<Digest>,
        /// How it shows.
        source: BoxError,
    },
    /// There is no room.
    #[error("{verb}{}: no room: {source}", of(*key))]
    Full {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Option<Digest>,
        /// The backend's error.
        source: BoxError,
    },
    /// Somebody else is using the backend; later it may work.
    #[error("{verb}{}: busy: {source}", of(*key))]
    Busy {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Option<Digest>,
        /// The backend's error.
        source: BoxError,
    },
    /// To wait for the locks of these keys could wait for ever, as the calling thread holds others.
    #[error("{verb}: {source}")]
    WouldDeadlock {
        /// Which operation.
        verb: Verb,
        /// The table's error.
        source: LockManyError,
    },
    /// Anything else that a backend or a layer reports.
    #[error("{verb}{}: {source}", of(*key))]
    Backend {
        /// Which operation.
        verb: Verb,
        /// The key.
        key: Option<Digest>,
        /// The backend's error.
        source: BoxError,
    },
}

fn of(key: Option<Digest>) -> String {
    key.map_or_else(String::new, |key| format!(" {key}"))
}

/// The candidates, each with as many digits as tell it apart, at most eight of them.
fn shown(candidates: &[Digest], digits: usize) -> String {
    let mut text = String::new();
    for key in candidates.iter().take(8) {
        let separator = if text.is_empty() { "" } else { ", " };
        text += separator;
        text += &key.to_string()[..digits.min(64)];
    }
    if candidates.len() > 8 {
        text += ", …";
    }
    text
}

impl Error {
    /// Which operation failed.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage, Verb};
    ///
    /// assert_eq!(Memory::new().evict("abcd").unwrap_err().verb(), Verb::Evict);
    /// ```
    pub fn verb(&self) -> Verb {
        match self {
            Self::Malformed { verb, .. }
            | Self::TooShort { verb, .. }
            | Self::Unknown { verb, .. }
            | Self::Ambiguous { verb, .. }
            | Self::Exists { verb, .. }
            | Self::NotEntered { verb, .. }
            | Self::Closure { verb, .. }
            | Self::Encoding { verb, .. }
            | Self::Corrupt { verb, .. }
            | Self::Full { verb, .. }
            | Self::Busy { verb, .. }
            | Self::WouldDeadlock { verb, .. }
            | Self::Backend { verb, .. } => *verb,
        }
    }

    /// On which key, if it was one and all its digits are known.
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, Storage};
    ///
    /// let key = Digest::of("apple");
    /// assert_eq!(Memory::new().load(&key).unwrap_err().key(), Some(key));
    /// ```
    pub fn key(&self) -> Option<Digest> {
        match self {
            Self::Unknown {
                key: Key::Full(key),
                ..
            }
            | Self::Exists { key, .. }
            | Self::NotEntered { key, .. }
            | Self::Closure { key, .. } => Some(*key),
            Self::Encoding { key, .. }
            | Self::Corrupt { key, .. }
            | Self::Full { key, .. }
            | Self::Busy { key, .. }
            | Self::Backend { key, .. } => *key,
            _ => None,
        }
    }

    pub(super) fn bad(verb: Verb, bad: BadKey) -> Self {
        let BadKey { key, why } = bad;
        match why {
            ParseError::TooShort { digits } => Self::TooShort { verb, key, digits },
            source => Self::Malformed { verb, key, source },
        }
    }

    pub(super) fn failed(verb: Verb, key: Option<Digest>, failure: impl Into<Failure>) -> Self {
        match failure.into() {
            Failure::Corrupt(source) => Self::Corrupt { verb, key, source },
            Failure::Full(source) => Self::Full { verb, key, source },
            Failure::Busy(source) => Self::Busy { verb, key, source },
            Failure::WouldDeadlock(source) => Self::WouldDeadlock { verb, source },
            Failure::Other(source) => Self::Backend { verb, key, source },
        }
    }
}

/// Why a backend or a layer failed. The operation adds which it was, and on which key, to make an [`Error`] of it.
///
/// ```
/// use perkey::storage::Failure;
/// use std::io;
///
/// let full = io::Error::from(io::ErrorKind::StorageFull);
/// assert!(matches!(Failure::from(full), Failure::Full(_)));
/// assert!(matches!(Failure::other("out of order"), Failure::Other(_)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// What is stored is not what was saved.
    #[error("corrupt: {0}")]
    Corrupt(#[source] BoxError),
    /// There is no room.
    #[error("no room: {0}")]
    Full(#[source] BoxError),
    /// Somebody else is using the backend; later it may work.
    #[error("busy: {0}")]
    Busy(#[source] BoxError),
    /// To wait for these locks could wait for ever.
    #[error(transparent)]
    WouldDeadlock(#[from] LockManyError),
    /// Anything else.
    #[error(transparent)]
    Other(BoxError),
}

impl Failure {
    /// Anything else.
    ///
    /// ```
    /// use perkey::storage::Failure;
    ///
    /// assert_eq!(Failure::other("out of order").to_string(), "out of order");
    /// ```
    pub fn other(why: impl Into<BoxError>) -> Self {
        Self::Other(why.into())
    }

    /// What is stored is not what was saved.
    ///
    /// ```
    /// use perkey::storage::Failure;
    ///
    /// assert_eq!(Failure::corrupt("too long").to_string(), "corrupt: too long");
    /// ```
    pub fn corrupt(how: impl Into<BoxError>) -> Self {
        Self::Corrupt(how.into())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full(e.into()),
            io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock => Self::Busy(e.into()),
            _ => Self::Other(e.into()),
        }
    }
}

/// A store could not be opened, for callers who have one type of error.
///
/// ```no_run
/// use perkey::storage::{Error, Files, Storage};
///
/// fn backed_up(key: &str) -> Result<bool, Error> {
///     Files::open("/backup")?.contains(key)
/// }
/// ```
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::failed(Verb::Open, None, failure)
    }
}

impl From<std::convert::Infallible> for Failure {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
