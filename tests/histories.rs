//! Histories of the table from real threads, each of which some order has to explain; and that wrong ones are rejected. The same under shuttle is in
//! `loom-tests/tests/shuttle_histories.rs`. With `PERKEY_FULL` set it is 100,000 of each kind.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]
#![forbid(unsafe_code)]

mod common;
#[path = "common/history/mod.rs"]
mod history;

use common::{Dice, Pick};
use history::{judge, Line, Op, Ret, World, THREADS};
use perkey::LockTable;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The threads that draw their programs. One more leads them.
const FOLLOWERS: usize = THREADS - 1;
/// The longest program.
const LENGTH: u64 = 5;

/// A key whose code lets others run, so that their operations come in the middle of this one's.
#[derive(Debug)]
struct Slow(u64);

impl Clone for Slow {
    fn clone(&self) -> Self {
        thread::yield_now();
        Self(self.0)
    }
}

impl PartialEq for Slow {
    fn eq(&self, other: &Self) -> bool {
        thread::yield_now();
        self.0 == other.0
    }
}

impl Eq for Slow {}

impl Hash for Slow {
    fn hash<H: Hasher>(&self, state: &mut H) {
        thread::yield_now();
        state.write_u64(self.0);
    }
}

/// One history: on so many keys, beside so many others that are alive all the time.
fn one(seeds: &mut Dice, keys: u64, hash: Pick, others: u64) -> Vec<Line> {
    let table = Arc::new(LockTable::with_capacity_and_hasher(0, hash));
    let held: Vec<_> = (100..100 + others)
        .map(|k| table.handle_owned(&Slow(k)))
        .collect();
    let patience = Duration::from_micros(seeds.below(30));
    let world = World::new(
        table.clone(),
        (0..keys).map(Slow).collect(),
        patience,
        thread::yield_now,
    );
    let ready = AtomicUsize::new(0);
    thread::scope(|s| {
        let (world, ready) = (&world, &ready);
        let start = || {
            let tasks: Vec<_> = (0..FOLLOWERS)
                .map(|me| {
                    let length = 1 + seeds.below(LENGTH) as usize;
                    let dice = fastrand::Rng::with_seed(seeds.next());
                    s.spawn(move || {
                        begin(ready);
                        world.follow(me, length, dice);
                    })
                })
                .collect();
            begin(ready);
            tasks
        };
        let end = |tasks: Vec<thread::ScopedJoinHandle<'_, ()>>| {
            for task in tasks {
                task.join().unwrap();
            }
        };
        world.lead(FOLLOWERS, start, end);
    });
    drop(held);
    world.history.lines()
}

/// All begin at once, or nearly so: who is woken begins later than who has only looked again.
fn begin(ready: &AtomicUsize) {
    ready.fetch_add(1, SeqCst);
    while ready.load(SeqCst) <= FOLLOWERS {
        thread::yield_now();
    }
}

/// Does an operation begin while another one is under way?
fn overlaps(lines: &[Line]) -> bool {
    let mut open = 0;
    lines.iter().any(|line| {
        match line {
            Line::Call(..) | Line::CallLen(_) => open += 1,
            Line::Return(..) | Line::ReturnLen(..) => open -= 1,
        }
        open > 1
    })
}

fn histories(name: &str, keys: u64, hash: Pick, others: impl Fn(&mut Dice) -> u64) {
    let n = match std::env::var_os("PERKEY_FULL") {
        Some(_) => 100_000,
        None if cfg!(debug_assertions) => 1_000,
        None => 10_000,
    };
    let mut seeds = Dice(0x0068_6973_746f_7279);
    let mut overlapped = 0;
    for round in 0..n {
        let others = others(&mut seeds);
        let lines = one(&mut seeds, keys, hash, others);
        overlapped += usize::from(overlaps(&lines));
        if let Err(why) = judge(&lines, others as usize) {
            panic!("round {round}, beside {others} other keys: {why}");
        }
    }
    println!("{name}: {n} histories, operations overlapped in {overlapped}");
}

/// I1, I2, I3, I5, I6: keys in slots, which are taken over as others hold most of them.
#[test]
fn histories_of_two_keys_in_slots_have_an_order() {
    let name = "histories_of_two_keys_in_slots_have_an_order";
    histories(name, 2, Pick::Plain, |seeds| seeds.below(5));
}

/// I1, I2, I3, I5: the same for keys of one hash.
#[test]
fn histories_of_three_keys_of_one_hash_have_an_order() {
    let name = "histories_of_three_keys_of_one_hash_have_an_order";
    histories(name, 3, Pick::One, |seeds| seeds.below(5));
}

/// I1, I2, I5, I7: all slots are taken, and the keys are in the chain.
#[test]
fn histories_of_keys_in_the_chain_have_an_order() {
    let name = "histories_of_keys_in_the_chain_have_an_order";
    histories(name, 2, Pick::One, |_| 6);
}

// ---- the judge ----------------------------------------------------------------------------------------------------

/// A call and its return, with nothing in between.
fn done(thread: usize, op: Op, ret: Ret) -> [Line; 2] {
    [call(thread, op), told(thread, op, ret)]
}

fn call(thread: usize, op: Op) -> Line {
    Line::Call(thread, 0, op)
}

fn told(thread: usize, op: Op, ret: Ret) -> Line {
    Line::Return(thread, 0, op, ret)
}

fn accepted(lines: &[&[Line]]) -> bool {
    judge(&lines.concat(), 0).is_ok()
}

const DEEP: [Ret; 3] = [Ret::Depth(0), Ret::Depth(1), Ret::Depth(2)];

/// I1
#[test]
fn two_owners_are_rejected() {
    for op in [Op::Lock, Op::Try, Op::Timed] {
        let first = done(0, Op::Lock, DEEP[1]);
        assert!(!accepted(&[&first, &done(1, op, DEEP[1])]));
        let gone = done(0, Op::Unlock, Ret::Done);
        assert!(accepted(&[&first, &gone, &done(1, op, DEEP[1])]));
        // It came while the other one was about to go; or had gone, although he had not heard of it yet.
        let [began, ended] = gone;
        let [begins, ends] = done(1, op, DEEP[1]);
        assert!(accepted(&[&first, &[begins, began, ended, ends]]));
        assert!(accepted(&[&first, &[began, begins, ends, ended]]));
        assert!(!accepted(&[&first, &[begins, ends, began, ended]]));
    }
}

/// I3
#[test]
fn depths_are_those_of_one_owner() {
    let one = done(0, Op::Lock, DEEP[1]);
    assert!(accepted(&[&one, &done(0, Op::Try, DEEP[2])]));
    assert!(!accepted(&[&one, &done(0, Op::Try, DEEP[1])]));
    assert!(!accepted(&[&one, &done(0, Op::Try, Ret::No)]));
    let out = done(0, Op::Unlock, Ret::Done);
    let again = done(0, Op::Lock, DEEP[2]);
    assert!(!accepted(&[&one, &again, &out, &done(1, Op::Try, DEEP[1])]));
    assert!(accepted(&[
        &one,
        &again,
        &out,
        &out,
        &done(1, Op::Try, DEEP[1])
    ]));
    for (thread, op, ret) in [
        (0, Op::IsHeld, Ret::Yes),
        (1, Op::IsHeld, Ret::No),
        (1, Op::IsLocked, Ret::Yes),
    ] {
        assert!(accepted(&[&one, &done(thread, op, ret)]));
        let wrong = Ret::yes(ret == Ret::No);
        assert!(!accepted(&[&one, &done(thread, op, wrong)]));
        assert!(accepted(&[&one, &out, &done(thread, op, Ret::No)]));
        assert!(!accepted(&[&one, &out, &done(thread, op, Ret::Yes)]));
    }
}

/// I6: a lock that nobody holds is not refused; a time-out is one only if somebody held the key when it began to wait.
#[test]
fn a_refusal_for_no_reason_is_rejected() {
    let one = done(0, Op::Lock, DEEP[1]);
    let [began, ended] = done(0, Op::Unlock, Ret::Done);
    for op in [Op::Try, Op::Timed] {
        let [begins, ends] = done(1, op, Ret::No);
        assert!(!accepted(&[&[begins, ends]]));
        assert!(accepted(&[&one, &[begins, ends]]));
        assert!(accepted(&[&one, &[began, begins, ends, ended]]));
        assert!(!accepted(&[&one, &[began, ended, begins, ends]]));
    }
}

/// I5
#[test]
fn a_weak_handle_that_comes_back_is_rejected() {
    let made = [
        done(0, Op::Handle, Ret::Done),
        done(0, Op::Downgrade(0), Ret::Done),
    ]
    .concat();
    let gone = done(0, Op::DropHandle, Ret::Done);
    let up = done(1, Op::Upgrade(0), Ret::Yes);
    let dead = done(1, Op::Upgrade(0), Ret::No);
    assert!(accepted(&[&made, &up, &gone, &up])); // thread 1 has one
    assert!(!accepted(&[&made, &gone, &up]) && accepted(&[&made, &gone, &dead]));
    assert!(!accepted(&[&made, &dead]), "a living key is called dead");
    let next = done(2, Op::Handle, Ret::Done);
    assert!(!accepted(&[&made, &gone, &next, &up]), "a new life");
    assert!(accepted(&[&made, &gone, &next, &dead]));
    // While it is dropped, both are right.
    for answer in [up, dead] {
        assert!(accepted(&[&made, &gone[..1], &answer, &gone[1..]]));
    }
    // Who waits for the key keeps it alive, from when he begins to until he has it.
    let holds = done(0, Op::Lock, DEEP[1]);
    let out = done(0, Op::Unlock, Ret::Done);
    let [begins, ends] = done(2, Op::Lock, DEEP[1]);
    assert!(accepted(&[
        &made,
        &holds,
        &gone,
        &[begins],
        &out,
        &up,
        &[ends]
    ]));
    assert!(!accepted(&[
        &made,
        &holds,
        &gone,
        &out,
        &[begins],
        &up,
        &[ends]
    ]));
}

/// I5: `len` is exact when nobody else is there, and else within what is possible.
#[test]
fn an_impossible_length_is_rejected() {
    let len = |n| [Line::CallLen(2), Line::ReturnLen(2, n)];
    let one = done(0, Op::Lock, DEEP[1]);
    let [began, ended] = done(0, Op::Unlock, Ret::Done);
    let accepts = |lines: &dyn Fn(usize) -> Vec<Line>, right: &[usize]| {
        for n in 0..4 {
            assert_eq!(judge(&lines(n), 1).is_ok(), right.contains(&n), "{n}");
        }
    };
    accepts(&|n| len(n).to_vec(), &[1]);
    accepts(&|n| [one, len(n)].concat(), &[2]);
    accepts(&|n| [one, [began, ended], len(n)].concat(), &[1]);
    accepts(&|n| [&one[..1], &len(n), &one[1..]].concat(), &[1, 2]);
    accepts(
        &|n| [&one[..], &[began], &len(n), &[ended]].concat(),
        &[1, 2],
    );
    // Two lives of the key while it counts: it may come upon both.
    let two = [one, [began, ended], one].concat();
    accepts(&|n| [&len(n)[..1], &two, &len(n)[1..]].concat(), &[1, 2, 3]);
    // One that holds it all the while counts once, whoever else comes.
    let more = done(1, Op::Handle, Ret::Done);
    accepts(
        &|n| [&one[..], &len(n)[..1], &more, &len(n)[1..]].concat(),
        &[2],
    );
}
