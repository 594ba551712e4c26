//! Storage, made safe for threads by the layer around it.
//!
//! ```text
//! PerKey ─ one lock per key       ┐
//! Serializing ─ one lock          ├ layers, in any order: each a Storage around a Storage
//! Traced, or one of your own      ┘
//!   Memory · Files · Sqlite         backends
//! ```
//! A [`Storage`] keeps values under their [`Digest`]s. Every operation enters a *context* first and leaves it last; a [`Layer`] is something that
//! joins in there: `PerKey<Traced<Files>>` locks the key, opens a span, and lets `Files` prepare its files; the way out is the
//! reverse. Nobody has to remember a lock, and a layer fits every backend.
//!
//! ```
//! use perkey::storage::{BoxError, Digest, Memory, PerKey, Storage};
//!
//! let store = PerKey::new(Memory::new());
//! let key = store.save("an apple").unwrap(); // under its BLAKE3
//! assert_eq!(store.load(&key).unwrap(), "an apple");
//! assert_eq!(store.load(&key.to_string()[..8]).unwrap(), "an apple"); // the first digits do
//!
//! // However many threads ask, it is computed once.
//! let answer = Digest::of("what is it?");
//! let computed = store.get_or_insert_with(&answer, || Ok::<_, BoxError>("a pear")).unwrap();
//! assert_eq!(computed, "a pear");
//! ```
//!
//! # Which layer
//! | | operations on one key | on different keys | listing |
//! |---|---|---|---|
//! | none | each is there at once or not at all, but two may read the same old value | in parallel | in parallel |
//! | [`PerKey`] | one after another | in parallel | in parallel |
//! | [`Serializing`] | one after another | one after another | one after another |
//!
//! # What a panic leaves behind
//! Nothing: a closure that panics inside an operation takes the operation back, the locks are free, and the next one goes on. What another operation
//! on *other* keys has done inside the closure was complete when it returned, and stays.
//!
//! # Which layer goes where
//! The outer one is entered first. `Traced<PerKey<_>>` has the wait in its span, `PerKey<Traced<_>>` only the work. Of two that lock, the one for all
//! keys belongs outside (`Serializing<PerKey<_>>`): inside, an operation within an operation would wait for a key while it keeps everybody from finishing with theirs.
//! Debug builds watch the order in which the locks of layers are taken, and panic where two orders are seen.
//!
//! # Across `fork`
//! A child process has the locks as they were, without the threads that held them: an operation on a key that was held elsewhere waits for ever. A
//! program that forks should do so while no other thread uses a store, or go on to `exec`.

mod backend;
#[cfg(all(feature = "test-util", not(perkey_loom)))]
pub mod conformance;
mod digest;
mod erased;
mod error;
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
mod files;
mod journal;
mod layer;
mod memory;
mod operation;
mod order;
mod per_key;
mod scope;
mod serializing;
#[cfg(all(feature = "sqlite", not(any(perkey_loom, perkey_shuttle))))]
mod sqlite;
#[cfg(feature = "tracing")]
mod traced;
mod transfer;
#[cfg(feature = "serde")]
mod typed;
mod whole;

pub use backend::Storage;
pub use bytes::Bytes;
pub use digest::{Digest, ParseError, Prefix};
pub use erased::DynStorage;
pub use error::{BoxError, Error, Failure};
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
pub use files::{Files, FilesOptions};
pub use journal::{Changes, Journal, Page};
pub use layer::{Chained, Layer};
pub use memory::Memory;
pub use operation::Operation;
pub use per_key::PerKey;
pub use scope::{BadKey, Intent, Key, Scope, ToKey, Verb};
pub use serializing::Serializing;
#[cfg(all(feature = "sqlite", not(any(perkey_loom, perkey_shuttle))))]
pub use sqlite::{Sqlite, SqliteOptions};
#[cfg(feature = "tracing")]
pub use traced::Traced;
#[cfg(feature = "serde")]
pub use typed::Typed;
