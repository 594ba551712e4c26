//! What keeps the table: owned guards and handles, in thread-locals, where a key's code finds them.

use super::key::{Key, Pick};
use super::model::{Model, KEYS, OVER};
use perkey::{LockTable, OwnedKeyGuard, OwnedKeyLock, OwnedWeakKeyLock};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

pub(super) type Table = LockTable<Key, Pick>;

/// A weak handle, and the life that it was made for.
pub(super) struct Weak<W> {
    pub(super) key: u8,
    pub(super) life: u64,
    pub(super) handle: W,
}

#[derive(Default)]
struct State {
    table: Option<Arc<Table>>,
    guards: Vec<OwnedKeyGuard<Key, Pick>>,
    handles: Vec<OwnedKeyLock<Key, Pick>>,
    weak: Vec<Weak<OwnedWeakKeyLock<Key, Pick>>>,
    model: Model,
}

thread_local!(static STATE: RefCell<State> = RefCell::new(State::default()));

fn with<R>(f: impl FnOnce(&mut State) -> R) -> R {
    STATE.with_borrow_mut(f)
}

pub(super) fn model<R>(f: impl FnOnce(&mut Model) -> R) -> R {
    with(|s| f(&mut s.model))
}

/// A new history, on this table.
pub(super) fn begin(table: &Arc<Table>) -> End {
    STATE.set(State {
        table: Some(table.clone()),
        ..State::default()
    });
    End
}

/// From here on only guards and handles keep the table.
pub(super) fn let_go_of_table() {
    let table = with(|s| s.table.take());
    drop(table);
}

/// The table, if anybody keeps it.
pub(super) fn table() -> Option<Arc<Table>> {
    with(|s| {
        let by_guard = s.guards.first().map(OwnedKeyGuard::table);
        let by_handle = s.handles.first().map(OwnedKeyLock::table);
        s.table.as_ref().or(by_guard).or(by_handle).cloned()
    })
}

/// Is nothing left that keeps it?
pub(super) fn is_empty() -> bool {
    with(|s| s.guards.is_empty() && s.handles.is_empty())
}

/// Ends the history, however it ends: what a broken one leaves is not touched again.
pub(super) struct End;

impl Drop for End {
    fn drop(&mut self) {
        let state = STATE.take();
        if std::thread::panicking() {
            std::mem::forget(state);
        }
    }
}

fn pick<T>(all: &mut Vec<T>, i: u8) -> Option<T> {
    (!all.is_empty()).then(|| all.swap_remove(usize::from(i) % all.len()))
}

/// A guard has come.
fn keep(guard: OwnedKeyGuard<Key, Pick>, asked: u8) {
    assert_eq!(guard.key().n, asked, "another key's guard");
    with(|s| {
        s.model.lock(asked);
        s.guards.push(guard);
    });
}

fn keep_handle(handle: OwnedKeyLock<Key, Pick>, asked: u8) {
    assert_eq!(handle.key().n, asked, "another key's handle");
    with(|s| {
        s.model.handle(asked);
        s.handles.push(handle);
    });
}

/// A handle that is not in the list while it is used, so that nobody drops it; counted all the same.
fn lent<R>(i: u8, f: impl FnOnce(&OwnedKeyLock<Key, Pick>) -> R) -> Option<R> {
    let handle = with(|s| {
        let one = s
            .handles
            .get(usize::from(i) % s.handles.len().max(1))?
            .clone();
        s.model.handle(one.key().n);
        Some(one)
    })?;
    let r = f(&handle);
    model(|m| m.put_handle(handle.key().n));
    drop(handle);
    Some(r)
}

/// One step; by a key's code, too.
pub(super) fn step(op: u8, arg: u8) {
    let key = arg % KEYS;
    let asked = Key::asking(key);
    match op % 12 {
        0 => {
            if let Some(table) = table() {
                keep(table.lock_owned(&asked), key);
            }
        }
        1 => {
            if let Some(table) = table() {
                let guard = table.try_lock_owned(&asked);
                keep(guard.expect("no other thread is there"), key);
            }
        }
        2 => {
            if let Some(table) = table() {
                keep_handle(table.handle_owned(&asked), key);
            }
        }
        3 => {
            if let Some((key, guard)) = lent(arg, |h| (h.key().n, h.lock())) {
                keep(guard, key);
            }
        }
        4 => {
            let timed = |h: &OwnedKeyLock<Key, Pick>| (h.key().n, h.try_lock_for(Duration::ZERO));
            if let Some((key, guard)) = lent(arg, timed) {
                keep(guard.expect("no other thread is there"), key);
            }
        }
        5 => {
            if let Some((key, handle)) = lent(arg, |h| (h.key().n, h.clone())) {
                keep_handle(handle, key);
            }
        }
        6 => {
            if let Some((key, weak)) = lent(arg, |h| (h.key().n, h.downgrade())) {
                with(|s| {
                    let life = s.model.life(key);
                    let handle = weak;
                    s.weak.push(Weak { key, life, handle });
                });
            }
        }
        7 => {
            let weak = with(|s| {
                let one = s.weak.get(usize::from(arg) % s.weak.len().max(1))?;
                Some((one.key, one.handle.clone()))
            });
            if let Some((key, handle)) = weak.and_then(|(key, weak)| Some((key, weak.upgrade()?))) {
                keep_handle(handle, key);
            }
        }
        8 => drop_guard(arg, false),
        9 => drop_guard(arg, true),
        10 => drop_handle(arg),
        _ => {
            let weak = with(|s| pick(&mut s.weak, arg));
            drop(weak);
        }
    }
}

fn drop_guard(i: u8, fair: bool) {
    let guard = with(|s| {
        let guard = pick(&mut s.guards, i)?;
        s.model.unlock(guard.key().n);
        Some(guard)
    });
    if let Some(guard) = guard {
        if fair {
            guard.unlock_fair();
        } else {
            drop(guard);
        }
    }
}

fn drop_handle(i: u8) {
    let handle = with(|s| {
        let handle = pick(&mut s.handles, i)?;
        s.model.put_handle(handle.key().n);
        Some(handle)
    });
    drop(handle);
}

/// I3, I5: depths and lives are as the model says. What a key's code did in the middle of an operation may have gone either way
/// for a weak handle; then (`learn`) it is noted instead.
pub(super) fn check(learn: bool) {
    let depths: Vec<(u8, usize)> =
        with(|s| s.guards.iter().map(|g| (g.key().n, g.depth())).collect());
    for (key, depth) in depths {
        assert_eq!(depth, model(|m| m.depth(key)), "the depth of {key}");
    }
    let count = with(|s| s.weak.len());
    for i in 0..count {
        let (key, life, weak) = with(|s| {
            let one = &s.weak[i];
            (one.key, one.life, one.handle.clone())
        });
        let life = revived(key, life, learn, || weak.upgrade().map(|h| h.key().n));
        with(|s| s.weak[i].life = life);
    }
}

/// Upgrades and looks whether that was to be; returns the life that the handle is known to be for.
pub(super) fn revived(key: u8, life: u64, learn: bool, up: impl Fn() -> Option<u8>) -> u64 {
    // With the table goes what was forgotten in it.
    let kept = table().is_some();
    let (alive, now) = model(|m| (kept && m.is_alive(key), m.life(key)));
    let found = up();
    assert!(found.is_none_or(|found| found == key), "another key");
    if !alive {
        assert!(found.is_none(), "{key} has no user, and was upgraded to");
        return OVER;
    }
    if !learn {
        assert_eq!(found.is_some(), life == now, "life {life} of {key}");
    }
    if found.is_some() {
        now
    } else {
        OVER
    }
}
