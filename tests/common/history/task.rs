//! What one thread of a history does.

use super::{History, Line, Op, Ret};
use fastrand::Rng;
use perkey::{
    KeyGuard, KeyLock, LockTable, OwnedKeyGuard, OwnedKeyLock, OwnedWeakKeyLock, WeakKeyLock,
};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A weak handle, with the number of its key and its own.
type Numbered<W> = (usize, usize, W);

/// What the threads of a history share.
pub struct World<K, S> {
    pub table: Arc<LockTable<K, S>>,
    pub keys: Vec<K>,
    pub history: History,
    /// How long a timed lock waits.
    pub patience: Duration,
    /// Something to do between two operations: moves a virtual clock, or lets others run.
    pub pause: fn(),
    /// Weak handles for everybody.
    weak: Mutex<Vec<Numbered<OwnedWeakKeyLock<K, S>>>>,
    next_weak: AtomicUsize,
}

/// A guard: by reference to the table, or with it.
enum Guard<'t, K, S> {
    Of(KeyGuard<'t, K>),
    Owned(OwnedKeyGuard<K, S>),
}

/// A handle, likewise.
enum Strong<'t, K, S> {
    Of(KeyLock<'t, K>),
    Owned(OwnedKeyLock<K, S>),
}

/// A weak handle, likewise.
enum Weak<'t, K, S> {
    Of(WeakKeyLock<'t, K>),
    Owned(OwnedWeakKeyLock<K, S>),
}

/// One thread, and what it has in its hands: with the numbers of the keys, and of weak handles.
struct Task<'t, K, S> {
    world: &'t World<K, S>,
    me: usize,
    dice: Rng,
    guards: Vec<(usize, Guard<'t, K, S>)>,
    strong: Vec<(usize, Strong<'t, K, S>)>,
    weak: Vec<Numbered<Weak<'t, K, S>>>,
}

impl<K, S> World<K, S>
where
    K: Hash + Eq + Clone,
    S: BuildHasher,
{
    pub fn new(table: Arc<LockTable<K, S>>, keys: Vec<K>, patience: Duration, pause: fn()) -> Self {
        Self {
            table,
            keys,
            history: History::default(),
            patience,
            pause,
            weak: Mutex::default(),
            next_weak: AtomicUsize::new(0),
        }
    }

    /// Thread `me` begins, with a weak handle of key 0 for each of the others; lets `others` do theirs and drops the handle meanwhile; and looks at everything when
    /// they have `ended`.
    pub fn lead<T>(&self, me: usize, begin: impl FnOnce() -> T, ended: impl FnOnce(T)) {
        let mut task = self.task(me, Rng::with_seed(0));
        task.handle(0, true);
        task.downgrade(0);
        for (key, n, weak) in task.weak.drain(..) {
            if let Weak::Owned(weak) = weak {
                self.weak.lock().unwrap().push((key, n, weak));
            }
        }
        let others = begin();
        task.drop_handle(0);
        (self.pause)();
        task.len();
        (self.pause)();
        ended(others);
        self.weak.lock().unwrap().clear();
        for key in 0..self.keys.len() {
            task.ask(key);
            task.lock(Op::Try, key);
        }
        task.len();
        task.end();
        task.len();
    }

    /// Thread `me` does so many operations, drawn with these dice, and lets go of everything.
    pub fn follow(&self, me: usize, operations: usize, dice: Rng) {
        let mut task = self.task(me, dice);
        for (key, n, weak) in &*self.weak.lock().unwrap() {
            task.weak.push((*key, *n, Weak::Owned(weak.clone())));
        }
        for _ in 0..operations {
            task.step();
        }
        task.end();
    }

    fn task(&self, me: usize, dice: Rng) -> Task<'_, K, S> {
        Task {
            world: self,
            me,
            dice,
            guards: Vec::new(),
            strong: Vec::new(),
            weak: Vec::new(),
        }
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> Task<'_, K, S> {
    /// An operation, with its call and its return.
    fn note<R>(&self, key: usize, op: Op, f: impl FnOnce() -> R, ret: impl Fn(&R) -> Ret) -> R {
        let history = &self.world.history;
        history.add(Line::Call(self.me, key, op));
        let result = f();
        history.add(Line::Return(self.me, key, op, ret(&result)));
        result
    }

    /// One operation, of those that make sense now.
    fn step(&mut self) {
        let key = self.dice.usize(..self.world.keys.len());
        // Who waits for a key holds none above it: no cycle comes about.
        let may_wait = self.guards.iter().all(|(held, _)| *held <= key);
        match self.dice.usize(..20) {
            0..=3 if may_wait => self.lock(Op::Lock, key),
            4..=5 if may_wait => self.lock(Op::Timed, key),
            0..=6 => self.lock(Op::Try, key),
            7..=9 if !self.guards.is_empty() => {
                let n = self.dice.usize(..self.guards.len());
                self.unlock(n);
            }
            10..=11 => {
                let owned = self.dice.usize(..2) == 0;
                self.handle(key, owned);
            }
            12..=13 if !self.strong.is_empty() => {
                let n = self.dice.usize(..self.strong.len());
                self.drop_handle(n);
            }
            14 if !self.strong.is_empty() => {
                let n = self.dice.usize(..self.strong.len());
                self.downgrade(n);
            }
            15..=16 if !self.weak.is_empty() => {
                let n = self.dice.usize(..self.weak.len());
                self.upgrade(n);
            }
            17 => self.ask(key),
            18 => self.len(),
            _ => (self.world.pause)(),
        }
    }

    /// Lets go of everything, in any order.
    fn end(&mut self) {
        while !self.guards.is_empty() {
            let n = self.dice.usize(..self.guards.len());
            self.unlock(n);
        }
        while !self.strong.is_empty() {
            self.drop_handle(0);
        }
    }

    /// By the table, or by a handle that is there.
    fn lock(&mut self, op: Op, key: usize) {
        let table = &self.world.table;
        let name = &self.world.keys[key];
        let patience = self.world.patience;
        let handle = self.strong.iter().find(|(k, _)| *k == key);
        let (owned, by_handle) = (self.dice.usize(..3) == 0, self.dice.usize(..2) == 0);
        let take = || match (handle, op) {
            (Some((_, Strong::Of(h))), _) if by_handle => Guard::of(match op {
                Op::Lock => Some(h.lock()),
                Op::Timed => h.try_lock_for(patience),
                _ => h.try_lock(),
            }),
            (Some((_, Strong::Owned(h))), _) if by_handle => Guard::owned(match op {
                Op::Lock => Some(h.lock()),
                Op::Timed => h.try_lock_for(patience),
                _ => h.try_lock(),
            }),
            (_, Op::Lock) if owned => Guard::owned(Some(table.lock_owned(name))),
            (_, Op::Timed) if owned => Guard::owned(table.try_lock_for_owned(name, patience)),
            (_, _) if owned => Guard::owned(table.try_lock_owned(name)),
            (_, Op::Lock) => Guard::of(Some(table.lock(name))),
            (_, Op::Timed) => Guard::of(table.try_lock_for(name, patience)),
            _ => Guard::of(table.try_lock(name)),
        };
        let guard = self.note(key, op, take, |g| Ret::depth(g.as_ref().map(Guard::depth)));
        self.guards.extend(guard.map(|g| (key, g)));
    }

    fn unlock(&mut self, n: usize) {
        let (key, guard) = self.guards.remove(n);
        let fair = self.dice.usize(..4) == 0;
        let give = || match guard {
            Guard::Of(g) if fair => g.unlock_fair(),
            Guard::Owned(g) if fair => g.unlock_fair(),
            g => drop(g),
        };
        self.note(key, Op::Unlock, give, |()| Ret::Done);
    }

    /// A new one, or the clone of one that is there.
    fn handle(&mut self, key: usize, owned: bool) {
        let there = self.strong.iter().find(|(k, _)| *k == key);
        let (table, name) = (&self.world.table, &self.world.keys[key]);
        let make = || match there {
            Some((_, Strong::Of(h))) => Strong::Of(h.clone()),
            Some((_, Strong::Owned(h))) => Strong::Owned(h.clone()),
            None if owned => Strong::Owned(table.handle_owned(name)),
            None => Strong::Of(table.handle(name)),
        };
        let made = self.note(key, Op::Handle, make, |_| Ret::Done);
        self.strong.push((key, made));
    }

    fn drop_handle(&mut self, n: usize) {
        let (key, handle) = self.strong.remove(n);
        self.note(key, Op::DropHandle, || drop(handle), |()| Ret::Done);
    }

    fn downgrade(&mut self, n: usize) {
        let (key, handle) = &self.strong[n];
        let number = self.world.next_weak.fetch_add(1, Relaxed);
        let make = || match handle {
            Strong::Of(h) => Weak::Of(h.downgrade()),
            Strong::Owned(h) => Weak::Owned(h.downgrade()),
        };
        let made = self.note(*key, Op::Downgrade(number), make, |_| Ret::Done);
        self.weak.push((*key, number, made));
    }

    fn upgrade(&mut self, n: usize) {
        let (key, number, weak) = &self.weak[n];
        let (key, number) = (*key, *number);
        let up = || match weak {
            Weak::Of(w) => w.upgrade().map(Strong::Of),
            Weak::Owned(w) => w.upgrade().map(Strong::Owned),
        };
        let strong = self.note(key, Op::Upgrade(number), up, |s| Ret::yes(s.is_some()));
        self.strong.extend(strong.map(|s| (key, s)));
    }

    fn ask(&mut self, key: usize) {
        let (table, name) = (&self.world.table, &self.world.keys[key]);
        let yes = |yes: &bool| Ret::yes(*yes);
        if self.dice.usize(..3) == 0 {
            self.note(key, Op::IsHeld, || table.is_held(name), yes);
        } else {
            self.note(key, Op::IsLocked, || table.is_locked(name), yes);
        }
    }

    fn len(&mut self) {
        let history = &self.world.history;
        history.add(Line::CallLen(self.me));
        let n = self.world.table.len();
        history.add(Line::ReturnLen(self.me, n));
    }
}

impl<'t, K, S> Guard<'t, K, S> {
    fn of(guard: Option<KeyGuard<'t, K>>) -> Option<Self> {
        guard.map(Self::Of)
    }

    fn owned(guard: Option<OwnedKeyGuard<K, S>>) -> Option<Self> {
        guard.map(Self::Owned)
    }

    fn depth(&self) -> usize {
        match self {
            Self::Of(g) => g.depth(),
            Self::Owned(g) => g.depth(),
        }
    }
}
