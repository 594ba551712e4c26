//! Two transfers in opposite directions, in every order that there is (loom) or in many random ones (shuttle).

use bank::{Bank, Story};
use std::sync::{Arc, Mutex};

const ANN: u32 = 1;
const BOB: u32 = 2;

/// What has happened in the execution that runs, or has failed.
static STORY: Mutex<Option<Story>> = Mutex::new(None);

/// Two threads of the checker (or of `std`, in an ordinary build).
fn there_and_back(transfer: fn(&Bank, u32, u32)) {
    #[cfg(perkey_loom)]
    use loom::thread;
    #[cfg(perkey_shuttle)]
    use shuttle::thread;
    #[cfg(not(any(perkey_loom, perkey_shuttle)))]
    use std::thread;

    let story = Story::default();
    *STORY.lock().unwrap() = Some(story.clone());
    let bank = Arc::new(Bank::new(&[(ANN, 10), (BOB, 10)], story));
    let theirs = bank.clone();
    let other = thread::spawn(move || transfer(&theirs, BOB, ANN));
    transfer(&bank, ANN, BOB);
    other.join().unwrap();
    assert_eq!([ANN, BOB].map(|account| bank.balance(account)), [10, 10]);
}

fn together(bank: &Bank, from: u32, to: u32) {
    bank.transfer(from, to, 5).expect("nothing is held yet");
}

#[cfg(any(perkey_loom, perkey_shuttle))]
fn one_by_one(bank: &Bank, from: u32, to: u32) {
    bank.transfer_one_by_one(from, to, 5);
}

/// Runs a model that has to fail, and returns what had happened until then. The model runs in a process of its own, since a model that is broken
/// off in the middle takes guards down with it that the checker no longer knows, and often aborts.
#[cfg(any(perkey_loom, perkey_shuttle))]
fn fails(test: &str, model: impl FnOnce()) -> Vec<String> {
    const CHILD: &str = "BANK_MODEL";
    if std::env::var_os(CHILD).is_some() {
        std::panic::set_hook(Box::new(|why| {
            println!("why: {why}");
            let story = STORY.lock().unwrap().take();
            for line in story.iter().flat_map(|story| story.lock().unwrap().clone()) {
                println!("story: {line}");
            }
        }));
        model();
        println!("passed");
        return Vec::new();
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(!child.status.success(), "the model passes, but it is wrong");
    assert!(out.to_lowercase().contains("deadlock"), "{out}");
    let story = out.lines().filter_map(|line| line.strip_prefix("story: "));
    story.map(ToOwned::to_owned).collect()
}

/// Each has one account and waits for the other.
#[cfg(any(perkey_loom, perkey_shuttle))]
fn is_the_deadlock(story: &[String]) {
    if story.is_empty() {
        return; // in the process of the model
    }
    println!("a deadlock was found, in this order:");
    for line in story {
        println!("    {line}");
    }
    for half in ["1 → 2: has 1, waits for 2", "2 → 1: has 2, waits for 1"] {
        assert!(story.iter().any(|line| line == half), "{story:?}");
    }
    assert!(!story.iter().any(|line| line.ends_with("has both")));
}

#[cfg(perkey_loom)]
mod under_loom {
    use super::*;

    fn check(transfer: fn(&Bank, u32, u32)) {
        let mut model = loom::model::Builder::new();
        // Two preemptions show most faults; without a bound every execution is explored, which takes longer.
        model.preemption_bound = Some(2);
        model.max_branches = 100_000;
        model.check(move || there_and_back(transfer));
    }

    #[test]
    fn locked_one_by_one_it_deadlocks() {
        let test = "under_loom::locked_one_by_one_it_deadlocks";
        is_the_deadlock(&fails(test, || check(one_by_one)));
    }

    #[test]
    fn locked_together_it_does_not() {
        check(together);
    }
}

#[cfg(perkey_shuttle)]
mod under_shuttle {
    use super::*;

    /// A failure names its schedule, and the schedule brings it back.
    #[test]
    fn locked_one_by_one_it_deadlocks_and_the_schedule_replays_it() {
        let test = "under_shuttle::locked_one_by_one_it_deadlocks_and_the_schedule_replays_it";
        let file = std::env::temp_dir().join(format!("bank-{}", std::process::id()));
        let directory = std::env::var_os("BANK_SCHEDULES").map_or(file, Into::into);
        let schedule = || Some(std::fs::read_dir(&directory).ok()?.next()?.unwrap().path());
        std::fs::create_dir_all(&directory).unwrap();
        // For the processes of the models.
        std::env::set_var("BANK_SCHEDULES", &directory);
        let model = || match schedule() {
            None => {
                let mut config = shuttle::Config::new();
                let to = Some(directory.clone());
                config.failure_persistence = shuttle::FailurePersistence::File(to);
                let random = shuttle::scheduler::RandomScheduler::new(10_000);
                shuttle::Runner::new(random, config).run(|| there_and_back(one_by_one));
            }
            Some(file) => shuttle::replay_from_file(|| there_and_back(one_by_one), file),
        };
        let first = fails(test, model);
        is_the_deadlock(&first);
        if !first.is_empty() {
            assert!(schedule().is_some(), "no schedule was written");
            assert_eq!(fails(test, || ()), first, "the same order again");
            std::fs::remove_dir_all(&directory).unwrap();
        }
    }

    #[test]
    fn locked_together_it_does_not() {
        shuttle::check_random(|| there_and_back(together), 10_000);
        shuttle::check_pct(|| there_and_back(together), 10_000, 3);
    }
}

/// With real threads, once: that the wrong one hangs would show now and then only.
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
#[test]
fn with_threads() {
    there_and_back(together);
}
