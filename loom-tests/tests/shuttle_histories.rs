//! Histories of the table under random and PCT schedules, each of which some order has to explain: three tasks, two or three keys, programs drawn anew in each
//! execution. What is drawn, and what the judge makes of it, is shared with the tests with real threads (`tests/common/history`, `tests/histories.rs`, where the judge
//! is shown to reject what is wrong).
//!
//! 10,000 schedules of each kind, 100,000 with `PERKEY_FULL`. See `shuttle_common` for seeds and replays.
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic)]

mod shuttle_common;

#[path = "../../tests/common/history/mod.rs"]
mod history;

use history::{judge, Line, Op, World, THREADS};
use perkey::model::tick;
use shuttle::rand::{thread_rng, RngCore};
use shuttle::thread;
use shuttle_common::{check_histories, table, Key, Registry};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The tasks that draw their programs. One more leads them.
const FOLLOWERS: usize = THREADS - 1;
/// The longest program.
const LENGTH: usize = 4;
/// How long a timed lock waits, and how far the clock moves at once.
const MS: Duration = Duration::from_millis(1);

fn below(n: usize) -> usize {
    usize::try_from(thread_rng().next_u64() >> 33).unwrap() % n
}

/// How often which operation was answered how, over all executions.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<BTreeMap<String, u64>>>);

impl Answers {
    fn count(&self, lines: &[Line]) {
        let mut answers = self.0.lock().unwrap();
        for line in lines {
            let Line::Return(_, _, op, ret) = line else {
                continue;
            };
            let op = match op {
                Op::Downgrade(_) => "Downgrade".to_owned(),
                Op::Upgrade(_) => "Upgrade".to_owned(),
                op => format!("{op:?}"),
            };
            *answers.entry(format!("{op} {ret:?}")).or_default() += 1;
        }
    }

    /// All of these must have been given.
    fn show(&self, name: &str, wanted: &[&str]) {
        let answers = self.0.lock().unwrap();
        println!("{name}: {answers:?}");
        if std::env::var_os("PERKEY_REPLAY").is_none() {
            for w in wanted {
                assert!(answers.contains_key(*w), "{w} was never the answer");
            }
        }
    }
}

/// What every test wants to have seen.
const WANTED: &[&str] = &[
    "IsHeld Yes",
    "IsLocked No",
    "IsLocked Yes",
    "Lock Depth(1)",
    "Lock Depth(2)",
    "Timed Depth(1)",
    "Timed No",
    "Try Depth(1)",
    "Try No",
    "Upgrade No",
    "Upgrade Yes",
];

/// One execution: on so many keys with these hashes, beside so many others that are alive all the time.
fn one(
    registry: &'static Registry,
    keys: usize,
    hash: fn(usize) -> u64,
    others: usize,
) -> Vec<Line> {
    registry.begin();
    let table = Arc::new(table());
    let held: Vec<_> = (0..others)
        .map(|i| table.handle_owned(&Key::new(registry, 100 + i, 100 + i as u64)))
        .collect();
    let keys = (0..keys)
        .map(|id| Key::new(registry, id, hash(id)))
        .collect();
    let world = Arc::new(World::new(table.clone(), keys, MS, || tick(MS)));
    let start = || {
        let tasks = (0..FOLLOWERS).map(|me| {
            let (world, length) = (world.clone(), 1 + below(LENGTH));
            let dice = fastrand::Rng::with_seed(thread_rng().next_u64());
            thread::spawn(move || world.follow(me, length, dice))
        });
        tasks.collect::<Vec<_>>()
    };
    let end = |tasks: Vec<thread::JoinHandle<()>>| {
        for task in tasks {
            task.join().unwrap();
        }
    };
    world.lead(FOLLOWERS, start, end);
    drop(held);
    world.history.lines()
}

fn histories(
    name: &'static str,
    keys: fn() -> usize,
    hash: fn(usize) -> u64,
    others: fn() -> usize,
) {
    let (registry, answers) = (Registry::leak(), Answers::default());
    let told = answers.clone();
    check_histories(name, move || {
        let others = others();
        let lines = one(registry, keys(), hash, others);
        told.count(&lines);
        if let Err(why) = judge(&lines, others) {
            panic!("beside {others} other keys: {why}");
        }
    });
    answers.show(name, WANTED);
}

/// I1, I2, I3, I5, I6: keys in slots, which are taken over as others hold most of them.
#[test]
fn histories_of_keys_in_slots() {
    let name = "histories_of_keys_in_slots";
    histories(name, || 2 + below(2), |id| id as u64, || below(5));
}

/// I1, I2, I3, I5: the same for keys of one hash.
#[test]
fn histories_of_keys_of_one_hash() {
    let name = "histories_of_keys_of_one_hash";
    histories(name, || 2 + below(2), |_| 0, || below(5));
}

/// I1, I2, I5, I7: all slots are taken, and the keys are in the chain.
#[test]
fn histories_of_keys_in_the_chain() {
    let name = "histories_of_keys_in_the_chain";
    histories(name, || 2, |id| id as u64 % 2, || 6);
}
