//! What an operation is about: [`Scope`], [`Intent`], [`Verb`]; and how it is told a key: [`Key`], [`ToKey`].

use crate::storage::{Digest, ParseError, Prefix};
use std::fmt;
use std::sync::Arc;

/// What an operation touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// One key.
    Key(&'a Digest),
    /// Several keys, in any order, possibly with some of them twice.
    Keys(&'a [Digest]),
    /// No key: the store as a whole, as a listing or the search for a prefix does. Not a claim on all keys.
    Store,
}

/// What an operation is about to do. A layer may treat both alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Only look.
    Read,
    /// Change something.
    Write,
}

/// Which operation, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the methods of `Storage` by these names; and to open one
pub enum Verb {
    Open,
    Save,
    Load,
    Contains,
    Evict,
    Expand,
    Shrink,
    List,
    GetOrInsertWith,
    Update,
    Rename,
    Transfer,
    Operation,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Save => "save",
            Self::Load => "load",
            Self::Contains => "contains",
            Self::Evict => "evict",
            Self::Expand => "expand",
            Self::Shrink => "shrink",
            Self::List => "list",
            Self::GetOrInsertWith => "get_or_insert_with",
            Self::Update => "update",
            Self::Rename => "rename",
            Self::Transfer => "transfer",
            Self::Operation => "operation",
        })
    }
}

/// A key as it was asked for: all of it, or its first digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// All digits.
    Full(Digest),
    /// The first ones.
    Short(Prefix),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(key) => fmt::Display::fmt(key, f),
            Self::Short(prefix) => fmt::Display::fmt(prefix, f),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Digits that make no key.
///
/// ```
/// use perkey::storage::ToKey;
///
/// let wrong = "12x4".to_key().unwrap_err();
/// assert_eq!(wrong.to_string(), "\"12x4\": 'x' at position 2 is no hexadecimal digit");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key:?}: {why}")]
pub struct BadKey {
    /// What was asked for.
    pub key: String,
    /// What is wrong with it.
    #[source]
    pub why: ParseError,
}

/// What can be asked for: a [`Digest`], a [`Prefix`], or text with the digits of either, in upper or lower case.
///
/// ```
/// use perkey::storage::{Digest, Key, ToKey};
///
/// let digest = Digest::of("apple");
/// assert_eq!(digest.to_key(), Ok(Key::Full(digest)));
/// assert_eq!(digest.to_string().to_uppercase().to_key(), Ok(Key::Full(digest))); // one key, one name
/// assert!(matches!("AbCd".to_key(), Ok(Key::Short(_))));
/// assert!("apple".to_key().is_err());
/// ```
pub trait ToKey {
    /// The key.
    ///
    /// # Errors
    /// If the digits make none.
    fn to_key(&self) -> Result<Key, BadKey>;
}

impl ToKey for Digest {
    fn to_key(&self) -> Result<Key, BadKey> {
        Ok(Key::Full(*self))
    }
}

impl ToKey for Prefix {
    fn to_key(&self) -> Result<Key, BadKey> {
        let digits = self.digits();
        if digits < Self::LEAST {
            return Err(BadKey {
                key: self.to_string(),
                why: ParseError::TooShort { digits },
            });
        }
        Ok(self.whole().map_or(Key::Short(*self), Key::Full))
    }
}

impl ToKey for Key {
    fn to_key(&self) -> Result<Key, BadKey> {
        match self {
            Self::Full(key) => key.to_key(),
            Self::Short(prefix) => prefix.to_key(),
        }
    }
}

impl ToKey for str {
    fn to_key(&self) -> Result<Key, BadKey> {
        match self.parse::<Prefix>() {
            Ok(prefix) => prefix.to_key(),
            Err(why) => Err(BadKey {
                key: self.to_owned(),
                why,
            }),
        }
    }
}

macro_rules! through {
    ($($t:ty $(, $g:ident)?);*) => {
        $(impl $(<$g: ToKey + ?Sized>)? ToKey for $t {
            fn to_key(&self) -> Result<Key, BadKey> {
                (**self).to_key()
            }
        })*
    };
}
through!(String; &T, T; Box<T>, T; Arc<T>, T);
