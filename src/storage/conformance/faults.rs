//! What is left when a primitive fails or panics: the old state or the new one, no lock, and a store that works.

use super::faulty::{Fault, Faults, How, Injected, Primitive, When};
use super::model::Model;
use super::ops::{Name, Op, Ret, KEYS, SHORT};
use super::Part;
use crate::storage::{BoxError, Error, Storage};
use crate::sync::threads;
use stateright::semantics::SequentialSpec;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// One of each operation, on a store with values under the first two keys.
pub(super) fn each() -> Vec<Op> {
    let [a, b, c] = KEYS;
    let full = Name::Full;
    let value = || b"new".to_vec();
    vec![
        Op::SaveAs(c, value()),
        Op::SaveAs(a, value()),
        Op::SaveBoth([a, c], value()),
        Op::Load(full(a)),
        Op::Load(SHORT[0]),
        Op::LoadMany(vec![b, a]),
        Op::Contains(full(a)),
        Op::Contains(full(c)),
        Op::Contains(SHORT[1]),
        Op::Evict(full(a)),
        Op::Evict(SHORT[1]),
        Op::Append(full(a), b'+'),
        Op::Append(full(c), b'+'),
        Op::Append(SHORT[0], b'+'),
        Op::Clear(full(a)),
        Op::GetOrInsert(a, value()),
        Op::GetOrInsert(c, value()),
        Op::Rename(full(a), c),
        Op::Rename(SHORT[1], c),
        Op::Expand(SHORT[0]),
        Op::Shrink(full(a)),
        Op::List,
    ]
}

/// All faults at a given call.
pub(super) fn at(call: usize) -> impl Iterator<Item = Fault> {
    let all = Primitive::ALL.into_iter();
    let all = all.flat_map(|at| [When::Before, When::After].map(|when| (at, when)));
    let all = all.flat_map(|(at, when)| [How::Error, How::Panic].map(|how| (at, when, how)));
    all.map(move |(at, when, how)| Fault {
        at,
        call,
        when,
        how,
    })
}

/// Lets every primitive fail, and panic, at each of its calls in every operation, before and after it has done its work.
///
/// `make` puts a store together with a [`Faulty`](super::Faulty) in it. After each fault: the error, or panic, came out; the store is as before (or, if
/// the fault came after the leaving, as after); every key can be used by another thread; and the operation goes well when it is tried again.
///
/// ```
/// use perkey::storage::conformance::{faults, Faulty};
/// use perkey::storage::{Memory, PerKey};
///
/// faults(|faults| PerKey::new(Faulty::new(Memory::new(), faults)));
/// ```
///
/// # Panics
/// If something of a failed operation is left, or a lock; if a fault does not come out; or if an operation hangs.
pub fn faults<S: Storage + Send + Sync + 'static>(make: impl Fn(&Faults) -> S) {
    let _part = Part::new::<S>("faults");
    let (faults, before) = (Faults::new(), Model::with(["one", "two"]));
    let store = Arc::new(make(&faults));
    let mut struck = 0;
    for op in each() {
        let mut after = before.clone();
        let ret = after.invoke(&op);
        // As far as calls go: every primitive has its last one somewhere.
        for call in 0.. {
            let mut any = false;
            for fault in at(call) {
                before.restore(&*store);
                faults.arm(fault);
                let result = caught(|| op.attempt(&*store));
                if !faults.disarm() {
                    continue;
                }
                any = true;
                struck += 1;
                comes_out(&op, fault, result);
                let now = Model::of(&*store);
                let left = fault.at == Primitive::Leave && fault.when == When::After;
                assert!(
                    now == before && !(left && !op.is_short()) || now == after && left,
                    "{op:?}, {fault:?}: it was {before:?}, and is {now:?} now"
                );
                nothing_is_locked(&store);
                before.restore(&*store);
                assert_eq!(op.run(&*store), ret, "{op:?} again, after {fault:?}");
                assert_eq!(Model::of(&*store), after, "{op:?} again, after {fault:?}");
            }
            if !any {
                break;
            }
        }
    }
    assert!(
        struck > 0,
        "no fault ever struck: is there a `Faulty` in it?"
    );
    transfers(make);
}

/// What `f` returned, or the payload of its panic.
pub(super) fn caught<R>(f: impl FnOnce() -> R) -> std::thread::Result<R> {
    catch_unwind(AssertUnwindSafe(f))
}

fn comes_out<R: std::fmt::Debug>(
    what: &impl std::fmt::Debug,
    fault: Fault,
    result: std::thread::Result<Result<R, Error>>,
) {
    let injected = match result {
        Ok(Err(Error::Backend { source, .. })) => source.downcast_ref().copied(),
        Ok(other) => panic!("{what:?}, {fault:?}: came out as {other:?}"),
        Err(panic) => match panic.downcast_ref() {
            Some(injected) => Some(*injected),
            None => resume_unwind(panic),
        },
    };
    let Some(Injected(came)) = injected else {
        panic!("{what:?}, {fault:?}: another error came out");
    };
    assert_eq!(came, fault, "{what:?}");
}

/// Another thread can change every key.
pub(super) fn nothing_is_locked<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    let store = store.clone();
    let task = threads::start("an operation after another one that failed", move || {
        for key in KEYS {
            store
                .update(&key, |old| Ok::<_, BoxError>(old))
                .expect("an update that changes nothing");
        }
        store.list().expect("a listing");
    });
    task.join();
}

/// A value on its way from one store to another is always in one of them.
fn transfers<S: Storage + Send + Sync + 'static>(make: impl Fn(&Faults) -> S) {
    let [a, ..] = KEYS;
    let (here_faults, there_faults) = (Faults::new(), Faults::new());
    let (here, there) = (Arc::new(make(&here_faults)), Arc::new(make(&there_faults)));
    let (full, none) = (Model::with(["one"]), Model::default());
    for target_has_it in [false, true] {
        for name in [Name::Full(a), SHORT[0]] {
            for faults in [&here_faults, &there_faults] {
                for call in 0.. {
                    let mut any = false;
                    for fault in at(call) {
                        full.restore(&*here);
                        if target_has_it { &full } else { &none }.restore(&*there);
                        faults.arm(fault);
                        let result = caught(|| here.transfer(&name, &*there));
                        if !faults.disarm() {
                            continue;
                        }
                        any = true;
                        comes_out(&"a transfer", fault, result);
                        let now = (Model::of(&*here), Model::of(&*there));
                        assert!(
                            (now.0 == full || now.0 == none) && (now.1 == full || now.1 == none),
                            "a transfer, {fault:?}: something else is there now: {now:?}"
                        );
                        assert!(
                            now.0 == full || now.1 == full,
                            "a transfer, {fault:?}: the value is lost"
                        );
                        nothing_is_locked(&here);
                        nothing_is_locked(&there);
                        full.restore(&*here);
                        let again = here.transfer(&name, &*there);
                        assert_eq!(again.expect("a transfer, tried again"), a);
                        assert_eq!(
                            (Model::of(&*here), Model::of(&*there)),
                            (none.clone(), full.clone())
                        );
                    }
                    if !any {
                        break;
                    }
                }
            }
        }
    }
    assert_eq!(
        Op::Load(Name::Full(a)).run(&*there),
        Ret::Value(b"one".to_vec())
    );
}
