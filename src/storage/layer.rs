//! [`Layer`]: something that is entered around every operation of a store.

use crate::mutant::mutant;
use crate::storage::{Bytes, Digest, Failure, Intent, Prefix, Scope, Storage};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A store around a store, which has something to do or to hold while an operation runs.
///
/// A layer says what is [inside](Self::inner) and what to do on [entering](Self::enter) and [leaving](Self::leave); it is a [`Storage`] by that.
/// The chain is not its concern: the outer context is entered first and left last, and the inner one is always entered, for reads
/// too.
///
/// What is held is dropped without `leave` when the operation fails or panics, after what is held further inside.
///
/// # Examples
/// A layer that counts, with what failed told from what went well:
/// ```
/// use perkey::storage::{Failure, Intent, Layer, Memory, PerKey, Scope, Storage};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// struct Metrics<S> {
///     inner: S,
///     begun: AtomicU64,
///     done: AtomicU64,
/// }
///
/// impl<S: Storage> Layer for Metrics<S> {
///     type Inner = S;
///     type Held<'a> = () where S: 'a;
///
///     fn inner(&self) -> &S {
///         &self.inner
///     }
///     fn enter(&self, _: Scope<'_>, _: Intent) -> Result<(), Failure> {
///         self.begun.fetch_add(1, Relaxed);
///         Ok(())
///     }
///     fn leave(&self, (): ()) -> Result<(), Failure> {
///         self.done.fetch_add(1, Relaxed);
///         Ok(())
///     }
/// }
///
/// let store = PerKey::new(Metrics { inner: Memory::new(), begun: 0.into(), done: 0.into() });
/// let key = store.save("apple").unwrap();
/// store.evict(&key).unwrap();
/// store.load(&key).unwrap_err();
/// let metrics = store.inner();
/// assert_eq!((metrics.begun.load(Relaxed), metrics.done.load(Relaxed)), (3, 2));
/// ```
/// A layer that traces (there is a [`Traced`](crate::storage::Traced) for the crate of that name):
/// ```
/// use perkey::storage::{Failure, Intent, Layer, Memory, Scope, Storage};
///
/// struct Printed<S>(S);
///
/// struct Line(String);
///
/// impl Drop for Line {
///     fn drop(&mut self) {
///         println!("left {}", self.0); // by whatever way
///     }
/// }
///
/// impl<S: Storage> Layer for Printed<S> {
///     type Inner = S;
///     type Held<'a> = Line where S: 'a;
///
///     fn inner(&self) -> &S {
///         &self.0
///     }
///     fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Line, Failure> {
///         println!("entered {scope:?} to {intent:?}");
///         Ok(Line(format!("{scope:?}")))
///     }
/// }
///
/// Printed(Memory::new()).save("apple").unwrap();
/// ```
/// A connection per operation, which the primitives use, is the context of a [`Storage`] of its own:
/// ```
/// use perkey::storage::{Bytes, Digest, Intent, PerKey, Prefix, Scope, Storage};
/// use std::{io, ops::ControlFlow};
/// # type Values = std::collections::BTreeMap<Digest, Bytes>;
/// # struct Connection(std::sync::Arc<std::sync::Mutex<Values>>, Values);
/// # impl Connection {
/// #     fn ask(&self, key: &Digest) -> io::Result<Option<Bytes>> { Ok(self.1.get(key).cloned()) }
/// #     fn tell(&mut self, key: &Digest, value: &[u8]) -> io::Result<()> { self.1.insert(*key, Bytes::copy_from_slice(value)); Ok(()) }
/// #     fn drop_key(&mut self, key: &Digest) -> io::Result<bool> { Ok(self.1.remove(key).is_some()) }
/// #     fn ask_keys(&self, prefix: &Prefix) -> io::Result<Vec<Digest>> { Ok(self.1.range(prefix.range()).map(|(k, _)| *k).collect()) }
/// #     fn commit(self) -> io::Result<()> { *self.0.lock().unwrap() = self.1; Ok(()) }
/// # }
///
/// struct Remote<F>(F);
///
/// impl<F: Fn() -> io::Result<Connection>> Storage for Remote<F> {
///     type Context<'a> = Connection where F: 'a;
///     type Error = io::Error;
///
///     fn operation_context(&self, _: Scope<'_>, _: Intent) -> io::Result<Connection> {
///         (self.0)() // with a transaction begun, which is rolled back when it is dropped
///     }
///     fn leave(&self, c: Connection) -> io::Result<()> {
///         c.commit()
///     }
///     fn get(&self, c: &mut Connection, key: &Digest) -> io::Result<Option<Bytes>> {
///         c.ask(key)
///     }
///     fn put(&self, c: &mut Connection, key: &Digest, value: &[u8]) -> io::Result<()> {
///         c.tell(key, value)
///     }
///     fn remove(&self, c: &mut Connection, key: &Digest) -> io::Result<bool> {
///         c.drop_key(key)
///     }
///     fn keys(&self, c: &mut Connection, prefix: &Prefix, each: &mut dyn FnMut(Digest) -> ControlFlow<()>) -> io::Result<()> {
///         let _ = c.ask_keys(prefix)?.into_iter().try_for_each(each);
///         Ok(())
///     }
/// }
/// # let server = std::sync::Arc::<std::sync::Mutex<Values>>::default();
/// # let connect = || Ok(Connection(server.clone(), server.lock().unwrap().clone()));
///
/// let store = PerKey::new(Remote(connect)); // locked first, connected then
/// let key = store.save("apple").unwrap();
/// assert_eq!(store.load(&key).unwrap(), "apple");
/// let mut operation = store.operation(Scope::Key(&key), Intent::Write).unwrap();
/// operation.evict(&key).unwrap();
/// drop(operation); // rolled back
/// assert!(store.contains(&key).unwrap());
/// ```
pub trait Layer {
    /// What is inside.
    type Inner: Storage;
    /// What is held while an operation runs. Dropping it takes the operation back.
    type Held<'a>
    where
        Self: 'a;

    /// What is inside.
    fn inner(&self) -> &Self::Inner;

    /// Called before the inner context is entered. May block, if it takes locks.
    ///
    /// # Errors
    /// If the operation cannot begin; it fails then.
    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Self::Held<'_>, Failure>;

    /// Called after the inner context was left, if the operation went well. Does nothing by default but drop what is held.
    ///
    /// # Errors
    /// If something could not be completed. What is further inside has been by then; the operation reports the error.
    fn leave(&self, held: Self::Held<'_>) -> Result<(), Failure> {
        drop(held);
        Ok(())
    }

    /// The addresses of the locks that it may take itself; see [`Storage::lock_order`].
    fn locks(&self) -> Vec<usize> {
        Vec::new()
    }
}

/// The context of a layer: what is inside, and what it holds itself. Dropped in this order.
pub struct Chained<Inner, Held> {
    inner: Inner,
    held: Held,
}

impl<Inner, Held> fmt::Debug for Chained<Inner, Held> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chained").finish_non_exhaustive()
    }
}

impl<L: Layer> Storage for L {
    type Context<'a>
        = Chained<<L::Inner as Storage>::Context<'a>, L::Held<'a>>
    where
        L: 'a;
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Failure> {
        let held = self.enter(scope, intent)?;
        let inner = self.inner().operation_context(scope, intent);
        Ok(Chained {
            inner: inner.map_err(Into::into)?,
            held,
        })
    }

    fn leave(&self, context: Self::Context<'_>) -> Result<(), Failure> {
        let Chained { inner, held } = context;
        if mutant("outer_left_first") {
            Layer::leave(self, held)?;
            return self.inner().leave(inner).map_err(Into::into);
        }
        self.inner().leave(inner).map_err(Into::into)?;
        Layer::leave(self, held)
    }

    fn get(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let inner = self.inner().get(&mut context.inner, key);
        inner.map_err(Into::into)
    }

    fn put(
        &self,
        context: &mut Self::Context<'_>,
        key: &Digest,
        value: &[u8],
    ) -> Result<(), Failure> {
        let inner = self.inner().put(&mut context.inner, key, value);
        inner.map_err(Into::into)
    }

    fn remove(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        let inner = self.inner().remove(&mut context.inner, key);
        inner.map_err(Into::into)
    }

    fn exists(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        let inner = self.inner().exists(&mut context.inner, key);
        inner.map_err(Into::into)
    }

    fn is_tentative(&self, context: &Self::Context<'_>, key: &Digest) -> bool {
        self.inner().is_tentative(&context.inner, key)
    }

    fn keys(
        &self,
        context: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let inner = self.inner().keys(&mut context.inner, prefix, each);
        inner.map_err(Into::into)
    }

    fn lock_order(&self) -> Vec<usize> {
        let mut locks = self.locks();
        locks.extend(self.inner().lock_order());
        locks
    }

    fn place(&self) -> Option<String> {
        self.inner().place()
    }
}

macro_rules! through {
    ($($what:literal $t:ty);*) => {
        $(#[doc = $what]
        impl<S: Storage> Layer for $t {
            type Inner = S;
            type Held<'a>
                = ()
            where
                Self: 'a;

            fn inner(&self) -> &S {
                self
            }

            fn enter(&self, _: Scope<'_>, _: Intent) -> Result<(), Failure> {
                Ok(())
            }
        })*
    };
}
through!(
    "A reference to a store is one, with nothing around it." &S;
    "A shared store is one, with nothing around it." Arc<S>;
    "A boxed store is one, with nothing around it." Box<S>
);
