//! How much memory is in use.

use stats_alloc::{StatsAlloc, INSTRUMENTED_SYSTEM};
use std::alloc::System;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The bytes that are allocated now. The counters are read one after the other, so other threads may make it a little wrong.
pub(crate) fn live_heap() -> u64 {
    let stats = COUNTING.stats();
    let live = stats.bytes_allocated as i128 - stats.bytes_deallocated as i128;
    u64::try_from(live).unwrap_or(0)
}

/// The resident memory of this process; `None` if the system does not tell.
pub(crate) fn resident() -> Option<u64> {
    Some(memory_stats::memory_stats()?.physical_mem as u64)
}

/// For people.
pub(crate) fn mib(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // it is shown with two digits
    let mib = bytes as f64 / f64::from(1 << 20);
    format!("{mib:.2} MiB")
}
