//! Concurrent histories: what several threads did and were told, and whether some order explains it.
//!
//! Each thread runs its program of operations; every call and return is written down. The history is *linearizable* if there is an order of all operations
//! that keeps those apart that did not overlap, and in which the [`Model`] gives every operation the answer that it got (Herlihy and Wing,
//! 1990). The search for it is `stateright`'s [`LinearizabilityTester`]. A lost update, a value that is made twice, a stale read or a phantom has
//! no such order.

use super::draw::{promised, Dice};
use super::model::Model;
use super::ops::{Name, Op, Ret, K};
use super::{part, Promise};
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
#[derive(Debug)]
struct History {
    lines: Mutex<Vec<Line>>,
    promise: Promise,
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
        assert!(
            ret != Ret::Busy || self.promise == Promise::Nothing,
            "{op:?}: busy, although a layer keeps others out"
        );
        self.add(Line::Return(thread, ret));
    }

    /// # Panics
    /// If no order of the operations explains what they returned.
    fn check(&self, model: &Model) {
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

/// Runs small programs on three keys in three threads, on a store that is brought back to a known state each time, and judges what they were told.
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
    part::<S>("histories", || judged(&Arc::new(make()), promise));
}

fn judged<S: Storage + Send + Sync + 'static, const N: usize>(
    stores: &Arc<[S; N]>,
    promise: Promise,
) {
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
        run(stores, programs, promise).check(&before);
    }
}

/// Runs the programs, each in a thread, and looks at every key afterwards.
fn run<S: Storage + Send + Sync + 'static, const N: usize>(
    stores: &Arc<[S; N]>,
    programs: Vec<Vec<Op>>,
    promise: Promise,
) -> Arc<History> {
    let history = Arc::new(History {
        lines: Mutex::default(),
        promise,
    });
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

#[cfg(all(test, not(perkey_shuttle)))]
mod tests {
    use super::super::faults::caught;
    use super::*;

    fn call(thread: usize, op: Op) -> Line {
        Line::Call(thread, op)
    }

    fn told(thread: usize, ret: Ret) -> Line {
        Line::Return(thread, ret)
    }

    fn append(byte: u8) -> Op {
        Op::Append(Name::Full(K::A), byte)
    }

    fn load() -> Op {
        Op::Load(Name::Full(K::A))
    }

    fn value(value: &'static str) -> Ret {
        Ret::Value(value.into())
    }

    fn saw(value: &'static str) -> Ret {
        Ret::Saw(Some(value.into()))
    }

    /// Is the history, on a store with a "1", accepted?
    fn accepted(lines: &[Line]) -> bool {
        let history = History {
            lines: Mutex::new(lines.to_vec()),
            promise: Promise::Nothing,
        };
        caught(|| history.check(&Model::with(["1"]))).is_ok()
    }

    #[test]
    fn overlapping_operations_come_in_any_order() {
        for (first, second, last) in [("1", "1a", "1ab"), ("1b", "1", "1ba")] {
            assert!(accepted(&[
                call(0, append(b'a')),
                call(1, append(b'b')),
                told(1, saw(second)),
                told(0, saw(first)),
                call(2, load()),
                told(2, value(last)),
            ]));
        }
        for seen in ["1", "1a"] {
            assert!(accepted(&[
                call(0, append(b'a')),
                call(1, load()),
                told(1, value(seen)),
                told(0, saw("1")),
            ]));
        }
    }

    #[test]
    fn a_lost_update_is_rejected() {
        assert!(!accepted(&[
            call(0, append(b'a')),
            call(1, append(b'b')),
            told(0, saw("1")),
            told(1, saw("1")),
        ]));
        // Also if only what is left tells it.
        assert!(!accepted(&[
            call(0, append(b'a')),
            told(0, saw("1")),
            call(1, load()),
            told(1, value("1")),
        ]));
    }

    #[test]
    fn a_value_that_is_made_twice_is_rejected() {
        let get = |v: &'static str| Op::GetOrInsert(K::B, v.into());
        let history = |made: bool| {
            accepted(&[
                call(0, get("x")),
                call(1, get("y")),
                told(0, Ret::Got("x".into(), true)),
                told(1, Ret::Got(if made { "y" } else { "x" }.into(), made)),
            ])
        };
        assert!(history(false));
        assert!(!history(true));
    }

    #[test]
    fn a_stale_read_is_rejected() {
        let save = Op::SaveAs(K::A, "2".into());
        // Old after the save has returned; or old after somebody has seen the new one.
        assert!(!accepted(&[
            call(0, save.clone()),
            told(0, Ret::Done),
            call(1, load()),
            told(1, value("1")),
        ]));
        assert!(!accepted(&[
            call(0, save),
            call(1, load()),
            told(1, value("2")),
            call(2, load()),
            told(2, value("1")),
            told(0, Ret::Done),
        ]));
    }

    #[test]
    fn a_phantom_is_rejected() {
        let list = |keys: Vec<K>| accepted(&[call(0, Op::List), told(0, Ret::Keys(keys))]);
        assert!(list(vec![K::A]));
        assert!(!list(vec![K::A, K::B]) && !list(vec![]));
        assert!(!accepted(&[call(0, load()), told(0, value("never saved"))]));
        assert!(!accepted(&[
            call(0, Op::Evict(Name::Full(K::A))),
            told(0, Ret::Done),
            call(1, Op::Contains(Name::Full(K::A))),
            told(1, Ret::There(true)),
        ]));
    }

    #[test]
    fn half_of_an_operation_on_two_keys_is_rejected() {
        let both = Op::SaveBoth([K::A, K::B], "2".into());
        let seen = |a: &'static str, b: &'static str| {
            accepted(&[
                call(2, Op::SaveAs(K::B, "1".into())),
                told(2, Ret::Done),
                call(0, both.clone()),
                call(1, Op::LoadMany(vec![K::A, K::B])),
                told(1, Ret::Values(vec![a.into(), b.into()])),
                told(0, Ret::Done),
            ])
        };
        assert!(seen("1", "1") && seen("2", "2"));
        assert!(!seen("1", "2") && !seen("2", "1"));
    }

    #[test]
    fn who_was_told_that_it_is_busy_has_changed_nothing() {
        let history = |left: &'static str| {
            accepted(&[
                call(0, Op::SaveAs(K::A, "2".into())),
                told(0, Ret::Busy),
                call(0, load()),
                told(0, value(left)),
            ])
        };
        assert!(history("1"));
        assert!(!history("2"));
    }
}
