//! The layers, and the store in memory, under random and PCT schedules: the concurrent parts of the conformance suite, 10,000 schedules of each
//! kind. Each schedule has programs of its own, drawn with shuttle's numbers.
//!
//! S1–S6 of DESIGN.md, section 14; traps 28, 29, 33 – 35. Linearizability is judged by the suite. The twins that are broken outside of the crate are
//! below; those inside are in `suite.rs`. See `shuttle_common` for seeds and replays.
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic)]

mod shuttle_common;

use perkey::storage::conformance::{
    self, exclusion, faults, handles, histories, races, Faulty, Promise,
};
use perkey::storage::{
    BoxError, Bytes, Digest, Error, Failure, Intent, Layer, Memory, PerKey, Prefix, Scope,
    Serializing, Storage, Traced,
};
use perkey::{ReentrantLock, ReentrantLockGuard};
use shuttle::sync::Mutex;
use shuttle::thread;
use shuttle_common::{check, from_env};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

fn per_key() -> PerKey<Memory> {
    PerKey::new(Memory::new())
}

fn serializing() -> Serializing<Memory> {
    Serializing::new(Memory::new())
}

// ---- the suite ----------------------------------------------------------------------------------------------------

#[test]
fn histories_bare() {
    check("histories_bare", || {
        histories(Memory::new, Promise::Nothing)
    });
}

#[test]
fn histories_per_key() {
    check("histories_per_key", || histories(per_key, Promise::PerKey));
}

#[test]
fn histories_serializing() {
    let name = "histories_serializing";
    check(name, || histories(serializing, Promise::Serial));
}

#[test]
fn histories_of_stacks() {
    check("histories_of_stacks", || {
        let make = || Traced::new("outer", PerKey::new(Traced::new("inner", Memory::new())));
        histories(make, Promise::PerKey);
        histories(|| Serializing::new(per_key()), Promise::Serial);
    });
}

/// Trap 29: clones, and two stores over one root, share their locks.
#[test]
fn histories_of_handles() {
    check("histories_of_handles", || {
        let clones = || {
            let store = per_key();
            [store.clone(), store]
        };
        handles(clones, Promise::PerKey);
        let on_purpose = || {
            let memory = Memory::new();
            let one = PerKey::new(memory.clone());
            let other = PerKey::with_table(memory, one.table().clone());
            [one, other]
        };
        handles(on_purpose, Promise::PerKey);
        let clones = || {
            let store = serializing();
            [store.clone(), store]
        };
        handles(clones, Promise::Serial);
    });
}

#[test]
fn exclusion_per_key() {
    check("exclusion_per_key", || exclusion(per_key, Promise::PerKey));
}

#[test]
fn exclusion_serializing() {
    let name = "exclusion_serializing";
    check(name, || exclusion(serializing, Promise::Serial));
}

#[test]
fn races_per_key() {
    check("races_per_key", || races(per_key));
}

#[test]
fn races_serializing() {
    check("races_serializing", || races(serializing));
}

// ---- in one line, for a backend from outside ------------------------------------------------------------------------

/// A backend as simple as can be; nothing is taken back.
#[derive(Default)]
struct Plain(Mutex<BTreeMap<Digest, Bytes>>);

impl Plain {
    fn map(&self) -> shuttle::sync::MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Storage for Plain {
    type Context<'a> = ();
    type Error = Infallible;

    fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Infallible> {
        Ok(())
    }
    fn get(&self, (): &mut (), key: &Digest) -> Result<Option<Bytes>, Infallible> {
        Ok(self.map().get(key).cloned())
    }
    fn put(&self, (): &mut (), key: &Digest, value: &[u8]) -> Result<(), Infallible> {
        self.map().insert(*key, Bytes::copy_from_slice(value));
        Ok(())
    }
    fn remove(&self, (): &mut (), key: &Digest) -> Result<bool, Infallible> {
        Ok(self.map().remove(key).is_some())
    }
    fn keys(
        &self,
        (): &mut (),
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let keys: Vec<_> = self.map().range(prefix.range()).map(|(k, _)| *k).collect();
        let _ = keys.into_iter().try_for_each(each);
        Ok(())
    }
}

fn schedules() -> usize {
    usize::try_from(from_env("PERKEY_SCHEDULES", 1_000)).unwrap()
}

#[test]
fn memory_in_one_line() {
    conformance::shuttle(Memory::new, schedules());
}

#[test]
fn a_backend_from_outside_in_one_line() {
    conformance::shuttle_without_rollback(Plain::default, schedules());
}

#[test]
#[should_panic(expected = "what is taken back")]
fn a_backend_that_takes_nothing_back_is_rejected() {
    conformance::shuttle(Plain::default, 1);
}

// ---- broken outside ---------------------------------------------------------------------------------------------

/// A layer or a backend around another one, with something wrong about it.
macro_rules! around_plain {
    ($name:ident) => {
        impl Storage for $name {
            type Context<'a> = ();
            type Error = Infallible;

            fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Infallible> {
                Ok(())
            }
            fn get(&self, c: &mut (), key: &Digest) -> Result<Option<Bytes>, Infallible> {
                self.read(c, key)
            }
            fn put(&self, c: &mut (), key: &Digest, value: &[u8]) -> Result<(), Infallible> {
                self.write(c, key, value)
            }
            fn remove(&self, c: &mut (), key: &Digest) -> Result<bool, Infallible> {
                self.0.remove(c, key)
            }
            fn keys(
                &self,
                c: &mut (),
                prefix: &Prefix,
                each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
            ) -> Result<(), Infallible> {
                self.scan(c, prefix, each)
            }
        }
    };
}

/// `put` takes two steps: in between there is no value.
#[derive(Default)]
struct Torn(Plain);

impl Torn {
    fn read(&self, c: &mut (), key: &Digest) -> Result<Option<Bytes>, Infallible> {
        self.0.get(c, key)
    }
    fn write(&self, c: &mut (), key: &Digest, value: &[u8]) -> Result<(), Infallible> {
        self.0.remove(c, key)?;
        self.0.put(c, key, value)
    }
    fn scan(
        &self,
        c: &mut (),
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.0.keys(c, prefix, each)
    }
}
around_plain!(Torn);

#[test]
#[should_panic(expected = "no order of these operations explains what they returned")]
fn a_write_in_two_steps_is_rejected() {
    conformance::shuttle_without_rollback(Torn::default, 1_000);
}
