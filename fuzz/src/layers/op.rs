//! What is asked of a store, and what it says.

use arbitrary::{Result, Unstructured};
use perkey::storage::conformance::{Fault, Injected};
use perkey::storage::{BadKey, BoxError, Digest, DynStorage, Error, Key, Storage, ToKey};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// The keys: some that begin alike, and two that are of their values.
pub(super) fn keys() -> [Digest; 6] {
    let given = |first: [u8; 3]| {
        let mut bytes = [7; 32];
        bytes[..3].copy_from_slice(&first);
        Digest::new(bytes)
    };
    [
        given([0xab, 0xcd, 0x1f]),
        given([0xab, 0xcd, 0x2f]),
        given([0xab, 0xcd, 0x1e]),
        given([0xfe, 0xed, 0x3f]),
        Digest::of(VALUES[0]),
        Digest::of(VALUES[1]),
    ]
}

const VALUES: [&[u8]; 4] = [b"", b"apple", b"pear", &[0xee; 90]];

pub(super) fn value(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(u.choose(&VALUES)?.to_vec())
}

pub(super) fn key(u: &mut Unstructured<'_>) -> Result<Digest> {
    Ok(*u.choose(&keys())?)
}

/// How a key is asked for: all of it or its first digits, in either case.
#[derive(Clone, Debug)]
pub(super) struct Name {
    key: Digest,
    digits: usize,
    upper: bool,
}

impl Name {
    fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        let how: u8 = u.arbitrary()?;
        Ok(Self {
            key: keys()[usize::from(how) % 6],
            digits: [64, 64, 4, 5, 6, 8, 3, 63][usize::from(how) / 6 % 8],
            upper: how / 48 % 2 == 1,
        })
    }

    pub(super) fn digits(&self) -> String {
        let mut text = self.key.to_string();
        text.truncate(self.digits);
        if self.upper {
            text.make_ascii_uppercase();
        }
        text
    }
}

impl ToKey for Name {
    fn to_key(&self) -> std::result::Result<Key, BadKey> {
        if self.digits == 64 && !self.upper {
            return self.key.to_key();
        }
        self.digits().to_key()
    }
}

/// An operation.
#[derive(Clone, Debug)]
pub(super) enum Op {
    SaveAs(Digest, Vec<u8>),
    Save(Vec<u8>),
    Load(Name),
    LoadMany(Vec<Digest>),
    Contains(Name),
    Evict(Name),
    /// An update that adds a byte to what is there.
    Append(Name, u8),
    /// An update that leaves no value.
    Clear(Name),
    Insert(Digest, Vec<u8>),
    Rename(Name, Digest),
    Expand(Name),
    Shrink(Name),
    List,
}

/// What an operation returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    Done,
    Value(Vec<u8>),
    Values(Vec<Vec<u8>>),
    There(bool),
    /// What the closure of an update was given.
    Saw(Option<Vec<u8>>),
    Key(Digest),
    Keys(Vec<Digest>),
    Digits(usize),
    Malformed,
    Unknown,
    Ambiguous(Vec<Digest>, usize),
    Exists,
    Full,
    NotEntered,
    /// A closure failed, or panicked, on purpose.
    Closure,
    /// The fault that was armed, as an error or a panic.
    Fault(Fault),
}

/// What closures that end badly say.
#[derive(Debug)]
pub(super) struct OnPurpose;

impl std::fmt::Display for OnPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("on purpose")
    }
}

impl std::error::Error for OnPurpose {}

impl Op {
    pub(super) fn new(u: &mut Unstructured<'_>) -> Result<Self> {
        Ok(match u.int_in_range(0..=12u8)? {
            0 => Self::SaveAs(key(u)?, value(u)?),
            1 => Self::Save(value(u)?),
            2 => Self::Load(Name::new(u)?),
            3 => Self::LoadMany(vec![key(u)?, key(u)?]),
            4 => Self::Contains(Name::new(u)?),
            5 => Self::Evict(Name::new(u)?),
            6 => Self::Append(Name::new(u)?, u.arbitrary()?),
            7 => Self::Clear(Name::new(u)?),
            8 => Self::Insert(key(u)?, value(u)?),
            9 => Self::Rename(Name::new(u)?, key(u)?),
            10 => Self::Expand(Name::new(u)?),
            11 => Self::Shrink(Name::new(u)?),
            _ => Self::List,
        })
    }

    fn attempt(&self, store: &DynStorage) -> std::result::Result<Out, Error> {
        Ok(match self {
            Self::SaveAs(key, value) => {
                store.save_as(key, value)?;
                Out::Done
            }
            Self::Save(value) => Out::Key(store.save(value)?),
            Self::Load(name) => Out::Value(store.load(name)?.to_vec()),
            Self::LoadMany(keys) => {
                let values = store.load_many(keys)?;
                Out::Values(values.into_iter().map(Vec::from).collect())
            }
            Self::Contains(name) => Out::There(store.contains(name)?),
            Self::Evict(name) => {
                store.evict(name)?;
                Out::Done
            }
            Self::Append(name, byte) => {
                let mut saw = None;
                store.update(name, |old| {
                    saw = old.map(Vec::from);
                    let mut new = saw.clone().unwrap_or_default();
                    new.push(*byte);
                    Ok::<_, BoxError>(Some(new))
                })?;
                Out::Saw(saw)
            }
            Self::Clear(name) => {
                let mut saw = None;
                store.update(name, |old| {
                    saw = old.map(Vec::from);
                    Ok::<_, BoxError>(None::<Vec<u8>>)
                })?;
                Out::Saw(saw)
            }
            Self::Insert(key, value) => {
                let make = || Ok::<_, BoxError>(value);
                Out::Value(store.get_or_insert_with(key, make)?.to_vec())
            }
            Self::Rename(from, to) => {
                store.rename(from, to)?;
                Out::Done
            }
            Self::Expand(name) => Out::Key(store.expand(name)?),
            Self::Shrink(name) => Out::Digits(store.shrink(name)?.digits()),
            Self::List => Out::Keys(store.list()?),
        })
    }

    /// Runs it.
    pub(super) fn run(&self, store: &DynStorage) -> Out {
        caught(|| self.attempt(store))
    }
}

/// What came out, errors and panics included, as far as they are foreseen.
///
/// # Panics
/// For any other error, and with any other panic.
pub(super) fn caught(f: impl FnOnce() -> std::result::Result<Out, Error>) -> Out {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(out)) => out,
        Ok(Err(e)) => said(e),
        Err(panic) => match panic.downcast_ref() {
            Some(Injected(fault)) => Out::Fault(*fault),
            None if panic.is::<OnPurpose>() => Out::Closure,
            None => resume_unwind(panic),
        },
    }
}

fn said(e: Error) -> Out {
    assert!(!e.to_string().is_empty());
    match e {
        Error::Unknown { .. } => Out::Unknown,
        Error::Exists { .. } => Out::Exists,
        Error::Full { .. } => Out::Full,
        Error::NotEntered { .. } => Out::NotEntered,
        Error::Malformed { .. } | Error::TooShort { .. } => Out::Malformed,
        Error::Ambiguous {
            candidates, digits, ..
        } => Out::Ambiguous(candidates, digits),
        Error::Closure { source, .. } if source.is::<OnPurpose>() => Out::Closure,
        Error::Backend { ref source, .. } => match source.downcast_ref() {
            Some(Injected(fault)) => Out::Fault(*fault),
            None => panic!("{e}"),
        },
        e => panic!("{e}"),
    }
}
