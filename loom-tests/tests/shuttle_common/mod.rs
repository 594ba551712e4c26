//! What the shuttle tests share: schedules with a printed seed, replays, keys that are counted, data that shows an overlap.
//!
//! | variable | meaning |
//! |---|---|
//! | `PERKEY_SEED` | another seed than the fixed one |
//! | `PERKEY_SCHEDULES` | another number of schedules per scheduler than 10,000 |
//! | `PERKEY_FULL` | 100,000 schedules per scheduler, where histories are judged |
//! | `PERKEY_PERSIST` | a directory for the schedule of a failure, instead of printing it |
//! | `PERKEY_REPLAY` | a file from there: run just this schedule of the test that is named on the command line |
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

use shuttle::scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use std::cell::Cell;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Changes of priority in a PCT schedule, plus one.
const PCT_DEPTH: usize = 4;

/// A scheduling point without any other effect.
pub fn point() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

/// A number from the environment.
pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| {
        v.parse()
            .unwrap_or_else(|e| panic!("{name}={v} is no number: {e}"))
    })
}

/// The seed of all schedules.
pub fn seed() -> u64 {
    from_env("PERKEY_SEED", 0x0070_6572_6b65_7921)
}

/// How shuttle is to run.
pub fn config(max_steps: usize) -> Config {
    let mut config = Config::new();
    config.stack_size = 0x1_0000;
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(max_steps);
    if let Ok(directory) = std::env::var("PERKEY_PERSIST") {
        config.failure_persistence = FailurePersistence::File(Some(directory.into()));
    }
    config
}

/// Runs `body` under random and PCT schedules and prints how many; or replays one.
pub fn check(name: &str, body: impl Fn() + Send + Sync + 'static) {
    schedules(name, 10_000, body);
}

/// [`check`] for a test whose histories are judged: with `PERKEY_FULL`, that is by `cargo shuttle -- --full`, it runs 100,000 of each kind.
pub fn check_histories(name: &str, body: impl Fn() + Send + Sync + 'static) {
    let full = std::env::var_os("PERKEY_FULL").is_some();
    schedules(name, if full { 100_000 } else { 10_000 }, body);
}

fn schedules(name: &str, default: u64, body: impl Fn() + Send + Sync + 'static) {
    if let Ok(file) = std::env::var("PERKEY_REPLAY") {
        println!("{name}: replaying {file}");
        shuttle::replay_from_file(body, file);
        return;
    }
    assert!(
        std::env::var_os("SHUTTLE_RANDOM_SEED").is_none(),
        "SHUTTLE_RANDOM_SEED would replace PERKEY_SEED"
    );
    let n = usize::try_from(from_env("PERKEY_SCHEDULES", default)).unwrap();
    let seed = seed();
    let body = Arc::new(body);
    let begin = Instant::now();
    let b = body.clone();
    let random = run(RandomScheduler::new_from_seed(seed, n), move || b());
    let half = begin.elapsed();
    let pct = run(PctScheduler::new_from_seed(seed, PCT_DEPTH, n), move || {
        body()
    });
    println!(
        "{name}: {random} random + {pct} PCT (depth {PCT_DEPTH}) schedules, seed {seed}, {:.1} + {:.1} s",
        half.as_secs_f64(),
        (begin.elapsed() - half).as_secs_f64()
    );
    assert_eq!((random, pct), (n, n));
}

fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) -> usize {
    Runner::new(Calm { scheduler, dice: 1 }, config(200_000)).run(body)
}

/// Lets a sleeper wake for no reason now and then only: if it did all the time, a lost wake-up would not show.
struct Calm<S> {
    scheduler: S,
    dice: u64,
}

impl<S: Scheduler> Scheduler for Calm<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        let schedule = self.scheduler.new_execution();
        STAGE.set(Stage::default());
        // Of this schedule's own: the same again when it is the only one.
        self.dice = schedule.as_ref().map_or(1, |s| s.seed | 1);
        schedule
    }

    fn next_task(&mut self, runnable: &[&Task], now: Option<TaskId>, y: bool) -> Option<TaskId> {
        let awake: Vec<&Task> = runnable.iter().copied().filter(|t| t.runnable()).collect();
        let stage = STAGE.get();
        if let Some(last) = stage.last {
            let others: Vec<&Task> = awake.iter().copied().filter(|t| t.id() != last).collect();
            if !others.is_empty() {
                return self.scheduler.next_task(&others, now, y);
            }
            STAGE.set(Stage {
                last: None,
                ..stage
            });
            return Some(last);
        }
        if stage
            .first
            .is_some_and(|f| awake.iter().any(|t| t.id() == f))
        {
            return stage.first;
        }
        if throw(&mut self.dice).is_multiple_of(16) {
            return self.scheduler.next_task(runnable, now, y);
        }
        self.scheduler.next_task(&awake, now, y)
    }

    fn next_u64(&mut self) -> u64 {
        self.scheduler.next_u64()
    }
}

/// What tasks ask of the scheduler.
#[derive(Clone, Copy, Default)]
struct Stage {
    /// Goes on when all others sleep or are done.
    last: Option<TaskId>,
    /// Goes before everybody else whenever it can.
    first: Option<TaskId>,
}

// Not a state of the test: the scheduler and the tasks share one thread.
thread_local!(static STAGE: Cell<Stage> = const { Cell::new(Stage { last: None, first: None }) });

/// Goes on when all others sleep or are done.
pub fn until_all_sleep() {
    STAGE.set(Stage {
        last: Some(shuttle::current::me()),
        ..STAGE.get()
    });
    point();
}

/// From now on the calling task goes before everybody else whenever it can, but for [`until_all_sleep`].
pub fn go_first(yes: bool) {
    STAGE.set(Stage {
        first: yes.then(shuttle::current::me),
        ..STAGE.get()
    });
}

/// xorshift64.
pub fn throw(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice >> 20
}

/// Knows of every key of an execution whether it is alive.
#[derive(Default)]
pub struct Registry(Mutex<Vec<bool>>);

impl Registry {
    /// One for the whole test; begun anew by each execution.
    pub fn leak() -> &'static Self {
        Box::leak(Box::default())
    }

    /// A new execution begins.
    pub fn begin(&self) {
        self.0.lock().unwrap().clear();
    }

    fn born(&self) -> usize {
        let mut alive = self.0.lock().unwrap();
        alive.push(true);
        alive.len() - 1
    }

    /// How many keys are alive.
    pub fn alive(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|a| **a).count()
    }

    /// How many keys were ever made.
    pub fn made(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A key whose hash is chosen, whose code takes time (a scheduling point in each of its functions), and that is dropped once.
pub struct Key {
    pub id: usize,
    hash: u64,
    serial: usize,
    registry: &'static Registry,
}

impl Key {
    pub fn new(registry: &'static Registry, id: usize, hash: u64) -> Self {
        Self {
            id,
            hash,
            serial: registry.born(),
            registry,
        }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        point();
        Self::new(self.registry, self.id, self.hash)
    }

    fn clone_from(&mut self, source: &Self) {
        point();
        self.hash = source.hash;
        point();
        self.id = source.id;
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let was = std::mem::replace(&mut self.registry.0.lock().unwrap()[self.serial], false);
        assert!(was || std::thread::panicking(), "a key dropped twice");
        point();
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        point();
        let same = self.id == other.id;
        point();
        same
    }
}
impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        point();
        state.write_u64(self.hash);
    }
}

/// The hash is what the key says.
#[derive(Default)]
pub struct Said(u64);

impl Hasher for Said {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys write one u64")
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A table of such keys.
pub type Table = perkey::LockTable<Key, BuildHasherDefault<Said>>;

/// An empty table of default capacity: one bucket of six slots.
pub fn table() -> Table {
    let t = Table::default();
    assert_eq!(t.capacity(), 6, "the scenarios are made for six slots");
    t
}

/// The data behind the locks. Nothing in it is atomic: an overlap of two holders of one key is seen, or an increment lost.
pub struct Data(Vec<Place>);

#[derive(Default)]
struct Place {
    owner: Cell<Option<TaskId>>,
    count: Cell<u64>,
    /// How often it should have been counted; every task adds without a scheduling point in between.
    visits: Cell<u64>,
}

// SAFETY: shuttle's tasks all run on one thread.
unsafe impl Sync for Data {}
// SAFETY: as above.
unsafe impl Send for Data {}

impl Data {
    pub fn new(keys: usize) -> Self {
        Self((0..keys).map(|_| Place::default()).collect())
    }

    /// To be called with the lock of key number `i` held.
    pub fn visit(&self, i: usize) {
        let place = &self.0[i];
        let me = Some(shuttle::current::me());
        place.visits.set(place.visits.get() + 1);
        let outer = place.owner.replace(me);
        assert!(outer.is_none() || outer == me, "two holders of key {i}");
        let count = place.count.get();
        point();
        assert_eq!(place.owner.get(), me, "two holders of key {i}");
        place.count.set(count + 1);
        place.owner.set(outer);
    }

    /// At the end: nothing was lost. Returns the number of visits.
    pub fn verify(&self) -> u64 {
        self.0
            .iter()
            .enumerate()
            .map(|(i, place)| {
                assert_eq!(place.count.get(), place.visits.get(), "key {i}");
                assert_eq!(place.owner.get(), None);
                place.visits.get()
            })
            .sum()
    }
}
