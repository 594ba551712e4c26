//! What `Serializing` and `PerKey` promise: who waits for whom, that handles of one store share their locks, that a value is computed once, and that
//! operations on many keys neither hang nor keep anything.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use common::{elsewhere, eventually, Event, Events, Task, PATIENCE};
use perkey::storage::{
    BoxError, Digest, Error, Intent, Memory, PerKey, Scope, Serializing, Storage, Verb,
};
use perkey::{LockManyError, Observer};
use probe::{contents, ends, key, text, Sprung};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{mpsc, Arc, Mutex};

const A: Digest = Digest::new([0xaa; 32]);
const B: Digest = Digest::new([0xbb; 32]);

/// Says that its scope was left, by whatever way.
struct Set<'a>(&'a AtomicBool);

impl Drop for Set<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Runs `first`, which calls what it is given when it is inside, and `second` while it is there. Had `second` to wait?
fn waits(first: impl FnOnce(&dyn Fn()) + Send, second: impl FnOnce() + Send) -> bool {
    let (inside, is_inside) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (task, is_task) = mpsc::channel();
    let through = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let through = &through;
        scope.spawn(move || {
            first(&|| {
                inside.send(()).unwrap();
                gone.recv_timeout(PATIENCE).unwrap();
            });
        });
        is_inside.recv_timeout(PATIENCE).unwrap();
        scope.spawn(move || {
            let _through = Set(through);
            task.send(Task::me()).unwrap();
            second();
        });
        let task = is_task.recv_timeout(PATIENCE).unwrap();
        let mut seen = 0;
        eventually("the second one sleeps or is through", || {
            seen = if task.is_asleep() { seen + 1 } else { 0 };
            seen > 50 || through.load(SeqCst)
        });
        let waited = !through.load(SeqCst);
        go.send(()).unwrap();
        waited
    })
}

/// An update of `key` that stays inside as long as it is told to.
fn stay<'a>(s: &'a (impl Storage + Sync), key: &'a Digest) -> impl FnOnce(&dyn Fn()) + Send + 'a {
    move |inside| {
        let stay = |_| {
            inside();
            Ok::<_, BoxError>(Some("stayed"))
        };
        s.update(key, stay).unwrap();
    }
}

// ---- who waits for whom -------------------------------------------------------------------------------------------

/// S2.
#[test]
#[cfg(target_os = "linux")] // sees in /proc when a thread sleeps
fn per_key_lets_one_in_on_each_key_and_the_others_pass() {
    let s = PerKey::new(Memory::new());
    s.save_as(&A, "apple").unwrap();
    for same in [true, false] {
        let k = if same { A } else { B };
        let waits = |second: &(dyn Fn() + Sync)| waits(stay(&s, &A), second);
        assert_eq!(waits(&|| s.save_as(&k, "x").unwrap()), same);
        assert_eq!(waits(&|| drop(s.load(&k))), same, "reads, too");
        assert_eq!(waits(&|| drop(s.contains(&k))), same);
        assert_eq!(waits(&|| drop(s.expand(&k.to_string()[..9]))), same);
        assert_eq!(waits(&|| drop(s.shrink(&k))), same);
        assert_eq!(waits(&|| drop(s.load_many([k, key("abcd")]))), same);
        assert_eq!(waits(&|| drop(s.rename(&k, &key("abcd")))), same);
        assert_eq!(waits(&|| drop(s.rename(&key("abcd"), &k))), same);
        assert_eq!(waits(&|| drop(s.transfer(&k, &Memory::new()))), same);
        assert_eq!(waits(&|| drop(s.evict(&k))), same);
        // The store as a whole is not locked.
        assert!(!waits(&|| drop(s.list())));
        assert!(!waits(&|| drop(s.load("ffff"))));
    }
    assert!(s.table().is_empty());
}

/// S1.
#[test]
#[cfg(target_os = "linux")] // sees in /proc when a thread sleeps
fn serializing_lets_one_in_whatever_it_does() {
    let s = Serializing::new(Memory::new());
    s.save_as(&A, "apple").unwrap();
    let waits = |second: &(dyn Fn() + Sync)| waits(stay(&s, &A), second);
    for k in [A, B] {
        assert!(waits(&|| s.save_as(&k, "x").unwrap()));
        assert!(waits(&|| drop(s.load(&k))));
        assert!(waits(&|| drop(s.evict(&k))));
    }
    assert!(waits(&|| drop(s.list())));
    assert!(waits(&|| drop(s.load("ffff"))));
}

#[test]
#[cfg(target_os = "linux")] // sees in /proc when a thread sleeps
fn a_key_lock_keeps_all_operations_on_the_key_out_but_ones_own() {
    let s = PerKey::new(Memory::new());
    s.save_as(&A, "apple").unwrap();
    let hold = |inside: &dyn Fn()| {
        let lock = s.key_lock(&A);
        let _guard = lock.lock();
        assert_eq!(s.load(&A).unwrap(), "apple");
        s.rename(&A, &B).unwrap();
        s.rename(&B, &A).unwrap();
        inside();
    };
    assert!(waits(hold, || drop(s.load("aaaa"))));
    assert!(!waits(hold, || s.save_as(&B, "pear").unwrap()));
    // And it can be tried, to wait no longer than one likes.
    let lock = s.key_lock(&A);
    s.update(&A, |_| {
        assert!(elsewhere(|| lock.try_lock().is_none()));
        Ok::<_, BoxError>(Some("pear"))
    })
    .unwrap();
    assert!(elsewhere(|| lock.try_lock().is_some()));
}

/// Both are inside at the same time, each waiting for the other.
#[test]
fn operations_on_different_keys_run_in_parallel() {
    let s = PerKey::new(Memory::new());
    let (here, there) = (mpsc::channel(), mpsc::channel());
    let meet = |k: Digest, tell: mpsc::Sender<()>, hear: mpsc::Receiver<()>| {
        let s = s.clone();
        move || {
            s.update(&k, |_| {
                tell.send(()).unwrap();
                hear.recv_timeout(PATIENCE).expect("the other is inside");
                Ok::<_, BoxError>(Some("met"))
            })
            .unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(meet(A, here.0, there.1));
        scope.spawn(meet(B, there.0, here.1));
    });
    assert_eq!(s.list().unwrap(), [A, B]);
}

// ---- handles of one store -------------------------------------------------------------------------------------------

/// S15. Trap 29. In the ancestor every handle of a store had a lock of its own: two handles, and two threads were inside at once.
#[test]
#[cfg(target_os = "linux")] // sees in /proc when a thread sleeps
fn trap_29_handles_of_one_store_share_their_locks() {
    fn exclude(one: &(impl Storage + Sync), other: &(impl Storage + Sync)) {
        let reads = || assert_eq!(other.load(&A).unwrap(), "stayed");
        assert!(waits(stay(one, &A), reads));
        let changes = || other.save_as(&A, "apple").unwrap();
        assert!(waits(stay(one, &A), changes));
        assert_eq!(text(one, &A).unwrap(), "apple");
    }
    let memory = Memory::new();
    let s = PerKey::new(memory.clone());
    exclude(&s, &s.clone());
    exclude(&s.clone().clone(), &s);
    exclude(&&s, &s);
    exclude(&Arc::new(s.clone()), &s);
    // Two stores over one root, on purpose.
    exclude(&s, &PerKey::with_table(memory.clone(), s.table().clone()));
    assert!(s.table().is_empty());

    let s = Serializing::new(memory.clone());
    exclude(&s, &s.clone());
    exclude(&s.clone().clone(), &s);
    exclude(&&s, &s);
    exclude(&Arc::new(s.clone()), &s);
    exclude(
        &s,
        &Serializing::with_lock(memory.clone(), s.lock().clone()),
    );

    let s = Serializing::new(PerKey::new(memory.clone()));
    exclude(&s, &s.clone());
    exclude(s.inner(), s.clone().inner());
}

// ---- computing once ---------------------------------------------------------------------------------------------------

const THREADS: usize = 16;

/// Sixteen threads ask; the first closure goes on when all have, or when there is a second one. Returns how often a value was made.
fn computed(s: &(impl Storage + Sync), all_ask: impl Fn() -> bool + Sync) -> usize {
    let (asked, making, made) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let values = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                asked.fetch_add(1, SeqCst);
                let value = s.get_or_insert_with(&A, || {
                    making.fetch_add(1, SeqCst);
                    let all_ask = || asked.load(SeqCst) == THREADS && all_ask();
                    eventually("all ask", || all_ask() || making.load(SeqCst) > 1);
                    let n = made.fetch_add(1, SeqCst);
                    Ok::<_, BoxError>(format!("value {n}"))
                });
                values.lock().unwrap().push(value.unwrap());
            });
        }
    });
    let made = made.load(SeqCst);
    let values = values.into_inner().unwrap();
    assert!(made > 1 || values.iter().all(|v| v == "value 0"));
    assert_eq!(values.len(), THREADS);
    made
}

/// S2, S5.
#[test]
fn a_value_is_computed_once_by_sixteen_threads_per_key() {
    let s = PerKey::new(Memory::new());
    let events = Arc::new(Events::default());
    s.table().set_observer(Some(events.clone()));
    assert_eq!(computed(&s, || events.began() == THREADS - 1), 1);
    assert!(s.table().is_empty());
}

/// S1, S5.
#[test]
fn a_value_is_computed_once_by_sixteen_threads_serializing() {
    assert_eq!(computed(&Serializing::new(Memory::new()), || true), 1);
}

/// S5. The first closure fails, the second panics, the third makes the value; the other thirteen get that.
#[test]
fn a_closure_that_fails_or_panics_lets_the_next_one_try() {
    fn tried(s: &(impl Storage + Sync)) {
        let (asked, tries) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let ends = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    asked.fetch_add(1, SeqCst);
                    let make = || {
                        eventually("all ask", || asked.load(SeqCst) == THREADS);
                        assert!(!s.contains(&A)?, "nothing was left");
                        match tries.fetch_add(1, SeqCst) {
                            0 => Err(BoxError::from("not today")),
                            1 => resume_unwind(Box::new(Sprung)),
                            _ => Ok("apple"),
                        }
                    };
                    let got = catch_unwind(AssertUnwindSafe(|| s.get_or_insert_with(&A, make)));
                    ends.lock().unwrap().push(match got {
                        Err(panic) => panic.is::<Sprung>().then_some("panicked").unwrap(),
                        Ok(Err(Error::Closure { .. })) => "failed",
                        Ok(value) => (value.unwrap() == "apple").then_some("got").unwrap(),
                    });
                });
            }
        });
        let mut ends = ends.into_inner().unwrap();
        ends.sort();
        let mut expected = vec!["got"; THREADS];
        (expected[0], expected[THREADS - 1]) = ("failed", "panicked");
        assert_eq!((ends, tries.load(SeqCst)), (expected, 3));
    }
    tried(&PerKey::new(Memory::new()));
    tried(&Serializing::new(Memory::new()));
    tried(&Serializing::new(PerKey::new(Memory::new())));
}

/// S1, S2. Threads read, change and store: no change is lost, on one key or several. To begin with, all want the same one.
#[test]
fn no_update_is_lost() {
    fn count(s: &(impl Storage + Sync)) {
        let keys: Vec<Digest> = (0..3).map(|i| Digest::new([i; 32])).collect();
        let started = AtomicUsize::new(0);
        let add = |key: &Digest| {
            let add = |old: Option<perkey::storage::Bytes>| {
                eventually("all have started", || started.load(SeqCst) == 4);
                let n = old.map_or(0, |v| u16::from_le_bytes([v[0], v[1]]));
                Ok::<_, BoxError>(Some((n + 1).to_le_bytes()))
            };
            s.update(key, add).unwrap();
        };
        std::thread::scope(|scope| {
            for t in 0..4 {
                let (add, keys, started) = (&add, &keys, &started);
                scope.spawn(move || {
                    started.fetch_add(1, SeqCst);
                    add(&keys[0]);
                    for i in 0..150 {
                        add(&keys[(i + t) % 3]);
                    }
                });
            }
        });
        let counted = |k| u16::from_le_bytes([s.load(k).unwrap()[0], s.load(k).unwrap()[1]]);
        assert_eq!(
            keys.iter().map(counted).collect::<Vec<_>>(),
            [204, 200, 200]
        );
    }
    count(&PerKey::new(Memory::new()));
    count(&Serializing::new(Memory::new()));
}

// ---- many keys ----------------------------------------------------------------------------------------------------------

/// M2. Trap 33. Two operations on the same two keys, named in opposite orders, lock them in the same one: all of them wait for the same key first.
#[test]
fn trap_33_operations_on_many_keys_lock_them_in_one_order() {
    let s = Arc::new(PerKey::new(Memory::new()));
    s.save_as(&A, "apple").unwrap();
    let events = Arc::new(Events::default());
    s.table().set_observer(Some(events.clone()));
    let both = s.table().lock_many([&A, &B]).unwrap();
    let operations: [fn(&PerKey<Memory>); 6] = [
        |s| drop(s.rename(&A, &B)),
        |s| drop(s.rename(&B, &A)),
        |s| drop(s.load_many([A, B, A])),
        |s| drop(s.shrink_many([B, B, A])),
        |s| {
            let op = s.operation(Scope::Keys(&[A, B]), Intent::Write);
            op.unwrap().leave().unwrap();
        },
        |s| drop(s.operation(Scope::Keys(&[B, A]), Intent::Read).unwrap()),
    ];
    let (done, are_done) = mpsc::channel();
    // Not scoped: if they hang, they may be left hanging.
    for operation in operations {
        let (s, done) = (s.clone(), done.clone());
        std::thread::spawn(move || {
            operation(&s);
            done.send(()).unwrap();
        });
    }
    events.until_began(operations.len());
    let first = events.all();
    assert!(first.iter().all(|event| *event == first[0]), "{first:?}");
    drop(both);
    for _ in operations {
        are_done.recv_timeout(PATIENCE).expect("nobody hangs");
    }
    assert_eq!(s.list().unwrap().len(), 1, "moved, to and fro or not");
    assert!(s.table().is_empty());
}

/// The same at full speed: threads rename in circles; the values are neither lost nor doubled.
#[test]
fn trap_33_renames_in_circles_end() {
    let s = ends("renames in circles", || {
        let s = PerKey::new(Memory::new());
        let keys: Vec<Digest> = (0..4).map(|i| Digest::new([i; 32])).collect();
        s.save_as(&keys[0], "apple").unwrap();
        s.save_as(&keys[1], "pear").unwrap();
        std::thread::scope(|scope| {
            for t in 0..4 {
                let (s, keys) = (&s, &keys);
                scope.spawn(move || {
                    let mut dice = common::Dice(t);
                    for _ in 0..1000 {
                        let [from, to] = [(); 2].map(|()| &keys[dice.below(4) as usize]);
                        match s.rename(from, to) {
                            Ok(()) | Err(Error::Unknown { .. } | Error::Exists { .. }) => {}
                            Err(e) => panic!("{e}"),
                        }
                    }
                });
            }
        });
        s
    });
    let mut values: Vec<_> = contents(&s).into_iter().map(|(_, v)| v).collect();
    values.sort();
    assert_eq!(values, ["apple", "pear"]);
    assert!(s.table().is_empty());
}

/// Makes whoever is waited for let go.
struct LetGo(Mutex<Option<mpsc::Sender<()>>>);

impl Observer<Digest> for LetGo {
    fn wait_began(&self, _: &Digest) {
        self.0.lock().unwrap().take();
    }
}

/// Calls `ask` while another thread holds `key`, until somebody waits for it.
fn held_elsewhere<R>(s: &PerKey<Memory>, key: &Digest, ask: impl FnOnce() -> R) -> R {
    let (locked, is_locked) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let _guard = s.table().lock(key);
            locked.send(()).unwrap();
            let _ = gone.recv(); // an error, when `go` is dropped
        });
        is_locked.recv().unwrap();
        let let_go = Arc::new(LetGo(Mutex::new(Some(go))));
        s.table().set_observer(Some(let_go.clone()));
        let result = catch_unwind(AssertUnwindSafe(ask));
        s.table().set_observer(None);
        let_go.0.lock().unwrap().take();
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// M3, M4. Traps 34 and 35. Inside an operation on one key, an operation asks for many, one of which another thread has. Whichever two these are: it gets them
/// or says that it could wait for ever; it never hangs, and where it fails it keeps none.
#[test]
fn trap_34_trap_35_asking_for_many_keys_while_holding_one() {
    let (waited, refused) = ends("asking for more while holding", || {
        let s = PerKey::new(Memory::new());
        let values = ["apple", "pear", "plum", "fig", "date"];
        let keys = s.save_many(values).unwrap();
        // So that the keys keep their places, and with them their order.
        let handles: Vec<_> = keys.iter().map(|k| s.key_lock(k)).collect();
        let (mut waited, mut refused) = (0, 0);
        for theirs in &keys {
            for mine in keys.iter().filter(|k| *k != theirs) {
                let held = || keys.iter().filter(|k| s.table().is_held(k)).count();
                let ask = || {
                    let mut result = None;
                    s.update(mine, |old| {
                        assert_eq!(held(), 1);
                        result = Some(s.load_many(&keys));
                        assert_eq!(held(), 1, "nothing is kept");
                        let others = keys.iter().filter(|k| *k != mine && *k != theirs);
                        for k in others {
                            assert!(elsewhere(|| s.table().try_lock(k).is_some()));
                        }
                        Ok::<_, BoxError>(old)
                    })
                    .unwrap();
                    result.unwrap()
                };
                match held_elsewhere(&s, theirs, ask) {
                    Ok(loaded) => {
                        assert_eq!(loaded, values);
                        waited += 1;
                    }
                    Err(e) => {
                        assert!(e.to_string().contains("could deadlock"), "{e}");
                        let Error::WouldDeadlock { verb, source } = e else {
                            panic!("{e}");
                        };
                        assert_eq!((verb, source), (Verb::Load, LockManyError::WouldDeadlock));
                        refused += 1;
                    }
                }
                assert_eq!(held(), 0);
                // Where nobody else has one, it gets them in any case.
                s.update(mine, |old| {
                    assert_eq!(s.load_many(&keys)?, values);
                    s.rename(theirs, mine).unwrap_err(); // there is a value
                    Ok::<_, BoxError>(old)
                })
                .unwrap();
            }
        }
        drop(handles);
        assert!(s.table().is_empty());
        (waited, refused)
    });
    // Of each two keys one comes later.
    assert_eq!((waited, refused), (10, 10));
}

#[test]
fn the_same_key_twice_is_one_lock() {
    let s = PerKey::new(Memory::new());
    let mut op = s.operation(Scope::Keys(&[A, B, A]), Intent::Write).unwrap();
    assert_eq!(op.entered(), [A, B, A]);
    assert_eq!((s.table().len(), s.table().lock(&A).depth()), (2, 2));
    op.save_as(&A, "apple").unwrap();
    op.rename(&A, &A).unwrap();
    op.leave().unwrap();
    s.rename(&A, &A).unwrap();
    assert_eq!(text(&s, &A).unwrap(), "apple");
    assert!(s.table().is_empty());
}

/// The observer of the table sees who waits for which key of the store.
#[test]
fn waits_can_be_observed() {
    let s = PerKey::new(Memory::new());
    let events = Arc::new(Events::default());
    s.table().set_observer(Some(events.clone()));
    std::thread::scope(|scope| {
        let guard = s.table().lock(&A);
        scope.spawn(|| s.save_as(&A, "apple").unwrap());
        events.until_began(1);
        assert!(!s.inner().contains(&A).unwrap());
        drop(guard);
    });
    assert_eq!(events.all(), [Event::Began(A), Event::Ended(A)]);
}
