//! Foreign code (I9, trap 12): `Hash`, `Eq`, `Borrow`, `to_owned`, `clone_into` and `Drop` of a key panic, use the same table, or
//! stop for ever, at every call of every operation, in every state of a bucket.
//!
//! A test runs an operation again and again and springs a trap at the first, second, third … call of one kind, until the
//! operation ends without reaching it. After each run the table must be as a simple account of the living guards and handles
//! says, and every key that was ever made must have been dropped once.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/trap.rs"]
mod trap;

use common::{elsewhere, Pick, PATIENCE};
use perkey::{LockTable, OwnedKeyGuard, OwnedKeyLock};
use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;
use trap::{called, trapped, Call, Sprung};

// ---- a key whose every call is a trap ---------------------------------------------------------------------------

thread_local! {
    static HOME: RefCell<Option<Home>> = const { RefCell::new(None) };
    static GUARDS: RefCell<Vec<OwnedKeyGuard<Key, Pick>>> = const { RefCell::new(Vec::new()) };
    static HANDLES: RefCell<Vec<OwnedKeyLock<Key, Pick>>> = const { RefCell::new(Vec::new()) };
}

/// What foreign code finds the table by.
#[derive(Clone)]
struct Home {
    table: Arc<Table>,
    ledger: Arc<Ledger>,
    /// The key of the operation that is going on.
    key: u64,
}

/// The keys that have been made and not yet dropped.
#[derive(Default)]
struct Ledger {
    last: AtomicUsize,
    live: Mutex<HashSet<usize>>,
    dropped_twice: AtomicUsize,
}

impl Ledger {
    fn asked(self: &Arc<Self>, n: u64) -> Asked {
        Asked {
            n,
            ledger: self.clone(),
        }
    }

    fn live(&self) -> usize {
        self.live.lock().unwrap().len()
    }
}

/// The borrowed form.
struct Asked {
    n: u64,
    ledger: Arc<Ledger>,
}

/// The owned form.
struct Key {
    asked: Asked,
    id: usize,
}

type Table = LockTable<Key, Pick>;

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        called(Call::Eq);
        self.n == other.n
    }
}
impl Eq for Asked {}
impl Hash for Asked {
    fn hash<H: Hasher>(&self, h: &mut H) {
        called(Call::Hash);
        h.write_u64(self.n);
    }
}
impl ToOwned for Asked {
    type Owned = Key;
    fn to_owned(&self) -> Key {
        called(Call::ToOwned);
        let id = self.ledger.last.fetch_add(1, SeqCst);
        self.ledger.live.lock().unwrap().insert(id);
        Key {
            asked: self.ledger.asked(self.n),
            id,
        }
    }
    fn clone_into(&self, key: &mut Key) {
        called(Call::CloneInto);
        key.asked.n = self.n;
        called(Call::CloneInto);
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.asked == other.asked
    }
}
impl Eq for Key {}
impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.asked.hash(h);
    }
}
impl Borrow<Asked> for Key {
    fn borrow(&self) -> &Asked {
        called(Call::Borrow);
        &self.asked
    }
}
impl Drop for Key {
    fn drop(&mut self) {
        let there = self.asked.ledger.live.lock().unwrap().remove(&self.id);
        if !there {
            self.asked.ledger.dropped_twice.fetch_add(1, SeqCst);
        }
        called(Call::Drop);
    }
}

// ---- states of a bucket -----------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
enum State {
    Empty,
    /// Six idle keys in six slots.
    Idle,
    /// Three held, two handled, one idle.
    Mixed,
    /// Eight held (two of them beyond the slots), one handled there, nothing idle.
    Overflow,
    /// Four held, two slots idle, key 30 held by another thread.
    Contended,
}

const STATES: [State; 5] = [
    State::Empty,
    State::Idle,
    State::Mixed,
    State::Overflow,
    State::Contended,
];

/// The table and another thread, if one is needed. Guards and handles are in thread-locals, where foreign code finds them.
struct World {
    table: Arc<Table>,
    ledger: Arc<Ledger>,
    holder: Option<(mpsc::Sender<()>, std::thread::JoinHandle<()>)>,
}

fn lock(table: &Arc<Table>, ledger: &Arc<Ledger>, n: u64) {
    let guard = table.lock_owned(&ledger.asked(n));
    GUARDS.with_borrow_mut(|g| g.push(guard));
}

fn handle(table: &Arc<Table>, ledger: &Arc<Ledger>, n: u64) {
    let handle = table.handle_owned(&ledger.asked(n));
    HANDLES.with_borrow_mut(|h| h.push(handle));
}

fn drop_guards(all: bool) {
    loop {
        let guard = GUARDS.with_borrow_mut(|g| (!g.is_empty()).then(|| g.remove(0)));
        let more = guard.is_some();
        drop(guard); // outside of the borrow
        if !all || !more {
            return;
        }
    }
}

fn drop_last_guard() {
    let guard = GUARDS.with_borrow_mut(Vec::pop);
    drop(guard);
}

fn drop_handles() {
    drop(HANDLES.take());
}

impl World {
    fn new(state: State, hash: Pick) -> Self {
        let ledger = Arc::new(Ledger::default());
        let table = Arc::new(LockTable::with_capacity_and_hasher(1, hash));
        assert_eq!(table.capacity(), 6, "the states below are made for it");
        let mut holder = None;
        let (t, l) = (&table, &ledger);
        match state {
            State::Empty => {}
            State::Idle => (1..=6).for_each(|n| lock(t, l, n)),
            State::Mixed => {
                (1..=3).for_each(|n| lock(t, l, n));
                (4..=5).for_each(|n| handle(t, l, n));
                drop(t.lock(&l.asked(6)));
            }
            State::Overflow => {
                (1..=8).for_each(|n| lock(t, l, n));
                handle(t, l, 9);
            }
            State::Contended => {
                (1..=3).for_each(|n| lock(t, l, n));
                let (locked, is_locked) = mpsc::channel();
                let (go, gone) = mpsc::channel();
                let (t, l) = (table.clone(), ledger.clone());
                let thread = std::thread::spawn(move || {
                    let _guard = t.lock(&l.asked(30));
                    locked.send(()).unwrap();
                    let _ = gone.recv();
                });
                is_locked.recv().unwrap();
                holder = Some((go, thread));
                drop((table.lock(&ledger.asked(5)), table.lock(&ledger.asked(6))));
            }
        }
        if matches!(state, State::Idle) {
            drop_guards(true);
        }
        Self {
            table,
            ledger,
            holder,
        }
    }

    /// I1, I2, I3, I5: the table is as the guards and handles that live say.
    fn check(&self, what: &str) {
        let mut held = BTreeMap::new();
        GUARDS.with_borrow(|g| {
            for guard in g {
                *held.entry(guard.key().asked.n).or_insert(0) += 1;
            }
            for guard in g {
                assert_eq!(guard.depth(), held[&guard.key().asked.n], "{what}");
            }
        });
        let mut alive: HashSet<u64> = held.keys().copied().collect();
        HANDLES.with_borrow(|h| alive.extend(h.iter().map(|h| h.key().asked.n)));
        alive.extend(self.holder.is_some().then_some(30));
        assert_eq!(self.table.len(), alive.len(), "{what}: alive {alive:?}");
        for n in (0..50).chain([99]) {
            let key = self.ledger.asked(n);
            assert_eq!(
                self.table.is_held(&key),
                held.contains_key(&n),
                "{what}: {n}"
            );
        }
        elsewhere(|| {
            for n in (0..50).chain([99]) {
                let free = !(held.contains_key(&n) || n == 30 && self.holder.is_some());
                let key = self.ledger.asked(n);
                assert_eq!(self.table.is_locked(&key), !free, "{what}: {n}");
                assert_eq!(self.table.try_lock(&key).is_some(), free, "{what}: {n}");
            }
        });
        assert_eq!(self.table.len(), alive.len(), "{what}");
    }

    /// Lets go of everything: every key that was made has been dropped once.
    fn end(self, what: &str) {
        let Self {
            table,
            ledger,
            holder,
        } = self;
        if let Some((go, thread)) = holder {
            drop(go);
            thread.join().unwrap();
        }
        drop_guards(true);
        drop_handles();
        assert!(table.is_empty(), "{what}");
        assert!(ledger.live() <= 6, "{what}: idle keys are in slots only");
        table.shrink_to_fit();
        assert_eq!(ledger.live(), 0, "{what}");
        let key = ledger.asked(1);
        assert_eq!(table.lock(&key).depth(), 1, "{what}");
        drop(Arc::into_inner(table).expect("nobody else has the table"));
        assert_eq!(
            (ledger.live(), ledger.dropped_twice.load(SeqCst)),
            (0, 0),
            "{what}"
        );
    }
}

// ---- operations -------------------------------------------------------------------------------------------------

struct Op {
    name: &'static str,
    /// The key it is about.
    key: u64,
    run: fn(&Home),
}

/// The guard is what was asked for, with one level for each guard of the key there is.
fn right(home: &Home, guard: &perkey::KeyGuard<'_, Key>) {
    assert_eq!(guard.key().asked.n, home.key);
    let others = GUARDS.with_borrow(|g| g.iter().filter(|g| g.key().asked.n == home.key).count());
    assert_eq!(guard.depth(), others + 1);
}

fn op_lock(h: &Home) {
    let guard = h.table.lock(&h.ledger.asked(h.key));
    right(h, &guard);
}

fn op_try_lock(h: &Home) {
    let guard = h.table.try_lock(&h.ledger.asked(h.key));
    if h.key == 30 {
        // Held by another thread only in one of the states.
        return;
    }
    right(h, &guard.expect("no other thread holds it"));
}

fn op_lock_for(h: &Home) {
    let guard = h
        .table
        .try_lock_for(&h.ledger.asked(h.key), Duration::from_micros(50));
    if let Some(guard) = &guard {
        right(h, guard);
    }
    assert!(guard.is_some() || h.key == 30);
}

fn op_lock_with(h: &Home) {
    let guard = h.table.lock_with(&h.ledger.asked(h.key), ToOwned::to_owned);
    right(h, &guard.unwrap());
}

fn op_lock_with_wrong(h: &Home) {
    let result = h
        .table
        .lock_with(&h.ledger.asked(h.key), |k| k.ledger.asked(77).to_owned());
    match result {
        Ok(guard) => right(h, &guard),
        Err(e) => assert_eq!(e.made.asked.n, 77),
    }
}

fn op_handle(h: &Home) {
    let handle = h.table.handle(&h.ledger.asked(h.key));
    assert_eq!(handle.key().asked.n, h.key);
    right(h, &handle.lock());
    let weak = handle.downgrade();
    assert!(weak.upgrade().is_some_and(|h2| h2.key().asked.n == h.key));
}

fn op_owned(h: &Home) {
    let guard = h.table.lock_owned(&h.ledger.asked(h.key));
    assert_eq!(guard.key().asked.n, h.key);
    drop(h.table.handle_owned(&h.ledger.asked(h.key)));
}

fn op_look(h: &Home) {
    let _ = h.table.is_locked(&h.ledger.asked(h.key));
    let _ = h.table.is_held(&h.ledger.asked(h.key));
}

#[rustfmt::skip]
const OPS: &[Op] = &[
    Op { name: "lock a new key", key: 20, run: op_lock },
    Op { name: "lock the first key", key: 1, run: op_lock },
    Op { name: "lock a key in the chain", key: 8, run: op_lock },
    Op { name: "try_lock a new key", key: 20, run: op_try_lock },
    Op { name: "try_lock a key in the middle", key: 5, run: op_try_lock },
    Op { name: "try_lock the contended key", key: 30, run: op_try_lock },
    Op { name: "wait in vain for the contended key", key: 30, run: op_lock_for },
    Op { name: "lock_with a new key", key: 20, run: op_lock_with },
    Op { name: "lock_with an old key", key: 6, run: op_lock_with },
    Op { name: "lock_with a wrong key", key: 20, run: op_lock_with_wrong },
    Op { name: "a handle on a new key", key: 20, run: op_handle },
    Op { name: "a handle on an old key", key: 9, run: op_handle },
    Op { name: "an owned guard of a new key", key: 20, run: op_owned },
    Op { name: "look at a new key", key: 20, run: op_look },
    Op { name: "look at an old key", key: 4, run: op_look },
    Op { name: "drop the first guard", key: 1, run: |_| drop_guards(false) },
    Op { name: "drop the last guard", key: 8, run: |_| drop_last_guard() },
    Op { name: "drop all guards", key: 2, run: |_| drop_guards(true) },
    Op { name: "drop the handles", key: 9, run: |_| drop_handles() },
    Op { name: "shrink", key: 6, run: |h| h.table.shrink_to_fit() },
    Op { name: "count and show", key: 6, run: |h| drop((h.table.len(), format!("{:?}", h.table))) },
];

/// Every operation, in every state, with `act` at every call of `call`. Returns how often it was sprung.
fn everywhere(call: Call, act: &Rc<dyn Fn()>, may_panic: bool, name: &str) -> usize {
    let mut times = 0;
    for hash in [Pick::One, Pick::Plain] {
        for state in STATES {
            for op in OPS {
                for n in 1.. {
                    assert!(n < 500, "{} does not end", op.name);
                    let world = World::new(state, hash);
                    let home = Home {
                        table: world.table.clone(),
                        ledger: world.ledger.clone(),
                        key: op.key,
                    };
                    HOME.set(Some(home.clone()));
                    let (sprung, result) = trapped(call, n, act.clone(), || (op.run)(&home));
                    HOME.set(None);
                    drop(home);
                    let what = format!(
                        "{name} at {call:?} no. {n} of '{}', {state:?}, {hash:?}",
                        op.name
                    );
                    if let Err(p) = result {
                        if !(sprung && may_panic && p.is::<Sprung>()) {
                            eprintln!("in {what}");
                            resume_unwind(p);
                        }
                    }
                    world.check(&what);
                    world.end(&what);
                    if !sprung {
                        break;
                    }
                    times += 1;
                }
            }
        }
    }
    times
}

// ---- panics -----------------------------------------------------------------------------------------------------

fn panics(call: Call) {
    let act = trap::panics();
    let times = everywhere(call, &act, true, "a panic");
    assert!(times > 10, "{call:?} was reached {times} times only");
}

#[test]
fn hash_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::Hash);
}

/// I9: a panic of `Eq` leaves nothing behind.
#[test]
fn eq_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::Eq);
}

#[test]
fn borrow_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::Borrow);
}

#[test]
fn to_owned_may_panic_at_every_call() {
    // I9, trap 12
    panics(Call::ToOwned);
}

#[test]
fn clone_into_may_panic_at_every_call_before_and_after_the_change() {
    // I9, trap 12
    panics(Call::CloneInto);
}

#[test]
fn drop_may_panic_at_every_call() {
    // I9, traps 12, 32
    panics(Call::Drop);
}

// ---- re-entrance ------------------------------------------------------------------------------------------------

fn home() -> Option<Home> {
    HOME.with_borrow(Clone::clone)
}

type Act = (&'static str, fn(&Home));

/// What foreign code does with the table that called it.
const ACTS: &[Act] = &[
    ("lock another key", |h| {
        assert_eq!(h.table.lock(&h.ledger.asked(40)).key().asked.n, 40);
    }),
    ("lock and keep another key", |h| {
        lock(&h.table, &h.ledger, 40);
    }),
    ("lock the same key", |h| {
        // Not if another thread has it.
        if let Some(guard) = h.table.try_lock(&h.ledger.asked(h.key)) {
            assert_eq!(guard.key().asked.n, h.key);
        }
    }),
    ("lock and keep the same key", |h| {
        if let Some(guard) = h.table.try_lock_owned(&h.ledger.asked(h.key)) {
            GUARDS.with_borrow_mut(|g| g.push(guard));
        }
    }),
    ("keep a handle on the same key", |h| {
        handle(&h.table, &h.ledger, h.key);
    }),
    ("drop the first guard", |_| drop_guards(false)),
    ("drop the last guard", |_| drop_last_guard()),
    ("drop all guards and handles", |_| {
        drop_guards(true);
        drop_handles();
    }),
    ("shrink", |h| h.table.shrink_to_fit()),
    ("use many other keys", |h| {
        for n in 31..50 {
            drop(h.table.lock(&h.ledger.asked(n)));
        }
    }),
    ("keep many other keys", |h| {
        (31..40).for_each(|n| lock(&h.table, &h.ledger, n));
    }),
    ("look and count", |h| {
        assert!(!h.table.is_locked(&h.ledger.asked(41)) && !format!("{:?}", h.table).is_empty());
        let _ = (h.table.is_held(&h.ledger.asked(h.key)), h.table.len());
    }),
    ("let another thread use the same key", |h| {
        elsewhere(|| drop(h.table.try_lock(&h.ledger.asked(h.key))));
    }),
    ("let another thread use many keys", |h| {
        elsewhere(|| {
            for n in 31..50 {
                drop(h.table.lock(&h.ledger.asked(n)));
            }
        });
    }),
];

fn reenters(call: Call) {
    for (name, act) in ACTS {
        let act: Rc<dyn Fn()> = Rc::new(|| act(&home().expect("set while an operation runs")));
        let times = everywhere(call, &act, false, name);
        assert!(times > 10, "{call:?} was reached {times} times only");
    }
}

#[test]
fn hash_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Hash);
}

#[test]
fn eq_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Eq);
}

#[test]
fn borrow_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Borrow);
}

#[test]
fn to_owned_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::ToOwned);
}

#[test]
fn clone_into_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::CloneInto);
}

#[test]
fn drop_may_use_the_table_at_every_call() {
    // I9, trap 12
    reenters(Call::Drop);
}

// ---- stopped threads --------------------------------------------------------------------------------------------

/// What all others must be able to do while a thread stands still in foreign code, on keys that it does not hold.
fn others_work(table: &Table, ledger: &Arc<Ledger>) {
    for n in 100..120 {
        let guard = table.lock(&ledger.asked(n));
        assert_eq!((guard.key().asked.n, guard.depth()), (n, 1));
    }
    let all: Vec<_> = (120..130).map(|n| table.lock(&ledger.asked(n))).collect();
    let handle = table.handle(&ledger.asked(131));
    let weak = handle.downgrade();
    assert!(weak.upgrade().is_some() && table.len() >= 11);
    assert!(table.is_held(&ledger.asked(120)) && !table.is_locked(&ledger.asked(132)));
    drop((all, handle));
    assert!(weak.upgrade().is_none());
    table.shrink_to_fit();
    // Not even the key of the stopped operation makes them wait, unless it is held.
    for n in [1, 20, 30] {
        drop(table.try_lock(&ledger.asked(n)));
    }
    assert!(!format!("{table:?}").is_empty());
}

fn stops(call: Call) {
    let mut times = 0;
    for hash in [Pick::One, Pick::Plain] {
        for state in STATES {
            for (i, op) in OPS.iter().enumerate() {
                for n in 1.. {
                    assert!(n < 500, "{} does not end", op.name);
                    let (stopped, has_stopped) = mpsc::channel();
                    let (go, gone) = mpsc::channel::<()>();
                    let thread = std::thread::spawn(move || {
                        let world = World::new(state, hash);
                        let home = Home {
                            table: world.table.clone(),
                            ledger: world.ledger.clone(),
                            key: OPS[i].key,
                        };
                        let there = (home.table.clone(), home.ledger.clone());
                        let stop = stopped.clone();
                        let act: Rc<dyn Fn()> = Rc::new(move || {
                            stop.send(Some(there.clone())).unwrap();
                            let _ = gone.recv();
                        });
                        let (sprung, result) = trapped(call, n, act, || (OPS[i].run)(&home));
                        if !sprung {
                            stopped.send(None).unwrap();
                        }
                        if let Err(p) = result {
                            resume_unwind(p);
                        }
                        drop(home);
                        world.check("after the stop");
                        drop(stopped);
                        world.end("after the stop");
                    });
                    let Some((table, ledger)) = has_stopped.recv().expect("the thread lives")
                    else {
                        thread.join().unwrap();
                        break;
                    };
                    let what = format!(
                        "stopped at {call:?} no. {n} of '{}', {state:?}, {hash:?}",
                        op.name
                    );
                    let (done, is_done) = mpsc::channel();
                    let other = std::thread::spawn(move || {
                        others_work(&table, &ledger);
                        drop((table, ledger));
                        done.send(()).unwrap();
                    });
                    is_done
                        .recv_timeout(PATIENCE)
                        .unwrap_or_else(|e| panic!("{what}: the others do not finish: {e}"));
                    other.join().unwrap();
                    drop(go);
                    if let Err(p) = thread.join() {
                        eprintln!("{what}");
                        resume_unwind(p);
                    }
                    times += 1;
                }
            }
        }
    }
    assert!(times > 10, "{call:?} was reached {times} times only");
}

#[test]
fn a_thread_stopped_in_hash_stops_nobody_else() {
    // I4
    stops(Call::Hash);
}

#[test]
fn a_thread_stopped_in_eq_stops_nobody_else() {
    // I4
    stops(Call::Eq);
}

#[test]
fn a_thread_stopped_in_borrow_stops_nobody_else() {
    // I4
    stops(Call::Borrow);
}

#[test]
fn a_thread_stopped_in_to_owned_stops_nobody_else() {
    // I4
    stops(Call::ToOwned);
}

#[test]
fn a_thread_stopped_in_clone_into_stops_nobody_else() {
    // I4
    stops(Call::CloneInto);
}

#[test]
fn a_thread_stopped_in_drop_stops_nobody_else() {
    // I4
    stops(Call::Drop);
}

// ---- the end of a table -----------------------------------------------------------------------------------------

#[test]
fn a_dropped_table_drops_every_key_once_though_drop_panics() {
    // I5, I9: idle, forgotten while held, forgotten in the chain, forgotten handles; for every n.
    for hash in [Pick::One, Pick::Plain] {
        for n in 1..=14 {
            let ledger = Arc::new(Ledger::default());
            let table = Table::with_capacity_and_hasher(1, hash);
            let guards: Vec<_> = (0..10).map(|k| table.lock(&ledger.asked(k))).collect();
            guards.into_iter().for_each(std::mem::forget);
            std::mem::forget(table.lock(&ledger.asked(3)));
            std::mem::forget(table.handle(&ledger.asked(11)));
            drop(table.lock(&ledger.asked(12)));
            assert_eq!(
                ledger.live(),
                11,
                "ten forgotten guards, one forgotten handle"
            );
            let (sprung, result) = trapped(Call::Drop, n, trap::panics(), || drop(table));
            assert_eq!((sprung, result.is_err()), (n <= 11, n <= 11));
            assert_eq!((ledger.live(), ledger.dropped_twice.load(SeqCst)), (0, 0));
        }
    }
}

/// I9: a panic in the middle of a takeover gives the slot back, every time.
#[test]
fn a_panic_while_a_slot_is_rewritten_costs_no_slot() {
    thread_local!(static ARMED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });

    #[derive(PartialEq, Eq, Debug)]
    struct Touchy(u64);
    impl std::hash::Hash for Touchy {
        fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
            h.write_u64(0); // one bucket
        }
    }
    impl Clone for Touchy {
        fn clone(&self) -> Self {
            assert!(!ARMED.get(), "armed");
            Self(self.0)
        }
    }

    let table = perkey::LockTable::<Touchy>::new();
    for k in 0..12 {
        drop(table.lock(&Touchy(k))); // fills the slots with idle keys
    }
    ARMED.set(true);
    for k in 100..120 {
        let lock = std::panic::AssertUnwindSafe(|| drop(table.lock(&Touchy(k))));
        assert!(std::panic::catch_unwind(lock).is_err());
    }
    ARMED.set(false);
    let held: Vec<_> = (200..206).map(|k| table.lock(&Touchy(k))).collect();
    let shown = format!("{table:?}");
    assert!(
        shown.contains("overflow: 0"),
        "six slots for six keys: {shown}"
    );
    drop(held);
}
