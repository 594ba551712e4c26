//! [`Typed`]: values of a type of one's own instead of bytes.

use crate::storage::{BoxError, Bytes, Digest, Error, Key, Storage, ToKey, Verb};
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::fmt;
use std::marker::PhantomData;

/// A view on a store whose values are `T`s, as JSON. The store itself stays usable, and several views may share it.
///
/// The key of a value is the BLAKE3 of its JSON: the same for equal values if they serialize alike, which a `HashMap` does not.
///
/// ```
/// use perkey::storage::{BoxError, Memory, PerKey, Typed};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Fruit {
///     name: String,
///     grams: u32,
/// }
///
/// let fruits = Typed::<_, Fruit>::new(PerKey::new(Memory::new()));
/// let key = fruits.save(&Fruit { name: "apple".into(), grams: 150 }).unwrap();
/// fruits
///     .update(&key, |fruit| {
///         Ok::<_, BoxError>(fruit.map(|fruit| Fruit { grams: fruit.grams - 20, ..fruit }))
///     })
///     .unwrap();
/// assert_eq!(fruits.load(&key).unwrap().grams, 130);
/// ```
pub struct Typed<S, T> {
    store: S,
    _values: PhantomData<fn(T) -> T>,
}

impl<S: Storage, T: Serialize + DeserializeOwned> Typed<S, T> {
    /// A view on `store`: owned, shared or borrowed.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage, Typed};
    ///
    /// let memory = Memory::new();
    /// let numbers = Typed::<_, Vec<u32>>::new(&memory);
    /// let key = numbers.save(&vec![1, 2, 3]).unwrap();
    /// assert_eq!(memory.load(&key).unwrap(), "[1,2,3]");
    /// ```
    pub fn new(store: S) -> Self {
        Self {
            store,
            _values: PhantomData,
        }
    }

    /// The store, for everything that has nothing to do with the type.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store.
    pub fn into_store(self) -> S {
        self.store
    }

    /// See [`Storage::save`].
    ///
    /// # Errors
    /// As there; and [`Error::Encoding`] if the value cannot be serialized.
    pub fn save(&self, value: &T) -> Result<Digest, Error> {
        let json = encode(Verb::Save, None, value)?;
        self.store.save(json)
    }

    /// See [`Storage::save_as`].
    ///
    /// # Errors
    /// As there; and [`Error::Encoding`] if the value cannot be serialized.
    pub fn save_as(&self, key: &Digest, value: &T) -> Result<(), Error> {
        let json = encode(Verb::Save, Some(*key), value)?;
        self.store.save_as(key, json)
    }

    /// See [`Storage::load`].
    ///
    /// # Errors
    /// As there; and [`Error::Encoding`] if what is stored is no `T`.
    pub fn load(&self, key: impl ToKey) -> Result<T, Error> {
        decode(Verb::Load, &key, &self.store.load(&key)?)
    }

    /// See [`Storage::get_or_insert_with`].
    ///
    /// # Errors
    /// As there; and [`Error::Encoding`] if what is stored is no `T`. What `make` returns but cannot be serialized is the closure's failure.
    pub fn get_or_insert_with<E: Into<BoxError>>(
        &self,
        key: &Digest,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Error> {
        let json = self.store.get_or_insert_with(key, || {
            let value = make().map_err(Into::into)?;
            serde_json::to_vec(&value).map_err(BoxError::from)
        })?;
        decode(Verb::GetOrInsertWith, key, &json)
    }

    /// See [`Storage::update`].
    ///
    /// # Errors
    /// As there. What is stored but no `T`, and what `change` returns but cannot be serialized, is the closure's failure.
    pub fn update<E: Into<BoxError>>(
        &self,
        key: impl ToKey,
        change: impl FnOnce(Option<T>) -> Result<Option<T>, E>,
    ) -> Result<(), Error> {
        self.store.update(key, |old| {
            let old = old.map(|json| serde_json::from_slice(&json)).transpose()?;
            let new = change(old).map_err(Into::into)?;
            let new = new.map(|value| serde_json::to_vec(&value)).transpose()?;
            Ok::<_, BoxError>(new)
        })
    }
}

fn encode<T: Serialize>(verb: Verb, key: Option<Digest>, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|e| Error::Encoding {
        verb,
        key,
        source: e.into(),
    })
}

fn decode<T: DeserializeOwned>(verb: Verb, key: &impl ToKey, json: &Bytes) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|e| Error::Encoding {
        verb,
        key: match key.to_key() {
            Ok(Key::Full(key)) => Some(key),
            _ => None,
        },
        source: e.into(),
    })
}

impl<S: Clone, T> Clone for Typed<S, T> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            _values: PhantomData,
        }
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Typed<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&self.store).finish()
    }
}
