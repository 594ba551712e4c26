//! [`Storage`]: what a backend or a layer is, and every operation on one.

use crate::storage::{
    Bytes, Digest, Error, Failure, Intent, Key, Operation, Prefix, Scope, ToKey, Verb,
};
use std::ops::ControlFlow;

/// A store of values under their digests.
///
/// # To use one
/// [`save`](Self::save), [`load`](Self::load) and the other *operations* are there for every backend and every stack of layers.
/// Each is one operation under one entered context: a [layer](crate::storage::Layer) sees it begin and end, and what it changes
/// is there after its end or not at all. Whether it is atomic towards *other threads* is up to the layers: bare, a backend only promises that
/// nothing breaks; under [`PerKey`](crate::storage::PerKey) operations on one key run one after another, under
/// [`Serializing`](crate::storage::Serializing) all do.
///
/// Where a key is asked for, its first digits do, if they are at least four and no other key begins so; see [`ToKey`].
///
/// An operation that fails or panics (in a closure, say) is rolled back: nothing of it stays. An operation inside another one of the same
/// thread (`load` in the closure of `update`) does not wait for itself, and sees what that has changed. If it has no other keys than those which the other may
/// change, it becomes part of it, and shares its fate; otherwise it is one of its own, which lasts when it ends. To do several things together, enter
/// an [`operation`](Self::operation) on all their keys.
///
/// # To write one
/// A backend has a context and five primitives, which get the context that was entered. The base context is empty: `()`. What an operation changes
/// is to last when its context is [left](Self::leave), all of it or nothing; a context that is dropped without (as an error or a panic does) has to leave
/// nothing behind. An operation inside another one of the same thread has a context of its own, beside the other's: a context must not keep what
/// such an operation would wait for, such as a mutex, and what one of them has changed the others have to see. A backend with no transactions that are like
/// that has a [`Journal`](crate::storage::Journal) for it; a context is a page then:
///
/// ```
/// use perkey::storage::{Bytes, Digest, Intent, Journal, Page, PerKey, Prefix, Scope, Storage};
/// use std::{collections::BTreeMap, convert::Infallible, ops::ControlFlow, sync::Mutex};
///
/// #[derive(Default)]
/// struct Plain {
///     values: Mutex<BTreeMap<Digest, Bytes>>,
///     journal: Journal<Bytes>,
/// }
///
/// impl Storage for Plain {
///     type Context<'a> = Page<'a, Bytes>;
///     type Error = Infallible;
///
///     fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Page<'_, Bytes>, Infallible> {
///         Ok(self.journal.page(scope, intent))
///     }
///     fn leave(&self, page: Page<'_, Bytes>) -> Result<(), Infallible> {
///         page.leave(|changes| {
///             let mut values = self.values.lock().unwrap();
///             for (key, value) in changes {
///                 match value {
///                     Some(value) => values.insert(key, value),
///                     None => values.remove(&key),
///                 };
///             }
///             Ok(())
///         })
///     }
///     fn get(&self, page: &mut Page<'_, Bytes>, key: &Digest) -> Result<Option<Bytes>, Infallible> {
///         let changed = page.get(key);
///         Ok(changed.unwrap_or_else(|| self.values.lock().unwrap().get(key).cloned()))
///     }
///     fn put(&self, page: &mut Page<'_, Bytes>, key: &Digest, value: &[u8]) -> Result<(), Infallible> {
///         page.set(key, Some(Bytes::copy_from_slice(value)));
///         Ok(())
///     }
///     fn remove(&self, page: &mut Page<'_, Bytes>, key: &Digest) -> Result<bool, Infallible> {
///         let there = self.exists(page, key)?;
///         page.set(key, None);
///         Ok(there)
///     }
///     fn is_tentative(&self, page: &Page<'_, Bytes>, key: &Digest) -> bool {
///         page.is_tentative(key)
///     }
///     fn keys(
///         &self,
///         page: &mut Page<'_, Bytes>,
///         prefix: &Prefix,
///         each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
///     ) -> Result<(), Infallible> {
///         let range = prefix.range();
///         let stored: Vec<_> = self.values.lock().unwrap().range(range.clone()).map(|(key, _)| *key).collect();
///         let _ = page.keys(range, stored).into_iter().try_for_each(each);
///         Ok(())
///     }
/// }
///
/// let store = PerKey::new(Plain::default());
/// let key = store.save("apple").unwrap();
/// assert_eq!(store.load(&key.to_string()[..6]).unwrap(), "apple");
/// let mut operation = store.operation(Scope::Key(&key), Intent::Write).unwrap();
/// operation.evict(&key).unwrap();
/// drop(operation); // taken back
/// assert!(store.contains(&key).unwrap());
/// ```
pub trait Storage {
    /// What is entered around an operation. Dropping it rolls back.
    type Context<'a>
    where
        Self: 'a;
    /// Why a primitive fails.
    type Error: Into<Failure>;

    /// The hook: enters the context of an operation on `scope`. May block, if it takes locks.
    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Self::Error>;

    /// Leaves the context of an operation that went well: what it did is to stay. Does nothing by default but drop it.
    ///
    /// # Errors
    /// If that cannot be. The operation fails with it, so nothing of it should stay.
    fn leave(&self, context: Self::Context<'_>) -> Result<(), Self::Error> {
        drop(context);
        Ok(())
    }

    /// The value of a key, if there is one.
    fn get(
        &self,
        context: &mut Self::Context<'_>,
        key: &Digest,
    ) -> Result<Option<Bytes>, Self::Error>;

    /// Sets the value of a key.
    fn put(
        &self,
        context: &mut Self::Context<'_>,
        key: &Digest,
        value: &[u8],
    ) -> Result<(), Self::Error>;

    /// Removes a key; was it there?
    fn remove(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Self::Error>;

    /// Is there a value? Gets it, by default.
    fn exists(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Self::Error> {
        Ok(self.get(context, key)?.is_some())
    }

    /// May what `get` says of a key yet be taken back by an operation around this one that this one is no part of? Then it is written even if it is the
    /// same. A backend with a [`Journal`](super::Journal) asks [`Page::is_tentative`](super::Page::is_tentative); a layer hands the question on.
    fn is_tentative(&self, context: &Self::Context<'_>, key: &Digest) -> bool {
        let _ = (context, key);
        false
    }

    /// Calls `each` with the keys that begin so, in ascending order, until it breaks. It may use the store.
    fn keys(
        &self,
        context: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// The addresses of the locks that an operation may take, outermost first: the order in which [`transfer`](Self::transfer) enters two
    /// stores. Empty for a backend.
    fn lock_order(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Where the values are: two stores that say the same are one. `None` if the backend does not know.
    fn place(&self) -> Option<String> {
        None
    }

    /// Enters an operation of one's own on `scope`: what is done through it is done, or undone, together.
    ///
    /// ```
    /// use perkey::storage::{Digest, Intent, Memory, PerKey, Scope, Storage};
    ///
    /// let store = PerKey::new(Memory::new());
    /// let keys @ [a, b] = [Digest::of("a"), Digest::of("b")];
    /// let mut operation = store.operation(Scope::Keys(&keys), Intent::Write).unwrap();
    /// operation.save_as(&a, "apple").unwrap();
    /// operation.save_as(&b, "pear").unwrap();
    /// operation.leave().unwrap(); // dropping it instead takes both back
    /// assert_eq!(store.list().unwrap().len(), 2);
    /// ```
    ///
    /// # Errors
    /// If the context cannot be entered.
    fn operation(&self, scope: Scope<'_>, intent: Intent) -> Result<Operation<'_, Self>, Error>
    where
        Self: Sized,
    {
        Operation::enter(self, Verb::Operation, scope, intent)
    }

    /// Stores a value under its BLAKE3. Nothing is written if it is there already.
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, Storage};
    ///
    /// assert_eq!(Memory::new().save("apple").unwrap(), Digest::of("apple"));
    /// ```
    ///
    /// # Errors
    /// If the backend or a layer fails.
    fn save(&self, value: impl AsRef<[u8]>) -> Result<Digest, Error>
    where
        Self: Sized,
    {
        let value = value.as_ref();
        let key = Digest::of(value);
        self.save_as(&key, value)?;
        Ok(key)
    }

    /// Stores a value under a given key, in place of what is there.
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, Storage};
    ///
    /// let (store, key) = (Memory::new(), Digest::of("a question"));
    /// store.save_as(&key, "its answer").unwrap();
    /// assert_eq!(store.load(&key).unwrap(), "its answer");
    /// ```
    ///
    /// # Errors
    /// If the backend or a layer fails.
    fn save_as(&self, key: &Digest, value: impl AsRef<[u8]>) -> Result<(), Error>
    where
        Self: Sized,
    {
        let mut op = Operation::enter(self, Verb::Save, Scope::Key(key), Intent::Write)?;
        op.save_as(key, value)?;
        op.leave()
    }

    /// Stores values, each under its BLAKE3, all or none.
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, Storage};
    ///
    /// let keys = Memory::new().save_many(["apple", "pear"]).unwrap();
    /// assert_eq!(keys, [Digest::of("apple"), Digest::of("pear")]);
    /// ```
    ///
    /// # Errors
    /// If the backend or a layer fails, or to wait for a lock could be for ever.
    fn save_many<V: AsRef<[u8]>>(
        &self,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Vec<Digest>, Error>
    where
        Self: Sized,
    {
        let values: Vec<V> = values.into_iter().collect();
        let keys: Vec<Digest> = values.iter().map(Digest::of).collect();
        let mut op = Operation::enter(self, Verb::Save, Scope::Keys(&keys), Intent::Write)?;
        for (key, value) in keys.iter().zip(&values) {
            op.save_as(key, value)?;
        }
        op.leave()?;
        Ok(keys)
    }

    /// The value of a key.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let key = store.save("apple").unwrap();
    /// assert_eq!(store.load(&key).unwrap(), "apple");
    /// assert_eq!(store.load(&key.to_string()[..4]).unwrap(), "apple");
    /// ```
    ///
    /// # Errors
    /// If there is no such key, if it is short and ambiguous, or malformed; if the value is corrupt, or the backend or a layer fails.
    fn load(&self, key: impl ToKey) -> Result<Bytes, Error>
    where
        Self: Sized,
    {
        let mut op = Operation::on(self, Verb::Load, &[key.to_key()], Intent::Read)?;
        let key = op.only();
        let value = op.load(&key)?;
        op.leave()?;
        Ok(value)
    }

    /// The values of keys, at one moment.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let keys = store.save_many(["apple", "pear"]).unwrap();
    /// assert_eq!(store.load_many(&keys).unwrap(), ["apple", "pear"]);
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load), for the first key that fails; and if to wait for a lock could be for ever.
    fn load_many<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Bytes>, Error>
    where
        Self: Sized,
    {
        let asked: Vec<_> = keys.into_iter().map(|key| key.to_key()).collect();
        let mut op = Operation::on(self, Verb::Load, &asked, Intent::Read)?;
        let keys = op.entered().to_vec();
        let values = keys
            .iter()
            .map(|key| op.load(key))
            .collect::<Result<_, _>>()?;
        op.leave()?;
        Ok(values)
    }

    /// Is there a value? Of a short key: is there one that begins so?
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let key = store.save("apple").unwrap();
    /// assert!(store.contains(&key).unwrap());
    /// assert!(!store.contains(&Digest::of("pear")).unwrap());
    /// ```
    ///
    /// # Errors
    /// If the key is short and ambiguous, or malformed, or the backend or a layer fails.
    fn contains(&self, key: impl ToKey) -> Result<bool, Error>
    where
        Self: Sized,
    {
        let mut op = match Operation::on(self, Verb::Contains, &[key.to_key()], Intent::Read) {
            Err(Error::Unknown { .. }) => return Ok(false),
            op => op?,
        };
        let key = op.only();
        let found = op.contains(&key)?;
        op.leave()?;
        Ok(found)
    }

    /// Removes a key and its value.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let key = store.save("apple").unwrap();
    /// store.evict(&key).unwrap();
    /// assert!(store.list().unwrap().is_empty());
    /// assert!(store.evict(&key).is_err()); // unknown
    /// ```
    ///
    /// # Errors
    /// If there is no such key, if it is short and ambiguous, or malformed, or the backend or a layer fails.
    fn evict(&self, key: impl ToKey) -> Result<(), Error>
    where
        Self: Sized,
    {
        let mut op = Operation::on(self, Verb::Evict, &[key.to_key()], Intent::Write)?;
        let key = op.only();
        op.evict(&key)?;
        op.leave()
    }

    /// The whole key of a short one.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let key = store.save("apple").unwrap();
    /// assert_eq!(store.expand(&key.to_string()[..5]).unwrap(), key);
    /// ```
    ///
    /// # Errors
    /// If there is no such key, if it is ambiguous, or malformed, or the backend or a layer fails.
    fn expand(&self, key: impl ToKey) -> Result<Digest, Error>
    where
        Self: Sized,
    {
        let mut op = Operation::on(self, Verb::Expand, &[key.to_key()], Intent::Read)?;
        let key = op.only();
        op.present(Verb::Expand, &key)?;
        op.leave()?;
        Ok(key)
    }

    /// The shortest beginning of a key that no other key has.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let key = store.save("apple").unwrap();
    /// let short = store.shrink(&key).unwrap();
    /// assert_eq!(short.digits(), 4); // the least there is
    /// assert_eq!(store.expand(&short).unwrap(), key);
    /// ```
    ///
    /// # Errors
    /// As [`expand`](Self::expand).
    fn shrink(&self, key: impl ToKey) -> Result<Prefix, Error>
    where
        Self: Sized,
    {
        Ok(self.shrink_many([key])?.remove(0))
    }

    /// [`shrink`](Self::shrink) for several keys at one moment.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let keys = store.save_many(["apple", "pear"]).unwrap();
    /// let short = store.shrink_many(&keys).unwrap();
    /// assert!(short[0].matches(&keys[0]) && !short[0].matches(&keys[1]));
    /// ```
    ///
    /// # Errors
    /// As `shrink`, for the first key that fails; and if to wait for a lock could be for ever.
    fn shrink_many<K: ToKey>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Prefix>, Error>
    where
        Self: Sized,
    {
        let asked: Vec<_> = keys.into_iter().map(|key| key.to_key()).collect();
        let mut op = Operation::on(self, Verb::Shrink, &asked, Intent::Read)?;
        let keys = op.entered().to_vec();
        let short = keys
            .iter()
            .map(|key| op.shrink(key))
            .collect::<Result<_, _>>()?;
        op.leave()?;
        Ok(short)
    }

    /// All keys, in ascending order.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// let key = store.save("apple").unwrap();
    /// assert_eq!(store.list().unwrap(), [key]);
    /// ```
    ///
    /// # Errors
    /// If the backend or a layer fails.
    fn list(&self) -> Result<Vec<Digest>, Error>
    where
        Self: Sized,
    {
        let mut op = Operation::enter(self, Verb::List, Scope::Store, Intent::Read)?;
        let keys = op.list(&Prefix::ALL)?;
        op.leave()?;
        Ok(keys)
    }

    /// The value of a key; made by `make` and stored, if there is none. Under a layer that locks, `make` runs once however many
    /// threads ask; if it fails or panics nothing is stored, and the next one tries.
    ///
    /// ```
    /// use perkey::storage::{BoxError, Digest, Memory, PerKey, Storage};
    ///
    /// let (store, key) = (PerKey::new(Memory::new()), Digest::of("a question"));
    /// let answer = store.get_or_insert_with(&key, || Ok::<_, BoxError>("an answer")).unwrap();
    /// let again = store.get_or_insert_with(&key, || Err::<&str, _>("not called")).unwrap();
    /// assert_eq!(answer, again);
    /// ```
    ///
    /// # Errors
    /// If `make`, the backend or a layer fails, or the value is corrupt.
    fn get_or_insert_with<V, E>(
        &self,
        key: &Digest,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<Bytes, Error>
    where
        Self: Sized,
        V: AsRef<[u8]>,
        E: Into<crate::storage::BoxError>,
    {
        let verb = Verb::GetOrInsertWith;
        let mut op = Operation::enter(self, verb, Scope::Key(key), Intent::Write)?;
        let value = op.get_or_insert_with(key, make)?;
        op.leave()?;
        Ok(value)
    }

    /// Reads a value, hands it to `change` and stores what that returns; `None` stands for no value, both ways.
    ///
    /// ```
    /// use perkey::storage::{BoxError, Digest, Memory, PerKey, Storage};
    ///
    /// let (store, key) = (PerKey::new(Memory::new()), Digest::of("counter"));
    /// for _ in 0..3 {
    ///     store
    ///         .update(&key, |old| {
    ///             let old: u64 = old.map_or(Ok(0), |v| std::str::from_utf8(&v)?.parse().map_err(BoxError::from))?;
    ///             Ok::<_, BoxError>(Some((old + 1).to_string()))
    ///         })
    ///         .unwrap();
    /// }
    /// assert_eq!(store.load(&key).unwrap(), "3");
    /// ```
    ///
    /// # Errors
    /// If `change` fails; if the key is short and unknown or ambiguous, or malformed; if the value is corrupt, or the backend
    /// or a layer fails.
    fn update<V, E>(
        &self,
        key: impl ToKey,
        change: impl FnOnce(Option<Bytes>) -> Result<Option<V>, E>,
    ) -> Result<(), Error>
    where
        Self: Sized,
        V: AsRef<[u8]>,
        E: Into<crate::storage::BoxError>,
    {
        let mut op = Operation::on(self, Verb::Update, &[key.to_key()], Intent::Write)?;
        let key = op.only();
        op.update(&key, change)?;
        op.leave()
    }

    /// Moves a value to another key.
    ///
    /// ```
    /// use perkey::storage::{Digest, Memory, Storage};
    ///
    /// let (store, new) = (Memory::new(), Digest::of("pear"));
    /// let old = store.save("apple").unwrap();
    /// store.rename(&old, &new).unwrap();
    /// assert_eq!(store.load(&new).unwrap(), "apple");
    /// assert!(!store.contains(&old).unwrap());
    /// ```
    ///
    /// # Errors
    /// If there is no such key, or another value under the new one; and as [`load`](Self::load).
    fn rename(&self, from: impl ToKey, to: &Digest) -> Result<(), Error>
    where
        Self: Sized,
    {
        let asked = [from.to_key(), Ok(Key::Full(*to))];
        let mut op = Operation::on(self, Verb::Rename, &asked, Intent::Write)?;
        let from = op.only();
        op.rename(&from, to)?;
        op.leave()
    }

    /// Moves a value, with its key, to another store.
    ///
    /// Both stores are entered, in an order that is the same for both directions. The other store keeps the value before this one
    /// lets go of it: if that fails, the value is in both.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let (here, there) = (Memory::new(), Memory::new());
    /// let key = here.save("apple").unwrap();
    /// here.transfer(&key, &there).unwrap();
    /// assert_eq!(there.load(&key).unwrap(), "apple");
    /// assert!(!here.contains(&key).unwrap());
    /// ```
    ///
    /// # Errors
    /// If there is no such key, or another value under it there; and as [`load`](Self::load).
    fn transfer<T: Storage>(&self, key: impl ToKey, to: &T) -> Result<Digest, Error>
    where
        Self: Sized,
    {
        super::transfer::transfer(self, key.to_key(), to)
    }
}
