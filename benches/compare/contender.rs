//! What a contender is, and the list of them.

use super::by_hand::{Dash, Hand, Mutexed, Scc, Skip};
use super::fixed::{Floor, Global, Stripes};
use super::published::Kept;
use key_mutex::KeyMutex;
use keyed_lock::sync::KeyedLock;
use lockable::LockableHashMap;
use lockmap::LockMap;
use perkey::LockTable;
use std::borrow::Borrow;
use std::hash::Hash;

/// What keys are looked up by: `u64` or `str`.
pub(crate) trait Name:
    Hash
    + Eq
    + Ord
    + ToOwned<Owned: Hash + Eq + Ord + Clone + Borrow<Self> + Send + Sync + 'static>
    + Sync
    + 'static
{
}

impl Name for u64 {}
impl Name for str {}

/// A way to lock keys.
pub(crate) trait Contender<Q: ?Sized>: Send + Sync + 'static {
    /// Holds a key.
    type Guard<'a>
    where
        Q: 'a,
        Self: 'a;

    /// As its default constructor makes it. Only what has no keys of its own is told how many there will be.
    fn new(keys: usize) -> Self;

    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a>;

    /// Makes the key stay while it is not held, if that is possible.
    fn keep<'a>(&'a self, _: &'a Q) -> Option<Box<dyn Kept + 'a>> {
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    /// Has one lock for each key, made on demand and gone when unused (or so it says).
    Peer,
    /// For orientation: it does less than that.
    Reference,
}

/// What is known of a contender.
pub(crate) struct Facts {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) what: &'static str,
    /// Its package, if it is a published one.
    pub(crate) package: Option<&'static str>,
    pub(crate) reentrant: bool,
    /// No two keys share a lock.
    pub(crate) exact: bool,
    pub(crate) cleans: &'static str,
    /// [`Contender::keep`] does something.
    pub(crate) keeps: bool,
    pub(crate) hasher: &'static str,
}

pub(crate) const OURS: &str = "perkey";
pub(crate) const FLOOR: &str = "floor";

#[rustfmt::skip]
pub(crate) const ALL: [Facts; 12] = [
    Facts { name: OURS, kind: Kind::Ours, what: "`LockTable<K>`", package: Some("perkey"), reentrant: true, exact: true, cleans: "yes", keeps: true, hasher: "foldhash" },
    Facts { name: "lockable", kind: Kind::Peer, what: "`LockableHashMap<K, ()>`, the blocking side; can be awaited as well", package: Some("lockable"), reentrant: false, exact: true, cleans: "yes", keeps: true, hasher: "SipHash, cannot be changed" },
    Facts { name: "lockmap", kind: Kind::Peer, what: "`LockMap<K, ()>`: a map with values as well", package: Some("lockmap"), reentrant: false, exact: true, cleans: "yes", keeps: true, hasher: "foldhash" },
    Facts { name: "keyed-lock", kind: Kind::Peer, what: "`sync::KeyedLock<K>`: a mutex around a map of `Arc`s; a key is cloned twice for each new entry", package: Some("keyed-lock"), reentrant: false, exact: true, cleans: "mostly: a guard gives its `Arc` back after it has looked whether it was the last, so that a waiter that comes between leaves the entry until the next use", keeps: false, hasher: "SipHash, cannot be changed" },
    Facts { name: "key-mutex", kind: Kind::Peer, what: "`KeyMutex<K, Option<()>>`: a dashmap of std mutexes; clones the key and the map's `Arc` for each guard", package: Some("key-mutex"), reentrant: false, exact: true, cleans: "yes; unlocks under the shard's lock", keeps: true, hasher: "SipHash, cannot be changed" },
    Facts { name: "DashMap of weak", kind: Kind::Peer, what: "by hand: `DashMap<K, Weak<ReentrantMutex>>`", package: Some("dashmap"), reentrant: true, exact: true, cleans: "yes", keeps: true, hasher: "foldhash" },
    Facts { name: "Mutex<HashMap> of weak", kind: Kind::Peer, what: "by hand: `Mutex<HashMap<K, Weak<ReentrantMutex>>>`", package: None, reentrant: true, exact: true, cleans: "yes", keeps: true, hasher: "foldhash" },
    Facts { name: "scc of weak", kind: Kind::Peer, what: "by hand: `scc::HashMap<K, Weak<ReentrantMutex>>`", package: Some("scc"), reentrant: true, exact: true, cleans: "yes", keeps: true, hasher: "foldhash" },
    Facts { name: "SkipMap of weak", kind: Kind::Peer, what: "by hand: `crossbeam_skiplist::SkipMap<K, Weak<ReentrantMutex>>`, ordered", package: Some("crossbeam-skiplist"), reentrant: true, exact: true, cleans: "yes", keeps: true, hasher: "none" },
    Facts { name: "stripes", kind: Kind::Reference, what: "256 fixed `ReentrantMutex`es, each in cache lines of its own, picked by the hash", package: None, reentrant: true, exact: false, cleans: "nothing to clean", keeps: false, hasher: "foldhash" },
    Facts { name: "global", kind: Kind::Reference, what: "one `ReentrantMutex` for all keys: what `Serializing` costs", package: None, reentrant: true, exact: false, cleans: "nothing to clean", keeps: false, hasher: "none" },
    Facts { name: FLOOR, kind: Kind::Reference, what: "`ReentrantMutex`es made beforehand, an index instead of a table; a key beyond them shares one, which no two threads do at the same time", package: None, reentrant: true, exact: true, cleans: "no: all are there all the time", keeps: true, hasher: "none" },
];

pub(crate) fn facts(name: &str) -> Option<&'static Facts> {
    ALL.iter().find(|f| f.name == name)
}

/// Something to be done with the type of a contender.
pub(crate) trait Visit<Q: ?Sized> {
    type Out;
    fn visit<C: Contender<Q>>(self) -> Self::Out;
}

macro_rules! pick {
    ($name:ident, $visit:ident, $key:ty) => {
        match $name {
            OURS => Some($visit.visit::<LockTable<$key>>()),
            "lockable" => Some($visit.visit::<LockableHashMap<$key, ()>>()),
            "lockmap" => Some($visit.visit::<LockMap<$key, ()>>()),
            "keyed-lock" => Some($visit.visit::<KeyedLock<$key>>()),
            "key-mutex" => Some($visit.visit::<KeyMutex<$key, Option<()>>>()),
            "DashMap of weak" => Some($visit.visit::<Hand<Dash<$key>>>()),
            "Mutex<HashMap> of weak" => Some($visit.visit::<Hand<Mutexed<$key>>>()),
            "scc of weak" => Some($visit.visit::<Hand<Scc<$key>>>()),
            "SkipMap of weak" => Some($visit.visit::<Hand<Skip<$key>>>()),
            "stripes" => Some($visit.visit::<Stripes>()),
            "global" => Some($visit.visit::<Global>()),
            _ => None,
        }
    };
}

/// Does it with numbers as keys; `None` if there is no such contender.
pub(crate) fn with_numbers<V: Visit<u64>>(name: &str, visit: V) -> Option<V::Out> {
    if name == FLOOR {
        return Some(visit.visit::<Floor>());
    }
    pick!(name, visit, u64)
}

/// Does it with strings as keys, which the floor does not have.
pub(crate) fn with_strings<V: Visit<str>>(name: &str, visit: V) -> Option<V::Out> {
    pick!(name, visit, String)
}
