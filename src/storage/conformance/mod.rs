//! A suite that any backend, layer or stack of layers can be put through (feature `test-util`).
//!
//! ```
//! use perkey::storage::{conformance, Memory, PerKey};
//!
//! conformance::backend(Memory::new); // a backend: bare, and under every layer there is
//! conformance::layer(PerKey::new, conformance::Promise::PerKey); // a layer: around a store that is watched, and fails
//! ```
//! Each function panics if what it looks at is not as promised, and says where. What they are made of can be called by itself:
//!
//! | | looks at |
//! |---|---|
//! | [`semantics()`] | what every operation returns, leaves and takes back; keys by all their names; operations in operations |
//! | [`exclusion()`] | who waits for whom, and who must not |
//! | [`races()`] | updates that are lost, values that are made twice, values that go to and fro |
//! | [`histories()`], [`handles()`] | linearizability: what three threads were told by small programs on three keys is explained by one order |
//! | [`faults()`] | an error and a panic at each call of each primitive: the old state or the new one, no lock left |
//! | [`chain()`] | the inner context: always entered, after the layer, and left before it |
//!
//! [`Faulty`] and [`Probe`] are there for tests of one's own.
//!
//! # Under shuttle
//! With `--cfg perkey_shuttle` the suite's threads are shuttle's, and `conformance::shuttle` runs it under many schedules, in one line
//! (`shuttle_without_rollback`, for a backend that takes nothing back). A backend has to
//! use shuttle's mutexes and atomics then, or its steps are not seen:
//! ```
//! # #[cfg(perkey_shuttle)] {
//! use perkey::storage::{conformance, Memory};
//!
//! conformance::shuttle(Memory::new, 100);
//! # }
//! ```
//! Under loom the suite is not there: it is made for larger programs than loom can explore.

mod chain;
mod draw;
mod exclusion;
mod faults;
mod faulty;
mod histories;
mod listing;
mod model;
mod nested;
mod ops;
mod probe;
mod races;
mod semantics;
mod short;
#[cfg(perkey_shuttle)]
mod shuttle;

pub use chain::{chain, Inner};
pub use exclusion::exclusion;
pub use faults::faults;
pub use faulty::{Fault, Faults, Faulty, How, Injected, Primitive, When};
pub use histories::{handles, histories};
pub use probe::{Event, Log, Probe, Step};
pub use races::races;
pub use semantics::semantics;
#[cfg(perkey_shuttle)]
pub use shuttle::{shuttle, shuttle_without_rollback};

#[cfg(feature = "tracing")]
use crate::storage::Traced;
use crate::storage::{PerKey, Serializing, Storage};
use std::any::type_name;
use std::cell::RefCell;
use std::panic::resume_unwind;

/// What a store promises to threads that use it at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// That nothing breaks: an operation is there at once or not at all. A backend without a layer.
    Nothing,
    /// One operation at a time on each key; those on different keys overlap. [`PerKey`].
    PerKey,
    /// One operation at a time. [`Serializing`].
    Serial,
}

/// A part of the suite: what it looks at, and how, on an empty store.
type Check<S> = (&'static str, fn(&S));

/// Runs a part of the suite on an `S`; if it fails, the message of the panic says which, and on what.
fn part<S>(what: &str, f: impl FnOnce()) {
    let Err(panic) = faults::caught(f) else {
        return;
    };
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
    let Some(text) = text else {
        resume_unwind(panic)
    };
    let told = format!("conformance of {}: {what}", type_name::<S>());
    eprintln!("{told}"); // the hook has told the rest
    resume_unwind(Box::new(format!("{told}: {text}")))
}

/// Everything that can be asked of a backend: bare and under each layer, and with faults at each of its primitives.
///
/// `make` makes an empty store; it is called often.
///
/// ```
/// use perkey::storage::{conformance, Memory};
///
/// conformance::backend(|| Memory::with_limit(1 << 24));
/// ```
///
/// # Panics
/// If the backend does not do what [`Storage`] says.
pub fn backend<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S) {
    let make = &make;
    stack(make, Promise::Nothing);
    faults(|faults| Faulty::new(make(), faults));
    wrapped(make, Serializing::new, Promise::Serial);
    wrapped(make, PerKey::new, Promise::PerKey);
    #[cfg(feature = "tracing")]
    {
        let traced = |inner| Traced::new("conformance", inner);
        wrapped(make, traced, Promise::Nothing);
    }
}

fn wrapped<B: Storage, S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> B,
    wrap: impl Fn(Faulty<B>) -> S,
    promise: Promise,
) {
    stack(|| wrap(Faulty::new(make(), &Faults::new())), promise);
    faults(|faults| wrap(Faulty::new(make(), faults)));
}

/// [`backend`] for one that takes nothing back: a context that is dropped leaves what was written. Compound operations are not atomic on it
/// when a primitive fails, so nothing fails here.
///
/// ```
/// use perkey::storage::{Bytes, Digest, Intent, Prefix, Scope, Storage};
/// use std::{collections::BTreeMap, convert::Infallible, ops::ControlFlow, sync::Mutex};
///
/// #[derive(Default)]
/// struct Plain(Mutex<BTreeMap<Digest, Bytes>>);
///
/// impl Storage for Plain {
///     // as in the example of `Storage`
/// #     type Context<'a> = ();
/// #     type Error = Infallible;
/// #     fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Infallible> { Ok(()) }
/// #     fn get(&self, (): &mut (), key: &Digest) -> Result<Option<Bytes>, Infallible> { Ok(self.0.lock().unwrap().get(key).cloned()) }
/// #     fn put(&self, (): &mut (), key: &Digest, value: &[u8]) -> Result<(), Infallible> { self.0.lock().unwrap().insert(*key, Bytes::copy_from_slice(value)); Ok(()) }
/// #     fn remove(&self, (): &mut (), key: &Digest) -> Result<bool, Infallible> { Ok(self.0.lock().unwrap().remove(key).is_some()) }
/// #     fn keys(&self, (): &mut (), prefix: &Prefix, each: &mut dyn FnMut(Digest) -> ControlFlow<()>) -> Result<(), Infallible> {
/// #         let keys: Vec<_> = self.0.lock().unwrap().range(prefix.range()).map(|(k, _)| *k).collect();
/// #         let _ = keys.into_iter().try_for_each(each);
/// #         Ok(())
/// #     }
/// }
///
/// perkey::storage::conformance::backend_without_rollback(Plain::default);
/// ```
///
/// # Panics
/// If the backend does not do what [`Storage`] says, rolling back apart.
pub fn backend_without_rollback<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S) {
    fn stack<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S, promise: Promise) {
        semantics::plain(&make);
        concurrent(make, promise);
    }
    let make = &make;
    stack(make, Promise::Nothing);
    stack(|| Serializing::new(make()), Promise::Serial);
    stack(|| PerKey::new(make()), Promise::PerKey);
}

/// Everything that can be asked of a layer: around a store that is watched, and that fails.
///
/// ```
/// use perkey::storage::conformance::{layer, Promise};
/// use perkey::storage::{PerKey, Serializing};
///
/// layer(|inner| Serializing::new(PerKey::new(inner)), Promise::Serial);
/// ```
///
/// # Panics
/// If it does not keep the promise, or what is said of layers in general.
pub fn layer<S: Storage + Send + Sync + 'static>(wrap: impl Fn(Inner) -> S, promise: Promise) {
    let logs = RefCell::new(Vec::new());
    let make = || {
        let log = Log::new();
        logs.borrow_mut().push(log.clone());
        wrap(Inner::new(&log, &Faults::new()))
    };
    stack(make, promise);
    part::<S>("what is kept apart", || {
        for log in logs.take() {
            chain::apart(&log.take(), promise);
        }
    });
    faults(|faults| wrap(Inner::new(&Log::new(), faults)));
    chain(wrap);
}

/// What can be asked of a store as it is, without looking inside.
///
/// ```
/// use perkey::storage::conformance::{stack, Promise};
/// use perkey::storage::{Memory, PerKey};
///
/// stack(|| PerKey::new(Memory::new()), Promise::PerKey);
/// ```
///
/// # Panics
/// If it does not keep the promise, or what [`Storage`] says.
pub fn stack<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S, promise: Promise) {
    semantics(&make);
    exclusion::unseen(&make, promise);
    concurrent(make, promise);
}

fn concurrent<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S, promise: Promise) {
    exclusion(&make, promise);
    if promise != Promise::Nothing {
        races(&make);
    }
    histories(make, promise);
}
