//! The suite under shuttle.

use super::{concurrent, faults, semantics, Faulty, Promise};
use crate::storage::{PerKey, Serializing, Storage};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// The seed of all schedules.
const SEED: u64 = 0x7065_726b_6579;
/// Changes of priority in a PCT schedule, plus one.
const DEPTH: usize = 4;
/// A program that takes longer than that many steps does not end.
const STEPS: usize = 10_000_000;

/// Puts a backend through the suite under shuttle: bare, under [`PerKey`] and under [`Serializing`].
///
/// What one thread does is run once; programs of three threads, drawn anew each time, under so many random `schedules` and as many PCT
/// schedules for each of the three. The seed is fixed; shuttle prints the schedule of a failure, to be replayed.
///
/// # Panics
/// As [`backend`](super::backend); and if there is a deadlock.
pub fn shuttle<S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
    schedules: usize,
) {
    let m = make.clone();
    run(RandomScheduler::new_from_seed(SEED, 1), move || {
        semantics(&m);
        semantics(|| PerKey::new(m()));
        semantics(|| Serializing::new(m()));
        faults(|faults| Faulty::new(m(), faults));
        faults(|faults| PerKey::new(Faulty::new(m(), faults)));
        faults(|faults| Serializing::new(Faulty::new(m(), faults)));
    });
    in_three_threads(make, schedules);
}

/// [`shuttle`] for a backend that takes nothing back, as
/// [`backend_without_rollback`](super::backend_without_rollback).
///
/// # Panics
/// As [`shuttle`].
pub fn shuttle_without_rollback<S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
    schedules: usize,
) {
    let m = make.clone();
    run(RandomScheduler::new_from_seed(SEED, 1), move || {
        super::semantics::plain(&m);
        super::semantics::plain(&|| PerKey::new(m()));
        super::semantics::plain(&|| Serializing::new(m()));
    });
    in_three_threads(make, schedules);
}

fn in_three_threads<S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
    schedules: usize,
) {
    explore(make.clone(), Promise::Nothing, schedules);
    let m = make.clone();
    explore(move || PerKey::new(m()), Promise::PerKey, schedules);
    explore(move || Serializing::new(make()), Promise::Serial, schedules);
}

fn explore<S: Storage + Send + Sync + 'static>(
    make: impl Fn() -> S + Clone + Send + Sync + 'static,
    promise: Promise,
    schedules: usize,
) {
    let body = move || concurrent(&make, promise);
    let random = RandomScheduler::new_from_seed(SEED, schedules);
    run(random, body.clone());
    run(PctScheduler::new_from_seed(SEED, DEPTH, schedules), body);
}

fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.silence_warnings = true;
    Runner::new(scheduler, config).run(body);
}
