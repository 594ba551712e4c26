//! The layers, and the store in memory, under random and PCT schedules: the concurrent parts of the conformance suite, 10,000 schedules of each
//! kind, and 100,000 of those that judge histories with `PERKEY_FULL`. Each schedule has programs of its own, drawn with shuttle's numbers.
//!
//! S1–S7 of DESIGN.md, section 14; traps 28, 29, 33 – 35. Linearizability is judged by the suite. The twins that are broken outside of the crate are
//! below; those inside are in `suite.rs`. See `shuttle_common` for seeds and replays.
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic)]

mod shuttle_common;

use perkey::storage::conformance::{
    self, exclusion, faults, handles, histories, races, Faulty, Promise,
};
use perkey::storage::{
    BoxError, Bytes, Digest, Failure, Intent, Layer, Memory, PerKey, Prefix, Scope, Serializing,
    Storage, Traced,
};
use perkey::{ReentrantLock, ReentrantLockGuard};
use shuttle::sync::Mutex;
use shuttle::thread;
use shuttle_common::{check, check_histories, from_env};
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
    check_histories("histories_bare", || {
        histories(Memory::new, Promise::Nothing)
    });
}

#[test]
fn histories_per_key() {
    check_histories("histories_per_key", || histories(per_key, Promise::PerKey));
}

#[test]
fn histories_serializing() {
    let name = "histories_serializing";
    check_histories(name, || histories(serializing, Promise::Serial));
}

#[test]
fn histories_of_stacks() {
    check_histories("histories_of_stacks", || {
        let make = || Traced::new("outer", PerKey::new(Traced::new("inner", Memory::new())));
        histories(make, Promise::PerKey);
        histories(|| Serializing::new(per_key()), Promise::Serial);
    });
}

/// Trap 29: clones, and two stores over one root, share their locks.
#[test]
fn histories_of_handles() {
    check_histories("histories_of_handles", || {
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

/// Trap 28: a value that moves from one key to another is found all the time by the digits that both have.
#[test]
fn a_renamed_value_is_found_by_the_digits_of_both_keys() {
    let [a, b] = [0x1f, 0x2f].map(|digit| {
        let mut bytes = [7; 32];
        bytes[2] = digit;
        Digest::new(bytes)
    });
    let name = "a_renamed_value_is_found_by_the_digits_of_both_keys";
    check(name, move || {
        let store = Arc::new(per_key());
        store.save_as(&a, "here").unwrap();
        let theirs = store.clone();
        let renames = thread::spawn(move || {
            theirs.rename(&a, &b).unwrap();
            theirs.rename("07072f", &a).unwrap();
        });
        assert_eq!(store.load("0707").unwrap(), "here");
        let more = |old: Option<Bytes>| {
            assert_eq!(old.unwrap(), "here");
            Ok::<_, BoxError>(Some("there"))
        };
        store.update("0707", more).unwrap();
        renames.join().unwrap();
        assert_eq!(store.list().unwrap(), [a]);
        assert_eq!(store.load(&a).unwrap(), "there");
    });
}

// ---- in one line, for a backend from outside ------------------------------------------------------------------------

/// A backend as simple as can be, from outside; nothing is taken back.
#[derive(Default)]
struct Outside {
    slip: Slip,
    map: Mutex<BTreeMap<Digest, Bytes>>,
    cache: Mutex<BTreeMap<Digest, Bytes>>,
}

/// What is wrong with it.
#[derive(Clone, Copy, Default, PartialEq)]
enum Slip {
    /// Nothing.
    #[default]
    None,
    /// `put` takes two steps; in between there is no value.
    TornPut,
    /// What was read is remembered, a moment later.
    LateCache,
    /// `keys` calls back under the mutex.
    LockedCallback,
}

impl Outside {
    fn with(slip: Slip) -> Self {
        Self {
            slip,
            ..Self::default()
        }
    }
}

impl Storage for Outside {
    type Context<'a> = ();
    type Error = Infallible;

    fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Infallible> {
        Ok(())
    }
    fn get(&self, (): &mut (), key: &Digest) -> Result<Option<Bytes>, Infallible> {
        if self.slip == Slip::LateCache {
            let cached = self.cache.lock().unwrap().get(key).cloned();
            if cached.is_some() {
                return Ok(cached);
            }
        }
        let value = self.map.lock().unwrap().get(key).cloned();
        if self.slip == Slip::LateCache {
            let seen = value.clone().map(|value| (*key, value));
            self.cache.lock().unwrap().extend(seen);
        }
        Ok(value)
    }
    fn put(&self, (): &mut (), key: &Digest, value: &[u8]) -> Result<(), Infallible> {
        if self.slip == Slip::TornPut {
            self.map.lock().unwrap().remove(key);
        }
        let value = Bytes::copy_from_slice(value);
        self.map.lock().unwrap().insert(*key, value);
        self.cache.lock().unwrap().remove(key);
        Ok(())
    }
    fn remove(&self, (): &mut (), key: &Digest) -> Result<bool, Infallible> {
        let was = self.map.lock().unwrap().remove(key).is_some();
        self.cache.lock().unwrap().remove(key);
        Ok(was)
    }
    fn keys(
        &self,
        (): &mut (),
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let map = self.map.lock().unwrap();
        let keys: Vec<_> = map.range(prefix.range()).map(|(key, _)| *key).collect();
        let locked = (self.slip == Slip::LockedCallback).then_some(map);
        let _ = keys.into_iter().try_for_each(each);
        drop(locked);
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
    conformance::shuttle_without_rollback(Outside::default, schedules());
}

// ---- broken outside -------------------------------------------------------------------------------------------------

#[test]
#[should_panic(expected = "what is taken back")]
fn a_backend_that_takes_nothing_back_is_rejected() {
    conformance::shuttle(Outside::default, 1);
}

#[test]
#[should_panic(expected = "no order of these operations explains what they returned")]
fn a_write_in_two_steps_is_rejected() {
    conformance::shuttle_without_rollback(|| Outside::with(Slip::TornPut), 1_000);
}

#[test]
#[should_panic(expected = "no order of these operations explains what they returned")]
fn a_cache_that_is_filled_late_is_rejected() {
    conformance::shuttle_without_rollback(|| Outside::with(Slip::LateCache), 1_000);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_listing_that_calls_back_under_its_mutex_is_rejected() {
    conformance::shuttle_without_rollback(|| Outside::with(Slip::LockedCallback), 1_000);
}

/// A layer whose lock stays taken when an operation fails.
struct Forgetful<S> {
    lock: ReentrantLock<()>,
    inner: S,
}

struct Guard<'a>(Option<ReentrantLockGuard<'a, ()>>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

impl<S: Storage> Layer for Forgetful<S> {
    type Inner = S;
    type Held<'a>
        = Guard<'a>
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }
    fn enter(&self, _: Scope<'_>, _: Intent) -> Result<Guard<'_>, Failure> {
        Ok(Guard(Some(self.lock.lock())))
    }
    fn leave(&self, mut held: Guard<'_>) -> Result<(), Failure> {
        held.0 = None;
        Ok(())
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_lock_that_is_left_behind_is_rejected() {
    let run = || {
        faults(|faults| Forgetful {
            lock: ReentrantLock::new(()),
            inner: Faulty::new(Memory::new(), faults),
        });
    };
    shuttle::check_random(run, 1);
}
