//! What the suite for storages has to reject: each store here is broken in one way, and the part of the suite that looks there has to say so.
//!
//! Those that only a schedule shows, or that would hang, are in `loom-tests/tests/shuttle_storage.rs`.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;

use common::message;
use perkey::storage::conformance::{
    chain, exclusion, faults, layer, races, semantics, stack, Faulty, Inner, Promise,
};
use perkey::storage::{Bytes, Digest, Failure, Intent, Memory, PerKey, Prefix, Scope, Storage};
use perkey::{ReentrantLock, ReentrantLockGuard};
use std::collections::BTreeMap;
use std::ops::ControlFlow::{self, Break, Continue};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex, MutexGuard};

/// The suite fails, with these words.
#[track_caller]
fn rejected(words: &str, suite: impl FnOnce()) {
    match catch_unwind(AssertUnwindSafe(suite)) {
        Ok(()) => panic!("it was accepted; it should have said: {words}"),
        Err(panic) => {
            let text = message(&*panic);
            assert!(
                text.contains(words),
                "it said {text:?} instead of {words:?}"
            );
        }
    }
}

// ---- backends -----------------------------------------------------------------------------------------------------

/// What is wrong with a [`Broken`] store.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Flaw {
    /// Nothing.
    None,
    /// `get` gives what was there before.
    StaleRead,
    /// `keys` gives keys that are gone.
    Phantom,
    /// `keys` leaves the last one out.
    LastKeyMissing,
    /// `keys` gives them from the last to the first.
    Backwards,
    /// `keys` gives those that do not begin so, too.
    PrefixIgnored,
    /// `keys` goes on after a break.
    BreakIgnored,
    /// `exists` says yes.
    EverythingExists,
    /// `remove` says that there was something.
    EverythingWasThere,
    /// `put` of an empty value removes.
    EmptyIsNone,
    /// `put` stores the first 64 KiB.
    Truncated,
    /// `put` changes nothing if there is a value.
    NotReplaced,
    /// A dropped context is applied.
    DropApplies,
    /// Half of the changes are applied, if there are several.
    HalfApplied,
    /// A new store has something in it.
    NotEmpty,
    /// Each operation sees the store as it was when the operation began: operations inside it pass it by.
    Blind,
}

/// A store without layers, in which a context has its changes; operations inside others are left to [`Memory`].
struct Broken {
    flaw: Flaw,
    memory: Memory,
    /// Every value that was replaced or removed.
    old: Mutex<BTreeMap<Digest, Bytes>>,
}

impl Broken {
    fn new(flaw: Flaw) -> Self {
        let memory = Memory::new();
        if flaw == Flaw::NotEmpty {
            memory.save("left over").unwrap();
        }
        Self {
            flaw,
            memory,
            old: Mutex::default(),
        }
    }

    fn old(&self) -> MutexGuard<'_, BTreeMap<Digest, Bytes>> {
        self.old.lock().unwrap()
    }
}

type Pending<'a> = <Memory as Storage>::Context<'a>;

/// A context of [`Broken`].
struct Context<'a> {
    store: &'a Broken,
    pending: Option<Pending<'a>>,
    seen: BTreeMap<Digest, Option<Bytes>>,
    put: Vec<Digest>,
}

impl<'a> Context<'a> {
    fn pending(&mut self) -> &mut Pending<'a> {
        self.pending.as_mut().unwrap()
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if self.store.flaw == Flaw::DropApplies {
            if let Some(pending) = self.pending.take() {
                let _ = self.store.memory.leave(pending);
            }
        }
    }
}

impl Storage for Broken {
    type Context<'a> = Context<'a>;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Context<'_>, Failure> {
        Ok(Context {
            store: self,
            pending: Some(self.memory.operation_context(scope, intent)?),
            seen: BTreeMap::new(),
            put: Vec::new(),
        })
    }

    fn leave(&self, mut context: Context<'_>) -> Result<(), Failure> {
        let mut pending = context.pending.take().unwrap();
        if self.flaw == Flaw::HalfApplied && context.put.len() > 1 {
            self.memory.remove(&mut pending, &context.put[0])?;
        }
        self.memory.leave(pending)
    }

    fn get(&self, context: &mut Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let now = self.memory.get(context.pending(), key)?;
        match self.flaw {
            Flaw::StaleRead => Ok(self.old().remove(key).or(now)),
            Flaw::Blind => Ok(context.seen.entry(*key).or_insert(now).clone()),
            _ => Ok(now),
        }
    }

    fn put(&self, context: &mut Context<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        let there = self.memory.get(context.pending(), key)?;
        context.put.push(*key);
        context
            .seen
            .insert(*key, Some(Bytes::copy_from_slice(value)));
        match self.flaw {
            Flaw::EmptyIsNone if value.is_empty() => self.remove(context, key).map(drop),
            Flaw::NotReplaced if there.is_some() => Ok(()),
            Flaw::Truncated => {
                let some = &value[..value.len().min(1 << 16)];
                self.memory.put(context.pending(), key, some)
            }
            _ => {
                self.old().extend(there.map(|value| (*key, value)));
                self.memory.put(context.pending(), key, value)
            }
        }
    }

    fn remove(&self, context: &mut Context<'_>, key: &Digest) -> Result<bool, Failure> {
        if self.flaw == Flaw::Phantom {
            let there = self.memory.get(context.pending(), key)?;
            self.old().extend(there.map(|value| (*key, value)));
        }
        context.seen.insert(*key, None);
        let was = self.memory.remove(context.pending(), key)?;
        Ok(was || self.flaw == Flaw::EverythingWasThere)
    }

    fn exists(&self, context: &mut Context<'_>, key: &Digest) -> Result<bool, Failure> {
        let there = self.memory.exists(context.pending(), key)?;
        Ok(there || self.flaw == Flaw::EverythingExists)
    }

    fn keys(
        &self,
        context: &mut Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let asked = match self.flaw {
            Flaw::PrefixIgnored => &Prefix::ALL,
            _ => prefix,
        };
        let mut keys = Vec::new();
        self.memory.keys(context.pending(), asked, &mut |key| {
            keys.push(key);
            Continue(())
        })?;
        match self.flaw {
            Flaw::Phantom => {
                keys.extend(self.old().keys().filter(|key| prefix.matches(key)));
                keys.sort_unstable();
                keys.dedup();
            }
            Flaw::LastKeyMissing => drop(keys.pop()),
            Flaw::Backwards => keys.reverse(),
            _ => {}
        }
        for key in keys {
            if each(key) == Break(()) && self.flaw != Flaw::BreakIgnored {
                break;
            }
        }
        Ok(())
    }

    fn place(&self) -> Option<String> {
        self.memory.place()
    }
}

/// The twin is broken by its flaw, by nothing else.
#[test]
fn without_a_flaw_it_is_accepted() {
    stack(|| Broken::new(Flaw::None), Promise::Nothing);
    faults(|faults| Faulty::new(Broken::new(Flaw::None), faults));
}

#[test]
fn semantics_rejects_every_flaw() {
    for (flaw, words) in [
        (Flaw::StaleRead, "replacing a value"),
        (Flaw::Phantom, "values of all kinds"),
        (Flaw::LastKeyMissing, "replacing a value"),
        (Flaw::Backwards, "listings"),
        (Flaw::PrefixIgnored, "listings"),
        (
            Flaw::BreakIgnored,
            "it goes on until it breaks, and no further",
        ),
        (Flaw::EverythingExists, "expand of an unknown key: Ok"),
        (Flaw::EverythingWasThere, "evict of an unknown key: Ok"),
        (Flaw::EmptyIsNone, "replacing a value"),
        (Flaw::Truncated, "1048576 bytes came back as others"),
        (Flaw::NotReplaced, "replacing a value"),
        (Flaw::DropApplies, "after an operation that was dropped"),
        (Flaw::HalfApplied, "several keys at once"),
        (Flaw::NotEmpty, "the store is to be empty at first"),
        (Flaw::Blind, "an operation inside another one on its key"),
    ] {
        rejected(words, || semantics(|| Broken::new(flaw)));
    }
}

#[test]
fn faults_rejects_a_backend_that_takes_nothing_back() {
    rejected("it was Model({A: b\"one\", B: b\"two\"}), and is", || {
        faults(|faults| Faulty::new(Broken::new(Flaw::DropApplies), faults));
    });
}

/// There is nothing to be seen where nothing fails.
#[test]
fn faults_wants_a_faulty_store() {
    rejected("no fault ever struck", || faults(|_| Memory::new()));
}

// ---- layers -------------------------------------------------------------------------------------------------------

/// What is wrong with a layer that is written by hand.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Slip {
    /// Nothing.
    None,
    /// The inner context is entered first, the lock taken then.
    LockedInside,
    /// The inner context is dropped instead of left.
    DroppedInstead,
    /// The inner context of a read is entered by the first primitive that needs it.
    LateForReads,
    /// The inner context is entered for the store as a whole.
    OtherScope,
    /// The inner context is entered for writing.
    OtherIntent,
    /// The inner context is entered twice.
    EnteredTwice,
    /// An inner context that cannot be left is kept quiet about.
    ErrorSwallowed,
    /// Reads are not locked.
    ReadsUnlocked,
    /// Listings are not locked.
    ListingsUnlocked,
    /// `lock_order` does not tell of the lock.
    OrderUntold,
}

/// A [`Serializing`], written by hand.
struct ByHand<S> {
    slip: Slip,
    lock: ReentrantLock<()>,
    inner: S,
}

impl<S> ByHand<S> {
    fn new(slip: Slip, inner: S) -> Self {
        Self {
            slip,
            lock: ReentrantLock::new(()),
            inner,
        }
    }
}

/// A context of [`ByHand`]; what is inside is dropped first.
struct Held<'a, S: Storage> {
    store: &'a S,
    inner: Option<S::Context<'a>>,
    again: Option<S::Context<'a>>,
    _lock: Option<ReentrantLockGuard<'a, ()>>,
}

impl<'a, S: Storage> Held<'a, S> {
    fn with<R>(
        &mut self,
        f: impl FnOnce(&'a S, &mut S::Context<'a>) -> Result<R, S::Error>,
    ) -> Result<R, Failure> {
        if let Some(inner) = &mut self.inner {
            return f(self.store, inner).map_err(Into::into);
        }
        let inner = self.store.operation_context(Scope::Store, Intent::Read);
        let mut inner = inner.map_err(Into::into)?;
        let result = f(self.store, &mut inner).map_err(Into::into)?;
        self.store.leave(inner).map_err(Into::into)?;
        Ok(result)
    }
}

impl<S: Storage> Storage for ByHand<S> {
    type Context<'a>
        = Held<'a, S>
    where
        S: 'a;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Held<'_, S>, Failure> {
        let (inner_scope, inner_intent) = match self.slip {
            Slip::OtherScope => (Scope::Store, intent),
            Slip::OtherIntent => (scope, Intent::Write),
            _ => (scope, intent),
        };
        let enter = || {
            let inner = self.inner.operation_context(inner_scope, inner_intent);
            inner.map_err(Into::into)
        };
        let early = match self.slip {
            Slip::LockedInside => Some(enter()?),
            _ => None,
        };
        let free = match self.slip {
            Slip::ReadsUnlocked => intent == Intent::Read,
            Slip::ListingsUnlocked => scope == Scope::Store,
            _ => false,
        };
        let lock = (!free).then(|| self.lock.lock());
        let again = match self.slip {
            Slip::EnteredTwice => Some(enter()?),
            _ => None,
        };
        Ok(Held {
            store: &self.inner,
            inner: match early {
                None if self.slip == Slip::LateForReads && intent == Intent::Read => None,
                None => Some(enter()?),
                early => early,
            },
            again,
            _lock: lock,
        })
    }

    fn leave(&self, mut held: Held<'_, S>) -> Result<(), Failure> {
        if self.slip == Slip::DroppedInstead {
            return Ok(());
        }
        let mut all = [held.inner.take(), held.again.take()].into_iter().flatten();
        let left = all.try_for_each(|inner| self.inner.leave(inner));
        match left {
            Err(_) if self.slip == Slip::ErrorSwallowed => Ok(()),
            left => left.map_err(Into::into),
        }
    }

    fn get(&self, held: &mut Held<'_, S>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        held.with(|s, c| s.get(c, key))
    }

    fn put(&self, held: &mut Held<'_, S>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        held.with(|s, c| s.put(c, key, value))
    }

    fn remove(&self, held: &mut Held<'_, S>, key: &Digest) -> Result<bool, Failure> {
        held.with(|s, c| s.remove(c, key))
    }

    fn exists(&self, held: &mut Held<'_, S>, key: &Digest) -> Result<bool, Failure> {
        held.with(|s, c| s.exists(c, key))
    }

    fn keys(
        &self,
        held: &mut Held<'_, S>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        held.with(|s, c| s.keys(c, prefix, each))
    }

    fn lock_order(&self) -> Vec<usize> {
        let told = self.slip != Slip::OrderUntold;
        let own = told.then(|| std::ptr::from_ref(&self.lock).addr());
        own.into_iter().collect()
    }

    fn place(&self) -> Option<String> {
        self.inner.place()
    }
}

#[test]
fn a_layer_without_a_slip_is_accepted() {
    layer(|inner| ByHand::new(Slip::None, inner), Promise::Serial);
}

#[test]
fn chain_rejects_a_layer_that_does_not_hand_on() {
    for (slip, words) in [
        (Slip::DroppedInstead, "without that the inner one was left"),
        (
            Slip::LateForReads,
            "without an outer one of the same scope and intent",
        ),
        (
            Slip::OtherScope,
            "without an outer one of the same scope and intent",
        ),
        (
            Slip::OtherIntent,
            "without an outer one of the same scope and intent",
        ),
        (
            Slip::EnteredTwice,
            "without an outer one of the same scope and intent",
        ),
        (Slip::ErrorSwallowed, "without that the inner one was left"),
    ] {
        rejected(words, || chain(|inner| ByHand::new(slip, inner)));
    }
}

#[test]
fn faults_rejects_a_layer_that_keeps_an_error_quiet() {
    let make = |faults: &_| ByHand::new(Slip::ErrorSwallowed, Faulty::new(Memory::new(), faults));
    rejected("came out as Ok", || faults(make));
}

#[test]
fn layer_rejects_one_that_locks_what_it_has_entered_already() {
    let wrap = |inner| ByHand::new(Slip::LockedInside, inner);
    exclusion(|| wrap(Memory::new()), Promise::Serial); // from outside it is fine
    let wrap = |inner| ByHand::new(Slip::LockedInside, inner);
    rejected("inside the layer", || layer(wrap, Promise::Serial));
}

#[test]
fn exclusion_rejects_what_is_not_locked() {
    let words = "it did not wait";
    rejected(words, || exclusion(Memory::new, Promise::PerKey));
    rejected(words, || exclusion(Memory::new, Promise::Serial));
    rejected(words, || {
        exclusion(|| PerKey::new(Memory::new()), Promise::Serial)
    });
    for slip in [Slip::ReadsUnlocked, Slip::ListingsUnlocked] {
        rejected(words, || {
            exclusion(|| ByHand::new(slip, Memory::new()), Promise::Serial)
        });
    }
    rejected("`lock_order` is empty", || {
        let make = || ByHand::new(Slip::OrderUntold, Memory::new());
        exclusion(make, Promise::Serial);
    });
    // No layer at all, in the place of one.
    rejected(words, || {
        layer(|inner: Inner| inner, Promise::PerKey);
    });
}

// ---- races --------------------------------------------------------------------------------------------------------

/// A store in which operations on one key are not kept apart: the first three that read it have all read before any goes on.
struct Together {
    memory: Memory,
    lock: ReentrantLock<()>,
    key: Digest,
    reads: AtomicUsize,
    all: Barrier,
}

impl Together {
    fn new(key: Digest) -> Self {
        Self {
            memory: Memory::new(),
            lock: ReentrantLock::new(()),
            key,
            reads: AtomicUsize::new(0),
            all: Barrier::new(3),
        }
    }
}

impl Storage for Together {
    type Context<'a> = (Pending<'a>, Option<ReentrantLockGuard<'a, ()>>);
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Failure> {
        let lock = (scope != Scope::Key(&self.key)).then(|| self.lock.lock());
        Ok((self.memory.operation_context(scope, intent)?, lock))
    }
    fn leave(&self, context: Self::Context<'_>) -> Result<(), Failure> {
        self.memory.leave(context.0)
    }
    fn get(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let value = self.memory.get(&mut context.0, key)?;
        if *key == self.key && self.reads.fetch_add(1, Relaxed) < 3 {
            self.all.wait();
        }
        Ok(value)
    }
    fn put(
        &self,
        context: &mut Self::Context<'_>,
        key: &Digest,
        value: &[u8],
    ) -> Result<(), Failure> {
        self.memory.put(&mut context.0, key, value)
    }
    fn remove(&self, context: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        self.memory.remove(&mut context.0, key)
    }
    fn keys(
        &self,
        context: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.memory.keys(&mut context.0, prefix, each)
    }
    fn lock_order(&self) -> Vec<usize> {
        vec![std::ptr::from_ref(&self.lock).addr()]
    }
}

#[test]
fn races_rejects_lost_updates_and_values_that_are_made_twice() {
    let key = Digest::of("counter");
    rejected("counting: assertion", || races(|| Together::new(key)));
    let key = Digest::of("0");
    rejected("a value was made twice", || races(|| Together::new(key)));
}
