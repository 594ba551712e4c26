//! An allocator that counts. It sees all threads, so each test takes [`alone`] first; what has to be exact is counted per thread.
#![allow(dead_code, unreachable_pub, missing_docs)]

use perkey::LockTable;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicIsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub struct Counting;

pub static LIVE: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// Allocations of this thread. Without a destructor, so it is there as long as the thread is.
    static MINE: Cell<usize> = const { Cell::new(0) };
}

pub fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

pub fn count(bytes: isize) {
    LIVE.fetch_add(bytes, Relaxed);
    MINE.set(MINE.get() + usize::from(bytes > 0));
}

// SAFETY: hands everything on to the system's allocator; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(-signed(layout.size()));
        count(signed(size));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
pub static COUNTING: Counting = Counting;

pub static ALONE: Mutex<()> = Mutex::new(());

/// One test at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that are allocated now. The test harness itself may come and go with a few of them.
pub fn live() -> isize {
    LIVE.load(SeqCst)
}

/// How often this thread has allocated during `f`.
pub fn allocations(f: impl FnOnce()) -> usize {
    let before = MINE.get();
    f();
    MINE.get() - before
}

/// What a leak must exceed to be told from the harness's own bytes.
pub const NOISE: isize = 4 * 1024;

pub const KIB: isize = 1024;

pub fn scaled(release: u64, debug: u64) -> u64 {
    if cfg!(debug_assertions) {
        debug
    } else {
        release
    }
}

/// Runs `f` on four threads, until they have ended: a scope by itself does not wait for the destructors of their thread-locals, in
/// which the epoch hands on what they retired.
pub fn on_four_threads(f: impl Fn(u64) + Sync) {
    std::thread::scope(|s| {
        let threads: Vec<_> = (0..4)
            .map(|part| (part, &f))
            .map(|(part, f)| s.spawn(move || f(part)))
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
    });
}

/// Gives the epoch occasion to free what is retired, a bounded number of times, until few enough bytes are left.
pub fn settle<K: Hash + Eq, S: BuildHasher>(table: &LockTable<K, S>, goal: isize) -> isize {
    for _ in 0..1000 {
        table.shrink_to_fit();
        if live() <= goal {
            break;
        }
    }
    live()
}
