//! `ops_vs_model`: histories of one thread on one table against a small obvious model.
//!
//! Guards, handles and weak handles of both kinds, borrowed and owned, are alive at once and go in any order, some are forgotten, the
//! table shrinks in between, and is let go of while owned guards and handles still use it. Any step may have a trap: a call of the
//! key's `Hash`, `Eq`, `Clone` or `Drop` panics, or uses the table. After every step the table must say what the model says (I2,
//! I3, I5, I9); at the end every key has been dropped once, and no byte is left (I8).

mod key;
mod model;
mod owned;

use arbitrary::{Result, Unstructured};
use key::{arm, caught, disarm, live, spring, Call, Key, Pick};
use model::KEYS;
use owned::{model, Table, Weak};
use perkey::{KeyGuard, KeyLock, LockTable, WeakKeyLock};
use std::collections::BTreeSet;
use std::mem::{forget, ManuallyDrop};
use std::sync::Arc;
use std::time::Duration;

/// Steps of a history at most.
const STEPS: usize = 120;

/// Runs one input.
///
/// # Panics
/// If the table and the model differ, a key is not dropped once, or memory is left behind.
pub fn run(data: &[u8]) {
    // What is retired in one run may be freed in the next one; a leak grows every time.
    let mut left = 0;
    for _ in 0..4 {
        let measured = allocation_counter::measure(|| {
            let _ = history(&mut Unstructured::new(data));
            settle();
        });
        left = measured.bytes_current;
        if left <= 0 {
            return;
        }
    }
    panic!("{left} bytes are left behind, every time");
}

/// Gives the epoch occasion to free what is retired.
fn settle() {
    let table = LockTable::<u8>::with_capacity(1);
    for _ in 0..4 {
        table.shrink_to_fit();
    }
}

fn history(u: &mut Unstructured<'_>) -> Result<()> {
    let kind: u8 = u.arbitrary()?;
    let hash = [Pick::One, Pick::Own][usize::from(kind & 1)];
    let capacity = if kind & 2 == 0 { 1 } else { 30 };
    let table: Arc<Table> = Arc::new(LockTable::with_capacity_and_hasher(capacity, hash));
    let end = owned::begin(&table);
    with_table(&table, kind, u);
    let gone = Arc::downgrade(&table);
    let sprung = trapped(u, || {
        owned::let_go_of_table();
        drop(table);
    });
    owned::check(sprung);
    // Owned guards and handles go on, and end in any order.
    for _ in 0..STEPS {
        if u.is_empty() || owned::is_empty() {
            break;
        }
        let (op, arg) = (byte(u), byte(u));
        let sprung = trapped(u, || owned::step(op, arg));
        owned::check(sprung);
    }
    while !owned::is_empty() {
        let arg = byte(u);
        trapped(u, || {
            owned::step(8, arg);
            owned::step(10, arg);
        });
    }
    assert!(gone.upgrade().is_none(), "nobody keeps the table");
    drop(end);
    assert_eq!(live(), 0, "keys that are left");
    Ok(())
}

/// What is left of the input counts as zeros.
fn byte(u: &mut Unstructured<'_>) -> u8 {
    u.arbitrary().unwrap_or_default()
}

/// Runs a step, with a trap if the input says so; was it sprung?
fn trapped(u: &mut Unstructured<'_>, step: impl FnOnce()) -> bool {
    let trap = byte(u);
    let armed = trap >= 128;
    if armed {
        let call = Call::ALL[usize::from(trap) % Call::ALL.len()];
        let (left, op, arg) = (trap / 8 % 4, byte(u), byte(u));
        if op >= 192 {
            arm(call, left, spring);
        } else if op >= 176 {
            arm(call, left, || {
                if let Some(table) = owned::table() {
                    table.shrink_to_fit();
                }
            });
        } else {
            arm(call, left, move || owned::step(op, arg));
        }
    }
    caught(step);
    armed && !disarm()
}

/// Guards and handles that borrow the table.
#[derive(Default)]
struct Borrowed<'t> {
    guards: Vec<KeyGuard<'t, Key>>,
    handles: Vec<KeyLock<'t, Key>>,
    weak: Vec<Weak<WeakKeyLock<'t, Key>>>,
}

/// The part of the history in which the table is kept by its name.
fn with_table(table: &Arc<Table>, kind: u8, u: &mut Unstructured<'_>) {
    let mut borrowed = Borrowed::default();
    for _ in 0..STEPS {
        let (op, arg) = (byte(u), byte(u));
        if u.is_empty() || op == 255 {
            break;
        }
        let sprung = trapped(u, || match op % 32 {
            0..12 => owned::step(op % 32, arg),
            12 => table.shrink_to_fit(),
            op => borrowed.step(table, op - 13, arg),
        });
        borrowed.check(table, sprung);
        owned::check(sprung);
        if op % 32 == 12 && !sprung {
            assert_eq!(live(), model(|m| m.alive()), "after shrinking");
        }
    }
    borrowed.end(kind & 4 != 0, u);
    if model(|m| m.alive()) == 0 {
        unused(table);
    }
}

/// A table without users has a free node in each chain at most, which shrinking takes out, and all its slots.
fn unused(table: &Table) {
    let nodes = || {
        let told = format!("{table:?}");
        let after = told.split_once("overflow: ").expect("it says so").1;
        let digits = after.split(',').next().expect("a part");
        (digits.parse::<usize>().expect("a number"), told)
    };
    let (left, told) = nodes();
    assert!(left <= table.capacity() / 6, "nodes are left: {told}");
    table.shrink_to_fit();
    assert!(nodes().0 == 0, "a node is left: {}", nodes().1);
    if table.capacity() < usize::from(KEYS) {
        let few = 0..KEYS.min(6);
        let _guards: Vec<_> = few.map(|key| table.lock(&Key::asking(key))).collect();
        assert!(nodes().0 == 0, "a slot is lost: {}", nodes().1);
    }
}

fn pick<T>(all: &mut Vec<T>, i: u8) -> Option<T> {
    (!all.is_empty()).then(|| all.swap_remove(usize::from(i) % all.len()))
}

fn one<T>(all: &[T], i: u8) -> Option<&T> {
    all.get(usize::from(i) % all.len().max(1))
}

impl<'t> Borrowed<'t> {
    fn keep(&mut self, guard: KeyGuard<'t, Key>, asked: u8) {
        assert_eq!(guard.key().n, asked, "another key's guard");
        model(|m| m.lock(asked));
        self.guards.push(guard);
    }

    fn keep_handle(&mut self, handle: KeyLock<'t, Key>, asked: u8) {
        assert_eq!(handle.key().n, asked, "another key's handle");
        model(|m| m.handle(asked));
        self.handles.push(handle);
    }

    fn step(&mut self, table: &'t Arc<Table>, op: u8, arg: u8) {
        let key = arg % KEYS;
        let asked = Key::asking(key);
        let other = "no other thread is there";
        match op {
            0 => self.keep(table.lock(&asked), key),
            1 => self.keep(table.try_lock(&asked).expect(other), key),
            2 => {
                let guard = table.try_lock_for(&asked, Duration::ZERO);
                self.keep(guard.expect(other), key);
            }
            3 => {
                // One time in eight with a key that was not asked for.
                let made = if arg >= 224 { (key + 1) % KEYS } else { key };
                match table.lock_with(&asked, |_| Key::asking(made).clone()) {
                    Ok(guard) => self.keep(guard, key),
                    Err(e) => assert_eq!((e.made.n, made == key), (made, false)),
                }
            }
            4 => self.keep_handle(table.handle(&asked), key),
            5 => {
                if let Some(handle) = one(&self.handles, arg) {
                    let (key, guard) = (handle.key().n, handle.lock());
                    self.keep(guard, key);
                }
            }
            6 => {
                if let Some(handle) = one(&self.handles, arg) {
                    let (key, guard) = (handle.key().n, handle.try_lock());
                    self.keep(guard.expect(other), key);
                }
            }
            7 => {
                if let Some(handle) = one(&self.handles, arg).cloned() {
                    let key = handle.key().n;
                    self.keep_handle(handle, key);
                }
            }
            8 => {
                if let Some(handle) = one(&self.handles, arg) {
                    let (key, weak) = (handle.key().n, handle.downgrade());
                    let life = model(|m| m.life(key));
                    let handle = weak;
                    self.weak.push(Weak { key, life, handle });
                }
            }
            9 => {
                let weak = one(&self.weak, arg).map(|w| (w.key, w.handle.upgrade()));
                if let Some((key, Some(handle))) = weak {
                    self.keep_handle(handle, key);
                }
            }
            10..=12 => self.drop_guard(arg, op),
            13 | 14 => self.drop_handle(arg, op == 14),
            15 => {
                // Weak handles are forgotten: they keep nothing.
                let _ = ManuallyDrop::new(pick(&mut self.weak, arg));
            }
            16 => many(table, arg),
            17 => {
                try_many(table, arg);
            }
            _ => assert!(!format!("{table:?}").is_empty()),
        }
    }

    fn drop_guard(&mut self, i: u8, op: u8) {
        if let Some(guard) = pick(&mut self.guards, i) {
            if op == 12 {
                forget(guard); // still counted
                return;
            }
            model(|m| m.unlock(guard.key().n));
            if op == 11 {
                guard.unlock_fair();
            } else {
                drop(guard);
            }
        }
    }

    fn drop_handle(&mut self, i: u8, forgotten: bool) {
        if let Some(handle) = pick(&mut self.handles, i) {
            if forgotten {
                forget(handle);
                return;
            }
            model(|m| m.put_handle(handle.key().n));
            drop(handle);
        }
    }

    fn check(&mut self, table: &Table, learn: bool) {
        let alive = model(|m| m.alive());
        assert_eq!(
            table.len(),
            alive,
            "alive: {:?}",
            model(|m| format!("{m:?}"))
        );
        assert_eq!(table.is_empty(), alive == 0);
        let most = alive + table.capacity();
        assert!((alive..=most).contains(&live()), "{} keys", live());
        for key in 0..KEYS {
            let held = model(|m| m.depth(key)) > 0;
            let asked = Key::asking(key);
            assert_eq!(table.is_held(&asked), held, "{key}");
            assert_eq!(table.is_locked(&asked), held, "{key}");
        }
        for guard in &self.guards {
            let depth = model(|m| m.depth(guard.key().n));
            assert_eq!(guard.depth(), depth, "the depth of {}", guard.key().n);
        }
        for weak in &mut self.weak {
            let up = || weak.handle.upgrade().map(|h| h.key().n);
            weak.life = owned::revived(weak.key, weak.life, learn, up);
        }
    }

    /// The table goes: what borrows it goes before, or is forgotten.
    fn end(mut self, forgotten: bool, u: &mut Unstructured<'_>) {
        while !(self.guards.is_empty() && self.handles.is_empty()) {
            let arg = byte(u);
            let sprung = trapped(u, || {
                self.drop_guard(arg, if forgotten { 12 } else { 10 });
                self.drop_handle(arg, forgotten);
            });
            owned::check(sprung);
        }
    }
}

/// Two or three keys, in any order, one of them twice now and then.
fn some(arg: u8) -> Vec<Key> {
    let numbers = [arg % KEYS, arg / 3 % KEYS, arg / 7 % KEYS];
    let keys = numbers.into_iter().map(Key::asking);
    keys.take(2 + usize::from(arg % 2)).collect()
}

/// Several keys in one call; they go together.
fn many(table: &Table, arg: u8) {
    let keys = some(arg);
    if let Ok(guard) = table.lock_many(&keys) {
        let held = keys
            .iter()
            .all(|key| guard.contains(key) && table.is_held(key));
        assert!(held, "all of them are held");
        let all: BTreeSet<u8> = keys.iter().map(|key| key.n).collect();
        let got: BTreeSet<u8> = guard.keys().map(|key| key.n).collect();
        assert_eq!((got, guard.len()), (all.clone(), all.len()), "each once");
    }
}

fn try_many(table: &Table, arg: u8) {
    let keys = some(arg);
    let guard = table.try_lock_many(&keys);
    assert!(guard.is_some(), "no other thread is there");
}
