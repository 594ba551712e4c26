//! [`Traced`]: a span around every operation.

use crate::storage::{Failure, Intent, Layer, Scope, Storage};
use std::fmt;
use tracing::span::EnteredSpan;

/// Opens a span of the [`tracing`] crate around every operation, for the time that the context inside is entered.
///
/// The span is called `storage`, at level `DEBUG`, and has the fields `store` (the name that was given), `scope` (the key, how many keys, or
/// `*`) and `intent`. An event in it tells whether the operation was `left`, or `failed`: an error, a panic, an operation that was dropped.
/// Where nobody listens it costs next to nothing.
///
/// Outside of a lock (`Traced<PerKey<_>>`) the span has the wait in it; inside (`PerKey<Traced<_>>`) only the work.
///
/// ```
/// use perkey::storage::{Memory, PerKey, Storage, Traced};
///
/// let store = Traced::new("waits and work", PerKey::new(Traced::new("work", Memory::new())));
/// store.save("apple").unwrap();
/// ```
#[derive(Clone)]
pub struct Traced<S> {
    name: &'static str,
    inner: S,
}

impl<S> Traced<S> {
    /// A span of this name around `inner`.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage, Traced};
    ///
    /// assert!(Traced::new("memory", Memory::new()).list().unwrap().is_empty());
    /// ```
    pub fn new(name: &'static str, inner: S) -> Self {
        Self { name, inner }
    }

    /// What is inside. Used directly, it is not traced.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What is inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

/// What a [`Traced`] holds while an operation runs.
pub struct Span {
    left: bool,
    _span: EnteredSpan,
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.left {
            tracing::debug!("left");
        } else {
            tracing::debug!("failed");
        }
    }
}

impl<S: Storage> Layer for Traced<S> {
    type Inner = S;
    type Held<'a>
        = Span
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }

    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Span, Failure> {
        let (store, intent) = (self.name, tracing::field::debug(intent));
        let span = match scope {
            Scope::Key(key) => tracing::debug_span!("storage", store, scope = %key, intent),
            Scope::Keys(keys) => {
                tracing::debug_span!("storage", store, scope = %format_args!("{} keys", keys.len()), intent)
            }
            Scope::Store => tracing::debug_span!("storage", store, scope = %"*", intent),
        };
        Ok(Span {
            left: false,
            _span: span.entered(),
        })
    }

    fn leave(&self, mut held: Span) -> Result<(), Failure> {
        held.left = true;
        Ok(())
    }
}

impl<S: fmt::Debug> fmt::Debug for Traced<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traced").field(&self.inner).finish()
    }
}
