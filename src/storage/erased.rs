//! [`DynStorage`]: a store whose kind is known at run time only.

use crate::storage::{Bytes, Digest, Failure, Intent, Prefix, Scope, Storage};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Any store, behind one type: for backends and layers that are chosen at run time. Clones are handles on the same one.
///
/// Each operation costs an allocation more, and its primitives a call through a table. It is a backend to layers like any other.
///
/// ```
/// use perkey::storage::{DynStorage, Memory, PerKey, Serializing, Storage};
///
/// let layer = "per-key"; // from a configuration
/// let store = match layer {
///     "per-key" => DynStorage::new(PerKey::new(Memory::new())),
///     "serializing" => DynStorage::new(Serializing::new(Memory::new())),
///     _ => DynStorage::new(Memory::new()),
/// };
/// let key = store.save("apple").unwrap();
/// assert_eq!(store.clone().load(&key).unwrap(), "apple");
/// ```
#[derive(Clone)]
pub struct DynStorage {
    store: Arc<dyn Erased + Send + Sync>,
}

impl DynStorage {
    /// The store, without its type.
    ///
    /// ```
    /// use perkey::storage::{DynStorage, Memory, Storage};
    ///
    /// assert!(DynStorage::new(Memory::new()).list().unwrap().is_empty());
    /// ```
    pub fn new(store: impl Storage + Send + Sync + 'static) -> Self {
        Self {
            store: Arc::new(store),
        }
    }
}

/// [`Storage`], as far as it can be called without knowing the type.
trait Erased {
    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Box<dyn Entered + '_>, Failure>;
    fn lock_order(&self) -> Vec<usize>;
    fn place(&self) -> Option<String>;
}

/// What a [`DynStorage`] has entered: a store's context, and the store that it is of.
pub trait Entered {
    /// See [`Storage::leave`].
    fn leave(self: Box<Self>) -> Result<(), Failure>;
    /// See [`Storage::get`].
    fn get(&mut self, key: &Digest) -> Result<Option<Bytes>, Failure>;
    /// See [`Storage::put`].
    fn put(&mut self, key: &Digest, value: &[u8]) -> Result<(), Failure>;
    /// See [`Storage::remove`].
    fn remove(&mut self, key: &Digest) -> Result<bool, Failure>;
    /// See [`Storage::exists`].
    fn exists(&mut self, key: &Digest) -> Result<bool, Failure>;
    /// See [`Storage::is_tentative`].
    fn is_tentative(&self, key: &Digest) -> bool;
    /// See [`Storage::keys`].
    fn keys(
        &mut self,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure>;
}

struct In<'a, S: Storage> {
    store: &'a S,
    context: S::Context<'a>,
}

impl<S: Storage> Erased for S {
    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Box<dyn Entered + '_>, Failure> {
        let context = self.operation_context(scope, intent).map_err(Into::into)?;
        Ok(Box::new(In {
            store: self,
            context,
        }))
    }

    fn lock_order(&self) -> Vec<usize> {
        Storage::lock_order(self)
    }

    fn place(&self) -> Option<String> {
        Storage::place(self)
    }
}

impl<S: Storage> Entered for In<'_, S> {
    fn leave(self: Box<Self>) -> Result<(), Failure> {
        self.store.leave(self.context).map_err(Into::into)
    }

    fn get(&mut self, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let value = self.store.get(&mut self.context, key);
        value.map_err(Into::into)
    }

    fn put(&mut self, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        let done = self.store.put(&mut self.context, key, value);
        done.map_err(Into::into)
    }

    fn remove(&mut self, key: &Digest) -> Result<bool, Failure> {
        let there = self.store.remove(&mut self.context, key);
        there.map_err(Into::into)
    }

    fn exists(&mut self, key: &Digest) -> Result<bool, Failure> {
        let there = self.store.exists(&mut self.context, key);
        there.map_err(Into::into)
    }

    fn is_tentative(&self, key: &Digest) -> bool {
        self.store.is_tentative(&self.context, key)
    }

    fn keys(
        &mut self,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let done = self.store.keys(&mut self.context, prefix, each);
        done.map_err(Into::into)
    }
}

impl Storage for DynStorage {
    type Context<'a> = Box<dyn Entered + 'a>;
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Failure> {
        self.store.enter(scope, intent)
    }

    fn leave(&self, context: Self::Context<'_>) -> Result<(), Failure> {
        context.leave()
    }

    fn get(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        context.get(key)
    }

    fn put(
        &self,
        context: &mut Self::Context<'_>,
        key: &Digest,
        value: &[u8],
    ) -> Result<(), Failure> {
        context.put(key, value)
    }

    fn remove(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        context.remove(key)
    }

    fn exists(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        context.exists(key)
    }

    fn is_tentative(&self, context: &Self::Context<'_>, key: &Digest) -> bool {
        context.is_tentative(key)
    }

    fn keys(
        &self,
        context: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        context.keys(prefix, each)
    }

    fn lock_order(&self) -> Vec<usize> {
        self.store.lock_order()
    }

    fn place(&self) -> Option<String> {
        self.store.place()
    }
}

impl fmt::Debug for DynStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynStorage")
            .field("place", &self.store.place())
            .finish_non_exhaustive()
    }
}
