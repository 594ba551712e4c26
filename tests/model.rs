//! Histories of one thread, made up by proptest, against a small obvious model (I2, I3, I5; traps 2, 23).
//!
//! Several guards, handles and weak handles are alive at once and go in any order, some are forgotten, the table shrinks in
//! between. The model counts levels and users in a map; the table must give the same answers after every step.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, Pick};
use perkey::{
    KeyGuard, KeyLock, LockTable, OwnedKeyGuard, OwnedKeyLock, OwnedWeakKeyLock, WeakKeyLock,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::{forget, ManuallyDrop};
use std::sync::Arc;
use std::time::Duration;

/// More keys than the six slots of the smallest table.
const KEYS: u64 = 12;

#[derive(Clone, Copy, Debug)]
enum How {
    Lock,
    Try,
    For,
    With,
    Owned,
}

/// The numbers choose among what there is, modulo its count.
#[derive(Clone, Copy, Debug)]
enum Step {
    Lock(u64, How),
    DropGuard(usize),
    UnlockFair(usize),
    ForgetGuard(usize),
    Handle(u64, bool),
    CloneHandle(usize),
    LockHandle(usize, How),
    DropHandle(usize),
    ForgetHandle(usize),
    Downgrade(usize),
    Upgrade(usize),
    DropWeak(usize),
    ForgetWeak(usize),
    Shrink,
    LookElsewhere,
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        Just(How::Lock),
        Just(How::Try),
        Just(How::For),
        Just(How::With),
        Just(How::Owned)
    ];
    let i = 0..64usize;
    prop_oneof![
        8 => (0..KEYS, how.clone()).prop_map(|(k, h)| Step::Lock(k, h)),
        8 => i.clone().prop_map(Step::DropGuard),
        1 => i.clone().prop_map(Step::UnlockFair),
        1 => i.clone().prop_map(Step::ForgetGuard),
        3 => (0..KEYS, any::<bool>()).prop_map(|(k, o)| Step::Handle(k, o)),
        1 => i.clone().prop_map(Step::CloneHandle),
        3 => (i.clone(), how).prop_map(|(i, h)| Step::LockHandle(i, h)),
        4 => i.clone().prop_map(Step::DropHandle),
        1 => i.clone().prop_map(Step::ForgetHandle),
        3 => i.clone().prop_map(Step::Downgrade),
        3 => i.clone().prop_map(Step::Upgrade),
        1 => i.clone().prop_map(Step::DropWeak),
        1 => i.prop_map(Step::ForgetWeak),
        1 => Just(Step::Shrink),
        1 => Just(Step::LookElsewhere),
    ]
}

/// The obvious model.
#[derive(Default)]
struct Model {
    /// Guards of each key, forgotten ones included.
    depth: BTreeMap<u64, usize>,
    /// Handles of each key, forgotten ones included.
    handles: BTreeMap<u64, usize>,
    /// How many lives of each key are over.
    lives: BTreeMap<u64, u64>,
}

impl Model {
    fn depth(&self, key: u64) -> usize {
        self.depth.get(&key).copied().unwrap_or(0)
    }

    fn alive(&self) -> BTreeSet<u64> {
        (0..KEYS)
            .filter(|k| self.depth(*k) + self.handles.get(k).unwrap_or(&0) > 0)
            .collect()
    }

    fn life(&self, key: u64) -> u64 {
        self.lives.get(&key).copied().unwrap_or(0)
    }

    fn lock(&mut self, key: u64) {
        *self.depth.entry(key).or_default() += 1;
    }

    fn unlock(&mut self, key: u64) {
        *self.depth.get_mut(&key).unwrap() -= 1;
        self.ended(key);
    }

    fn handle(&mut self, key: u64) {
        *self.handles.entry(key).or_default() += 1;
    }

    fn put_handle(&mut self, key: u64) {
        *self.handles.get_mut(&key).unwrap() -= 1;
        self.ended(key);
    }

    fn ended(&mut self, key: u64) {
        if !self.alive().contains(&key) {
            *self.lives.entry(key).or_default() += 1;
        }
    }
}

type Table = LockTable<u64, Pick>;

enum Guard<'t> {
    Borrowed(KeyGuard<'t, u64>),
    Owned(OwnedKeyGuard<u64, Pick>),
}

impl Guard<'_> {
    fn key(&self) -> u64 {
        match self {
            Self::Borrowed(g) => *g.key(),
            Self::Owned(g) => *g.key(),
        }
    }
    fn depth(&self) -> usize {
        match self {
            Self::Borrowed(g) => g.depth(),
            Self::Owned(g) => g.depth(),
        }
    }
    fn unlock_fair(self) {
        match self {
            Self::Borrowed(g) => g.unlock_fair(),
            Self::Owned(g) => g.unlock_fair(),
        }
    }
}

enum Handle<'t> {
    Borrowed(KeyLock<'t, u64>),
    Owned(OwnedKeyLock<u64, Pick>),
}

impl<'t> Handle<'t> {
    fn key(&self) -> u64 {
        match self {
            Self::Borrowed(h) => *h.key(),
            Self::Owned(h) => *h.key(),
        }
    }
    fn another(&self) -> Self {
        match self {
            Self::Borrowed(h) => Self::Borrowed(h.clone()),
            Self::Owned(h) => Self::Owned(h.clone()),
        }
    }
    fn lock(&self, how: How) -> Option<Guard<'t>> {
        match self {
            Self::Borrowed(h) => match how {
                How::Lock | How::With | How::Owned => Some(h.lock()),
                How::Try => h.try_lock(),
                How::For => h.try_lock_for(Duration::ZERO),
            }
            .map(Guard::Borrowed),
            Self::Owned(h) => match how {
                How::Lock | How::With | How::Owned => Some(h.lock()),
                How::Try => h.try_lock(),
                How::For => h.try_lock_for(Duration::ZERO),
            }
            .map(Guard::Owned),
        }
    }
    fn downgrade(&self) -> Weak<'t> {
        match self {
            Self::Borrowed(h) => Weak::Borrowed(h.downgrade()),
            Self::Owned(h) => Weak::Owned(h.downgrade()),
        }
    }
}

enum Weak<'t> {
    Borrowed(WeakKeyLock<'t, u64>),
    Owned(OwnedWeakKeyLock<u64, Pick>),
}

impl<'t> Weak<'t> {
    fn upgrade(&self) -> Option<Handle<'t>> {
        match self {
            Self::Borrowed(w) => w.upgrade().map(Handle::Borrowed),
            Self::Owned(w) => w.upgrade().map(Handle::Owned),
        }
    }
}

fn pick<T>(all: &mut Vec<T>, i: usize) -> Option<T> {
    (!all.is_empty()).then(|| all.swap_remove(i % all.len()))
}

fn lock(table: &Arc<Table>, key: u64, how: How) -> Option<Guard<'_>> {
    match how {
        How::Lock => Some(table.lock(&key)),
        How::Try => table.try_lock(&key),
        How::For => table.try_lock_for(&key, Duration::ZERO),
        How::With => table.lock_with(&key, |k| *k).ok(),
        How::Owned => return table.try_lock_owned(&key).map(Guard::Owned),
    }
    .map(Guard::Borrowed)
}

/// Runs a history; panics where table and model differ.
#[allow(clippy::too_many_lines)] // one arm for each kind of step
fn run(hash: Pick, capacity: usize, steps: &[Step]) {
    let table: Arc<Table> = Arc::new(LockTable::with_capacity_and_hasher(capacity, hash));
    let mut model = Model::default();
    let (mut guards, mut handles) = (Vec::<Guard<'_>>::new(), Vec::<Handle<'_>>::new());
    // With the key and the number of the life that each was made for.
    let mut weak = Vec::<(u64, u64, Weak<'_>)>::new();
    for (at, step) in steps.iter().enumerate() {
        match *step {
            Step::Lock(key, how) => {
                let guard = lock(&table, key, how).expect("no other thread is there");
                model.lock(key);
                assert_eq!((guard.key(), guard.depth()), (key, model.depth(key)));
                guards.push(guard);
            }
            Step::DropGuard(i) => {
                if let Some(guard) = pick(&mut guards, i) {
                    model.unlock(guard.key());
                    drop(guard);
                }
            }
            Step::UnlockFair(i) => {
                if let Some(guard) = pick(&mut guards, i) {
                    model.unlock(guard.key());
                    guard.unlock_fair();
                }
            }
            Step::ForgetGuard(i) => {
                // An owned one would leak the table.
                if let Some(guard) = pick(&mut guards, i) {
                    match guard {
                        Guard::Borrowed(g) => forget(g),
                        Guard::Owned(g) => guards.push(Guard::Owned(g)),
                    }
                }
            }
            Step::Handle(key, owned) => {
                let handle = if owned {
                    Handle::Owned(table.handle_owned(&key))
                } else {
                    Handle::Borrowed(table.handle(&key))
                };
                model.handle(key);
                handles.push(handle);
            }
            Step::CloneHandle(i) => {
                if !handles.is_empty() {
                    let new = handles[i % handles.len()].another();
                    model.handle(new.key());
                    handles.push(new);
                }
            }
            Step::LockHandle(i, how) => {
                if !handles.is_empty() {
                    let handle = &handles[i % handles.len()];
                    let guard = handle.lock(how).expect("no other thread is there");
                    assert_eq!(guard.key(), handle.key());
                    model.lock(guard.key());
                    guards.push(guard);
                }
            }
            Step::DropHandle(i) => {
                if let Some(handle) = pick(&mut handles, i) {
                    model.put_handle(handle.key());
                    drop(handle);
                }
            }
            Step::ForgetHandle(i) => {
                if let Some(handle) = pick(&mut handles, i) {
                    match handle {
                        Handle::Borrowed(h) => forget(h),
                        Handle::Owned(h) => handles.push(Handle::Owned(h)),
                    }
                }
            }
            Step::Downgrade(i) => {
                if !handles.is_empty() {
                    let handle = &handles[i % handles.len()];
                    let key = handle.key();
                    weak.push((key, model.life(key), handle.downgrade()));
                }
            }
            Step::Upgrade(i) => {
                if !weak.is_empty() {
                    let (key, life, w) = &weak[i % weak.len()];
                    let same = model.alive().contains(key) && model.life(*key) == *life;
                    let up = w.upgrade();
                    assert_eq!(up.is_some(), same, "step {at}: key {key}");
                    if let Some(handle) = up {
                        assert_eq!(handle.key(), *key);
                        model.handle(*key);
                        handles.push(handle);
                    }
                }
            }
            Step::DropWeak(i) => drop(pick(&mut weak, i)),
            Step::ForgetWeak(i) => {
                if let Some((_, _, w)) = pick(&mut weak, i) {
                    let _ = ManuallyDrop::new(w);
                }
            }
            Step::Shrink => table.shrink_to_fit(),
            Step::LookElsewhere => elsewhere(|| {
                for key in 0..KEYS {
                    let held = model.depth(key) > 0;
                    assert_eq!(table.is_locked(&key), held, "step {at}: key {key}");
                    assert_eq!(table.try_lock(&key).is_none(), held, "step {at}: key {key}");
                    assert!(!table.is_held(&key));
                }
                // A visit to a key that is not alive is a life of its own; weak handles see no difference.
            }),
        }
        let alive = model.alive();
        assert_eq!(table.len(), alive.len(), "step {at} {step:?}: {alive:?}");
        assert_eq!(table.is_empty(), alive.is_empty());
        for key in 0..KEYS {
            let held = model.depth(key) > 0;
            assert_eq!(table.is_locked(&key), held, "step {at} {step:?}: key {key}");
            assert_eq!(table.is_held(&key), held, "step {at} {step:?}: key {key}");
        }
        for guard in &guards {
            assert_eq!(
                guard.depth(),
                model.depth(guard.key()),
                "step {at} {step:?}"
            );
        }
        for (key, life, w) in &weak {
            let same = alive.contains(key) && model.life(*key) == *life;
            assert_eq!(w.upgrade().is_some(), same, "step {at} {step:?}: key {key}");
        }
    }
    // What was not forgotten goes; the rest stays, and the table can be dropped all the same.
    while let Some(guard) = pick(&mut guards, 7) {
        model.unlock(guard.key());
    }
    while let Some(handle) = pick(&mut handles, 5) {
        model.put_handle(handle.key());
    }
    assert_eq!(table.len(), model.alive().len());
    drop((guards, handles, weak));
    assert!(
        Arc::into_inner(table).is_some(),
        "nobody else keeps the table"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(debug_assertions) { 150 } else { 800 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn histories_agree_with_the_model_when_all_hashes_are_equal(steps in prop::collection::vec(step(), 1..120)) {
        run(Pick::One, 1, &steps);
    }

    #[test]
    /// I3, I5: a history does as the model does.
    fn histories_agree_with_the_model_in_one_bucket(steps in prop::collection::vec(step(), 1..120)) {
        run(Pick::Plain, 1, &steps);
    }

    #[test]
    fn histories_agree_with_the_model_in_many_buckets(steps in prop::collection::vec(step(), 1..120)) {
        run(Pick::Plain, 100, &steps);
    }

    #[test]
    fn guards_of_several_keys_go_in_any_order(
        keys in prop::collection::vec(0..KEYS, 1..40),
        order in prop::collection::vec(any::<usize>(), 40),
        one in any::<bool>(),
    ) {
        // Trap 23, I3
        let table = LockTable::with_capacity_and_hasher(1, if one { Pick::One } else { Pick::Plain });
        let mut guards: Vec<_> = keys.iter().map(|k| table.lock(k)).collect();
        for i in order {
            let Some(guard) = pick(&mut guards, i) else { break };
            let key = *guard.key();
            let left = guards.iter().filter(|g| *g.key() == key).count();
            prop_assert_eq!(guard.depth(), left + 1);
            drop(guard);
            prop_assert_eq!(table.is_held(&key), left > 0);
        }
        prop_assert!(table.is_empty());
    }

    #[test]
    fn forgotten_weak_handles_of_any_key_change_nothing(keys in prop::collection::vec(0..KEYS, 1..60)) {
        // I5
        let table = LockTable::with_capacity_and_hasher(1, Pick::One);
        for k in &keys {
            let _ = ManuallyDrop::new(table.handle(k).downgrade());
            prop_assert!(table.is_empty());
        }
        table.shrink_to_fit();
        let all: BTreeSet<_> = keys.iter().copied().collect();
        let guards: Vec<_> = keys.iter().map(|k| table.lock(k)).collect();
        prop_assert_eq!(table.len(), all.len());
        drop(guards);
        prop_assert!(table.is_empty());
    }
}
