//! [`Op`]: the operations that the suite draws, runs, records and foretells; on three keys, two of which begin alike.

use crate::storage::{
    BadKey, BoxError, Digest, Error, Intent, Key, Prefix, Scope, Storage, ToKey, Verb,
};
use crate::sync::threads::pause;

/// Two keys with four digits in common, and one from elsewhere.
pub(super) const KEYS: [Digest; 3] = [
    key([0xab, 0xcd, 0x1f]),
    key([0xab, 0xcd, 0x2f]),
    key([0x5e, 0xed, 0x3f]),
];

const fn key(first: [u8; 3]) -> Digest {
    let mut bytes = [7; 32];
    bytes[0] = first[0];
    bytes[1] = first[1];
    bytes[2] = first[2];
    Digest::new(bytes)
}

/// A value.
pub(super) type Value = Vec<u8>;

/// How a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// All of it.
    Full(Digest),
    /// All of it, as text in upper case.
    Upper(Digest),
    /// Its first digits, or those of several keys, or of none.
    Short(&'static str),
}

/// Digits that only one of the keys can have, in order of the keys; the first in upper case.
pub(super) const SHORT: [Name; 3] = [
    Name::Short("ABCD1"),
    Name::Short("abcd2f07"),
    Name::Short("5eed"),
];
/// The digits that two of the keys have.
pub(super) const SHARED: Name = Name::Short("abcd");
/// Digits that no key has.
pub(super) const NOBODY: Name = Name::Short("beef");

impl ToKey for Name {
    fn to_key(&self) -> Result<Key, BadKey> {
        match self {
            Self::Full(key) => key.to_key(),
            Self::Upper(key) => key.to_string().to_uppercase().to_key(),
            Self::Short(digits) => digits.to_key(),
        }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    SaveAs(Digest, Value),
    SaveBoth([Digest; 2], Value),
    Load(Name),
    LoadMany(Vec<Digest>),
    Contains(Name),
    Evict(Name),
    /// An update that adds a byte to what is there.
    Append(Name, u8),
    /// An update that leaves no value.
    Clear(Name),
    /// An update whose closure fails.
    FailUpdate(Name),
    GetOrInsert(Digest, Value),
    /// One whose closure fails.
    FailInsert(Digest),
    Rename(Name, Digest),
    Expand(Name),
    Shrink(Name),
    List,
}

/// What an operation returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    Value(Value),
    Values(Vec<Value>),
    There(bool),
    /// What the closure of an update was given.
    Saw(Option<Value>),
    /// What `get_or_insert_with` returned, and whether its closure was called.
    Got(Value, bool),
    Key(Digest),
    Keys(Vec<Digest>),
    Short(Prefix),
    Unknown,
    Ambiguous(Vec<Digest>, usize),
    Exists,
    Closure,
    Busy,
}

impl Op {
    /// Which operation this is.
    pub(super) fn verb(&self) -> Verb {
        match self {
            Self::SaveAs(..) => Verb::Save,
            Self::SaveBoth(..) => Verb::Operation,
            Self::Load(_) | Self::LoadMany(_) => Verb::Load,
            Self::Contains(_) => Verb::Contains,
            Self::Evict(_) => Verb::Evict,
            Self::Append(..) | Self::Clear(_) | Self::FailUpdate(_) => Verb::Update,
            Self::GetOrInsert(..) | Self::FailInsert(_) => Verb::GetOrInsertWith,
            Self::Rename(..) => Verb::Rename,
            Self::Expand(_) => Verb::Expand,
            Self::Shrink(_) => Verb::Shrink,
            Self::List => Verb::List,
        }
    }

    /// Does it ask for a key by its first digits? It enters two contexts then: to search, and to do it.
    pub(super) fn is_short(&self) -> bool {
        matches!(
            self,
            Self::Load(Name::Short(_))
                | Self::Contains(Name::Short(_))
                | Self::Evict(Name::Short(_))
                | Self::Append(Name::Short(_), _)
                | Self::Clear(Name::Short(_))
                | Self::FailUpdate(Name::Short(_))
                | Self::Rename(Name::Short(_), _)
                | Self::Expand(Name::Short(_))
                | Self::Shrink(Name::Short(_))
        )
    }

    /// Runs it. Closures give others the time to get in between.
    pub(super) fn attempt<S: Storage>(&self, store: &S) -> Result<Ret, Error> {
        Ok(match self {
            Self::SaveAs(key, value) => {
                store.save_as(key, value)?;
                Ret::Done
            }
            Self::SaveBoth(keys, value) => {
                let mut op = store.operation(Scope::Keys(keys), Intent::Write)?;
                for key in keys {
                    op.save_as(key, value)?;
                    pause();
                }
                op.leave()?;
                Ret::Done
            }
            Self::Load(name) => Ret::Value(store.load(name)?.to_vec()),
            Self::LoadMany(keys) => {
                let values = store.load_many(keys)?;
                Ret::Values(values.iter().map(|value| value.to_vec()).collect())
            }
            Self::Contains(name) => Ret::There(store.contains(name)?),
            Self::Evict(name) => {
                store.evict(name)?;
                Ret::Done
            }
            Self::Append(name, byte) => update(store, name, |old| {
                let mut new = old.unwrap_or_default();
                new.push(*byte);
                Some(new)
            })?,
            Self::Clear(name) => update(store, name, |_| None)?,
            Self::FailUpdate(name) => {
                let fail = |_| Err::<Option<Value>, _>(pause_and("on purpose"));
                store.update(name, fail)?;
                unreachable("an update whose closure failed went well")
            }
            Self::GetOrInsert(key, value) => {
                let mut made = false;
                let got = store.get_or_insert_with(key, || {
                    made = true;
                    Ok::<_, BoxError>(pause_and(value))
                })?;
                Ret::Got(got.to_vec(), made)
            }
            Self::FailInsert(key) => {
                let fail = || Err::<Value, _>(pause_and("on purpose"));
                Ret::Got(store.get_or_insert_with(key, fail)?.to_vec(), false)
            }
            Self::Rename(from, to) => {
                store.rename(from, to)?;
                Ret::Done
            }
            Self::Expand(name) => Ret::Key(store.expand(name)?),
            Self::Shrink(name) => Ret::Short(store.shrink(name)?),
            Self::List => Ret::Keys(store.list()?),
        })
    }

    /// Runs it; an error that is a proper answer counts as one.
    ///
    /// # Panics
    /// For any other error.
    pub(super) fn run<S: Storage>(&self, store: &S) -> Ret {
        match self.attempt(store) {
            Ok(ret) => ret,
            Err(e) => {
                assert_eq!(e.verb(), self.verb(), "{self:?} failed as another one: {e}");
                match e {
                    Error::Unknown { .. } => Ret::Unknown,
                    Error::Exists { .. } => Ret::Exists,
                    Error::Busy { .. } => Ret::Busy,
                    Error::Closure { .. } => Ret::Closure,
                    Error::Ambiguous {
                        candidates, digits, ..
                    } => Ret::Ambiguous(candidates, digits),
                    e => panic!("{self:?} failed: {e}"),
                }
            }
        }
    }
}

fn pause_and<T>(value: T) -> T {
    pause();
    value
}

fn unreachable(what: &str) -> ! {
    panic!("{what}")
}

fn update<S: Storage>(
    store: &S,
    name: &Name,
    change: impl FnOnce(Option<Value>) -> Option<Value>,
) -> Result<Ret, Error> {
    let mut saw = None;
    store.update(name, |old| {
        let old = old.map(|old| old.to_vec());
        saw.clone_from(&old);
        Ok::<_, BoxError>(change(pause_and(old)))
    })?;
    Ok(Ret::Saw(saw))
}
