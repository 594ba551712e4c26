//! The operations of a thread of the crew, on one key at a time or on several.

use crate::arena::Order;
use crate::key::{panic_as_planned, planned, with_fuse, Key};
use crate::tally::Event;
use crate::worker::Worker;
use perkey::KeyGuard;
use std::thread;
use std::time::{Duration, Instant};

impl Worker<'_> {
    /// A key of an arena.
    fn draw(&mut self, n: usize) -> u64 {
        self.rng.u64(..self.arena(n).plan.keys)
    }

    fn moment(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(..100))
    }

    /// With key `k` held: it is that key, taken once; then what one does inside.
    fn inside(&mut self, n: usize, k: u64, guard: KeyGuard<'_, Key>) {
        self.check(guard.key().n == k, n, "I2, the guard of another key");
        self.check(
            guard.depth() == 1,
            n,
            "I3, a key that was not held has a depth",
        );
        let visit = self.visit(n, k, 1);
        match self.rng.u32(0..16) {
            0 => {
                let again = self.arena(n).table.lock(guard.key());
                self.check(again.depth() == 2, n, "I3, not taken again");
                drop(self.visit(n, k, 2));
                drop(guard); // the outer one first
                visit.still_alone();
                drop(visit);
                drop(again);
                return;
            }
            1 => self.one_more(n, k),
            2 => thread::yield_now(),
            3 => {
                let t = &self.arena(n).table;
                let held = t.is_held(guard.key()) && t.is_locked(guard.key());
                self.check(held, n, "I3, a key that is held is not");
            }
            4 => {
                drop(visit);
                guard.unlock_fair();
                return;
            }
            _ => {}
        }
        drop(visit);
        drop(guard);
    }

    /// Holding key `k`, one more of the same arena, in its order.
    fn one_more(&mut self, n: usize, k: u64) {
        let arena = self.arena(n);
        match arena.plan.order {
            Order::Numbers if k + 1 < arena.plan.keys => {
                let higher = self.rng.u64(k + 1..arena.plan.keys);
                let guard = arena.table.lock(&arena.key(higher));
                self.check(guard.depth() == 1, n, "I3, a second key has a depth");
                drop(self.visit(n, higher, 1));
            }
            Order::Numbers => {}
            Order::Many => {
                let (a, b) = (self.draw(n), self.draw(n));
                let keys = [arena.key(a), arena.key(b)];
                let Ok(many) = arena.table.lock_many(&keys) else {
                    self.note(Event::Refusal);
                    return;
                };
                for key in many.keys() {
                    drop(self.visit(n, key.n, 1 + usize::from(key.n == k)));
                }
            }
        }
    }

    pub(crate) fn lock(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let guard = arena.table.lock(&arena.key(k));
        self.inside(n, k, guard);
    }

    pub(crate) fn try_lock(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let key = arena.key(k);
        let timed = self.rng.u32(0..3);
        let guard = match timed {
            0 => arena.table.try_lock(&key),
            1 => arena.table.try_lock_for(&key, self.moment()),
            _ => arena
                .table
                .try_lock_until(&key, Instant::now() + self.moment()),
        };
        match guard {
            Some(guard) => self.inside(n, k, guard),
            None if timed > 0 => self.note(Event::TimeOut),
            None => {}
        }
    }

    /// `lock_with`, and now and then with the wrong key.
    pub(crate) fn lock_made(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let made = if self.rng.u32(0..8) == 0 { u64::MAX } else { k };
        match arena.table.lock_with(&arena.key(k), |_| arena.key(made)) {
            Ok(guard) => self.inside(n, k, guard),
            Err(wrong) => self.check(
                wrong.made.n == u64::MAX,
                n,
                "I2, the right key is called wrong",
            ),
        }
    }

    /// A handle, its clone, a weak one; one of them is locked, and some are kept.
    pub(crate) fn handle(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let handle = arena.table.handle(&arena.key(k));
        self.check(handle.key().n == k, n, "I2, the handle of another key");
        let clone = handle.clone();
        let weak = handle.downgrade();
        drop(handle);
        self.check(
            weak.upgrade().is_some(),
            n,
            "I5, a living key is called dead",
        );
        Self::remember(&mut self.rng, &mut self.weak, (n, k, weak));
        let guard = match self.rng.u32(0..3) {
            0 => Some(clone.lock()),
            1 => clone.try_lock(),
            _ => clone.try_lock_for(self.moment()),
        };
        if self.rng.bool() {
            self.strong = Some((n, clone)); // the older one goes
        }
        if let Some(guard) = guard {
            self.inside(n, k, guard);
        }
    }

    /// Weak handles of lives that may be over.
    pub(crate) fn upgrade(&mut self) {
        if let Some((n, kept)) = self.strong.take() {
            let up = kept.downgrade().upgrade();
            self.check(up.is_some(), n, "I5, a key with a handle is called dead");
        }
        if !self.weak.is_empty() {
            let (n, k, weak) = self.weak[self.rng.usize(..self.weak.len())].clone();
            let strong = weak.upgrade();
            self.note(match strong {
                Some(_) => Event::Alive,
                None => Event::Gone,
            });
            if let Some(strong) = strong {
                self.check(
                    strong.key().n == k,
                    n,
                    "I5, a weak handle finds another key",
                );
                let guard = strong.try_lock();
                drop(strong);
                if let Some(guard) = guard {
                    self.inside(n, k, guard);
                }
            }
        }
        if !self.owned_weak.is_empty() {
            let (n, k, weak) = self.owned_weak[self.rng.usize(..self.owned_weak.len())].clone();
            if let Some(strong) = weak.upgrade() {
                self.check(
                    strong.key().n == k,
                    n,
                    "I5, a weak handle finds another key",
                );
            }
        }
    }

    /// Guards and handles that keep their table; handles go to other threads.
    pub(crate) fn lock_owned(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let key = arena.key(k);
        let guard = match self.rng.u32(0..4) {
            0 => Some(arena.table.lock_owned(&key)),
            1 => arena.table.try_lock_owned(&key),
            2 => arena.table.try_lock_for_owned(&key, self.moment()),
            _ => {
                let handle = arena.table.handle_owned(&key);
                let weak = handle.downgrade();
                Self::remember(&mut self.rng, &mut self.owned_weak, (n, k, weak));
                let Some((other, handle)) = self.world.exchange((n, handle)) else {
                    return;
                };
                self.note(Event::Letter);
                let guard = handle.lock();
                let k = guard.key().n;
                self.check(
                    guard.depth() == 1,
                    other,
                    "I3, a key that was not held has a depth",
                );
                drop(self.visit(other, k, 1));
                return;
            }
        };
        if let Some(guard) = guard {
            self.check(guard.key().n == k, n, "I2, the guard of another key");
            drop(self.visit(n, k, guard.depth()));
        }
    }

    /// Several keys in one call.
    pub(crate) fn lock_many(&mut self, n: usize) {
        let arena = self.arena(n);
        let wanted: Vec<Key> = (0..self.rng.usize(1..5))
            .map(|_| arena.key(self.draw(n)))
            .collect();
        let waits = arena.plan.order == Order::Many;
        let many = match self.rng.u32(0..3) {
            0 if waits => arena.table.lock_many(&wanted).ok(),
            1 => arena.table.try_lock_many_for(&wanted, self.moment()),
            _ => arena.table.try_lock_many(&wanted),
        };
        let Some(many) = many else { return };
        for key in &wanted {
            self.check(many.contains(key), n, "M1, a key is missing");
        }
        for key in many.keys() {
            drop(self.visit(n, key.n, 1));
        }
        if self.rng.u32(0..8) == 0 {
            many.unlock_fair();
        }
    }

    /// Questions that lock nothing.
    pub(crate) fn look(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let key = arena.key(k);
        self.check(
            !arena.table.is_held(&key),
            n,
            "I3, a key that was dropped is held",
        );
        std::hint::black_box(arena.table.is_locked(&key));
        if self.rng.u32(0..64) == 0 {
            std::hint::black_box((arena.table.len(), arena.table.is_empty()));
            self.check(
                !format!("{:?}", arena.table).is_empty(),
                n,
                "it says nothing",
            );
        }
    }

    /// Frees what is idle, and sets the observer again.
    pub(crate) fn rearrange(&mut self, n: usize) {
        let arena = self.arena(n);
        self.note(Event::Shrinking);
        arena.table.shrink_to_fit();
        arena.table.set_observer(Some(arena.waits.clone()));
    }

    /// A panic while a key is held, twice.
    pub(crate) fn panic_inside(&mut self, n: usize) {
        let k = self.draw(n);
        let arena = self.arena(n);
        let key = arena.key(k);
        let done = planned(|| {
            let guard = arena.table.lock(&key);
            let _again = arena.table.lock(&key);
            let _visit = self.visit(n, k, guard.depth() - 1);
            panic_as_planned();
        });
        self.note(Event::Panic);
        self.check(done.is_none(), n, "I9, a panic was swallowed");
        self.check(!arena.table.is_held(&key), n, "I9, a panic left a key held");
    }

    /// A panic of the key's own code at some call.
    pub(crate) fn panic_in_key(&mut self) {
        let Some(n) = self.world.arenas.iter().position(|a| a.plan.angry) else {
            return;
        };
        let k = self.draw(n);
        let (what, fuse) = (self.rng.u32(0..7), self.rng.u32(1..12));
        let arena = self.arena(n);
        let t = &arena.table;
        let done = with_fuse(fuse, || {
            let key = arena.key(k);
            match what {
                0 => drop(t.lock(&key)),
                1 => drop(t.try_lock(&key)),
                2 => drop(t.handle(&key).downgrade().upgrade()),
                3 => drop(t.lock_many([&key, &key])),
                4 => drop(t.lock_with(&key, |_| arena.key(k))),
                5 => t.shrink_to_fit(),
                _ => drop(t.try_lock_for(&key, Duration::from_micros(20))),
            }
        });
        if done.is_none() {
            self.note(Event::KeyPanic);
        }
        self.check(
            !t.is_held(&arena.key(k)),
            n,
            "I9, a panic of a key left it held",
        );
    }
}
