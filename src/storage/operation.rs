//! [`Operation`]: what can be done inside one entered context. The operations of [`Storage`] are made of it.

use crate::mutant::mutant;
use crate::storage::whole::whole;
use crate::storage::{
    BadKey, BoxError, Bytes, Digest, Error, Intent, Key, Prefix, Scope, Storage, Verb,
};
use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

/// An operation that has been entered: what is done through it is done under one context.
///
/// [`leave`](Self::leave) makes it last; dropping it, by an early return or a panic, takes it back. It can touch the keys that it has entered, and
/// change them if it was entered with [`Intent::Write`]; anything else is an error. Neither `Send` nor `Sync`: the thread
/// that entered leaves. One that is forgotten ([`mem::forget`](std::mem::forget)) never ends: its keys stay locked, and what the thread goes on to do to
/// them is part of it.
///
/// ```
/// use perkey::storage::{Digest, Error, Intent, Memory, Scope, Serializing, Storage};
///
/// let store = Serializing::new(Memory::new());
/// let (key, other) = (Digest::of("a"), Digest::of("b"));
/// let mut operation = store.operation(Scope::Key(&key), Intent::Write).unwrap();
/// operation.save_as(&key, "apple").unwrap();
/// assert!(matches!(operation.load(&other), Err(Error::NotEntered { .. })));
/// drop(operation); // not left: taken back
/// assert!(!store.contains(&key).unwrap());
/// ```
#[must_use = "what an operation did is taken back when it is dropped; `leave` makes it last"]
pub struct Operation<'s, S: Storage> {
    store: &'s S,
    context: S::Context<'s>,
    verb: Verb,
    /// The keys of its scope, in the order in which they were asked for.
    keys: Vec<Digest>,
    /// The same in ascending order, if they are [many](MANY).
    sorted: Vec<Digest>,
    intent: Intent,
    _not_send: PhantomData<*mut ()>,
}

impl<'s, S: Storage> Operation<'s, S> {
    pub(super) fn enter(
        store: &'s S,
        verb: Verb,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self, Error> {
        let keys = match scope {
            Scope::Key(key) => vec![*key],
            Scope::Keys(keys) => keys.to_vec(),
            Scope::Store => Vec::new(),
        };
        let context = store
            .operation_context(scope, intent)
            .map_err(|e| Error::failed(verb, single(&keys), e))?;
        Ok(Self {
            store,
            context,
            verb,
            sorted: sorted(&keys),
            keys,
            intent,
            _not_send: PhantomData,
        })
    }

    /// Enters the keys that were asked for. A short one is made whole before it is locked, as whoever holds the whole key holds the same lock;
    /// and checked again under the lock, as it may have gone or become ambiguous until then.
    pub(super) fn on(
        store: &'s S,
        verb: Verb,
        asked: &[Result<Key, BadKey>],
        intent: Intent,
    ) -> Result<Self, Error> {
        let asked: Vec<Key> = asked
            .iter()
            .map(|key| key.clone().map_err(|bad| Error::bad(verb, bad)))
            .collect::<Result<_, _>>()?;
        loop {
            let keys = whole(store, verb, &asked)?;
            if mutant("prefix_not_made_whole") && asked.iter().any(|k| matches!(k, Key::Short(_))) {
                let mut op = Self::enter(store, verb, Scope::Store, intent)?;
                op.keys = keys;
                return Ok(op);
            }
            let scope = match &keys[..] {
                [key] => Scope::Key(key),
                keys => Scope::Keys(keys),
            };
            let mut op = Self::enter(store, verb, scope, intent)?;
            if mutant("prefix_not_checked_again") || op.still(&asked)? {
                return Ok(op);
            }
            op.leave()?;
        }
    }

    /// Do the short keys still stand for those that were entered?
    pub(super) fn still(&mut self, asked: &[Key]) -> Result<bool, Error> {
        for (i, key) in asked.iter().enumerate() {
            if let Key::Short(prefix) = key {
                if self.scan(self.verb, prefix)? != [self.keys[i]] {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The first key that was asked for.
    pub(super) fn only(&self) -> Digest {
        self.keys[0]
    }

    /// The keys that were entered; none for an operation on [`Scope::Store`].
    ///
    /// ```
    /// use perkey::storage::{Digest, Intent, Memory, Scope, Storage};
    ///
    /// let (store, key) = (Memory::new(), Digest::of("apple"));
    /// assert_eq!(store.operation(Scope::Key(&key), Intent::Read).unwrap().entered(), [key]);
    /// ```
    pub fn entered(&self) -> &[Digest] {
        &self.keys
    }

    /// Leaves: what was done is to last.
    ///
    /// # Errors
    /// If the backend cannot make it last: nothing was changed then, unless it says otherwise. Or if a layer cannot be left: what is inside of it has
    /// been left by then, so that the changes have lasted.
    pub fn leave(self) -> Result<(), Error> {
        let key = single(&self.keys);
        self.store
            .leave(self.context)
            .map_err(|e| Error::failed(self.verb, key, e))
    }

    /// The value of a key. See [`Storage::load`].
    ///
    /// # Errors
    /// If there is none, if the key was not entered, if the value is corrupt, or the backend or a layer fails.
    pub fn load(&mut self, key: &Digest) -> Result<Bytes, Error> {
        let value = self.get(Verb::Load, key)?;
        value.ok_or_else(|| unknown(Verb::Load, key))
    }

    /// Is there a value? See [`Storage::contains`].
    ///
    /// # Errors
    /// If the key was not entered, or the backend or a layer fails.
    pub fn contains(&mut self, key: &Digest) -> Result<bool, Error> {
        self.check(Verb::Contains, key, Intent::Read)?;
        self.store
            .exists(&mut self.context, key)
            .map_err(|e| Error::failed(Verb::Contains, Some(*key), e))
    }

    /// Stores a value under a key that was entered. See [`Storage::save_as`].
    ///
    /// # Errors
    /// If the key was not entered for writing, or the backend or a layer fails.
    pub fn save_as(&mut self, key: &Digest, value: impl AsRef<[u8]>) -> Result<(), Error> {
        let value = value.as_ref();
        self.check(Verb::Save, key, Intent::Write)?;
        match self.get(Verb::Save, key) {
            Ok(Some(old)) if *old == *value => return self.confirm(Verb::Save, key, Some(value)),
            Ok(_) | Err(Error::Corrupt { .. }) => {}
            Err(e) => return Err(e),
        }
        self.put(Verb::Save, key, value)
    }

    /// Removes a key and its value. See [`Storage::evict`].
    ///
    /// # Errors
    /// If there is none, if the key was not entered for writing, or the backend or a layer fails.
    pub fn evict(&mut self, key: &Digest) -> Result<(), Error> {
        if self.remove(Verb::Evict, key)? {
            Ok(())
        } else {
            Err(unknown(Verb::Evict, key))
        }
    }

    /// The value of a key, made by `make` if there is none. See [`Storage::get_or_insert_with`].
    ///
    /// # Errors
    /// If `make` fails, if the key was not entered for writing, if the value is corrupt, or the backend or a layer fails.
    pub fn get_or_insert_with<V, E>(
        &mut self,
        key: &Digest,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Bytes, Error>
    where
        V: AsRef<[u8]>,
        E: Into<BoxError>,
    {
        let verb = Verb::GetOrInsertWith;
        self.check(verb, key, Intent::Write)?;
        if let Some(value) = self.get(verb, key)? {
            self.confirm(verb, key, Some(&value))?;
            return Ok(value);
        }
        let value = make().map_err(|e| closure(verb, key, e))?;
        self.put(verb, key, value.as_ref())?;
        Ok(Bytes::copy_from_slice(value.as_ref()))
    }

    /// Reads, changes and stores a value. See [`Storage::update`].
    ///
    /// # Errors
    /// If `change` fails, if the key was not entered for writing, if the value is corrupt, or the backend or a layer fails.
    pub fn update<V, E>(
        &mut self,
        key: &Digest,
        change: impl FnOnce(Option<Bytes>) -> Result<Option<V>, E>,
    ) -> Result<(), Error>
    where
        V: AsRef<[u8]>,
        E: Into<BoxError>,
    {
        let verb = Verb::Update;
        self.check(verb, key, Intent::Write)?;
        let old = self.get(verb, key)?;
        let was = old.is_some();
        match change(old).map_err(|e| closure(verb, key, e))? {
            Some(new) => self.put(verb, key, new.as_ref()),
            None if was => self.remove(verb, key).map(drop),
            None => self.confirm(verb, key, None),
        }
    }

    /// Moves a value to another key that was entered. See [`Storage::rename`].
    ///
    /// # Errors
    /// If there is no value, or another one at the new place; if one of the keys was not entered for writing, if the value is corrupt, or the
    /// backend or a layer fails.
    pub fn rename(&mut self, from: &Digest, to: &Digest) -> Result<(), Error> {
        let verb = Verb::Rename;
        self.check(verb, from, Intent::Write)?;
        self.check(verb, to, Intent::Write)?;
        let value = self.get(verb, from)?.ok_or_else(|| unknown(verb, from))?;
        if from == to {
            return Ok(());
        }
        self.receive(verb, to, &value)?;
        self.remove(verb, from).map(drop)
    }

    /// The shortest beginning of a key that no other key has. See [`Storage::shrink`].
    ///
    /// # Errors
    /// If there is no such key, or the backend or a layer fails.
    pub fn shrink(&mut self, key: &Digest) -> Result<Prefix, Error> {
        let verb = Verb::Shrink;
        let others = self.scan(verb, &key.cut(Prefix::LEAST))?;
        if !others.contains(key) {
            return Err(unknown(verb, key));
        }
        let others = others.iter().filter(|other| *other != key);
        let digits = others.map(|other| key.common(other) + 1).max();
        Ok(key.cut(digits.unwrap_or_default().max(Prefix::LEAST)))
    }

    /// The keys that begin so, in ascending order; see [`Prefix::ALL`].
    ///
    /// # Errors
    /// If the backend or a layer fails.
    pub fn list(&mut self, prefix: &Prefix) -> Result<Vec<Digest>, Error> {
        self.scan(Verb::List, prefix)
    }

    /// An error, if there is no such key.
    pub(super) fn present(&mut self, verb: Verb, key: &Digest) -> Result<(), Error> {
        let found = self.store.exists(&mut self.context, key);
        if found.map_err(|e| Error::failed(verb, Some(*key), e))? {
            Ok(())
        } else {
            Err(unknown(verb, key))
        }
    }

    pub(super) fn scan(&mut self, verb: Verb, prefix: &Prefix) -> Result<Vec<Digest>, Error> {
        let mut keys = Vec::new();
        let mut each = |key| {
            keys.push(key);
            ControlFlow::Continue(())
        };
        self.store
            .keys(&mut self.context, prefix, &mut each)
            .map_err(|e| Error::failed(verb, None, e))?;
        Ok(keys)
    }

    pub(super) fn get(&mut self, verb: Verb, key: &Digest) -> Result<Option<Bytes>, Error> {
        self.check(verb, key, Intent::Read)?;
        self.store
            .get(&mut self.context, key)
            .map_err(|e| Error::failed(verb, Some(*key), e))
    }

    /// The key is to have what is seen of it already. Written only if an operation that this one is no part of may take that back (S14).
    fn confirm(&mut self, verb: Verb, key: &Digest, seen: Option<&[u8]>) -> Result<(), Error> {
        if !self.store.is_tentative(&self.context, key) || mutant("tentative_taken_for_stored") {
            return Ok(());
        }
        match seen {
            Some(value) => self.put(verb, key, value),
            None => self.remove(verb, key).map(drop),
        }
    }

    fn put(&mut self, verb: Verb, key: &Digest, value: &[u8]) -> Result<(), Error> {
        self.check(verb, key, Intent::Write)?;
        self.store
            .put(&mut self.context, key, value)
            .map_err(|e| Error::failed(verb, Some(*key), e))
    }

    pub(super) fn remove(&mut self, verb: Verb, key: &Digest) -> Result<bool, Error> {
        self.check(verb, key, Intent::Write)?;
        self.store
            .remove(&mut self.context, key)
            .map_err(|e| Error::failed(verb, Some(*key), e))
    }

    /// Stores a value that is moved here; was there none?
    pub(super) fn receive(
        &mut self,
        verb: Verb,
        key: &Digest,
        value: &[u8],
    ) -> Result<bool, Error> {
        match self.get(verb, key)? {
            Some(other) if *other == *value => self.confirm(verb, key, Some(value)).map(|()| false),
            Some(_) => Err(Error::Exists { verb, key: *key }),
            None => self.put(verb, key, value).map(|()| true),
        }
    }

    fn check(&self, verb: Verb, key: &Digest, intent: Intent) -> Result<(), Error> {
        let entered = match &self.sorted[..] {
            [] => self.keys.contains(key),
            sorted => sorted.binary_search(key).is_ok(),
        };
        let why = if !entered {
            "the operation has not entered this key"
        } else if intent == Intent::Write && self.intent == Intent::Read {
            "the operation has been entered for reading"
        } else {
            return Ok(());
        };
        let key = *key;
        Err(Error::NotEntered { verb, key, why })
    }
}

impl<S: Storage> fmt::Debug for Operation<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("entered", &self.keys)
            .field("intent", &self.intent)
            .finish_non_exhaustive()
    }
}

/// So many keys are worth sorting: an operation on n of them looks n times for one.
const MANY: usize = 16;

fn sorted(keys: &[Digest]) -> Vec<Digest> {
    let mut sorted = Vec::new();
    if keys.len() > MANY {
        sorted.extend_from_slice(keys);
        sorted.sort_unstable();
    }
    sorted
}

fn single(keys: &[Digest]) -> Option<Digest> {
    match keys {
        [key] => Some(*key),
        _ => None,
    }
}

pub(super) fn unknown(verb: Verb, key: &Digest) -> Error {
    Error::Unknown {
        verb,
        key: Key::Full(*key),
    }
}

fn closure(verb: Verb, key: &Digest, source: impl Into<BoxError>) -> Error {
    Error::Closure {
        verb,
        key: *key,
        source: source.into(),
    }
}
