//! A thread of the crew: it draws operations until it has to go.

use crate::arena::Arena;
use crate::graves::Graves;
use crate::key::{panic_as_planned, Key};
use crate::row::Visit;
use crate::tally::{Event, Mine};
use crate::world::{World, VALUES};
use crate::Broken;
use fastrand::Rng;
use perkey::{KeyLock, OwnedWeakKeyLock, WeakKeyLock};
use std::sync::atomic::Ordering::Relaxed;

/// So many weak handles of each kind are remembered.
const POCKET: usize = 4;

/// What one thread knows.
pub(crate) struct Worker<'a> {
    pub(crate) world: &'a World,
    pub(crate) graves: &'a Graves,
    /// Never given to two threads; not 0.
    pub(crate) me: u64,
    pub(crate) rng: Rng,
    /// Weak handles, with the number of their arena and key: of lives that are mostly over.
    pub(crate) weak: Vec<(usize, u64, WeakKeyLock<'a, Key>)>,
    pub(crate) owned_weak: Vec<(usize, u64, OwnedWeakKeyLock<Key>)>,
    /// A strong one, kept from one step to a later one.
    pub(crate) strong: Option<(usize, KeyLock<'a, Key>)>,
    counts: Counts<'a>,
}

/// What one thread has done; told to the world when it ends, by a panic too.
struct Counts<'a> {
    world: &'a World,
    visits: Vec<u64>,
    happened: Mine,
    operations: u64,
    locked: u64,
    stored: u64,
}

impl Drop for Counts<'_> {
    fn drop(&mut self) {
        for (arena, n) in self.world.arenas.iter().zip(&self.visits) {
            arena.add_visits(*n);
        }
        self.world.operations.fetch_add(self.operations, Relaxed);
        self.world.tally.add(&self.happened);
        self.world.locked.fetch_add(self.locked, Relaxed);
        self.world.stored.fetch_add(self.stored, Relaxed);
    }
}

impl<'a> Worker<'a> {
    pub(crate) fn new(world: &'a World, graves: &'a Graves, me: u64, rng: Rng) -> Self {
        Self {
            world,
            graves,
            me,
            rng,
            weak: Vec::with_capacity(POCKET),
            owned_weak: Vec::with_capacity(POCKET),
            strong: None,
            counts: Counts {
                world,
                visits: vec![0; world.arenas.len()],
                happened: Mine::default(),
                operations: 0,
                locked: 0,
                stored: 0,
            },
        }
    }

    /// Works until it is told to leave, or its life is over; then it ends in one of several ways.
    pub(crate) fn work(mut self, leave: impl Fn() -> bool) {
        for _ in 0..self.rng.u32(1..60_000) {
            if leave() {
                return;
            }
            self.step();
            self.counts.operations += 1;
            if self.counts.operations == 256 {
                self.world.operations.fetch_add(256, Relaxed);
                self.counts.operations = 0;
            }
        }
        match self.rng.u32(0..4) {
            0 => self.die_holding(),
            levels @ 1..=2 => self.die_forgetting(levels),
            _ => {}
        }
    }

    /// Ends with a key taken so often, and forgotten.
    fn die_forgetting(mut self, levels: u32) {
        if self.graves.bury(levels) {
            self.note(Event::Burial);
        }
    }

    /// Ends by a panic, with a key held twice that others wait for.
    fn die_holding(mut self) {
        let arena = self.arena(0);
        let key = arena.key(0);
        let _guards = (arena.table.lock(&key), arena.table.lock(&key));
        let _visit = self.visit(0, 0, 1);
        self.note(Event::Death);
        std::thread::yield_now();
        panic_as_planned();
    }

    /// One operation, or some that belong together.
    fn step(&mut self) {
        let n = self.pick();
        match self.rng.u32(0..100) {
            0..=34 => self.lock(n),
            35..=44 => self.try_lock(n),
            45..=49 => self.lock_made(n),
            50..=59 => self.handle(n),
            60..=65 => self.upgrade(),
            66..=71 => self.lock_owned(n),
            72..=79 => self.lock_many(n),
            80..=83 => self.look(n),
            84..=87 => self.panic_inside(n),
            88..=93 => self.panic_in_key(),
            94..=95 => self.lock_without_table(),
            96 => self.update_store(),
            97 => self.graves.visit(self.rng.usize(..), &self.world.faults),
            98 if self.rng.u8(..) == 0 => self.rearrange(n),
            _ => self.be_broken(),
        }
    }

    /// An arena: mostly one of few keys.
    fn pick(&mut self) -> usize {
        let all = self.world.arenas.len();
        if self.rng.bool() {
            self.rng.usize(..3.min(all))
        } else {
            self.rng.usize(..all)
        }
    }

    /// One of the rarer things has happened.
    pub(crate) fn note(&mut self, event: Event) {
        self.counts.happened.note(event);
    }

    pub(crate) fn arena(&self, n: usize) -> &'a Arena {
        &self.world.arenas[n]
    }

    /// Goes into the data of key `k`, which this thread holds at this depth.
    pub(crate) fn visit(&mut self, n: usize, k: u64, depth: usize) -> Visit<'a> {
        self.counts.visits[n] += 1;
        self.arena(n).visit(k, self.me, depth, &self.world.faults)
    }

    /// A violation, unless `good`.
    pub(crate) fn check(&self, good: bool, n: usize, what: &str) {
        self.world
            .faults
            .check(good, || format!("{what} (`{}`)", self.arena(n).plan.name));
    }

    /// Keeps a weak handle in the place of an older one.
    pub(crate) fn remember<T>(rng: &mut Rng, pocket: &mut Vec<T>, new: T) {
        if pocket.len() < POCKET {
            pocket.push(new);
        } else {
            pocket[rng.usize(..POCKET)] = new;
        }
    }

    /// `ReentrantLock`, and data that is really not atomic.
    fn lock_without_table(&mut self) {
        let lock = &self.world.locks[self.rng.usize(..self.world.locks.len())];
        let outer = if self.rng.bool() {
            Some(lock.lock())
        } else {
            lock.try_lock()
        };
        let Some(outer) = outer else { return };
        let was = outer.get();
        let inner = lock.lock();
        self.world.faults.check(inner.depth() == 2, || {
            "I3, `ReentrantLock`: not taken again".into()
        });
        inner.set(was + 1);
        self.counts.locked += 1;
        drop(outer);
        if self.rng.u8(..) < 16 {
            inner.unlock_fair();
        }
    }

    fn update_store(&mut self) {
        let n = self.rng.u64(..VALUES);
        self.world.count_in_store(n);
        self.counts.stored += 1;
    }

    /// Does what must not be done, if that is asked for, to show that it is noticed.
    fn be_broken(&mut self) {
        match self.world.broken {
            None => {}
            Some(Broken::Overlap) => drop(self.visit(0, 0, 1)), // without its lock
            Some(Broken::Forget) => {
                std::mem::forget(self.arena(1).table.handle(&self.arena(1).key(1)));
            }
            Some(Broken::Hang) => {
                let arena = self.arena(0);
                std::mem::forget(arena.table.lock(&arena.key(0)));
                panic_as_planned(); // the thread ends
            }
            Some(Broken::Memory) => {
                let kept = &self.world.kept;
                kept.lock()
                    .expect("no panic while it is held")
                    .push(vec![1; 4 << 10]);
            }
        }
    }
}
