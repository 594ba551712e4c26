//! One task's program: a byte is a step.
//!
//! Programs cannot deadlock by themselves: who waits for a key holds smaller ones only, or that very key. So a deadlock is a lost
//! wake-up (I6).

use super::scheduler::step_begins;
use super::world::{Key, Notes, Said, Table};
use perkey::model::{set_lagging, tick};
use perkey::{KeyGuard, KeyLock, OwnedKeyGuard, WeakKeyLock};
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// What all tasks share.
pub(super) struct World {
    pub(super) table: Arc<Table>,
    pub(super) keys: Vec<Key>,
    pub(super) notes: Notes,
}

enum Guard<'t> {
    Borrowed(KeyGuard<'t, Key>),
    Owned(OwnedKeyGuard<Key, BuildHasherDefault<Said>>),
}

impl Guard<'_> {
    fn key(&self) -> usize {
        match self {
            Self::Borrowed(g) => g.key().id,
            Self::Owned(g) => g.key().id,
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

/// A weak handle, and what is known of the life it is for.
struct Weak<'t> {
    key: usize,
    handle: WeakKeyLock<'t, Key>,
    /// [`Notes::deaths`] when it was made.
    deaths: usize,
    /// [`Task::breaks`] when it was made.
    breaks: usize,
    /// It was seen to be for a life that is over.
    over: bool,
}

/// A task at work.
struct Task<'t> {
    world: &'t World,
    guards: Vec<Guard<'t>>,
    handles: Vec<KeyLock<'t, Key>>,
    weak: Vec<Weak<'t>>,
    /// Of each key: guards and handles of this task.
    mine: Vec<usize>,
    /// Of each key: how often the last of them went.
    breaks: Vec<usize>,
}

/// Runs a program, and lets go of what it has at the end.
pub(super) fn run(world: &World, program: &[u8]) {
    let none = vec![0; world.keys.len()];
    let mut task = Task {
        world,
        guards: Vec::new(),
        handles: Vec::new(),
        weak: Vec::new(),
        mine: none.clone(),
        breaks: none,
    };
    for step in program {
        step_begins(step % 20 + 1);
        task.step(step % 20, usize::from(step / 20));
    }
    step_begins(30);
    while let Some(guard) = pick(&mut task.guards, 0) {
        task.unlock(guard, false);
    }
    while let Some(handle) = pick(&mut task.handles, 0) {
        task.put(handle);
    }
}

fn pick<T>(all: &mut Vec<T>, i: usize) -> Option<T> {
    (!all.is_empty()).then(|| all.remove(i % all.len()))
}

fn one<T>(all: &[T], i: usize) -> Option<&T> {
    all.get(i % all.len().max(1))
}

impl<'t> Task<'t> {
    /// May it wait for this key?
    fn may_wait(&self, key: usize) -> bool {
        self.guards.iter().all(|g| g.key() < key) || self.guards.iter().any(|g| g.key() == key)
    }

    /// An operation that may have made a guard.
    fn took(&mut self, key: usize, guard: Option<Guard<'t>>) {
        match guard {
            Some(guard) => {
                assert_eq!(guard.key(), key, "another key's guard");
                self.mine[key] += 1;
                self.world.notes.taken(key, guard.depth());
                self.guards.push(guard);
            }
            None => self.world.notes.goes(key),
        }
    }

    fn got(&mut self, key: usize, handle: KeyLock<'t, Key>) {
        assert_eq!(handle.key().id, key, "another key's handle");
        self.mine[key] += 1;
        self.handles.push(handle);
    }

    /// A guard or handle is about to go.
    fn leaves(&mut self, key: usize) {
        self.mine[key] -= 1;
        self.breaks[key] += usize::from(self.mine[key] == 0);
    }

    fn unlock(&mut self, guard: Guard<'t>, fair: bool) {
        let key = guard.key();
        self.leaves(key);
        self.world.notes.given_back(key);
        if fair {
            guard.unlock_fair();
        } else {
            drop(guard);
        }
        self.world.notes.goes(key);
    }

    fn put(&mut self, handle: KeyLock<'t, Key>) {
        let key = handle.key().id;
        self.leaves(key);
        drop(handle);
        self.world.notes.goes(key);
    }

    fn step(&mut self, op: u8, arg: usize) {
        let w = self.world;
        let (table, key) = (&w.table, arg % w.keys.len());
        let asked = &w.keys[key];
        let waits = self.may_wait(key);
        match op {
            0 | 1 | 14 | 18 if waits => {
                w.notes.comes(key);
                let guard = match op {
                    14 => Guard::Owned(table.lock_owned(asked)),
                    18 => {
                        let guard = table.lock_with(asked, Key::clone);
                        Guard::Borrowed(guard.unwrap_or_else(|e| panic!("{e}")))
                    }
                    _ => Guard::Borrowed(table.lock(asked)),
                };
                self.took(key, Some(guard));
            }
            3 if waits => {
                w.notes.comes(key);
                let guard = table.try_lock_for(asked, MS);
                self.took(key, guard.map(Guard::Borrowed));
            }
            0..=3 | 18 => {
                w.notes.comes(key);
                let guard = table.try_lock(asked);
                self.took(key, guard.map(Guard::Borrowed));
            }
            14 => {
                w.notes.comes(key);
                let guard = table.try_lock_owned(asked);
                self.took(key, guard.map(Guard::Owned));
            }
            4 => {
                w.notes.comes(key);
                let handle = table.handle(asked);
                self.got(key, handle);
            }
            5 | 6 => {
                if let Some(handle) = one(&self.handles, arg) {
                    let key = handle.key().id;
                    w.notes.comes(key);
                    let guard = if op == 5 && self.may_wait(key) {
                        Some(handle.lock())
                    } else {
                        handle.try_lock()
                    };
                    self.took(key, guard.map(Guard::Borrowed));
                }
            }
            7 => {
                if let Some(handle) = one(&self.handles, arg) {
                    let key = handle.key().id;
                    self.weak.push(Weak {
                        key,
                        deaths: w.notes.deaths(key),
                        breaks: self.breaks[key],
                        handle: handle.downgrade(),
                        over: false,
                    });
                }
            }
            8 => self.upgrade(arg),
            9 | 11 => {
                if let Some(guard) = pick(&mut self.guards, arg) {
                    self.unlock(guard, op == 11);
                }
            }
            10 => {
                if let Some(handle) = pick(&mut self.handles, arg) {
                    self.put(handle);
                }
            }
            12 => match arg {
                8 => table.tend(),
                9 | 10 => table.grow(1),
                11 => table.grow(2),
                13 => set_lagging(true), // nodes are used again
                14 => set_lagging(false),
                _ => table.shrink_to_fit(),
            },
            13 => tick(MS * 7 / 10),
            15 => {
                if let Some(handle) = one(&self.handles, arg) {
                    let (key, handle) = (handle.key().id, handle.clone());
                    w.notes.comes(key);
                    self.got(key, handle);
                }
            }
            16 => self.many(arg),
            17 => {
                assert_eq!(
                    table.is_held(asked),
                    self.guards.iter().any(|g| g.key() == key)
                );
                let _ = (table.is_locked(asked), table.len()); // answers about the past
            }
            _ => self.whole_life(key),
        }
    }

    /// I5: a weak handle gives what is alive, and nothing else.
    fn upgrade(&mut self, i: usize) {
        let count = self.weak.len().max(1);
        let Some(weak) = self.weak.get_mut(i % count) else {
            return;
        };
        let (key, notes) = (weak.key, &self.world.notes);
        let alive = self.mine[key] > 0 && self.breaks[key] == weak.breaks;
        let over = weak.over || notes.deaths(key) > weak.deaths;
        notes.comes(key);
        let Some(handle) = weak.handle.upgrade() else {
            assert!(
                !alive,
                "key {key} is alive, and its weak handle does not know"
            );
            weak.over = true;
            notes.goes(key);
            return;
        };
        assert!(!over, "a weak handle of key {key} came back after its life");
        let again = weak.handle.upgrade();
        assert!(
            again.is_some(),
            "key {key} is alive by what it has just given"
        );
        drop(again);
        // From here on its life lasts as long as this handle does, at least.
        weak.breaks = self.breaks[key];
        weak.deaths = notes.deaths(key);
        self.got(key, handle);
    }

    /// Several keys in one call, if they are to be had.
    fn many(&mut self, arg: usize) {
        let w = self.world;
        let n = w.keys.len();
        let (a, b) = (arg % n, (arg + 1) % n);
        w.notes.comes(a);
        w.notes.comes(b);
        if let Some(guard) = w.table.try_lock_many([&w.keys[a], &w.keys[b]]) {
            let mut both = vec![a, b];
            both.dedup();
            for key in &both {
                let before = self.guards.iter().filter(|g| g.key() == *key).count();
                w.notes.taken(*key, before + 1);
            }
            for key in both {
                w.notes.given_back(key);
            }
            drop(guard);
        }
        w.notes.goes(a);
        w.notes.goes(b);
    }

    /// An owned handle, its lock for a while, and its weak one.
    fn whole_life(&mut self, key: usize) {
        let w = self.world;
        w.notes.comes(key);
        let handle = w.table.handle_owned(&w.keys[key]);
        let weak = handle.downgrade();
        if let Some(guard) = handle.try_lock() {
            w.notes.taken(key, guard.depth());
            drop(handle);
            assert!(weak.upgrade().is_some(), "alive by the guard");
            w.notes.given_back(key);
            drop(guard);
        } else {
            drop(handle);
        }
        w.notes.goes(key);
    }
}
