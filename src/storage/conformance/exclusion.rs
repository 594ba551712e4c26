//! Who waits for whom: an operation for another one on its key, by whatever name; on other keys as promised; inside itself never.

use super::draw::Dice;
use super::model::Model;
use super::ops::{Name, Op, K, KEYS, SHARED, SHORT};
use super::{part, Promise};
use crate::storage::{BoxError, Intent, Scope, Storage};
use crate::sync::threads::{self, pause, Gate};
use std::sync::Arc;

/// How often the one inside looks whether the other one has come through, which takes that one no longer than an operation.
const LOOKS: usize = if cfg!(perkey_shuttle) { 3 } else { 100 };
/// With real threads, every pair of operations; in one schedule, one pair.
const ALL_PAIRS: bool = !cfg!(perkey_shuttle);

/// Holds a key in an operation while another thread asks for it, for its aliases, and for others.
///
/// ```
/// use perkey::storage::conformance::{exclusion, Promise};
/// use perkey::storage::{Memory, PerKey};
///
/// exclusion(|| PerKey::new(Memory::new()), Promise::PerKey);
/// ```
///
/// # Panics
/// If somebody gets in who should wait, or waits who should get in.
pub fn exclusion<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S, promise: Promise) {
    part::<S>("exclusion", || excluded(&Arc::new(make()), promise));
}

fn excluded<S: Storage + Send + Sync + 'static>(store: &Arc<S>, promise: Promise) {
    let before = Model::with(["one", "two"]);
    if promise != Promise::Nothing {
        let [a, b, c] = K::ALL;
        let mut pairs: Vec<(Op, Op)> = Vec::new();
        for holds in holders() {
            for comes in comers() {
                pairs.push((holds.clone(), comes));
            }
        }
        if promise == Promise::Serial {
            for comes in [
                Op::SaveAs(b, "new".into()),
                Op::Load(Name::Full(c)),
                Op::Contains(Name::Full(b)),
                Op::List,
                Op::Load(SHARED),
            ] {
                pairs.push((Op::Append(Name::Full(a), b'+'), comes));
            }
        }
        if !ALL_PAIRS {
            let at = Dice(threads::seed(0)).below(pairs.len() as u64);
            pairs = vec![pairs.swap_remove(at)];
        }
        for (holds, comes) in pairs {
            before.restore(&**store);
            waits(store, &holds, comes);
        }
    }
    if promise != Promise::Nothing {
        let order = store.lock_order();
        assert!(
            !order.is_empty(),
            "`lock_order` is empty: two transfers could wait for each other"
        );
        assert_eq!(order, store.lock_order(), "`lock_order` changes");
    }
    if promise == Promise::PerKey {
        before.restore(&**store);
        overlaps(store);
    }
    if promise != Promise::Serial {
        before.restore(&**store);
        goes_by(store);
    }
}

/// Operations that hold the first key while a closure runs.
fn holders() -> Vec<Op> {
    let [a, b, _] = K::ALL;
    vec![
        Op::Append(Name::Full(a), b'+'),
        Op::Append(SHORT[0], b'+'),
        Op::SaveBoth([b, a], "new".into()),
    ]
}

/// Operations that need the first key.
fn comers() -> Vec<Op> {
    let [a, b, c] = K::ALL;
    vec![
        Op::SaveAs(a, "new".into()),
        Op::SaveBoth([c, a], "new".into()),
        Op::Load(Name::Full(a)),
        Op::Load(Name::Upper(a)),
        Op::Load(SHORT[0]),
        Op::LoadMany(vec![b, a]),
        Op::Contains(Name::Full(a)),
        Op::Evict(Name::Full(a)),
        Op::Evict(SHORT[0]),
        Op::Append(Name::Full(a), b'-'),
        Op::Clear(Name::Upper(a)),
        Op::GetOrInsert(a, "new".into()),
        Op::Rename(SHORT[0], c),
        Op::Rename(Name::Full(c), a),
        Op::Expand(Name::Full(a)),
        Op::Shrink(Name::Full(a)),
    ]
}

/// Whoever comes waits until the holder is done.
fn waits<S: Storage + Send + Sync + 'static>(store: &Arc<S>, holds: &Op, comes: Op) {
    let [inside, begun, done] = std::array::from_fn(|_| Arc::new(Gate::default()));
    let what = format!("{comes:?} while another thread is inside {holds:?}");
    let other = {
        let (store, inside) = (store.clone(), inside.clone());
        let (begun, done) = (begun.clone(), done.clone());
        threads::start(what.clone(), move || {
            assert!(inside.wait(), "nobody came to hold the key");
            begun.open();
            comes.run(&*store);
            done.open();
        })
    };
    let hold = || {
        inside.open();
        assert!(begun.wait(), "nobody came to ask for the key");
        for _ in 0..LOOKS {
            assert!(!done.is_open(), "{what}: it did not wait");
            pause();
        }
    };
    match holds {
        Op::SaveBoth(keys, _) => {
            let keys = keys.map(K::digest);
            let op = store.operation(Scope::Keys(&keys), Intent::Write);
            let op = op.expect("an operation on two keys");
            hold();
            op.leave().expect("nothing was changed");
        }
        Op::Append(name, _) => {
            let closure = |old| {
                hold();
                Ok::<_, BoxError>(old)
            };
            store.update(name, closure).expect("an update");
        }
        other => unreachable!("{other:?} holds nothing"),
    }
    other.join();
    assert!(done.is_open());
}

/// Closures on different keys are inside at the same time: each waits there for the other one.
fn overlaps<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    let gates: Arc<[Gate; 3]> = Arc::default();
    let tasks: Vec<_> = (0..3)
        .map(|i| {
            let (store, gates) = (store.clone(), gates.clone());
            threads::start("an update beside updates of other keys", move || {
                let closure = |_| {
                    gates[i].open();
                    for gate in &*gates {
                        assert!(gate.wait(), "operations on different keys do not overlap");
                    }
                    Ok::<_, BoxError>(Some(format!("{i}")))
                };
                store.update(&KEYS[i], closure).expect("an update");
            })
        })
        .collect();
    tasks.into_iter().for_each(threads::Task::join);
    assert_eq!(Model::of(&**store), Model::with(["0", "1", "2"]));
}

/// While a key is held, everything else goes on in another thread.
fn goes_by<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    let [a, b, c] = KEYS;
    let closure = |old| {
        let store = store.clone();
        let task = threads::start("an operation beside one on another key", move || {
            store.save_as(&c, "three").expect("a value is saved");
            store.evict(&b).expect("a value goes");
            store.rename(&c, &b).expect("a value is renamed");
            store.list().expect("a listing");
            store.expand(&SHORT[1]).expect("a search");
            let mut op = store
                .operation(Scope::Keys(&[b, c]), Intent::Write)
                .expect("two keys");
            op.save_as(&b, "two").expect("a value is saved");
            op.leave().expect("two keys are let go");
        });
        task.join();
        Ok::<_, BoxError>(old)
    };
    store.update(&a, closure).expect("an update");
    assert_eq!(Model::of(&**store), Model::with(["one", "two"]));
}

/// What an operation has changed so far is seen by nobody else; who does not have to wait sees the old state.
pub(super) fn unseen<S: Storage + Send + Sync + 'static>(make: &impl Fn() -> S, promise: Promise) {
    if promise == Promise::Serial {
        return; // everybody waits
    }
    let store = Arc::new(make());
    part::<S>("what is not left is not seen", || hidden(&store, promise));
}

fn hidden<S: Storage + Send + Sync + 'static>(store: &Arc<S>, promise: Promise) {
    let [a, b, c] = KEYS;
    let before = Model::with(["one", "two"]);
    before.restore(&**store);
    let mut op = store
        .operation(Scope::Keys(&[a, b, c]), Intent::Write)
        .expect("an operation");
    op.save_as(&a, "new").expect("a value is replaced");
    op.rename(&b, &c).expect("a value is renamed");
    let look = || {
        let store = store.clone();
        let task = threads::start("a look at a store with an operation under way", move || {
            let seen = (promise == Promise::Nothing).then(|| Model::of(&*store));
            (store.list().expect("a listing"), seen)
        });
        task.join()
    };
    let (listed, seen) = look();
    assert_eq!(listed, [a, b], "a listing has what was not left");
    assert!(
        seen.is_none_or(|seen| seen == before),
        "others see what was not left"
    );
    op.leave().expect("the operation is left");
    assert_eq!(look().0, [a, c]);
}
