//! The lock without a table: owner, depth, waiting, handing over, time-outs.
#![cfg(perkey_loom)]

use loom::cell::UnsafeCell;
use loom_tests::{bounds, explore, ALL};
use perkey::model::{tick, use_time};
use perkey::ReentrantLock;
use std::sync::Arc;
use std::time::Duration;

/// Data that loom lets only one thread into at a time (I1).
struct Data(UnsafeCell<u64>);

// SAFETY: this is what is being tested: loom reports any two accesses that are not ordered.
unsafe impl Send for Data {}

impl Data {
    fn touch(&self) {
        // SAFETY: loom checks it.
        self.0.with_mut(|n| unsafe { *n += 1 });
    }

    fn get(&self) -> u64 {
        // SAFETY: loom checks it.
        self.0.with(|n| unsafe { *n })
    }
}

type Lock = Arc<ReentrantLock<Data>>;

fn lock() -> Lock {
    Arc::new(ReentrantLock::new(Data(UnsafeCell::new(0))))
}

fn spawn(lock: &Lock, f: impl FnOnce(&Lock) + 'static) -> loom::thread::JoinHandle<()> {
    let lock = lock.clone();
    loom_tests::spawn(move || f(&lock))
}

/// I1, I3, I6: two threads, each takes it twice and gives it back twice.
#[test]
fn lock_lock_unlock_unlock_twice() {
    fn nested(lock: &Lock) {
        let outer = lock.lock();
        outer.touch();
        let inner = lock.lock();
        assert_eq!(inner.depth(), 2);
        drop(outer);
        inner.touch();
    }
    explore("lock_lock_unlock_unlock_twice", ALL, || {
        let l = lock();
        let t = spawn(&l, nested);
        nested(&l);
        t.join().unwrap();
        assert_eq!(l.lock().get(), 4);
    });
}

/// I1, I3, I6: the other takes it after it has changed hands; nobody is taken for an owner who has left.
#[test]
fn lock_unlock_lock_unlock_against_lock() {
    explore("lock_unlock_lock_unlock_against_lock", ALL, || {
        let l = lock();
        let t = spawn(&l, |l| l.lock().touch());
        l.lock().touch();
        assert!(!l.is_held());
        l.lock().touch();
        t.join().unwrap();
        assert_eq!(l.lock().get(), 3);
    });
}

/// I1, I6: the lock is handed to the waiter, who wakes for other reasons, too.
#[test]
fn unlock_fair_against_lock() {
    explore("unlock_fair_against_lock", ALL, || {
        let l = lock();
        let t = spawn(&l, |l| l.lock().touch());
        let guard = l.lock();
        guard.touch();
        guard.unlock_fair();
        t.join().unwrap();
        assert_eq!(l.lock().get(), 2);
    });
}

/// I1: `try_lock` gets it or not, and what it gets is exclusive.
#[test]
fn try_lock_against_lock() {
    explore("try_lock_against_lock", ALL, || {
        let l = lock();
        let t = spawn(&l, |l| {
            if let Some(guard) = l.try_lock() {
                guard.touch();
            }
        });
        l.lock().touch();
        t.join().unwrap();
        assert!(l.lock().get() >= 1);
    });
}

/// I6: a time-out races the release: the waiter has the lock or has left nothing behind.
#[test]
fn timeout_against_unlock() {
    explore("timeout_against_unlock", ALL, || {
        use_time();
        let l = lock();
        let guard = l.lock();
        let t = spawn(&l, |l| {
            if let Some(guard) = l.try_lock_for(Duration::from_secs(1)) {
                guard.touch();
            }
        });
        tick(Duration::from_secs(2));
        drop(guard);
        t.join().unwrap();
        l.try_lock().expect("free, whatever happened").touch();
        let guard = l.lock();
        assert!((1..=2).contains(&guard.get()));
    });
}

/// I6: a time-out races a grant.
#[test]
fn timeout_against_grant() {
    explore("timeout_against_grant", ALL, || {
        use_time();
        let l = lock();
        let guard = l.lock();
        let t = spawn(&l, |l| {
            if let Some(guard) = l.try_lock_for(Duration::from_secs(1)) {
                guard.touch();
            }
        });
        tick(Duration::from_secs(2));
        guard.unlock_fair();
        t.join().unwrap();
        l.try_lock().expect("free, whatever happened").touch();
    });
}

/// I6: of two waiters one times out while the release is on its way: the other must run all the same.
#[test]
fn timeout_against_unlock_against_lock() {
    explore("timeout_against_unlock_against_lock", bounds(3, 5), || {
        use_time();
        let l = lock();
        let guard = l.lock();
        let timed = spawn(&l, |l| {
            if let Some(guard) = l.try_lock_for(Duration::from_secs(1)) {
                guard.touch();
            }
        });
        let patient = spawn(&l, |l| l.lock().touch());
        tick(Duration::from_secs(2));
        drop(guard);
        timed.join().unwrap();
        patient.join().unwrap();
        assert!(l.try_lock().expect("free").get() >= 1);
    });
}

/// I6: while one waiter sleeps and another is on his way, the holder takes the lock again and releases it without a look at the queue: who comes
/// meanwhile, finds it locked and sleeps again is not forgotten.
#[test]
fn lock_unlock_twice_against_lock_against_lock() {
    explore(
        "lock_unlock_twice_against_lock_against_lock",
        bounds(2, 5),
        || {
            let l = lock();
            let held = l.lock();
            let t = [
                spawn(&l, |l| l.lock().touch()),
                spawn(&l, |l| l.lock().touch()),
            ];
            drop(held);
            l.lock().touch();
            for t in t {
                t.join().unwrap();
            }
            assert_eq!(l.lock().get(), 3);
        },
    );
}

/// I1, I6: three threads, one round each.
#[test]
fn lock_against_lock_against_lock() {
    explore("lock_against_lock_against_lock", bounds(4, 6), || {
        let l = lock();
        let t = [
            spawn(&l, |l| l.lock().touch()),
            spawn(&l, |l| l.lock().touch()),
        ];
        l.lock().touch();
        for t in t {
            t.join().unwrap();
        }
        assert_eq!(l.lock().get(), 3);
    });
}
