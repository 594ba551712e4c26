//! What observers are told, and what they may do.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{elsewhere, eventually, free, message, while_held, Event, Events, SOON};
use perkey::{Contention, LockTable, Observer, OwnedKeyGuard};
use std::cell::RefCell;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

#[test]
fn an_observer_is_told_of_every_wait_with_its_key() {
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    while_held(&t, &1, || assert!(t.try_lock_for(&1, SOON).is_none()));
    assert_eq!(events.all(), [Event::Began(1), Event::TimedOut(1)]);
    std::thread::scope(|s| {
        let guard = t.lock(&2);
        let waiter = s.spawn(|| drop(t.lock(&2)));
        events.until_began(2);
        assert_eq!(events.all()[2..], [Event::Began(2)]);
        drop(guard);
        waiter.join().unwrap();
    });
    assert_eq!(events.all()[2..], [Event::Began(2), Event::Ended(2)]);
    while_held(&t, &3, || {
        assert!(t.handle(&3).try_lock_for(SOON).is_none());
    });
    assert_eq!(events.all()[4..], [Event::Began(3), Event::TimedOut(3)]);
}

#[test]
fn an_observer_is_not_called_on_the_uncontended_path() {
    let t = LockTable::<u64>::new();
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let guards: Vec<_> = (0..500)
        .map(|k| (t.lock(&k), t.lock(&k), t.try_lock(&k)))
        .collect();
    elsewhere(|| {
        assert!(t.try_lock(&1).is_none(), "does not wait");
        assert!(t.handle(&1).try_lock().is_none());
        drop(t.lock(&1000));
    });
    drop(guards);
    let _ = t.handle(&1).downgrade();
    t.shrink_to_fit();
    assert_eq!((events.all(), t.len()), (vec![], 0));
}

#[test]
fn observers_are_swapped_while_the_table_is_in_use() {
    let t = LockTable::<u64>::new();
    let (first, second) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let try_in_vain = |key| while_held(&t, &key, || assert!(t.try_lock_for(&key, SOON).is_none()));
    t.set_observer(Some(first.clone()));
    try_in_vain(1);
    // A wait that has begun is told to the observer of its beginning.
    std::thread::scope(|s| {
        let guard = t.lock(&2);
        let waiter = s.spawn(|| drop(t.lock(&2)));
        first.until_began(2);
        t.set_observer(Some(second.clone()));
        drop(guard);
        waiter.join().unwrap();
    });
    try_in_vain(3);
    t.set_observer(None);
    try_in_vain(4);
    assert_eq!(
        first.all(),
        [
            Event::Began(1),
            Event::TimedOut(1),
            Event::Began(2),
            Event::Ended(2)
        ]
    );
    assert_eq!(second.all(), [Event::Began(3), Event::TimedOut(3)]);
    assert_eq!(Arc::strong_count(&first), 1, "the table lets go of it");
    assert_eq!(Arc::strong_count(&second), 1);
}

#[test]
fn observers_are_swapped_under_fire() {
    // Every beginning has its end, in the same observer, whatever is swapped meanwhile.
    let t = LockTable::<u64>::new();
    let all: Vec<_> = (0..4).map(|_| Arc::new(Events::default())).collect();
    let done = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                for _ in 0..2000 {
                    let _guard = t.lock(&1);
                    std::thread::yield_now();
                }
                done.fetch_add(1, SeqCst);
            });
        }
        let mut i = 0;
        while done.load(SeqCst) < 3 {
            t.set_observer(match i % 5 {
                4 => None,
                i => Some(all[i].clone()),
            });
            i += 1;
            std::thread::yield_now();
        }
    });
    t.set_observer(None);
    for events in all {
        let told = events.all();
        let count = |e| told.iter().filter(|t| **t == e).count();
        assert_eq!(count(Event::Began(1)), count(Event::Ended(1)));
        assert_eq!(count(Event::TimedOut(1)), 0);
        assert_eq!(Arc::strong_count(&events), 1);
    }
}

/// Calls a closure with what it is told.
struct Calls<F>(F);

impl<F: Fn(Event<u64>) + Send + Sync> Observer<u64> for Calls<F> {
    fn wait_began(&self, key: &u64) {
        (self.0)(Event::Began(*key));
    }
    fn wait_ended(&self, key: &u64, _: Duration) {
        (self.0)(Event::Ended(*key));
    }
    fn wait_timed_out(&self, key: &u64, _: Duration) {
        (self.0)(Event::TimedOut(*key));
    }
}

fn observe(t: &LockTable<u64>, f: impl Fn(Event<u64>) + Send + Sync + 'static) {
    t.set_observer(Some(Arc::new(Calls(f))));
}

/// A wait for key 1 that ends with the lock, on another thread. `began` counts beginnings.
fn wait_and_get<R: Send>(
    t: &LockTable<u64>,
    began: &AtomicUsize,
    f: impl FnOnce(&LockTable<u64>) -> R + Send,
) -> std::thread::Result<R> {
    let before = began.load(SeqCst);
    std::thread::scope(|s| {
        let guard = t.lock(&1);
        let waiter = s.spawn(|| catch_unwind(AssertUnwindSafe(|| f(t))));
        eventually("the wait begins", || began.load(SeqCst) > before);
        drop(guard);
        waiter.join().unwrap()
    })
}

#[test]
fn an_observer_that_panics_leaks_no_lock() {
    // I5, I9, trap 32: in each of the three calls.
    let t = LockTable::<u64>::new();
    let began = Arc::new(AtomicUsize::new(0));
    for bad in [Event::Began(1), Event::Ended(1), Event::TimedOut(1)] {
        let count = began.clone();
        observe(&t, move |event| {
            if matches!(event, Event::Began(_)) {
                count.fetch_add(1, SeqCst);
            }
            assert!(event != bad, "told {event:?}");
        });
        // A wait that times out.
        let handle = t.handle(&1);
        while_held(&t, &1, || {
            for by_handle in [false, true] {
                let result = catch_unwind(AssertUnwindSafe(|| {
                    if by_handle {
                        handle.try_lock_for(SOON).is_some()
                    } else {
                        t.try_lock_for(&1, SOON).is_some()
                    }
                }));
                match result {
                    Err(p) => {
                        assert!(bad != Event::Ended(1));
                        assert_eq!(message(&*p), format!("told {bad:?}"));
                    }
                    Ok(got) => assert!(!got && bad == Event::Ended(1)),
                }
                assert!(t.is_locked(&1) && !t.is_held(&1));
            }
            assert_eq!(t.len(), 1);
        });
        drop(handle);
        assert!(t.is_empty() && free(&t, 1), "{bad:?}");
        // A wait that ends with the lock.
        let result = wait_and_get(&t, &began, |t| t.lock(&1).depth());
        assert_eq!(result.is_ok(), bad == Event::TimedOut(1), "{bad:?}");
        assert!(t.is_empty() && free(&t, 1), "{bad:?}");
    }
    t.set_observer(None);
    drop(t.lock(&1));
}

#[test]
fn an_observer_may_use_the_table_and_the_same_key() {
    // I9
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let calls = Arc::new(AtomicUsize::new(0));
    let table = Arc::downgrade(&t);
    let (count, called) = (began.clone(), calls.clone());
    observe(&t, move |event| {
        let t = table.upgrade().unwrap();
        calls_on(&t, event, &count);
        called.fetch_add(1, SeqCst);
    });
    fn calls_on(t: &Arc<LockTable<u64>>, event: Event<u64>, count: &AtomicUsize) {
        let other = t.lock(&2);
        assert!(!format!("{t:?}").is_empty() && t.len() >= 2);
        t.shrink_to_fit();
        match event {
            Event::Began(k) => {
                count.fetch_add(1, SeqCst);
                assert!(t.is_locked(&k) || t.handle(&k).try_lock().is_some());
                let _ = t.try_lock(&k);
                // A wait of its own: it is not told of it.
                let _ = t.try_lock_for(&k, SOON);
            }
            Event::Ended(k) => {
                assert!(t.is_held(&k));
                assert_eq!((t.lock(&k).depth(), t.handle(&k).lock().depth()), (2, 3));
            }
            Event::TimedOut(k) => {
                assert!(!t.is_held(&k));
                assert!(t.try_lock(&k).is_none());
            }
        }
        drop(other);
    }
    while_held(&t, &1, || assert!(t.try_lock_for(&1, SOON).is_none()));
    assert_eq!((began.load(SeqCst), calls.load(SeqCst)), (1, 2));
    assert_eq!(wait_and_get(&t, &began, |t| t.lock(&1).depth()).unwrap(), 1);
    assert_eq!((began.load(SeqCst), calls.load(SeqCst)), (2, 4));
    t.set_observer(None);
    assert!(t.is_empty() && free(&t, 1) && free(&t, 2));
}

#[test]
fn an_observer_may_take_the_very_lock_whose_wait_begins() {
    // I3, I6: it waits in the observer, unreported; the wait proper then ends at once.
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let (table, count) = (Arc::downgrade(&t), began.clone());
    observe(&t, move |event| {
        if event == Event::Began(1) {
            count.fetch_add(1, SeqCst);
            let t: Arc<LockTable<u64>> = table.upgrade().unwrap();
            assert_eq!(t.lock(&1).depth(), 1);
        }
    });
    assert_eq!(wait_and_get(&t, &began, |t| t.lock(&1).depth()).unwrap(), 1);
    assert_eq!(began.load(SeqCst), 1, "its own wait is not reported");
    t.set_observer(None);
    assert!(t.is_empty());
}

#[test]
fn an_observer_may_keep_the_lock_whose_wait_begins() {
    // I3: the thread holds the key when the observer returns, so it must not wait for itself.
    thread_local!(static KEPT: RefCell<Vec<OwnedKeyGuard<u64>>> = const { RefCell::new(Vec::new()) });
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let (table, count): (Weak<LockTable<u64>>, _) = (Arc::downgrade(&t), began.clone());
    observe(&t, move |event| {
        if event == Event::Began(1) {
            count.fetch_add(1, SeqCst);
            let guard = table.upgrade().unwrap().lock_owned(&1);
            KEPT.with_borrow_mut(|k| k.push(guard));
        }
    });
    #[allow(clippy::type_complexity)]
    let ways: [fn(&LockTable<u64>) -> Option<usize>; 2] = [
        |t| {
            t.try_lock_for(&1, Duration::from_secs(5))
                .map(|g| g.depth())
        },
        |t| {
            let h = t.handle(&1);
            h.try_lock_for(Duration::from_secs(5)).map(|g| g.depth())
        },
    ];
    for way in ways {
        let depth = wait_and_get(&t, &began, |t| {
            let depth = way(t);
            assert!(t.is_held(&1), "kept");
            KEPT.take();
            assert!(!t.is_held(&1));
            depth
        });
        assert_eq!(depth.unwrap(), Some(2));
        assert!(t.is_empty());
    }
    t.set_observer(None);
}

#[test]
fn a_key_guard_may_be_dropped_by_the_observer_of_a_wait() {
    // I9: the wait for one key gives back another one.
    thread_local!(static KEPT: RefCell<Vec<OwnedKeyGuard<u64>>> = const { RefCell::new(Vec::new()) });
    let t = Arc::new(LockTable::<u64>::new());
    let began = Arc::new(AtomicUsize::new(0));
    let count = began.clone();
    observe(&t, move |_| {
        count.fetch_add(1, SeqCst);
        KEPT.take();
    });
    let depth = wait_and_get(&t, &began, |_| {
        KEPT.with_borrow_mut(|k| k.push(t.lock_owned(&2)));
        let guard = t.lock(&1);
        assert!(!t.is_held(&2) && free(&t, 2));
        guard.depth()
    });
    assert_eq!(depth.unwrap(), 1);
    t.set_observer(None);
}

#[test]
fn contention_counts_waits_and_their_length() {
    let t = LockTable::<u64>::new();
    let c = Arc::new(Contention::new());
    t.set_observer(Some(c.clone()));
    for k in 0..100 {
        drop(t.lock(&k));
    }
    assert_eq!((c.waits(), c.acquired(), c.timed_out()), (0, 0, 0));
    assert_eq!((c.quantile(0.5), c.longest()), (None, Duration::ZERO));
    while_held(&t, &1, || {
        for n in 1..=3 {
            assert!(t.try_lock_for(&1, SOON).is_none());
            assert_eq!((c.waits(), c.acquired(), c.timed_out()), (n, 0, n));
        }
    });
    // It waited for as long as it was told to, at least: a property of the clock, not of the speed.
    assert!(c.longest() >= SOON && c.total() >= 3 * SOON);
    std::thread::scope(|s| {
        let guard = t.lock(&2);
        let waiter = s.spawn(|| drop(t.lock(&2)));
        eventually("the wait begins", || c.waits() == 4);
        drop(guard);
        waiter.join().unwrap();
    });
    assert_eq!((c.waits(), c.acquired(), c.timed_out()), (4, 1, 3));
    let histogram = c.histogram();
    assert_eq!(histogram.iter().sum::<u64>(), 4);
    assert!(
        histogram[SOON.as_nanos().ilog2() as usize..]
            .iter()
            .sum::<u64>()
            >= 3
    );
    assert_eq!(c.quantile(1.0), Some(c.longest()));
    assert!(c.total() >= c.longest());
    let text = format!("{c:?}");
    assert!(
        text.contains("waits: 4") && text.contains("timed_out: 3"),
        "{text}"
    );
}
