//! A key each of whose calls is a trap, the states that a table may be in, and everything that can be done with it (`foreign.rs`, `foreign_stopped.rs`).
#![allow(dead_code, unreachable_pub, missing_docs)]

use crate::common::{elsewhere, Pick};
use crate::trap::{called, trapped, Call, Sprung};
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

// ---- a key whose every call is a trap ---------------------------------------------------------------------------

thread_local! {
    pub static HOME: RefCell<Option<Home>> = const { RefCell::new(None) };
    pub static GUARDS: RefCell<Vec<OwnedKeyGuard<Key, Pick>>> = const { RefCell::new(Vec::new()) };
    pub static HANDLES: RefCell<Vec<OwnedKeyLock<Key, Pick>>> = const { RefCell::new(Vec::new()) };
}

/// What foreign code finds the table by.
#[derive(Clone)]
pub struct Home {
    pub table: Arc<Table>,
    pub ledger: Arc<Ledger>,
    /// The key of the operation that is going on.
    pub key: u64,
}

/// The keys that have been made and not yet dropped.
#[derive(Default)]
pub struct Ledger {
    pub last: AtomicUsize,
    pub live: Mutex<HashSet<usize>>,
    pub dropped_twice: AtomicUsize,
}

impl Ledger {
    pub fn asked(self: &Arc<Self>, n: u64) -> Asked {
        Asked {
            n,
            ledger: self.clone(),
        }
    }

    pub fn live(&self) -> usize {
        self.live.lock().unwrap().len()
    }
}

/// The borrowed form.
pub struct Asked {
    pub n: u64,
    pub ledger: Arc<Ledger>,
}

/// The owned form.
pub struct Key {
    pub asked: Asked,
    pub id: usize,
}

pub type Table = LockTable<Key, Pick>;

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
pub enum State {
    Empty,
    /// Six idle keys in six slots.
    Idle,
    /// Three held, two handled, one idle.
    Mixed,
    /// Eight held (two of them beyond the slots), one handled there, nothing idle.
    Overflow,
    /// Four held, two slots idle, key 30 held by another thread.
    Contended,
    /// Thirty keys made the table grow. Held are three in slots and one in the chain of the first array, and two that came later; two more have handles; the
    /// others are idle or gone, and new keys go to the newest segment.
    Grown,
}

pub const STATES: [State; 6] = [
    State::Empty,
    State::Idle,
    State::Mixed,
    State::Overflow,
    State::Contended,
    State::Grown,
];

/// Those that take long with one hash, as every key is compared with every other, are left out there.
pub fn states(hash: Pick) -> impl Iterator<Item = State> {
    STATES
        .into_iter()
        .filter(move |state| !matches!((state, hash), (State::Grown, Pick::One)))
}

/// The table and another thread, if one is needed. Guards and handles are in thread-locals, where foreign code finds them.
pub struct World {
    pub table: Arc<Table>,
    pub ledger: Arc<Ledger>,
    pub holder: Option<(mpsc::Sender<()>, std::thread::JoinHandle<()>)>,
}

pub fn lock(table: &Arc<Table>, ledger: &Arc<Ledger>, n: u64) {
    let guard = table.lock_owned(&ledger.asked(n));
    GUARDS.with_borrow_mut(|g| g.push(guard));
}

pub fn handle(table: &Arc<Table>, ledger: &Arc<Ledger>, n: u64) {
    let handle = table.handle_owned(&ledger.asked(n));
    HANDLES.with_borrow_mut(|h| h.push(handle));
}

pub fn drop_guards(all: bool) {
    loop {
        let guard = GUARDS.with_borrow_mut(|g| (!g.is_empty()).then(|| g.remove(0)));
        let more = guard.is_some();
        drop(guard); // outside of the borrow
        if !all || !more {
            return;
        }
    }
}

pub fn drop_last_guard() {
    let guard = GUARDS.with_borrow_mut(Vec::pop);
    drop(guard);
}

pub fn drop_handles() {
    drop(HANDLES.take());
}

impl World {
    pub fn new(state: State, hash: Pick) -> Self {
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
            State::Grown => {
                let crowd = (1..=3).chain(41..=66).chain([8]);
                crowd.chain(21..=28).for_each(|n| lock(t, l, n));
                assert!(table.capacity() > 6, "it was to grow");
                (9..=10).for_each(|n| handle(t, l, n));
                let kept = |n| [1, 2, 3, 8, 25, 27].contains(&n);
                let all = GUARDS.take();
                let (kept, gone) = all.into_iter().partition(|g| kept(g.key().asked.n));
                GUARDS.set(kept);
                drop::<Vec<_>>(gone);
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
    pub fn check(&self, what: &str) {
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
    pub fn end(self, what: &str) {
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
        let slots = table.capacity();
        assert!(
            ledger.live() <= slots,
            "{what}: idle keys are in slots only"
        );
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

pub struct Op {
    pub name: &'static str,
    /// The key it is about.
    pub key: u64,
    pub run: fn(&Home),
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
pub const OPS: &[Op] = &[
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
pub fn everywhere(call: Call, act: &Rc<dyn Fn()>, may_panic: bool, name: &str) -> usize {
    let mut times = 0;
    for hash in [Pick::One, Pick::Plain] {
        for state in states(hash) {
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
