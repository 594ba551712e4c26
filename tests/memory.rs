//! Memory (I5, I7, I8), with an allocator that counts (`common/heap.rs`).
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]
// A weak handle without a table of its own has no destructor today; the tests do not rely on that.
#![allow(clippy::drop_non_drop, clippy::forget_non_drop)]

mod common;
#[path = "common/heap.rs"]
mod heap;

use common::{elsewhere, eventually, while_held, Events, OneHash};
use heap::*;
use perkey::{LockTable, ReentrantLock};
use std::borrow::Borrow;
use std::hash::Hash;
use std::mem::forget;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Duration;

/// A key that counts its drops by number.
#[derive(Clone)]
struct Tracked {
    n: u64,
    drops: Arc<Vec<AtomicU32>>,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Ok(n) = usize::try_from(self.n) {
            self.drops[n].fetch_add(1, SeqCst);
        }
    }
}

impl Hash for Tracked {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        h.write_u64(self.n);
    }
}

impl PartialEq for Tracked {
    fn eq(&self, other: &Self) -> bool {
        self.n == other.n
    }
}

impl Eq for Tracked {}

impl Borrow<u64> for Tracked {
    fn borrow(&self) -> &u64 {
        &self.n
    }
}

// ---- the uncontended path ---------------------------------------------------------------------------------------

#[test]
fn nothing_is_allocated_for_a_key_on_the_uncontended_path() {
    // I8
    let _alone = alone();
    let t = LockTable::<u64>::new();
    assert_eq!(
        allocations(|| drop(t.lock(&0))),
        0,
        "not even for the first"
    );
    let n = scaled(1_000_000, 100_000);
    let all = allocations(|| {
        for k in 0..n {
            let guard = t.lock(&k); // never repeated
            let again = t.lock(&k);
            let other = t.try_lock(&(k + n)).unwrap();
            let handle = t.handle(&k);
            drop((handle.lock(), handle.clone()));
            assert!(t.is_held(&k) && !t.is_locked(&(k + 2 * n)));
            drop((again, guard, other));
        }
        drop(t.try_lock_for(&1, Duration::from_secs(1)));
    });
    assert_eq!((all, t.len()), (0, 0));
    let lock = ReentrantLock::new(0u64);
    assert_eq!(
        allocations(|| drop((lock.lock(), lock.lock(), lock.try_lock()))),
        0
    );
}

#[test]
fn string_keys_of_one_length_are_taken_over_without_an_allocation() {
    // I8: `clone_into` uses the idle key's buffer again.
    let _alone = alone();
    let t = LockTable::<String>::new();
    let names: Vec<String> = (0..10_000).map(|n| format!("key number {n:06}")).collect();
    for name in &names {
        drop(t.lock(name.as_str())); // fills every slot
    }
    let all = allocations(|| {
        for name in &names {
            let guard = t.lock(name.as_str());
            assert!(guard.key() == name && t.is_held(name.as_str()));
        }
    });
    assert_eq!(all, 0);
    // And a held one is found without building a key.
    let _guard = t.lock("resident");
    assert_eq!(
        allocations(|| drop((t.lock("resident"), t.handle("resident")))),
        0
    );
}

// ---- bounded memory ---------------------------------------------------------------------------------------------

/// Locks `n` distinct keys on four threads and returns the live heap at the end, the table included.
fn heap_after<K>(n: u64, key: impl Fn(u64, &mut String) + Sync) -> isize
where
    K: Hash + Eq + Borrow<str> + Send + Sync,
    str: ToOwned<Owned = K>,
{
    let before = live();
    let table = LockTable::<K>::new();
    on_four_threads(|part| {
        let mut name = String::new();
        for k in (part..n).step_by(4) {
            key(k, &mut name);
            drop(table.lock(name.as_str()));
        }
    });
    let after = live() - before;
    assert!(table.is_empty());
    after
}

#[test]
fn twenty_million_keys_leave_no_more_behind_than_a_thousand() {
    // I8: live heap at the end within 64 KiB.
    let _alone = alone();
    let n = scaled(20_000_000, 400_000);
    let numbers = |n: u64| {
        let before = live();
        let table = LockTable::<u64>::new();
        on_four_threads(|part| (part..n).step_by(4).for_each(|k| drop(table.lock(&k))));
        assert!(table.is_empty());
        live() - before
    };
    let (few, many) = (numbers(1000), numbers(n));
    println!("u64: {few} bytes after 1,000 keys, {many} after {n}");
    assert!((many - few).abs() <= 64 * KIB, "{few} and {many}");

    let n = n / 10;
    let key = |k: u64, name: &mut String| {
        use std::fmt::Write;
        name.clear();
        write!(name, "a key with heap memory of its own, number {k:010}").unwrap();
    };
    let (few, many) = (
        heap_after::<String>(1000, key),
        heap_after::<String>(n, key),
    );
    println!("String: {few} bytes after 1,000 keys, {many} after {n}");
    assert!((many - few).abs() <= 64 * KIB, "{few} and {many}");
}

#[test]
fn memory_comes_back_after_more_keys_at_once_than_slots() {
    // I8; by one thread, and by four that come and go.
    let _alone = alone();
    let n = scaled(20_000, 3_000);
    let t = LockTable::<u64>::new();
    // A table that has grown keeps one more array as large as its first one.
    drop((0..n).map(|k| t.lock(&k)).collect::<Vec<_>>());
    let before = settle(&t, 0);
    for round in 0..3 {
        let guards: Vec<_> = (0..n).map(|k| t.lock(&k)).collect();
        assert_eq!(t.len() as u64, n);
        let peak = live() - before;
        assert!(
            peak / 32 > isize::try_from(n).unwrap(),
            "{n} keys in {peak} bytes?"
        );
        drop(guards);
        assert!(t.is_empty());
        let left = settle(&t, before + NOISE) - before;
        println!("round {round}: {peak} bytes at the peak, {left} left");
        assert!(left <= NOISE, "{left} bytes left of {peak}");
    }
    for _ in 0..3 {
        on_four_threads(|part| {
            let guards: Vec<_> = (part..n).step_by(4).map(|k| t.lock(&k)).collect();
            drop(guards);
        });
    }
    assert!(t.is_empty());
    let left = settle(&t, before + NOISE) - before;
    // The threads' own epoch records (a few hundred bytes each) are used again, not freed.
    assert!(left <= 16 * KIB, "{left} bytes left");
}

/// I8: memory comes back with nothing but ordinary use.
#[test]
fn memory_comes_back_by_ordinary_use_without_shrinking() {
    // I8: the epoch moves on with the pins of ordinary operations.
    let _alone = alone();
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let _six: Vec<_> = (0..6u64).map(|k| t.lock(&k)).collect();
    let before = live();
    let guards: Vec<_> = (10..2000).map(|k| t.lock(&k)).collect();
    let peak = live() - before;
    drop(guards);
    for k in 0..3000 {
        drop(t.lock(&k));
    }
    let left = live() - before;
    assert!(
        left < peak / 4 && left < 64 * KIB,
        "{left} bytes left of {peak}"
    );
}

/// I8: one node at most stays in a chain when its keys are gone, and no longer than until it is noticed.
#[test]
fn a_free_node_goes_when_there_is_room_in_the_slots() {
    let _alone = alone();
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let told = || format!("{t:?}");
    drop((0..9u64).map(|k| t.lock(&k)).collect::<Vec<_>>());
    assert!(told().contains("overflow: 1,"), "{t:?}");
    for k in 10..100 {
        drop(t.lock(&k));
    }
    assert!(told().contains("overflow: 0,"), "{t:?}");
}

/// I8.
#[test]
fn a_bucket_that_stays_full_allocates_no_node_for_each_key() {
    let _alone = alone();
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let _full: Vec<_> = (0..9u64).map(|k| t.lock(&k)).collect();
    drop(t.lock(&9));
    assert_eq!(allocations(|| (10..1000).for_each(|k| drop(t.lock(&k)))), 0);
}

#[test]
fn strings_beyond_the_slots_are_freed_with_their_entries() {
    // I5, I8: a key in the overflow chain is dropped at once when its life ends, not when the epoch moves.
    let _alone = alone();
    let t = LockTable::<String, _>::with_capacity_and_hasher(1, OneHash);
    let held: Vec<_> = (0..6).map(|k| t.lock(&format!("{k}"))).collect();
    let before = live();
    let big = "x".repeat(1 << 20);
    let guard = t.lock(big.as_str());
    assert!(live() - before > 3 << 19, "it has both"); // not to the byte: the epoch frees for others meanwhile
    drop((guard, big));
    assert!(live() - before < 64 * KIB);
    drop(held);
}

/// I5.
#[test]
fn shrink_to_fit_gives_an_idle_keys_memory_back() {
    // I8: an idle key keeps its buffer until then.
    let _alone = alone();
    let t = LockTable::<String>::new();
    let big = "x".repeat(1 << 20);
    let before = live();
    drop(t.lock(big.as_str()));
    assert!(
        live() - before > 1 << 19, // all of it or nothing; not to the byte, as the epoch frees for others meanwhile
        "kept for the next key in its place"
    );
    t.shrink_to_fit();
    assert!(live() - before < NOISE);
}

// ---- the end of a table -----------------------------------------------------------------------------------------

/// I5.
#[test]
fn a_dropped_table_drops_every_key_once_and_leaks_nothing() {
    // I5, I7, I8: idle, held, forgotten, in slots and beyond, on four threads.
    let _alone = alone();
    elsewhere(|| {
        // The first pin of a thread makes a record that stays with the epoch: not ours.
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        drop((0..9u64).map(|k| t.lock(&k)).collect::<Vec<_>>());
    });
    let before = live();
    let keys = 4000u64;
    let made = Arc::new((0..keys).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
    let drops = Arc::new((0..keys).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
    {
        let table = LockTable::<Tracked>::new();
        std::thread::scope(|s| {
            for part in 0..4u64 {
                let (table, made, drops) = (&table, &made, &drops);
                s.spawn(move || {
                    let lock = |n: u64| {
                        table
                            .lock_with(&n, |n| {
                                made[usize::try_from(*n).unwrap()].fetch_add(1, SeqCst);
                                Tracked {
                                    n: *n,
                                    drops: drops.clone(),
                                }
                            })
                            .unwrap()
                    };
                    let mut kept = Vec::new();
                    for n in (part..keys).step_by(4) {
                        match n / 4 % 4 {
                            0 => drop(lock(n)),
                            1 => kept.push(lock(n)),
                            2 => forget(lock(n)),
                            _ => {
                                let guard = lock(n);
                                forget(table.handle(guard.key()));
                            }
                        }
                    }
                    drop(kept);
                });
            }
        });
        assert_eq!(
            table.len(),
            2000,
            "a quarter has a forgotten guard, a quarter a forgotten handle"
        );
    }
    for n in 0..usize::try_from(keys).unwrap() {
        // `handle` clones the key to ask for it only if an entry has to be made: never here.
        assert_eq!(drops[n].load(SeqCst), made[n].load(SeqCst), "key {n}");
        assert!(made[n].load(SeqCst) >= 1);
    }
    drop((made, drops));
    let other = LockTable::<u64>::new();
    let left = settle(&other, before + NOISE) - before;
    drop(other);
    assert!(left <= 32 * KIB, "{left} bytes left");
}

#[test]
fn a_timed_out_waiter_leaves_nothing() {
    // I5, trap 8: neither an entry nor a place in the queue.
    let _alone = alone();
    for overflow in [0, 9] {
        let t = LockTable::with_capacity_and_hasher(1, OneHash);
        let _others: Vec<_> = (100..100 + overflow).map(|k| t.handle(&k)).collect();
        let alive = t.len();
        while_held(&t, &1u64, || {
            let wait = || assert!(t.try_lock_for(&1, Duration::from_micros(20)).is_none());
            (0..20).for_each(|_| wait()); // makes the queue, once
            let before = live();
            (0..1000).for_each(|_| wait());
            let h = t.handle(&1);
            (0..1000).for_each(|_| assert!(h.try_lock_for(Duration::ZERO).is_none()));
            let left = live() - before;
            assert!(left <= NOISE, "{left} bytes after 2,000 waits in vain");
        });
        assert_eq!(t.len(), alive);
        assert!(!t.is_locked(&1));
    }
}

#[test]
fn a_forgotten_weak_handle_keeps_nothing_allocated() {
    // I8
    let _alone = alone();
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let _six: Vec<_> = (0..6u64).map(|k| t.lock(&k)).collect();
    drop(t.handle(&10).downgrade());
    // The least of a few rounds counts: a leak shows in each; what the harness and the epoch keep for a thread that begins or ends does not.
    let left = (0..8).map(|_| {
        let mut base = settle(&t, 0);
        base = base.min(settle(&t, base));
        for k in 10..3000 {
            forget(t.handle(&k).downgrade()); // beyond the slots: an allocation each, if it stayed
        }
        for k in 0..3000 {
            drop(t.lock(&k));
        }
        settle(&t, base + NOISE) - base
    });
    let left = left.min().expect("eight rounds");
    assert!(
        left <= NOISE,
        "{left} bytes after 2,990 forgotten weak handles"
    );

    // In a slot: the queue that a weak handle makes stays with the slot, one for each at most, until it shrinks.
    let t = LockTable::<u64>::with_capacity(0);
    let base = live();
    for k in 0..3000 {
        forget(t.handle(&k).downgrade());
    }
    // What the epoch has in hand for others (bags of two KiB) comes and goes meanwhile.
    let left = settle(&t, base + NOISE) - base;
    assert!(
        left <= NOISE,
        "{left} bytes after 3,000 forgotten weak handles"
    );

    // An owned one keeps the table's own struct, as any `Weak` does, and nothing of what is in it. The least of a few rounds
    // counts: a leak shows in each, the harness's own bytes do not.
    let left = (0..8).map(|_| {
        let base = live();
        let t = Arc::new(LockTable::<u64>::new());
        forget(t.handle_owned(&1).downgrade());
        drop(t);
        live() - base
    });
    let left = left.min().expect("eight rounds");
    assert!(left < 1024, "{left} bytes left of a table of 8 KiB");
}

#[test]
fn an_empty_table_takes_at_most_8_kib_whatever_its_keys() {
    // I8. A key of which fewer than six fit gets one bucket.
    fn takes<K>() -> isize {
        let rounds = (0..8).map(|_| {
            let base = live();
            let t = LockTable::<K>::new();
            let takes = live() - base;
            drop(t);
            takes
        });
        rounds.min().expect("eight rounds")
    }
    let _alone = alone();
    for (key, takes) in [
        ("()", takes::<()>()),
        ("u64", takes::<u64>()),
        ("u128", takes::<u128>()),
        ("String", takes::<String>()),
        ("[u8; 32]", takes::<[u8; 32]>()),
        ("[u8; 256]", takes::<[u8; 256]>()),
        ("[u8; 1024]", takes::<[u8; 1024]>()),
    ] {
        assert!((1..=8 << 10).contains(&takes), "{takes} bytes for {key}");
    }
    let large = takes::<[u8; 4096]>();
    assert!(large < 7 * 4200, "{large} bytes for one bucket of six");
}

#[test]
fn waiting_leaves_no_memory_behind() {
    // I8: queues belong to slots; those beyond the slots go with their entries.
    let _alone = alone();
    let t = LockTable::<u64>::with_capacity(0);
    let events = Arc::new(Events::<u64>::default());
    let begun = |n: usize| {
        t.set_observer(Some(events.clone()));
        let before = events.began();
        std::thread::scope(|s| {
            let guards: Vec<_> = (0..20).map(|k| t.lock(&k)).collect();
            let waiters: Vec<_> = (0..4)
                .map(|i| {
                    let t = &t;
                    s.spawn(move || {
                        (0..20)
                            .filter(|k| k % 4 == i)
                            .for_each(|k| drop(t.lock(&k)));
                    })
                })
                .collect();
            events.until_began(before + 4);
            drop(guards);
            for w in waiters {
                w.join().unwrap();
            }
        });
        t.set_observer(None);
        assert!(t.is_empty(), "round {n}");
    };
    begun(0);
    let base = settle(&t, 0);
    for n in 1..30 {
        begun(n);
    }
    let left = settle(&t, base + NOISE) - base;
    // The events themselves are kept by the observer: sixteen bytes each.
    let kept = isize::try_from(events.all().capacity() * 16).unwrap();
    assert!(
        left <= kept + 16 * KIB,
        "{left} bytes left, {kept} of them events"
    );
}

// ---- the epoch --------------------------------------------------------------------------------------------------

#[test]
fn trap_14_a_held_guard_does_not_hold_back_the_memory_of_others() {
    // Trap 14, I8: neither who holds a guard nor who waits is pinned.
    let _alone = alone();
    let t = LockTable::with_capacity_and_hasher(1, common::PlainHash);
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    let n = scaled(10_000_000, 300_000);
    let (done, worst) = (AtomicBool::new(false), AtomicIsize::new(0));
    std::thread::scope(|s| {
        // All slots of the one bucket are taken: every other key is a node that is retired.
        let guards: Vec<_> = (0..6u64).map(|k| t.lock(&k)).collect();
        let chained = t.lock(&6); // a guard in the chain, too
        let waiter = s.spawn(|| t.lock(&6).depth());
        events.until_began(1);
        let before = live();
        // One worker: two could hold back each other's memory by losing the processor while they are pinned.
        let worker = s.spawn(|| (10..10 + n).for_each(|k| drop(t.lock(&k))));
        let (done, worst) = (&done, &worst);
        s.spawn(move || {
            while !done.load(SeqCst) {
                worst.fetch_max(live() - before, SeqCst);
                std::thread::yield_now();
            }
        });
        worker.join().unwrap();
        done.store(true, SeqCst);
        assert!(!waiter.is_finished() && guards.len() == 6);
        drop(chained);
        assert_eq!(waiter.join().unwrap(), 1);
    });
    let worst = worst.into_inner();
    println!("{n} entries made and retired beside held guards: at most {worst} bytes more");
    assert!(worst < 1024 * KIB, "{worst} bytes");
}

#[test]
fn a_parked_waiter_is_not_pinned() {
    // Trap 14, beside the above: with nobody else pinned, all that was retired is freed.
    let _alone = alone();
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    let events = Arc::new(Events::default());
    t.set_observer(Some(events.clone()));
    std::thread::scope(|s| {
        let guards: Vec<_> = (0..8u64).map(|k| t.lock(&k)).collect();
        let waiter = s.spawn(|| t.lock(&7).depth());
        events.until_began(1);
        drop((10..100).map(|k| t.lock(&k)).collect::<Vec<_>>());
        let before = settle(&t, 0);
        drop((10..2000).map(|k| t.lock(&k)).collect::<Vec<_>>());
        eventually("the memory comes back", || {
            settle(&t, before + NOISE) <= before + NOISE
        });
        drop(guards);
        assert_eq!(waiter.join().unwrap(), 1);
    });
}
