//! Concurrent histories of the table: what several threads did to a few keys and were told, and whether some order explains it.
//!
//! Each thread draws its operations ([`task`]); every call and return is written down. A history is *linearizable* if there is an order of all operations that
//! keeps those apart that did not overlap, and in which the [`model`] gives every operation the answer that it got (Herlihy and Wing, 1990). The search for it is stateright's
//! `LinearizabilityTester`. `len` is no operation on one key, and looks at one key after the other: it is held against an interval instead ([`lengths`]), which is a single number
//! when nobody else uses the table.
#![allow(dead_code, unreachable_pub, missing_docs)] // two tests use a part of it each

mod lengths;
mod model;
mod task;

pub use model::{Op, Ret, THREADS};
pub use task::World;

use model::Model;
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// A call or a return: of which thread, and of which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Call(usize, usize, Op),
    Return(usize, usize, Op, Ret),
    CallLen(usize),
    ReturnLen(usize, usize),
}

/// What happened, in order. Not seen by a model checker: writing a line is no step of the model.
#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Line>>);

impl History {
    pub fn add(&self, line: Line) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    pub fn lines(&self) -> Vec<Line> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Is there an order for each key, and is each `len` possible, if `others` keys are alive all the time? If not, why.
pub fn judge(lines: &[Line], others: usize) -> Result<(), String> {
    let mut testers = BTreeMap::new();
    for line in lines {
        let (Line::Call(thread, key, op) | Line::Return(thread, key, op, _)) = *line else {
            continue;
        };
        let tester: &mut LinearizabilityTester<usize, Model> = testers.entry(key).or_default();
        // The second step has the same time, and is the doing of another thread to the tester.
        let steps = [
            Some((thread, op)),
            op.second().map(|op| (THREADS + thread, op)),
        ];
        for (i, (id, step)) in steps.into_iter().flatten().enumerate() {
            let noted = match *line {
                Line::Return(.., ret) if i == 0 => tester.on_return(id, ret),
                Line::Return(..) => tester.on_return(id, Ret::Done),
                _ => tester.on_invoke(id, (thread, step)),
            };
            noted.map_err(|e| format!("a thread does one thing at a time: {e}"))?;
        }
    }
    for (key, tester) in testers {
        if tester.serialized_history().is_none() {
            let what = format!("no order of what was done to key {key} explains the answers");
            return Err(told(&what, lines));
        }
    }
    lengths::judge(lines, others).map_err(|what| told(&what, lines))
}

fn told(what: &str, lines: &[Line]) -> String {
    let mut text = what.to_owned();
    for line in lines {
        let _ = match line {
            Line::Call(t, k, op) => write!(text, "\n  thread {t} calls   {op:?} on key {k}"),
            Line::Return(t, k, op, ret) => {
                write!(
                    text,
                    "\n  thread {t} returns {ret:?} from {op:?} on key {k}"
                )
            }
            Line::CallLen(t) => write!(text, "\n  thread {t} calls   len"),
            Line::ReturnLen(t, n) => write!(text, "\n  thread {t} returns {n} from len"),
        };
    }
    text
}
