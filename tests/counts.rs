//! What each operation does to memory when nobody is in its way: exact numbers, counted through the facade (`src/sync/count.rs`, which says
//! what is not seen). `RUSTFLAGS="--cfg perkey_count"`; the rows are those of the table in DESIGN.md.
//!
//! Columns: loads, stores, read-modify-writes, exchanges that failed, pins, cache lines written, cache lines only read. The keys are `u64`.
#![allow(clippy::pedantic)]
#![cfg(perkey_count)]

use perkey::count::{count, Count};
use perkey::{LockTable, ReentrantLock};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::forget;

/// Every key is its own hash.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are u64")
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Keys that are not 0, which is the hash of a slot that never had a key.
const KEYS: std::ops::Range<u64> = 1000..u64::MAX;

type Table = LockTable<u64, BuildHasherDefault<Same>>;

/// All memory begins at a line, so that the lines of a node, a segment or a table do not depend on what else was allocated.
struct AtLines;

// SAFETY: the system's allocator, asked for a larger alignment; the same one each time.
unsafe impl GlobalAlloc for AtLines {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout.align_to(64).unwrap()) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: allocated above.
        unsafe { System.dealloc(at, layout.align_to(64).unwrap()) }
    }
}

#[global_allocator]
static ALLOCATOR: AtLines = AtLines;

/// A table of one bucket: six slots.
fn one_bucket() -> Box<Table> {
    Box::new(Table::with_capacity_and_hasher(
        0,
        BuildHasherDefault::default(),
    ))
}

/// A table of 32 buckets.
fn table() -> Box<Table> {
    Box::new(Table::with_hasher(BuildHasherDefault::default()))
}

/// Where a table of 32 buckets has a key.
fn bucket(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59
}

/// The keys of one of 32 buckets.
fn of_bucket(at: u64) -> impl Iterator<Item = u64> {
    KEYS.filter(move |key| bucket(*key) == at)
}

/// A table of 32 buckets with so many keys alive.
fn crowded(keys: usize) -> (Box<Table>, usize) {
    let table = table();
    let before = table.capacity();
    for key in KEYS.take(keys) {
        // Each on a thread of its own: none does so much that it tends to the segments.
        std::thread::scope(|s| s.spawn(|| forget(table.handle(&key))).join()).unwrap();
    }
    let grown = table.capacity() - before;
    (table, grown)
}

/// A table that has grown: there is one segment, 300 keys are alive, and the first array is full.
fn grown() -> Box<Table> {
    let (table, more) = crowded(300);
    assert_eq!(more, 64 * 6, "one segment");
    table
}

/// Locks `key` on a thread that ends: from then on it is busy.
fn taken(table: &Table, key: u64) {
    std::thread::scope(|s| s.spawn(|| forget(table.lock(&key))).join()).unwrap();
}

/// What `f` did.
fn done<R>(f: impl FnOnce() -> R) -> Count {
    count(|| drop(f())).1
}

/// `f` does what the row says.
#[track_caller]
fn row<R>(expected: &str, f: impl FnOnce() -> R) {
    let n = done(f);
    let name = expected.split('|').nth(1).unwrap();
    let numbers = [
        n.loads,
        n.stores,
        n.exchanges,
        n.failed,
        n.pins,
        n.written.len(),
        n.read.len(),
    ];
    let numbers = numbers.map(|n| n.to_string()).join(" | ");
    assert_eq!(
        format!("|{name}| {numbers} |"),
        expected,
        "(operation | loads | stores | read-modify-writes | failed | pins | lines written | lines only read)"
    );
}

#[test]
fn a_reentrant_lock() {
    #[repr(align(64))]
    struct Aligned(ReentrantLock<u64>);
    let Aligned(lock) = &Aligned(ReentrantLock::new(1));
    row(
        "| `ReentrantLock`: lock, unlock | 4 | 2 | 2 | 0 | 0 | 1 | 0 |",
        || lock.lock(),
    );
    let _guard = lock.lock();
    row(
        "| `ReentrantLock`, held: lock, unlock | 3 | 2 | 0 | 0 | 0 | 1 | 0 |",
        || lock.lock(),
    );
}

#[test]
fn a_key_that_is_there() {
    let table = one_bucket();
    drop(table.lock(&1));
    row(
        "| resident key: lock, unlock | 11 | 2 | 3 | 0 | 0 | 1 | 1 |",
        || table.lock(&1),
    );
    row(
        "| resident key: `try_lock`, unlock | 11 | 2 | 3 | 0 | 0 | 1 | 1 |",
        || table.try_lock(&1),
    );
    row(
        "| resident key: `is_locked` | 9 | 0 | 2 | 0 | 0 | 1 | 1 |",
        || table.is_locked(&1),
    );
    row(
        "| resident key: `handle`, drop | 9 | 0 | 3 | 0 | 0 | 1 | 1 |",
        || table.handle(&1),
    );
    let handle = table.handle(&1);
    row(
        "| key with a handle: lock, unlock | 11 | 2 | 3 | 0 | 0 | 1 | 1 |",
        || table.lock(&1),
    );
    row(
        "| `KeyLock`: lock, unlock | 5 | 2 | 3 | 0 | 0 | 1 | 0 |",
        || handle.lock(),
    );
    row(
        "| `KeyLock`: clone, drop | 2 | 0 | 2 | 0 | 0 | 1 | 0 |",
        || handle.clone(),
    );
    let _guard = table.lock(&1);
    row(
        "| held key, taken last: lock, unlock | 2 | 2 | 0 | 0 | 0 | 1 | 0 |",
        || table.lock(&1),
    );
    drop(table.lock(&2));
    row(
        "| held key, not taken last: lock, unlock | 10 | 2 | 0 | 0 | 0 | 1 | 1 |",
        || table.lock(&1),
    );
}

#[test]
fn a_busy_key() {
    let table = one_bucket();
    taken(&table, 1);
    row(
        "| busy key: `try_lock` | 12 | 0 | 3 | 1 | 0 | 1 | 1 |",
        || table.try_lock(&1),
    );
    row(
        "| busy key: `is_locked` | 10 | 0 | 2 | 1 | 0 | 1 | 1 |",
        || table.is_locked(&1),
    );
}

#[test]
fn a_new_key() {
    let table = one_bucket();
    row(
        "| absent key: `is_locked` | 8 | 0 | 0 | 0 | 0 | 0 | 1 |",
        || table.is_locked(&1),
    );
    row(
        "| first key of a bucket: lock, unlock | 12 | 4 | 3 | 0 | 0 | 2 | 0 |",
        || table.lock(&1),
    );
    row(
        "| new key, free slot: lock, unlock | 13 | 4 | 3 | 0 | 0 | 2 | 1 |",
        || table.lock(&2),
    );
    (3..7).for_each(|k| drop(table.lock(&k)));
    row("| new key, idle slot in the line of the last one: lock, unlock | 13 | 4 | 3 | 0 | 0 | 2 | 0 |", || table.lock(&7));
    row(
        "| new key, idle slot: lock, unlock | 13 | 4 | 3 | 0 | 0 | 2 | 1 |",
        || table.lock(&8),
    );
    drop(table.lock(&9));
    row(
        "| new key, idle slot: `handle`, drop | 12 | 2 | 4 | 0 | 0 | 2 | 1 |",
        || table.handle(&10),
    );
    let handles: Vec<_> = (11..16).map(|k| table.handle(&k)).collect();
    forget(table.handle(&16));
    handles.into_iter().take(4).for_each(forget);
    row(
        "| new key, the last slot tried is idle: lock, unlock | 17 | 4 | 3 | 0 | 0 | 2 | 2 |",
        || table.lock(&17),
    );
}

#[test]
fn a_key_in_a_chain() {
    let table = one_bucket();
    (1..7).for_each(|k| forget(table.handle(&k)));
    row(
        "| new key, first of a chain: lock, unlock | 31 | 7 | 5 | 0 | 2 | 3 | 4 |",
        || table.lock(&7),
    );
    forget(table.handle(&8));
    row(
        "| key in a chain: lock, unlock | 14 | 2 | 3 | 1 | 1 | 1 | 1 |",
        || table.lock(&8),
    );
    row(
        "| new key, second of a chain: lock, unlock | 47 | 7 | 5 | 0 | 5 | 3 | 5 |",
        || table.lock(&9),
    );
    row(
        "| new key, free node of a chain: lock, unlock | 40 | 6 | 5 | 0 | 4 | 3 | 5 |",
        || table.lock(&10),
    );
}

#[test]
fn a_grown_table() {
    let table = grown();
    let mut keys = of_bucket(0).skip(600);
    let key = [keys.next().unwrap(), keys.next().unwrap()];
    // On a thread of its own, which counts its operations on segments from the first on: the sixteenth tends to the segments.
    std::thread::scope(|s| {
        s.spawn(|| {
            drop(table.lock(&key[0]));
            row("| grown table, new key: lock, unlock | 23 | 4 | 3 | 0 | 1 | 2 | 2 |", || {
                table.lock(&key[1])
            });
            for _ in 2..15 {
                row(
                    "| grown table, resident key: lock, unlock | 19 | 2 | 3 | 0 | 1 | 1 | 3 |",
                    || table.lock(&key[1]),
                );
            }
            row(
                "| grown table, resident key, one time in 128: lock, unlock | 214 | 2 | 4 | 0 | 2 | 2 | 99 |",
                || table.lock(&key[1]),
            );
            row("| grown table, resident key: `is_locked` | 19 | 0 | 2 | 0 | 1 | 1 | 3 |", || {
                table.is_locked(&key[1])
            });
            row(
                "| grown table, key in the first array: lock, unlock | 11 | 2 | 3 | 0 | 0 | 1 | 1 |",
                || table.lock(&KEYS.start),
            );
        });
    });
}

#[test]
fn a_table_that_has_grown_twice() {
    let (table, more) = crowded(600);
    assert_eq!(more, (64 + 128) * 6, "two segments");
    std::thread::scope(|s| {
        s.spawn(|| {
            let new = |at| of_bucket(at).nth(100).unwrap();
            drop(table.lock(&new(16))); // the thread's first
            let (a, b) = (KEYS.start + 280, new(20));
            row("| grown twice, key of the older segment, first look behind: lock, unlock | 50 | 4 | 4 | 1 | 2 | 3 | 4 |", || {
                table.lock(&a)
            });
            row("| grown twice, key of the older segment: lock, unlock | 26 | 2 | 3 | 0 | 1 | 1 | 5 |", || {
                table.lock(&a)
            });
            row("| grown twice, new key, first look behind: lock, unlock | 49 | 6 | 4 | 0 | 2 | 4 | 3 |", || {
                table.lock(&b)
            });
            row("| grown twice, resident key: lock, unlock | 20 | 2 | 3 | 0 | 1 | 1 | 4 |", || {
                table.lock(&b)
            });
        });
    });
}

/// Everything that can be done with a key, with eight keys: some new, each then resident, the last two in idle slots.
fn everything(table: &Table, keys: &[u64]) -> Count {
    done(|| {
        for key in keys {
            let guard = table.lock(key);
            drop((table.lock(key), table.try_lock(key)));
            assert!(table.is_held(key));
            drop(guard);
            drop(table.lock(key));
        }
        let handle = table.handle(&keys[7]);
        drop((handle.lock(), handle.clone()));
    })
}

/// The lines that more than one of them touches: how many are written by several, by one, by none.
fn shared(by: &[Count]) -> [usize; 3] {
    let mut touched = BTreeMap::<_, (usize, usize)>::new();
    for n in by {
        for line in n.written.iter().chain(&n.read) {
            let (writing, all) = touched.entry(line).or_default();
            *writing += usize::from(n.written.contains(line));
            *all += 1;
        }
    }
    let mut shared = [0; 3];
    for (writing, _) in touched.into_values().filter(|(_, all)| *all > 1) {
        shared[2 - writing.min(2)] += 1;
    }
    shared
}

#[test]
fn keys_in_different_buckets_share_no_line() {
    let table = table();
    let of = |at| everything(&table, &of_bucket(at).take(8).collect::<Vec<_>>());
    let by: Vec<Count> = (0..32).map(of).collect();
    assert!(by.iter().all(|n| n.written.len() == 4 && n.pins == 0));
    assert_eq!(shared(&by), [0, 0, 0]);
}

#[test]
fn keys_of_one_bucket_share_its_lines() {
    // Which shows that it would be seen, too.
    let table = one_bucket();
    let by = [1, 2, 3].map(|key| done(|| table.lock(&key)));
    assert_eq!(
        shared(&by[..2]),
        [1, 1, 0],
        "the stamp is written by both; the entry of one is promoted before the other's stamp"
    );
    let by = [1, 2, 3].map(|key| done(|| table.lock(&key)));
    assert_eq!(
        shared(&by[..2]),
        [0, 0, 1],
        "the stamp and the hashes are only read"
    );
    assert_eq!(shared(&by[1..]), [1, 0, 1], "two entries are in one line");
}

#[test]
fn new_keys_in_chains_share_the_line_of_their_numbers() {
    let table = table();
    let mut by = Vec::new();
    for at in [0, 20] {
        let mut keys = of_bucket(at);
        keys.by_ref().take(6).for_each(|k| forget(table.handle(&k)));
        let key = keys.next().unwrap();
        by.push(done(|| table.lock(&key)));
    }
    assert_eq!(shared(&by)[0], 1);
    // Keys that are there share nothing that is written.
    let mut by = Vec::new();
    for at in [0, 20] {
        let key = of_bucket(at).nth(7).unwrap();
        forget(table.handle(&key));
        by.push(done(|| table.lock(&key)));
    }
    assert_eq!(shared(&by)[..2], [0, 0]);
}

#[test]
fn in_a_grown_table_keys_share_a_line_that_is_read_and_at_every_sixteenth_time_one_that_is_written()
{
    let table = grown();
    let mut usual = Vec::new();
    let mut sixteenth = Vec::new();
    for at in [0, 10, 20, 30] {
        let key = of_bucket(at).nth(600).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                usual.push(done(|| (0..15).for_each(|_| drop(table.lock(&key)))));
                sixteenth.push(done(|| table.lock(&key)));
            });
        });
    }
    assert_eq!(shared(&usual), [0, 0, 1], "the list of segments");
    assert_eq!(shared(&sixteenth)[0], 1, "where to tend next");
}
