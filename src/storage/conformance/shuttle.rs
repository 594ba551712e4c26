//! The suite under shuttle.

use super::{exclusion, histories, semantics, Promise};
use crate::storage::{PerKey, Serializing, Storage};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// The seed of all schedules.
const SEED: u64 = 0x7065_726b_6579;
/// Changes of priority in a PCT schedule, plus one.
const DEPTH: usize = 4;
/// A program that takes longer than that many steps does not end.
const STEPS: usize = 5_000_000;

/// Puts a backend through the suite under shuttle: what one thread does under one schedule, and what three do, bare, serialized and with a lock per key,
/// under as many random schedules as are asked for, and as many PCT schedules. The seed is fixed; shuttle prints the
/// schedule of a failure, for [`shuttle::replay`].
///
/// # Panics
/// As [`backend`](super::backend).
pub fn shuttle<S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
    schedules: usize,
) {
    let m = make.clone();
    run(RandomScheduler::new_from_seed(SEED, 1), move || {
        semantics(&m);
        semantics(|| PerKey::new(m()));
        semantics(|| Serializing::new(m()));
    });
    concurrently(make.clone(), Promise::Nothing, schedules);
    let m = make.clone();
    concurrently(move || PerKey::new(m()), Promise::PerKey, schedules);
    concurrently(move || Serializing::new(make()), Promise::Serial, schedules);
}

fn concurrently<S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
    promise: Promise,
    schedules: usize,
) {
    let body = move || {
        histories(&make, promise);
        exclusion(&make, promise);
    };
    run(
        RandomScheduler::new_from_seed(SEED, schedules),
        body.clone(),
    );
    run(PctScheduler::new_from_seed(SEED, DEPTH, schedules), body);
}

fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    Runner::new(scheduler, config).run(body);
}
