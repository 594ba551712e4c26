//! Is loom right to leave out what it leaves out? Small programs that nobody thought up are explored whole (`LOOM_REDUCTION=none`: from every branch on,
//! with every thread) and as the scenarios are, with a bound that none of them reaches and without one. All have to see the same.
//!
//! Loom sees more than it should: it keeps no total order of the stores to an atomic, so that a thread may read its own store and then an older one. Such an
//! outcome may be there or not. It is told from the others by trying all orders ([`coherent`]).
#![cfg(perkey_loom)]
#![allow(clippy::pedantic)]

#[path = "litmus/program.rs"]
mod program;

use fastrand::Rng;
use loom_tests::endless;
use program::{coherent, Op, Outcome, Program, Shared, DIVIDER};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// What loom leaves out is chosen by an environment variable: one test at a time.
static ONE: Mutex<()> = Mutex::new(());

/// All outcomes of a program, and in how many executions.
fn outcomes(
    program: &Program,
    reduction: Option<&str>,
    bound: Option<usize>,
) -> (BTreeSet<Outcome>, u64) {
    match reduction {
        Some(r) => std::env::set_var("LOOM_REDUCTION", r),
        None => std::env::remove_var("LOOM_REDUCTION"),
    }
    let found = Arc::new(Mutex::new((BTreeSet::new(), 0)));
    let (seen, program) = (found.clone(), Arc::new(program.clone()));
    endless(bound).check(move || {
        let shared = Arc::new(Shared::new());
        let others: Vec<_> = (1..program.len())
            .map(|t| {
                let (shared, program) = (shared.clone(), program.clone());
                loom::thread::spawn(move || shared.run(&program[t]))
            })
            .collect();
        let mut outcome = shared.run(&program[0]);
        for other in others {
            outcome.push(DIVIDER);
            outcome.extend(other.join().unwrap());
        }
        outcome.push(DIVIDER);
        outcome.extend(shared.end());
        let mut seen = seen.lock().unwrap();
        seen.0.insert(outcome);
        seen.1 += 1;
    });
    let mut found = found.lock().unwrap();
    (std::mem::take(&mut found.0), found.1)
}

/// How many of the programs have an outcome that one exploration sees and another does not, by the way in which the other leaves out executions.
#[derive(Default)]
struct Differ {
    bounded: u64,
    unbounded: u64,
    mistaken: u64,
}

fn compare(name: &str, seed: u64, programs: u64, draw: impl Fn(&mut Rng) -> Program) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut rng = Rng::with_seed(seed);
    let mut differ = Differ::default();
    let (mut kinds, mut cannot, mut executions) = (0, 0, [0; 3]);
    for _ in 0..programs {
        let program = draw(&mut rng);
        let (all, every) = outcomes(&program, Some("none"), None);
        let differs = |found: &BTreeSet<Outcome>| {
            let missing = all.difference(found).find(|o| coherent(&program, o));
            missing.or_else(|| found.difference(&all).next()).cloned()
        };
        let (bounded, some) = outcomes(&program, None, Some(200));
        let (unbounded, few) = outcomes(&program, None, None);
        for (found, count, how) in [
            (&bounded, &mut differ.bounded, "up to a bound"),
            (&unbounded, &mut differ.unbounded, "without a bound"),
        ] {
            if let Some(outcome) = differs(found) {
                *count += 1;
                println!("{program:?}: {outcome:?} in one exploration only, {how}");
            }
        }
        differ.mistaken +=
            u64::from(differs(&outcomes(&program, Some("asleep"), None).0).is_some());
        kinds += all.len();
        cannot += all.iter().filter(|o| !coherent(&program, o)).count();
        executions[0] += every;
        executions[1] += some;
        executions[2] += few;
    }
    println!(
        "{name}: {programs} programs, {kinds} outcomes ({cannot} of which there cannot be) in {} executions of all, {} up to a bound, {} without one; {} found a mistake",
        executions[0], executions[1], executions[2], differ.mistaken
    );
    assert_eq!(
        (differ.bounded, differ.unbounded),
        (0, 0),
        "programs that differ"
    );
    assert!(differ.mistaken > 0, "a mistake would not have been seen");
}

#[test]
fn two_threads() {
    compare("two_threads", 1, 500, |rng| program::draw(rng, 2, 4));
}

#[test]
fn two_threads_do_more() {
    compare("two_threads_do_more", 2, 120, |rng| {
        program::draw(rng, 2, 6)
    });
}

#[test]
fn three_threads() {
    compare("three_threads", 3, 60, |rng| program::draw(rng, 3, 2));
}

#[test]
fn two_threads_with_fences() {
    compare("two_threads_with_fences", 4, 200, program::draw_fenced);
}

#[test]
fn more_stores_than_loom_keeps() {
    compare("more_stores_than_loom_keeps", 5, 60, program::draw_storing);
}

/// What tells the outcomes that there cannot be does not call all of them so.
#[test]
fn coherence_is_told_from_its_contrary() {
    use loom::sync::atomic::Ordering::Relaxed;
    let program = vec![
        vec![Op::Store(0, 10, Relaxed), Op::Load(0, Relaxed)],
        vec![Op::Add(0, Relaxed), Op::Load(0, Relaxed)],
    ];
    let outcome = |first: u64, add: u64, second: u64, end: u64| {
        vec![first, DIVIDER, add, second, DIVIDER, end, 0]
    };
    for there in [
        outcome(10, 0, 1, 10),
        outcome(11, 10, 11, 11),
        outcome(10, 0, 10, 10),
    ] {
        assert!(coherent(&program, &there), "{there:?}");
    }
    for not in [
        outcome(0, 0, 1, 10),    // older than his own store
        outcome(10, 0, 0, 10),   // likewise
        outcome(1, 0, 10, 10),   // the two disagree on the order
        outcome(10, 10, 11, 10), // the last store is not the last
    ] {
        assert!(!coherent(&program, &not), "{not:?}");
    }
}
