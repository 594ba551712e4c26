//! How much heap is in use. Counting is off unless a workload asks for it, so that it slows nobody in the timed parts: there an
//! allocation costs one load and a branch that is always taken the same way, whoever allocates.

use super::contender::Contender;
use super::keys::{scatter, RESIDENT};
use super::sample::Sample;
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static HEAP: Counting = Counting;

/// So many bytes more, and fewer, are in use.
#[inline]
fn count(more: usize, fewer: usize) {
    if ON.load(Relaxed) {
        LIVE.fetch_add(more as i64 - fewer as i64, Relaxed);
        ALLOCATIONS.fetch_add(u64::from(more > 0), Relaxed);
    }
}

// SAFETY: hands everything on to the system's allocator; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// Turns counting on or off.
pub(crate) fn counting(on: bool) {
    ON.store(on, Relaxed);
}

/// Bytes in use, as far as they were counted: only differences mean something.
pub(crate) fn live() -> f64 {
    LIVE.load(Relaxed) as f64
}

/// Allocations so far, as far as they were counted.
pub(crate) fn allocations() -> f64 {
    ALLOCATIONS.load(Relaxed) as f64
}

/// [`Work::Distinct`](super::case::Work::Distinct).
pub(crate) fn distinct<C: Contender<u64>>(keys: u64) -> Sample {
    let mut sample = Sample::default();
    counting(true);
    let mut curve = Vec::with_capacity(101);
    let before = live();
    let of = C::new(RESIDENT as usize);
    curve.push((0.0, live() - before));
    for part in 0..100 {
        for n in part * keys / 100..(part + 1) * keys / 100 {
            let key = scatter(n);
            drop(black_box(of.lock(&key)));
        }
        let done = (part + 1) * keys / 100;
        curve.push((done as f64, live() - before));
    }
    counting(false);
    let kib = |bytes: f64| bytes / 1024.0;
    sample.set("left", kib(curve.last().map_or(0.0, |p| p.1)));
    sample.set("peak", kib(curve.iter().map(|p| p.1).fold(0.0, f64::max)));
    sample.curves.insert("heap".to_string(), curve);
    sample
}
