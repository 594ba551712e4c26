//! [`Faulty`]: a store that fails, or panics, at a chosen call of a chosen primitive.

use crate::storage::{Bytes, Digest, Failure, Intent, Prefix, Scope, Storage};
use std::fmt;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a backend writes: where a fault may strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the methods of `Storage` by these names
pub enum Primitive {
    OperationContext,
    Leave,
    Get,
    Put,
    Remove,
    Exists,
    Keys,
}

impl Primitive {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::OperationContext,
        Self::Leave,
        Self::Get,
        Self::Put,
        Self::Remove,
        Self::Exists,
        Self::Keys,
    ];
}

/// Before or after the store inside has done what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum When {
    Before,
    After,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum How {
    Error,
    Panic,
}

/// A fault: at which call (from 0, since it was armed) of which primitive, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// At which primitive.
    pub at: Primitive,
    /// At which call of it, from 0.
    pub call: usize,
    /// Before the store inside does it, or after.
    pub when: When,
    /// An error or a panic.
    pub how: How,
}

/// The error, and what a panic carries.
///
/// ```
/// use perkey::storage::conformance::{Fault, How, Injected, Primitive, When};
///
/// let fault = Fault { at: Primitive::Get, call: 2, when: When::Before, how: How::Error };
/// assert_eq!(Injected(fault).to_string(), "a fault for the test: Error Before Get, call 2");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected(pub Fault);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            at,
            call,
            when,
            how,
        } = self.0;
        write!(
            f,
            "a fault for the test: {how:?} {when:?} {at:?}, call {call}"
        )
    }
}

impl std::error::Error for Injected {}

/// What stands in the way of a [`Faulty`] store. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    armed: Option<Fault>,
    calls: usize,
    struck: bool,
}

impl Faults {
    /// None yet.
    ///
    /// ```
    /// use perkey::storage::conformance::Faults;
    ///
    /// assert!(!Faults::new().disarm());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms a fault, in place of the one before. It strikes once.
    ///
    /// ```
    /// use perkey::storage::conformance::{Fault, Faults, Faulty, How, Primitive, When};
    /// use perkey::storage::{Error, Memory, Storage};
    ///
    /// let faults = Faults::new();
    /// let store = Faulty::new(Memory::new(), &faults);
    /// faults.arm(Fault { at: Primitive::Put, call: 1, when: When::Before, how: How::Error });
    /// store.save("apple").unwrap();
    /// assert!(matches!(store.save("pear"), Err(Error::Backend { .. })));
    /// assert!(faults.disarm());
    /// ```
    pub fn arm(&self, fault: Fault) {
        *self.state() = State {
            armed: Some(fault),
            ..State::default()
        };
    }

    /// Takes it away; has it struck?
    ///
    /// ```
    /// use perkey::storage::conformance::{Fault, Faults, How, Primitive, When};
    ///
    /// let faults = Faults::new();
    /// faults.arm(Fault { at: Primitive::Put, call: 1, when: When::Before, how: How::Panic });
    /// assert!(!faults.disarm());
    /// ```
    pub fn disarm(&self) -> bool {
        std::mem::take(&mut *self.state()).struck
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Around a call of a primitive.
    fn around<R, E: Into<Failure>>(
        &self,
        at: Primitive,
        call: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, Failure> {
        let struck = {
            let mut state = self.state();
            let due = state.armed.filter(|fault| fault.at == at);
            let due = due.filter(|fault| fault.call == state.calls && !state.struck);
            if state.armed.is_some_and(|fault| fault.at == at) {
                state.calls += 1;
            }
            state.struck |= due.is_some();
            due
        };
        let Some(fault) = struck else {
            return call().map_err(Into::into);
        };
        if fault.when == When::After {
            call().map_err(Into::into)?;
        } else {
            drop(call); // and the context in it, if it was to be left
        }
        match fault.how {
            How::Error => Err(Failure::other(Injected(fault))),
            How::Panic => resume_unwind(Box::new(Injected(fault))), // without a message on the way
        }
    }
}

/// A store with [`Faults`] around it: to see what others make of a backend that fails.
///
/// ```
/// use perkey::storage::conformance::{Fault, Faults, Faulty, How, Primitive, When};
/// use perkey::storage::{Memory, PerKey, Storage};
///
/// let faults = Faults::new();
/// let store = PerKey::new(Faulty::new(Memory::new(), &faults));
/// faults.arm(Fault { at: Primitive::Leave, call: 0, when: When::Before, how: How::Error });
/// store.save("apple").unwrap_err();
/// assert!(store.list().unwrap().is_empty() && store.table().is_empty());
/// ```
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    faults: Faults,
}

impl<S> Faulty<S> {
    /// These faults around a store.
    ///
    /// ```
    /// use perkey::storage::conformance::{Faults, Faulty};
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Faulty::new(Memory::new(), &Faults::new());
    /// store.save("apple").unwrap(); // nothing is armed
    /// ```
    pub fn new(inner: S, faults: &Faults) -> Self {
        Self {
            inner,
            faults: faults.clone(),
        }
    }
}

impl<S: Storage> Storage for Faulty<S> {
    type Context<'a>
        = S::Context<'a>
    where
        S: 'a;
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<S::Context<'_>, Failure> {
        self.faults.around(Primitive::OperationContext, || {
            self.inner.operation_context(scope, intent)
        })
    }

    fn leave(&self, context: S::Context<'_>) -> Result<(), Failure> {
        let leave = move || self.inner.leave(context);
        self.faults.around(Primitive::Leave, leave)
    }

    fn get(&self, context: &mut S::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let get = || self.inner.get(context, key);
        self.faults.around(Primitive::Get, get)
    }

    fn put(&self, context: &mut S::Context<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        let put = || self.inner.put(context, key, value);
        self.faults.around(Primitive::Put, put)
    }

    fn remove(&self, context: &mut S::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        let remove = || self.inner.remove(context, key);
        self.faults.around(Primitive::Remove, remove)
    }

    fn exists(&self, context: &mut S::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        let exists = || self.inner.exists(context, key);
        self.faults.around(Primitive::Exists, exists)
    }

    fn is_tentative(&self, context: &S::Context<'_>, key: &Digest) -> bool {
        self.inner.is_tentative(context, key)
    }

    fn keys(
        &self,
        context: &mut S::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let keys = || self.inner.keys(context, prefix, each);
        self.faults.around(Primitive::Keys, keys)
    }

    fn lock_order(&self) -> Vec<usize> {
        self.inner.lock_order()
    }

    fn place(&self) -> Option<String> {
        self.inner.place()
    }
}
