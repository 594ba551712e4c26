//! The layers over a backend that is not synchronised at all: loom reports any two accesses that no lock has ordered.
//!
//! Each test says what the layer promises: `Serializing` lets one operation in at a time, `PerKey` one for each key.
#![cfg(perkey_loom)]

use loom::cell::UnsafeCell;
use loom_tests::{all_in_full, bounds, explore, Bound, ALL};
use perkey::storage::{
    BoxError, Bytes, Digest, Intent, PerKey, Prefix, Scope, Serializing, Storage,
};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

const A: Digest = Digest::new([0xa; 32]);
const B: Digest = Digest::new([0xb; 32]);

/// A cell for every key, or one for all of them, and nothing that orders accesses to it.
struct Tiny {
    cells: [UnsafeCell<Option<u8>>; 2],
    /// How many closures are running; of `std`, so that it orders nothing either.
    inside: AtomicUsize,
    one_for_all: bool,
}

// SAFETY: what is tested: loom reports accesses that are not ordered.
unsafe impl Sync for Tiny {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Tiny {}

impl Tiny {
    fn new(one_for_all: bool) -> Self {
        Self {
            cells: std::array::from_fn(|_| UnsafeCell::new(None)),
            inside: AtomicUsize::new(0),
            one_for_all,
        }
    }

    fn cell(&self, key: &Digest) -> &UnsafeCell<Option<u8>> {
        &self.cells[usize::from(*key == B)]
    }

    /// All of the store, for an operation that has it to itself.
    fn all(&self) {
        if self.one_for_all {
            for cell in &self.cells {
                cell.with_mut(|_| ()); // an access, as far as loom is concerned
            }
        }
    }

    /// Says whether another closure runs at this moment.
    fn overlaps(&self) -> bool {
        let others = self.inside.fetch_add(1, Relaxed);
        loom::thread::yield_now();
        let others = others.max(self.inside.load(Relaxed) - 1);
        self.inside.fetch_sub(1, Relaxed);
        others > 0
    }
}

impl Storage for Tiny {
    type Context<'a> = ();
    type Error = Infallible;

    fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Infallible> {
        Ok(())
    }

    fn get(&self, (): &mut (), key: &Digest) -> Result<Option<Bytes>, Infallible> {
        self.all();
        // SAFETY: loom checks it.
        let value = self.cell(key).with(|value| unsafe { *value });
        Ok(value.map(|n| Bytes::copy_from_slice(&[n])))
    }

    fn put(&self, (): &mut (), key: &Digest, value: &[u8]) -> Result<(), Infallible> {
        self.all();
        // SAFETY: loom checks it.
        self.cell(key).with_mut(|v| unsafe { *v = Some(value[0]) });
        Ok(())
    }

    fn remove(&self, (): &mut (), key: &Digest) -> Result<bool, Infallible> {
        self.all();
        // SAFETY: loom checks it.
        let old = self.cell(key).with_mut(|v| unsafe { (*v).take() });
        Ok(old.is_some())
    }

    fn keys(
        &self,
        (): &mut (),
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        self.all();
        for key in [A, B] {
            // SAFETY: loom checks it.
            let there = self.cell(&key).with(|v| unsafe { (*v).is_some() });
            if there && prefix.matches(&key) && each(key).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Runs `first` and `second` on a store each, over one [`Tiny`], and returns the store for a last look.
fn race<S: Storage + Send + Sync + 'static>(
    store: S,
    first: impl FnOnce(&S),
    second: impl FnOnce(&S) + 'static,
) -> Arc<S> {
    let store = Arc::new(store);
    let theirs = store.clone();
    let thread = loom_tests::spawn(move || second(&theirs));
    first(&store);
    thread.join().expect("no panic in the other thread");
    store
}

#[allow(clippy::unnecessary_wraps)] // what `update` takes
fn count(old: Option<Bytes>) -> Result<Option<[u8; 1]>, BoxError> {
    Ok(Some([old.map_or(0, |v| v[0]) + 1]))
}

fn value(store: &impl Storage, key: &Digest) -> u8 {
    store.load(key).expect("it was stored")[0]
}

/// Runs a scenario in which two closures may or may not run at the same time, and says in how many executions they did.
fn overlaps<S: Storage + Send + Sync + 'static>(
    name: &str,
    bound: Bound,
    store: impl Fn() -> S + Send + Sync + 'static,
    tiny: fn(&S) -> &Tiny,
    (mine, other): (Digest, Digest),
) -> usize {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    explore(name, bound, move || {
        let met = Arc::new(AtomicUsize::new(0));
        let (here, there) = (met.clone(), met.clone());
        race(
            store(),
            |s| {
                let closure = |_| {
                    here.fetch_add(usize::from(tiny(s).overlaps()), Relaxed);
                    Ok::<_, BoxError>(Some([1]))
                };
                s.update(&mine, closure).unwrap();
            },
            move |s| {
                let closure = |_| {
                    there.fetch_add(usize::from(tiny(s).overlaps()), Relaxed);
                    Ok::<_, BoxError>(Some([2]))
                };
                s.update(&other, closure).unwrap();
            },
        );
        count.fetch_add(met.load(Relaxed).min(1), Relaxed);
    });
    seen.load(Relaxed)
}

/// S1: one operation at a time, whatever the keys.
#[test]
fn serializing_update_a_update_b() {
    let store = || Serializing::new(Tiny::new(true));
    let name = "serializing_update_a_update_b";
    let met = overlaps(name, ALL, store, Serializing::inner, (A, B));
    assert_eq!(met, 0, "two operations at the same time");
}

/// S1, for reads, too: a listing beside a change.
#[test]
fn serializing_list_update_a() {
    explore("serializing_list_update_a", ALL, || {
        race(
            Serializing::new(Tiny::new(true)),
            |s| assert!(s.list().unwrap().len() <= 1),
            |s| s.update(&A, count).unwrap(),
        );
    });
}

/// S2: one operation at a time on a key: no update is lost.
#[test]
fn per_key_update_a_update_a() {
    explore("per_key_update_a_update_a", all_in_full(5), || {
        let store = race(
            PerKey::new(Tiny::new(false)),
            |s| s.update(&A, count).unwrap(),
            |s| s.update(&A, count).unwrap(),
        );
        assert_eq!(value(&*store, &A), 2);
        assert!(store.table().is_empty());
    });
}

/// S2, for reads, too.
#[test]
fn per_key_load_a_update_a() {
    explore("per_key_load_a_update_a", ALL, || {
        let store = PerKey::new(Tiny::new(false));
        store.save_as(&A, [1]).unwrap();
        let store = race(
            store,
            |s| assert!(matches!(value(s, &A), 1 | 2)),
            |s| s.update(&A, count).unwrap(),
        );
        assert_eq!(value(&*store, &A), 2);
    });
}

/// S3: operations on different keys can overlap: an execution in which they do is among those that were explored.
#[test]
fn per_key_update_a_beside_update_b() {
    let store = || PerKey::new(Tiny::new(false));
    let name = "per_key_update_a_beside_update_b";
    let met = overlaps(name, ALL, store, PerKey::inner, (A, B));
    assert!(met > 0, "operations on different keys never overlapped");
    println!("{name}: the closures overlapped in {met} executions");
}

/// Operations inside operations of the same thread.
fn nested(s: &impl Storage) {
    let mut op = s.operation(Scope::Key(&A), Intent::Write).unwrap();
    s.update(&A, |_| count(s.load(&A).ok())).unwrap();
    op.update(&A, count).unwrap();
    op.leave().unwrap();
}

/// S1, S4: operations inside operations do not wait for themselves.
#[test]
fn serializing_nested_update_a() {
    explore("serializing_nested_update_a", ALL, || {
        let store = Serializing::new(Tiny::new(true));
        let store = race(store, nested, |s| s.update(&A, count).unwrap());
        assert_eq!(value(&*store, &A), 3);
    });
}

/// S2, S4: operations inside operations do not wait for themselves.
#[test]
fn per_key_nested_update_a() {
    explore("per_key_nested_update_a", bounds(5, 6), || {
        let store = PerKey::new(Tiny::new(false));
        let store = race(store, nested, |s| s.update(&A, count).unwrap());
        assert_eq!(value(&*store, &A), 3);
        assert!(store.table().is_empty());
    });
}

/// S5: a value is made once, however many ask.
#[test]
fn get_or_insert_a_get_or_insert_a() {
    explore("get_or_insert_a_get_or_insert_a", all_in_full(5), || {
        let made = Arc::new(AtomicUsize::new(0));
        let (here, there) = (made.clone(), made.clone());
        let get = |s: &PerKey<Tiny>, made: &AtomicUsize| {
            let make = || Ok::<_, BoxError>([u8::try_from(made.fetch_add(1, Relaxed)).unwrap()]);
            assert_eq!(s.get_or_insert_with(&A, make).unwrap(), [0][..]);
        };
        race(
            PerKey::new(Tiny::new(false)),
            |s| get(s, &here),
            move |s| get(s, &there),
        );
        assert_eq!(made.load(Relaxed), 1);
    });
}

/// S5: a closure that fails leaves nothing, and the next one makes the value.
#[test]
fn get_or_insert_a_fails_get_or_insert_a() {
    explore(
        "get_or_insert_a_fails_get_or_insert_a",
        all_in_full(2),
        || {
            let store = race(
                PerKey::new(Tiny::new(false)),
                |s| {
                    let failed = s.get_or_insert_with(&A, || Err::<[u8; 1], _>("not today"));
                    assert!(failed.is_err() || failed.unwrap() == [7][..]);
                },
                |s| {
                    let made = s.get_or_insert_with(&A, || Ok::<_, BoxError>([7]));
                    assert_eq!(made.unwrap(), [7][..]);
                },
            );
            assert_eq!(value(&*store, &A), 7);
            assert!(store.table().is_empty());
        },
    );
}

/// S6: two operations on both keys, named in opposite orders: no deadlock, and one after the other.
#[test]
fn rename_a_to_b_rename_b_to_a() {
    explore("rename_a_to_b_rename_b_to_a", bounds(1, 2), || {
        let store = PerKey::new(Tiny::new(false));
        store.save_as(&A, [1]).unwrap();
        let store = race(
            store,
            |s| s.rename(&A, &B).unwrap(),
            |s| drop(s.rename(&B, &A)), // unknown, if it comes first
        );
        let left = [A, B].map(|key| store.contains(&key).unwrap());
        assert_eq!(left.iter().filter(|there| **there).count(), 1);
        assert!(store.table().is_empty());
    });
}

/// S16: a value goes from one store to the other, and back: no deadlock, and it is in one of them afterwards.
#[test]
fn transfer_a_there_transfer_a_back() {
    explore("transfer_a_there_transfer_a_back", bounds(6, 9), || {
        let mut stores = [(); 2].map(|()| PerKey::new(Tiny::new(false)));
        // Which of the two comes first is up to the allocator, and must be the same in every execution.
        stores.sort_by_key(Storage::lock_order);
        stores[0].save_as(&A, [1]).unwrap();
        let stores = Arc::new(stores);
        let theirs = stores.clone();
        let thread = loom_tests::spawn(move || drop(theirs[1].transfer(&A, &theirs[0])));
        stores[0].transfer(&A, &stores[1]).unwrap();
        thread.join().expect("no panic in the other thread");
        let there = stores.iter().filter(|s| s.contains(&A).unwrap()).count();
        assert_eq!(there, 1);
        assert!(stores.iter().all(|s| s.table().is_empty()));
    });
}
