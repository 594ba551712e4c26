//! The published crates, and this one.

use super::contender::{Contender, Name};
use key_mutex::{KeyMutex, OwnedMutexGuard};
use keyed_lock::sync::{Guard, KeyedLock};
use lockable::{InfallibleUnwrap, Lockable, LockableHashMap, SyncLimit};
use lockmap::{Entry, LockMap};
use perkey::{KeyGuard, LockTable};

/// Whatever makes a key stay, until it is dropped or for ever.
pub(crate) trait Kept {}
impl<T> Kept for T {}

impl<Q: Name + ?Sized> Contender<Q> for LockTable<Q::Owned> {
    type Guard<'a> = KeyGuard<'a, Q::Owned>;

    fn new(_: usize) -> Self {
        LockTable::new()
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a> {
        LockTable::lock(self, key)
    }

    fn keep<'a>(&'a self, key: &'a Q) -> Option<Box<dyn Kept + 'a>> {
        Some(Box::new(self.handle(key)))
    }
}

impl<Q: Name + ?Sized> Contender<Q> for LockableHashMap<Q::Owned, ()> {
    type Guard<'a> = <Self as Lockable<Q::Owned, ()>>::Guard<'a>;

    fn new(_: usize) -> Self {
        LockableHashMap::new()
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a> {
        self.blocking_lock(key.to_owned(), SyncLimit::no_limit())
            .infallible_unwrap()
    }

    fn keep<'a>(&'a self, key: &'a Q) -> Option<Box<dyn Kept + 'a>> {
        let guard = self.blocking_lock(key.to_owned(), SyncLimit::no_limit());
        guard.infallible_unwrap().insert(());
        Some(Box::new(()))
    }
}

impl Contender<u64> for LockMap<u64, ()> {
    type Guard<'a> = Entry<'a, u64, ()>;

    fn new(_: usize) -> Self {
        LockMap::new()
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a u64) -> Self::Guard<'a> {
        self.entry(*key)
    }

    fn keep<'a>(&'a self, key: &'a u64) -> Option<Box<dyn Kept + 'a>> {
        self.insert(*key, ());
        Some(Box::new(()))
    }
}

impl Contender<str> for LockMap<String, ()> {
    type Guard<'a> = Entry<'a, String, ()>;

    fn new(_: usize) -> Self {
        LockMap::new()
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a str) -> Self::Guard<'a> {
        self.entry_by_ref(key)
    }

    fn keep<'a>(&'a self, key: &'a str) -> Option<Box<dyn Kept + 'a>> {
        self.insert_by_ref(key, ());
        Some(Box::new(()))
    }
}

impl<Q: Name + ?Sized> Contender<Q> for KeyedLock<Q::Owned> {
    type Guard<'a> = Guard<'a, Q::Owned>;

    fn new(_: usize) -> Self {
        KeyedLock::new()
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a> {
        KeyedLock::lock(self, key.to_owned())
    }
}

/// `Some` stays, `None` goes with the last guard.
impl<Q: Name + ?Sized> Contender<Q> for KeyMutex<Q::Owned, Option<()>> {
    type Guard<'a> = OwnedMutexGuard<Q::Owned, Option<()>>;

    fn new(_: usize) -> Self {
        KeyMutex::new()
    }

    #[inline]
    fn lock<'a>(&'a self, key: &'a Q) -> Self::Guard<'a> {
        KeyMutex::lock(self, key.to_owned()).expect("nobody panics with it")
    }

    fn keep<'a>(&'a self, key: &'a Q) -> Option<Box<dyn Kept + 'a>> {
        *KeyMutex::lock(self, key.to_owned()).expect("nobody panics with it") = Some(());
        Some(Box::new(()))
    }
}
