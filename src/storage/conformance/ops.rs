//! [`Op`]: the operations that the suite draws, runs, records and foretells; on three keys, two of which begin alike.

use crate::storage::{
    BadKey, BoxError, Bytes, Digest, Error, Intent, Key, Prefix, Scope, Storage, ToKey, Verb,
};
use crate::sync::threads::pause;

/// The keys, in ascending order: two with four digits in common, and one from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum K {
    A,
    B,
    C,
}

/// Their digests.
pub(super) const KEYS: [Digest; 3] = [
    key([0xab, 0xcd, 0x1f]),
    key([0xab, 0xcd, 0x2f]),
    key([0xfe, 0xed, 0x3f]),
];

const fn key(first: [u8; 3]) -> Digest {
    let mut bytes = [7; 32];
    bytes[0] = first[0];
    bytes[1] = first[1];
    bytes[2] = first[2];
    Digest::new(bytes)
}

impl K {
    pub(super) const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    pub(super) const fn digest(self) -> Digest {
        KEYS[self as usize]
    }

    /// # Panics
    /// If it is none of them.
    pub(super) fn of(digest: &Digest) -> Self {
        let found = Self::ALL.into_iter().find(|key| key.digest() == *digest);
        found.unwrap_or_else(|| panic!("a key that nobody has saved: {digest}"))
    }

    fn all_of(digests: &[Digest]) -> Vec<Self> {
        digests.iter().map(Self::of).collect()
    }
}

/// How a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// All of it.
    Full(K),
    /// All of it, as text in upper case.
    Upper(K),
    /// Its first digits, or those of several keys, or of none.
    Short(&'static str),
}

/// Digits that only one of the keys can have, in order of the keys; the first in upper case.
pub(super) const SHORT: [Name; 3] = [
    Name::Short("ABCD1"),
    Name::Short("abcd2f07"),
    Name::Short("feed"),
];
/// The digits that two of the keys have.
pub(super) const SHARED: Name = Name::Short("abcd");
/// Digits that no key has.
pub(super) const NOBODY: Name = Name::Short("beef");

impl ToKey for Name {
    fn to_key(&self) -> Result<Key, BadKey> {
        match self {
            Self::Full(key) => key.digest().to_key(),
            Self::Upper(key) => key.digest().to_string().to_uppercase().to_key(),
            Self::Short(digits) => digits.to_key(),
        }
    }
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    SaveAs(K, Bytes),
    SaveBoth([K; 2], Bytes),
    Load(Name),
    LoadMany(Vec<K>),
    Contains(Name),
    Evict(Name),
    /// An update that adds a byte to what is there.
    Append(Name, u8),
    /// An update that leaves no value.
    Clear(Name),
    /// An update whose closure fails.
    FailUpdate(Name),
    GetOrInsert(K, Bytes),
    /// One whose closure fails.
    FailInsert(K),
    Rename(Name, K),
    Expand(Name),
    Shrink(Name),
    List,
}

/// What an operation returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ret {
    Done,
    Value(Bytes),
    Values(Vec<Bytes>),
    There(bool),
    /// What the closure of an update was given.
    Saw(Option<Bytes>),
    /// What `get_or_insert_with` returned, and whether its closure was called.
    Got(Bytes, bool),
    Key(K),
    Keys(Vec<K>),
    Short(Prefix),
    Unknown,
    Ambiguous(Vec<K>, usize),
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
                store.save_as(&key.digest(), value)?;
                Ret::Done
            }
            Self::SaveBoth(keys, value) => {
                let keys = keys.map(K::digest);
                let mut op = store.operation(Scope::Keys(&keys), Intent::Write)?;
                for key in &keys {
                    op.save_as(key, value)?;
                    pause();
                }
                op.leave()?;
                Ret::Done
            }
            Self::Load(name) => Ret::Value(store.load(name)?),
            Self::LoadMany(keys) => {
                let keys = keys.iter().map(|key| key.digest());
                Ret::Values(store.load_many(keys)?)
            }
            Self::Contains(name) => Ret::There(store.contains(name)?),
            Self::Evict(name) => {
                store.evict(name)?;
                Ret::Done
            }
            Self::Append(name, byte) => update(store, name, |old| {
                let mut new = old.unwrap_or_default().to_vec();
                new.push(*byte);
                Some(new.into())
            })?,
            Self::Clear(name) => update(store, name, |_| None)?,
            Self::FailUpdate(name) => {
                let fail = |_| Err::<Option<Bytes>, _>(pause_and("on purpose"));
                store.update(name, fail)?;
                unreachable("an update whose closure failed went well")
            }
            Self::GetOrInsert(key, value) => {
                let mut made = false;
                let got = store.get_or_insert_with(&key.digest(), || {
                    made = true;
                    Ok::<_, BoxError>(pause_and(value))
                })?;
                Ret::Got(got, made)
            }
            Self::FailInsert(key) => {
                let fail = || Err::<Bytes, _>(pause_and("on purpose"));
                Ret::Got(store.get_or_insert_with(&key.digest(), fail)?, false)
            }
            Self::Rename(from, to) => {
                store.rename(from, &to.digest())?;
                Ret::Done
            }
            Self::Expand(name) => Ret::Key(K::of(&store.expand(name)?)),
            Self::Shrink(name) => Ret::Short(store.shrink(name)?),
            Self::List => Ret::Keys(K::all_of(&store.list()?)),
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
                    } => Ret::Ambiguous(K::all_of(&candidates), digits),
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
    change: impl FnOnce(Option<Bytes>) -> Option<Bytes>,
) -> Result<Ret, Error> {
    let mut saw = None;
    store.update(name, |old| {
        saw.clone_from(&old);
        Ok::<_, BoxError>(change(pause_and(old)))
    })?;
    Ok(Ret::Saw(saw))
}
