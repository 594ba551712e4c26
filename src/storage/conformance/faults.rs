//! What is left when a primitive fails or panics: the old state or the new one, no lock, and a store that works.

use super::faulty::{Fault, Faults, How, Injected, Primitive, When};
use super::model::Model;
use super::ops::{Name, Op, Ret, K, SHORT};
use super::part;
use crate::storage::{Error, Storage};
use crate::sync::threads;
use stateright::semantics::SequentialSpec;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::Arc;

/// One of each operation, on a store with values under the first two keys.
pub(super) fn each() -> Vec<Op> {
    let [a, b, c] = K::ALL;
    let full = Name::Full;
    let value = || "new".into();
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

/// Tries every fault at every call, as long as there is a call at which one strikes: `tried` says so.
pub(super) fn every(mut tried: impl FnMut(Fault) -> bool) {
    for call in 0.. {
        let mut any = false;
        for at in Primitive::ALL {
            for when in [When::Before, When::After] {
                for how in [How::Error, How::Panic] {
                    any |= tried(Fault {
                        at,
                        call,
                        when,
                        how,
                    });
                }
            }
        }
        if !any {
            return;
        }
    }
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
    part::<S>("faults", || every_operation(&make));
    part::<S>("faults in transfers", || transfers(make));
}

fn every_operation<S: Storage + Send + Sync + 'static>(make: &impl Fn(&Faults) -> S) {
    let (faults, before) = (Faults::new(), Model::with(["one", "two"]));
    let store = Arc::new(make(&faults));
    let mut struck = 0;
    for op in each() {
        let mut after = before.clone();
        let ret = after.invoke(&op);
        every(|fault| {
            before.restore(&*store);
            faults.arm(fault);
            let result = caught(|| op.attempt(&*store));
            if !faults.disarm() {
                return false;
            }
            struck += 1;
            comes_out(&op, fault, result);
            let now = Model::of(&*store);
            let left = fault.at == Primitive::Leave && fault.when == When::After;
            let old = now == before && (op.is_short() || !left);
            assert!(
                old || now == after && left,
                "{op:?}, {fault:?}: it was {before:?}, and is {now:?} now"
            );
            nothing_is_locked(&store);
            before.restore(&*store);
            assert_eq!(op.run(&*store), ret, "{op:?} again, after {fault:?}");
            assert_eq!(Model::of(&*store), after, "{op:?} again, after {fault:?}");
            true
        });
    }
    assert!(
        struck > 0,
        "no fault ever struck: is there a `Faulty` in it?"
    );
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

/// Another thread can enter every key.
pub(super) fn nothing_is_locked<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    let store = store.clone();
    let what = "an operation after another one that failed or was taken back";
    let task = threads::start(what, move || {
        for key in K::ALL {
            let entered = Op::FailUpdate(Name::Full(key)).run(&*store);
            assert_eq!(entered, Ret::Closure, "{what}");
        }
        store.list().expect("a listing");
    });
    task.join();
}

/// A value on its way from one store to another is always in one of them.
fn transfers<S: Storage + Send + Sync + 'static>(make: impl Fn(&Faults) -> S) {
    let (here_faults, there_faults) = (Faults::new(), Faults::new());
    let (here, there) = (Arc::new(make(&here_faults)), Arc::new(make(&there_faults)));
    let (full, none) = (Model::with(["one"]), Model::default());
    let one_of_both = |model: &Model| *model == full || *model == none;
    for (name, there_before) in [
        (Name::Full(K::A), &none),
        (SHORT[0], &none),
        (Name::Full(K::A), &full),
    ] {
        for faults in [&here_faults, &there_faults] {
            every(|fault| {
                full.restore(&*here);
                there_before.restore(&*there);
                faults.arm(fault);
                let result = caught(|| here.transfer(&name, &*there));
                if !faults.disarm() {
                    return false;
                }
                comes_out(&"transfer", fault, result);
                let now = (Model::of(&*here), Model::of(&*there));
                assert!(
                    one_of_both(&now.0) && one_of_both(&now.1),
                    "transfer, {fault:?}: something else is there now: {now:?}"
                );
                assert!(
                    now.0 == full || now.1 == full,
                    "transfer, {fault:?}: the value is lost"
                );
                nothing_is_locked(&here);
                nothing_is_locked(&there);
                full.restore(&*here);
                here.transfer(&name, &*there).expect("tried again");
                let now = (Model::of(&*here), Model::of(&*there));
                assert_eq!(now, (none.clone(), full.clone()), "transfer again");
                true
            });
        }
    }
}
