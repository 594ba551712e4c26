//! Concurrent histories: what several threads did and were told, and whether some order explains it.
//!
//! Each thread runs its program of operations; every call and return is written down. The history is *linearizable* if there is an order of all operations
//! that keeps those apart that did not overlap, and in which the [`Model`] gives every operation the answer that it got (Herlihy and Wing,
//! 1990). The search for it is `stateright`'s [`LinearizabilityTester`]. A lost update, a value that is made twice, a stale read or a phantom has
//! no such order.

use super::draw::{promised, Dice};
use super::model::Model;
use super::ops::{Name, Op, Ret, K};
use super::{Part, Promise};
use crate::storage::Storage;
use crate::sync::threads::{self, Gate};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// So many threads.
const THREADS: usize = 3;
/// So many operations in the program of each, at most.
const LENGTH: u64 = 3;
/// So many programs, one after the other: with real threads; one is enough in each of many schedules.
const ROUNDS: u64 = if cfg!(perkey_shuttle) { 1 } else { 200 };

/// A call or a return, of a thread.
#[derive(Clone, Debug)]
enum Line {
    Call(usize, Op),
    Return(usize, Ret),
}

/// What happened, in order. Not of the facade: writing a line is no step of the model.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: Mutex<Vec<Line>>,
}

impl History {
    fn add(&self, line: Line) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }

    /// Runs an operation, and writes it down.
    fn run<S: Storage>(&self, thread: usize, store: &S, op: &Op) {
        self.add(Line::Call(thread, op.clone()));
        let ret = op.run(store);
        self.add(Line::Return(thread, ret));
    }

    /// # Panics
    /// If no order of the operations explains what they returned.
    pub(super) fn check(&self, model: &Model) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tester = LinearizabilityTester::new(model.clone());
        for line in &*lines {
            let noted = match line {
                Line::Call(thread, op) => tester.on_invoke(*thread, op.clone()),
                Line::Return(thread, ret) => tester.on_return(*thread, ret.clone()),
            };
            noted.expect("a thread does one thing at a time");
        }
        if tester.serialized_history().is_none() {
            let mut text = format!("no order of these operations explains what they returned; before them there was {model:?}");
            for line in &*lines {
                let _ = match line {
                    Line::Call(thread, op) => write!(text, "\n  thread {thread} calls   {op:?}"),
                    Line::Return(thread, ret) => {
                        write!(text, "\n  thread {thread} returns {ret:?}")
                    }
                };
            }
            drop(lines);
            panic!("{text}");
        }
    }
}

/// Runs small programs on three keys in three threads, on one store each time anew, and judges what they were told.
///
/// Under [`Promise::Nothing`] these are `save_as`, `load` and `contains`; under [`Promise::PerKey`] everything that names its keys;
/// under [`Promise::Serial`] listings and the search for a prefix that several keys have, too. With real threads so many programs as
/// take a moment; inside a shuttle execution a single one, drawn with shuttle's random numbers.
///
/// ```
/// use perkey::storage::conformance::{histories, Promise};
/// use perkey::storage::{Memory, PerKey};
///
/// histories(|| PerKey::new(Memory::new()), Promise::PerKey);
/// ```
///
/// # Panics
/// If a history is not linearizable: an update was lost, a value was made twice, a read was stale. Or if an operation fails for no reason, or
/// hangs.
pub fn histories<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S, promise: Promise) {
    handles(|| [make()], promise);
}

/// [`histories`] on several handles of one store: each thread has one of them.
///
/// ```
/// use perkey::storage::conformance::{handles, Promise};
/// use perkey::storage::{Memory, Serializing};
///
/// let make = || {
///     let store = Serializing::new(Memory::new());
///     [store.clone(), store]
/// };
/// handles(make, Promise::Serial);
/// ```
///
/// # Panics
/// As [`histories`].
pub fn handles<S: Storage + Send + Sync + 'static, const N: usize>(
    make: impl Fn() -> [S; N],
    promise: Promise,
) {
    let _part = Part::new::<S>("histories");
    let stores = Arc::new(make());
    for round in 0..ROUNDS {
        let mut dice = Dice(threads::seed(round));
        let before = [
            Model::default(),
            Model::with(["1", "2"]),
            Model::with(["1"]),
        ];
        let before = before[dice.below(3)].clone();
        before.restore(&stores[0]);
        let programs: Vec<_> = (0..THREADS)
            .map(|_| {
                let length = 1 + dice.next() % LENGTH;
                (0..length).map(|_| promised(&mut dice, promise)).collect()
            })
            .collect();
        run(&stores, programs).check(&before);
    }
}

/// Runs the programs, each in a thread, and looks at every key afterwards.
pub(super) fn run<S: Storage + Send + Sync + 'static, const N: usize>(
    stores: &Arc<[S; N]>,
    programs: Vec<Vec<Op>>,
) -> Arc<History> {
    let history = Arc::new(History::default());
    let begin = Arc::new(Gate::default());
    let last = programs.len();
    let tasks: Vec<_> = programs
        .into_iter()
        .enumerate()
        .map(|(thread, program)| {
            let (stores, history, begin) = (stores.clone(), history.clone(), begin.clone());
            threads::start(format!("{program:?}"), move || {
                begin.wait();
                for op in &program {
                    history.run(thread, &stores[thread % N], op);
                }
            })
        })
        .collect();
    begin.open();
    for task in tasks {
        task.join();
    }
    for key in K::ALL {
        history.run(last, &stores[0], &Op::Load(Name::Full(key)));
    }
    history
}
