//! Many keys in one call, and the code of others: at each call of a key's or an observer's code, a panic leaves nothing behind, and the table
//! may be used.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/trap.rs"]
mod trap;

use common::{elsewhere, nothing_is_held, one_bucket, while_held, OneHash, PATIENCE};
use perkey::{LockTable, Observer};
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;
use trap::{called, trapped, Call, Sprung};

/// The borrowed form; knows how many keys of its test there are.
struct Asked(u64, &'static AtomicI64);

/// The owned form.
struct Key(Asked);

impl PartialEq for Asked {
    fn eq(&self, other: &Self) -> bool {
        called(Call::Eq);
        self.0 == other.0
    }
}
impl Eq for Asked {}
impl Hash for Asked {
    fn hash<H: Hasher>(&self, h: &mut H) {
        called(Call::Hash);
        h.write_u64(self.0);
    }
}
impl ToOwned for Asked {
    type Owned = Key;
    fn to_owned(&self) -> Key {
        called(Call::ToOwned);
        self.1.fetch_add(1, SeqCst);
        Key(Asked(self.0, self.1))
    }
    fn clone_into(&self, key: &mut Key) {
        called(Call::CloneInto);
        key.0 .0 = self.0;
        called(Call::CloneInto);
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Key {}
impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        self.0.hash(h);
    }
}
impl std::borrow::Borrow<Asked> for Key {
    fn borrow(&self) -> &Asked {
        &self.0
    }
}
impl Drop for Key {
    fn drop(&mut self) {
        self.0 .1.fetch_sub(1, SeqCst);
        called(Call::Drop);
    }
}

type Foreign = LockTable<Key, OneHash>;

/// What this key's code and the iterator count.
const CALLS: [Call; 6] = [
    Call::Hash,
    Call::Eq,
    Call::ToOwned,
    Call::CloneInto,
    Call::Drop,
    Call::Next,
];

type Op = (&'static str, fn(&Foreign, &[Asked]));

const OPS: &[Op] = &[
    ("lock", |t, keys| drop(t.lock_many(seen(keys)))),
    ("try", |t, keys| drop(t.try_lock_many(seen(keys)))),
    ("for", |t, keys| {
        drop(t.try_lock_many_for(seen(keys), PATIENCE));
    }),
    ("fair", |t, keys| {
        if let Ok(many) = t.lock_many(seen(keys)) {
            many.unlock_fair();
        }
    }),
    ("contains", |t, keys| {
        if let Ok(many) = t.lock_many(seen(keys)) {
            assert!(many.contains(&keys[3]) && many.len() == 4);
        }
    }),
];

/// The iterator may panic, too.
fn seen(keys: &[Asked]) -> impl Iterator<Item = &Asked> {
    keys.iter().inspect(|_| called(Call::Next))
}

/// Makes what a trap does to this table.
type Act = fn(&Arc<Foreign>, &'static AtomicI64) -> Rc<dyn Fn()>;

/// Springs a trap at the first, second, third … call of each kind, until the operation ends without reaching it.
fn everywhere(act: Act, panics: bool) {
    let live: &'static AtomicI64 = Box::leak(Box::default());
    let asked = |k| Asked(k, live);
    let keys = [1, 2, 1, 3, 4, 2].map(asked);
    let mut times = [0; 6];
    for (op, run) in OPS {
        // Idle keys; then, keys in use that leave the new ones two, one, or no slots.
        for (idle, used) in [(0, 0), (6, 0), (0, 4), (0, 5), (4, 2), (0, 6), (2, 8)] {
            for (times, call) in times.iter_mut().zip(CALLS) {
                for n in 1.. {
                    assert!(n < 500, "{op} does not end");
                    let what = format!("{call:?} no. {n} of {op}, {idle} idle, {used} used");
                    let t = Arc::new(Foreign::with_capacity_and_hasher(1, OneHash));
                    drop((0..idle).map(|k| t.lock(&asked(k))).collect::<Vec<_>>());
                    let fillers: Vec<_> = (100..100 + used).map(|k| t.handle(&asked(k))).collect();
                    let alive = t.len();
                    let (sprung, result) = trapped(call, n, act(&t, live), || run(&t, &keys));
                    match result {
                        Err(p) if !(sprung && panics && p.is::<Sprung>()) => {
                            eprintln!("in {what}");
                            resume_unwind(p);
                        }
                        _ => {}
                    }
                    assert_eq!(t.len(), alive, "{what}: something is left");
                    for k in (0..10).chain(100..110) {
                        assert!(!t.is_locked(&asked(k)), "{what}: {k} is held still");
                    }
                    assert_eq!(t.lock_many(&keys).unwrap().len(), 4, "{what}");
                    drop(fillers);
                    assert!(t.is_empty(), "{what}");
                    drop(Arc::into_inner(t).expect("nobody else has the table"));
                    assert_eq!(
                        live.load(SeqCst),
                        0,
                        "{what}: a key is lost, or dropped twice"
                    );
                    if !sprung {
                        break;
                    }
                    *times += 1;
                }
            }
        }
    }
    assert!(times.iter().all(|n| *n > 9), "{times:?}");
}

#[test]
fn a_panic_of_foreign_code_at_any_call_leaves_nothing() {
    // I9, trap 12
    everywhere(|_, _| trap::panics(), true);
}

#[test]
fn foreign_code_may_use_the_table_at_any_call() {
    // I9, trap 12
    everywhere(
        |t, live| {
            let t = Arc::downgrade(t);
            Rc::new(move || {
                let Some(t) = t.upgrade() else { return };
                let asked = |k| Asked(k, live);
                let many = t.lock_many(&[4, 50, 1].map(asked));
                assert!(many.is_ok_and(|m| m.len() == 3));
                t.shrink_to_fit();
                // Another thread comes by; what it finds held it leaves.
                elsewhere(|| {
                    for k in 1..5 {
                        drop(t.try_lock_many(&[k, 60].map(asked)));
                    }
                });
            })
        },
        false,
    );
}

/// An observer that panics where it is told to.
struct Panics(Call);

impl<K> Observer<K> for Panics {
    fn wait_began(&self, _: &K) {
        if self.0 == Call::Next {
            resume_unwind(Box::new(Sprung));
        }
    }
    fn wait_timed_out(&self, _: &K, _: Duration) {
        if self.0 == Call::Drop {
            resume_unwind(Box::new(Sprung));
        }
    }
}

#[test]
fn a_panic_of_the_observer_leaves_nothing() {
    // I9
    let t = one_bucket();
    let keys: Vec<u64> = (0..10).collect();
    for taken in 0..10 {
        while_held(&t, &taken, || {
            for at in [Call::Next, Call::Drop] {
                t.set_observer(Some(Arc::new(Panics(at))));
                let soon = Duration::from_micros(50);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    t.try_lock_many_for(&keys, soon).is_some()
                }));
                assert!(result.is_err_and(|p| p.is::<Sprung>()));
                nothing_is_held(&t, 10, &[taken]);
                assert_eq!(t.len(), 1);
            }
        });
        assert!(t.is_empty());
    }
}
