//! Threads, stores and processes on one database.

use crate::common::elsewhere;
use crate::{
    child, count, count_until_done, counted, each_thread, number, open, orders, Together, THREADS,
};
use perkey::storage::{BoxError, Digest, Error, PerKey, Sqlite, Storage};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Would fail at once if the database were locked.
fn impatient(path: &std::path::Path) -> Sqlite {
    let options = Sqlite::options().sync(false).connections(2);
    options.busy_timeout(Duration::ZERO).open(path).unwrap()
}

#[test]
fn eight_threads_count_and_none_is_lost_or_busy() {
    let dir = tempfile::tempdir().unwrap();
    let counters = ["a", "b", "c"].map(Digest::of);
    for store in [
        impatient(&dir.path().join("s.db")),
        Sqlite::in_memory().unwrap(),
    ] {
        let store = PerKey::new(store);
        each_thread(|_| {
            for n in 0..60 {
                count(&store, &counters[n % 3]).unwrap();
            }
        });
        for counter in &counters {
            assert_eq!(counted(&store, counter), 20 * THREADS as u64);
        }
    }
}

#[test]
fn eight_threads_on_keys_of_their_own_are_never_busy_without_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    let store = impatient(&dir.path().join("s.db"));
    each_thread(|thread| {
        let own = Digest::of(thread.to_string());
        for n in 1..=50 {
            count(&store, &own).unwrap();
            assert_eq!(counted(&store, &own), n);
            store.save(format!("{thread} {n}")).unwrap();
        }
    });
    assert_eq!(store.list().unwrap().len(), THREADS * 51);
}

#[test]
fn eight_threads_save_the_same_values_without_a_layer() {
    let store = Sqlite::in_memory().unwrap();
    let start = Together::default();
    each_thread(|_| {
        for n in 0..50 {
            start.wait();
            store.save(format!("{n}")).unwrap();
        }
    });
    assert_eq!(store.list().unwrap().len(), 50);
}

/// All have read before any writes, so one of them at most gets through at once.
#[test]
fn without_a_layer_all_but_one_are_told_to_repeat() {
    let dir = tempfile::tempdir().unwrap();
    for store in [open(dir.path().join("s.db")), Sqlite::in_memory().unwrap()] {
        let counter = Digest::of("counter");
        let all_have_read = Together::default();
        let repeated = AtomicU64::new(0);
        each_thread(|_| {
            for _ in 0..20 {
                let first = store.update(&counter, |old| {
                    all_have_read.wait();
                    Ok::<_, BoxError>(Some((number(old)? + 1).to_string()))
                });
                if let Err(e) = first {
                    assert!(matches!(e, Error::Busy { .. }), "{e}");
                    repeated.fetch_add(1, Relaxed);
                    count_until_done(&store, &counter);
                }
            }
        });
        assert_eq!(counted(&store, &counter), 20 * THREADS as u64);
        assert!(repeated.into_inner() >= 20 * (THREADS as u64 - 1));
    }
}

#[test]
fn stores_that_were_opened_separately_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let counter = Digest::of("counter");
    each_thread(|_| {
        let store = PerKey::new(open(&path));
        for _ in 0..20 {
            count_until_done(&store, &counter);
        }
    });
    assert_eq!(counted(&open(&path), &counter), 20 * THREADS as u64);
}

#[test]
fn two_processes_lose_nothing() {
    const EACH: u64 = 100;
    let counter = Digest::of("counter");
    if let Some(path) = orders() {
        let store = PerKey::new(open(path));
        for _ in 0..EACH {
            count_until_done(&store, &counter);
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    let program = std::env::current_exe().unwrap();
    let test = "threads::two_processes_lose_nothing";
    let children = [0, 1].map(|_| child(&program, test, &path).spawn().unwrap());
    let store = PerKey::new(open(&path));
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..EACH {
                    count_until_done(&store, &counter);
                }
            });
        }
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(counted(&store, &counter), 4 * EACH);
}

/// What a closure waits for would never happen if anything were held meanwhile.
#[test]
fn other_threads_read_and_write_while_a_closure_runs() {
    let dir = tempfile::tempdir().unwrap();
    for store in [
        impatient(&dir.path().join("s.db")),
        Sqlite::in_memory().unwrap(),
    ] {
        let store = PerKey::new(store);
        let [a, b] = ["a", "b"].map(Digest::of);
        store
            .update(&a, |_| {
                elsewhere(|| {
                    store.save_as(&b, "pear").unwrap();
                    assert_eq!(store.load(&b).unwrap(), "pear");
                    assert_eq!(store.list().unwrap(), [b]);
                });
                Ok::<_, BoxError>(Some("apple"))
            })
            .unwrap();
        assert_eq!(store.load(&a).unwrap(), "apple");
    }
}

/// All are inside their operations at the same time, and each has others inside.
#[test]
fn more_nested_operations_than_connections() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.db");
    for store in [
        Sqlite::options()
            .sync(false)
            .connections(1)
            .open(path)
            .unwrap(),
        Sqlite::in_memory().unwrap(),
    ] {
        let store = PerKey::new(store);
        let all_inside = Together::default();
        each_thread(|thread| {
            let key = |n: u64| Digest::of(format!("{thread} {n}"));
            store
                .update(&key(0), |_| {
                    all_inside.wait();
                    store.get_or_insert_with(&key(1), || {
                        all_inside.wait();
                        store.save_as(&key(2), "2")?;
                        store.load(&key(2))
                    })?;
                    store.list()?;
                    Ok::<_, Error>(Some(store.load(&key(1))?))
                })
                .unwrap();
        });
        assert_eq!(store.list().unwrap().len(), 3 * THREADS);
    }
}

#[test]
fn a_value_is_computed_once() {
    let store = PerKey::new(Sqlite::in_memory().unwrap());
    let key = Digest::of("question");
    let computed = AtomicU64::new(0);
    let (tell, told) = mpsc::channel();
    each_thread(|_| {
        let answer = store.get_or_insert_with(&key, || {
            Ok::<_, BoxError>(format!("answer {}", computed.fetch_add(1, Relaxed)))
        });
        tell.send(answer.unwrap()).unwrap();
    });
    drop(tell);
    assert!(told.iter().all(|answer| answer == "answer 0"));
}
