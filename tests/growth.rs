//! Growth and shrinking with real threads: from one key to a million and back (I2, I7, I8).
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::OneHash;
use heap::{alone, live, KIB};
use perkey::{KeyGuard, LockTable};
use std::cell::UnsafeCell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

const MIB: isize = 1024 * KIB;

/// Keys alive at once: a million, or fewer where nothing is optimised.
const MANY: u64 = if cfg!(debug_assertions) {
    100_000
} else {
    1_000_000
};

/// Bytes more than `before`, if it is more.
fn more_than(before: isize) -> isize {
    (live() - before).max(0)
}

/// Holds these keys.
fn hold<S: BuildHasher>(
    table: &LockTable<u64, S>,
    keys: std::ops::Range<u64>,
) -> Vec<KeyGuard<'_, u64>> {
    let mut guards = Vec::with_capacity((keys.end - keys.start) as usize);
    guards.extend(keys.map(|k| table.lock(&k)));
    guards
}

/// Is the key refused to another thread?
fn refused(table: &LockTable<u64>, keys: impl Iterator<Item = u64> + Send) -> bool {
    thread::scope(|s| {
        s.spawn(|| keys.into_iter().all(|k| table.try_lock(&k).is_none()))
            .join()
            .unwrap()
    })
}

/// Ordinary use: other keys, one after the other.
fn pass_by(table: &LockTable<u64>, keys: u64) {
    (0..keys).for_each(|k| drop(table.lock(&(u64::MAX - k))));
}

#[test]
fn an_empty_table_takes_at_most_8_kib() {
    let _alone = alone();
    drop(LockTable::<u64>::new().lock(&1)); // what a thread sets up once
                                            // The least of a few rounds counts: what the harness allocates for threads that begin meanwhile is not a table's.
    let rounds = (0..8).map(|_| {
        let before = live();
        let tables: Vec<LockTable<u64>> = (0..1000).map(|_| LockTable::new()).collect();
        let each = (live() - before) / 1000 - heap::signed(size_of::<LockTable<u64>>());
        drop(tables);
        (each, more_than(before))
    });
    let (each, left) = rounds.min().expect("eight rounds");
    assert!(
        each <= 8 * KIB,
        "{each} bytes for a table with nothing in it"
    );
    assert!(left <= 4 * KIB, "{left} bytes left of a thousand");
}

#[test]
fn a_million_keys_at_once_are_each_held_and_cost_at_most_112_bytes() {
    let _alone = alone();
    let before = live();
    let table = LockTable::new();
    let guards = hold(&table, 0..MANY);
    let ours = guards.capacity() * size_of::<KeyGuard<'_, u64>>();
    let bytes = live() - before - heap::signed(ours);
    let each = bytes as f64 / MANY as f64;
    println!("{each:.1} bytes a key");
    assert!(each <= 112.0, "{each:.1} bytes a key");
    assert_eq!(table.len() as u64, MANY);
    assert!(refused(&table, (0..MANY).step_by(997)));
    assert!((0..MANY).step_by(997).all(|k| table.is_held(&k)));
    assert!(!table.is_locked(&MANY));
    drop(guards);
    assert!(table.is_empty());
    assert!(!refused(&table, 0..1));
}

#[test]
fn the_memory_of_a_million_keys_comes_back_at_once_by_shrinking() {
    let _alone = alone();
    let table = LockTable::new();
    drop(hold(&table, 0..100)); // what a thread sets up once
    let before = live();
    drop(hold(&table, 0..MANY));
    let full = live();
    // A bounded number of times: the epoch frees what all pins of its moment are gone for.
    for _ in 0..100 {
        table.shrink_to_fit();
    }
    let left = more_than(before);
    println!("{} KiB of {} left", left / KIB, (full - before) / KIB);
    assert!(left <= 64 * KIB, "{left} bytes are left");
    assert_eq!(hold(&table, 0..100).len(), table.len());
}

#[test]
fn the_memory_of_a_million_keys_comes_back_by_ordinary_use() {
    let _alone = alone();
    let table = LockTable::new();
    drop(hold(&table, 0..100));
    let before = live();
    drop(hold(&table, 0..MANY));
    let mut passed = 0;
    while live() > before + 64 * KIB && passed < 40 * MANY {
        pass_by(&table, 10_000);
        passed += 10_000;
    }
    println!(
        "{passed} operations later {} KiB are left",
        more_than(before) / KIB
    );
    assert!(
        live() <= before + 64 * KIB,
        "{} bytes are left after {passed} operations",
        live() - before
    );
}

#[test]
fn keys_that_stay_are_found_while_others_come_and_go_by_the_thousand() {
    let _alone = alone();
    let table = LockTable::new();
    let stay: Vec<_> = (0..1000).map(|k| table.lock(&(k * 1_000_003))).collect();
    let handles: Vec<_> = (0..1000)
        .map(|k| table.handle(&(k * 1_000_003 + 1)))
        .collect();
    for round in 1..=4 {
        let many = hold(&table, 2_000_000_000..2_000_000_000 + round * MANY / 20);
        assert!(refused(
            &table,
            stay.iter()
                .map(|g| *g.key())
                .collect::<Vec<_>>()
                .into_iter()
        ));
        assert!(handles.iter().all(|h| h.try_lock().is_some()));
        drop(many);
        pass_by(&table, MANY / 20);
        assert_eq!(table.len(), stay.len() + handles.len());
    }
    // The same lock for a handle and for whoever asks the table.
    for handle in &handles {
        let guard = table.lock(handle.key());
        assert_eq!(handle.lock().depth(), 2);
        drop(guard);
    }
    assert!(stay.iter().all(|g| table.lock(g.key()).depth() == 2));
}

/// A few keys stay in the large segments of a table that has shrunk: they are found behind the small one that is in front.
#[test]
fn keys_that_stay_are_found_behind_a_smaller_segment() {
    let _alone = alone();
    const HELD: u64 = 20_000;
    let table = LockTable::new();
    let mut guards = hold(&table, 0..HELD);
    let large = table.capacity();
    guards.retain(|guard| guard.key() % 400 == 0);
    table.shrink_to_fit();
    let stay = || (0..HELD).step_by(400);
    // Other keys first, so that something is written down of what is behind the new buckets.
    pass_by(&table, 5_000);
    assert!(refused(&table, stay()));
    assert!(stay().all(|key| table.lock(&key).depth() == 2));
    let mut more = hold(&table, HELD..3 * HELD);
    assert!(refused(&table, stay().chain(HELD..3 * HELD)));
    more.clear();
    guards.clear();
    assert_eq!(table.len(), 0);
    table.shrink_to_fit();
    table.shrink_to_fit();
    assert!(table.capacity() < large);
}

#[test]
fn a_weak_handle_knows_its_life_across_growth() {
    let _alone = alone();
    let table = LockTable::new();
    let strong = table.handle(&1);
    let weak = strong.downgrade();
    let many = hold(&table, 1000..1000 + MANY / 50);
    assert!(weak.upgrade().is_some_and(|h| *h.key() == 1));
    drop(strong);
    assert!(weak.upgrade().is_none());
    let again = table.handle(&1);
    assert!(weak.upgrade().is_none(), "a new life, in a newer array");
    drop((again, many));
}

/// Runs `f` while a thread is stopped, pinned.
fn while_pinned(f: impl FnOnce()) {
    let (pinned, done) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|s| {
        s.spawn(|| {
            let _pin = crossbeam_epoch::pin();
            pinned.store(true, Relaxed);
            while !done.load(Relaxed) {
                thread::yield_now();
            }
        });
        while !pinned.load(Relaxed) {
            thread::yield_now();
        }
        f();
        done.store(true, Relaxed);
    });
}

/// I8: what leaves a chain cannot be freed meanwhile; it is used again, however often the table is told to shrink.
#[test]
fn a_thread_that_is_stopped_while_pinned_costs_no_node_for_each_key_of_a_chain() {
    let _alone = alone();
    let table = LockTable::with_capacity_and_hasher(1, OneHash);
    let full = hold(&table, 0..6);
    let (mut first, mut later) = (0, 0);
    while_pinned(|| {
        for (keys, more) in [(0..10_000, &mut first), (10_000..MANY / 2, &mut later)] {
            let before = live();
            for k in keys {
                drop(hold(&table, 10 + 2 * k..12 + 2 * k));
                if k % 64 == 0 {
                    table.shrink_to_fit();
                }
            }
            *more = more_than(before);
        }
    });
    println!("bytes after ten thousand rounds: {first}, more after {MANY}: {later}");
    assert!(first <= MIB && later <= 64 * KIB, "{first} and {later}");
    let before = live();
    settle_down(&table);
    let back = before - live();
    assert!(back > first / 2, "only {back} bytes of {first} came back");
    assert!(!full.is_empty() && table.len() == 6);
}

/// Fills and empties a table again and again while a thread is stopped, pinned.
fn fill_while_pinned(empty: impl Fn(&LockTable<u64>)) {
    let _alone = alone();
    let table = LockTable::new();
    let mut more = Vec::new();
    while_pinned(|| {
        for _ in 0..8 {
            let before = live();
            drop(hold(&table, 0..MANY / 10));
            empty(&table);
            more.push(more_than(before));
        }
    });
    println!("more bytes after each round: {more:?}");
    // The first rounds leave arrays that wait for the pin; the table then stays as it is until they can be freed.
    let later: isize = more[4..].iter().sum();
    assert!(
        later <= MIB,
        "still {later} bytes more in the last four rounds: {more:?}"
    );
    settle_down(&table);
    assert!(table.capacity() <= 2 * LockTable::<u64>::new().capacity());
}

/// I8.
#[test]
fn a_thread_that_is_stopped_while_pinned_costs_bounded_memory() {
    fill_while_pinned(|table| pass_by(table, MANY));
}

/// I8: nor does shrinking, on and on, cost an array each time.
#[test]
fn a_thread_that_is_stopped_while_pinned_costs_no_array_for_each_time_a_table_is_told_to_shrink() {
    fill_while_pinned(LockTable::shrink_to_fit);
}

/// I8: when that thread goes on, they go with their segment.
#[test]
fn nodes_that_were_left_free_do_not_keep_a_segment() {
    let _alone = alone();
    let table = LockTable::with_capacity_and_hasher(1, OneHash);
    let before = live();
    while_pinned(|| {
        let full = hold(&table, 0..6);
        (10..10_000).for_each(|k| drop(hold(&table, k..k + 1)));
        drop(full);
        drop(hold(&table, 0..200)); // a crowd: the table grows, and the chains of all its arrays have nodes
        drop(hold(&table, 200..400));
    });
    let grown = table.capacity();
    settle_down(&table);
    let left = more_than(before);
    let shrunk = table.capacity();
    assert!(grown > 12 && shrunk <= 12, "from {grown} to {shrunk}");
    assert!(left <= 32 * KIB, "{left} bytes left");
}

/// Shrinks until the epoch has freed what can be freed.
fn settle_down<S>(table: &LockTable<u64, S>) {
    for _ in 0..100 {
        table.shrink_to_fit();
    }
}

/// What a key guards, without any synchronisation of its own.
struct Cells(Vec<UnsafeCell<u64>>);
// SAFETY: a cell is touched by who holds its key only: that is what is tested.
unsafe impl Sync for Cells {}

impl Cells {
    /// # Safety
    /// The caller holds the key.
    unsafe fn add(&self, key: u64) {
        // SAFETY: promised by the caller.
        unsafe { *self.0[key as usize].get() += 1 };
    }
}

#[test]
fn no_update_is_lost_while_the_table_grows_and_shrinks() {
    let _alone = alone();
    let keys = MANY / 50;
    let table: LockTable<u64> = LockTable::new();
    let cells = Cells((0..keys).map(|_| UnsafeCell::new(0)).collect());
    let rounds = 6;
    let add = |k: u64| {
        let _guard = table.lock(&k);
        // SAFETY: held.
        unsafe { cells.add(k) };
    };
    thread::scope(|s| {
        for part in 0..4u64 {
            let (table, add) = (&table, &add);
            s.spawn(move || {
                for round in 0..rounds {
                    // All threads update all keys; each holds a quarter of others meanwhile, so that the table has to grow.
                    let from = keys * (10 + part);
                    let held = hold(table, from..from + keys);
                    (0..keys).for_each(|k| add((k * 7919 + part) % keys));
                    drop(held);
                    if (round + part) % 3 == 0 {
                        table.shrink_to_fit();
                    }
                }
            });
        }
    });
    assert!(table.is_empty());
    // SAFETY: nobody else is there.
    assert!(cells.0.iter().all(|c| unsafe { *c.get() } == 4 * rounds));
}

#[test]
fn one_hash_for_all_keys_does_not_make_the_table_grow_without_end() {
    #[derive(Default, Clone)]
    struct One;
    impl std::hash::BuildHasher for One {
        type Hasher = Same;
        fn build_hasher(&self) -> Same {
            Same
        }
    }
    struct Same;
    impl std::hash::Hasher for Same {
        fn finish(&self) -> u64 {
            42
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let _alone = alone();
    let table: LockTable<u64, One> = LockTable::with_hasher(One);
    let before = live();
    let guards: Vec<_> = (0..2000).map(|k| table.lock(&k)).collect();
    let bytes = live() - before;
    assert!(bytes < 2 * MIB, "{bytes} bytes for 2,000 keys of one hash");
    assert!(guards.iter().all(|g| g.depth() == 1) && table.len() == guards.len());
}
