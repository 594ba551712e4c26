//! Programs of a few operations on two words, and what outcomes they can have.
#![allow(unreachable_pub, missing_docs)]

use fastrand::Rng;
use loom::sync::atomic::{fence, AtomicU64, Ordering, Ordering::*};
use loom::sync::{Mutex, Notify};

pub const WORDS: usize = 2;

/// Between the threads in an outcome.
pub const DIVIDER: u64 = u64::MAX;

/// Added to what an exchange has read if it took place; more than any value.
const TAKEN: u64 = 1000;

/// What each thread has read, and what is in the words in the end.
pub type Outcome = Vec<u64>;

/// The operations of each thread.
pub type Program = Vec<Vec<Op>>;

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Load(usize, Ordering),
    Store(usize, u64, Ordering),
    Add(usize, Ordering),
    Exchange(usize, u64, u64, Ordering, Ordering),
    Fence(Ordering),
    /// Loads the word in a mutex, and counts who has been there.
    Locked(usize),
    /// Leaves out the next one if this was read last.
    SkipAfter(u64),
    Notify,
    Wait,
}

/// A program of so many threads with at most so many operations each; in some, the first thread notifies the second.
pub fn draw(rng: &mut Rng, threads: usize, most: usize) -> Program {
    let mut program: Program = (0..threads)
        .map(|t| {
            (0..rng.usize(1..=most))
                .map(|i| operation(rng, t, i))
                .collect()
        })
        .collect();
    if rng.u8(..4) == 0 {
        for (t, op) in [Op::Notify, Op::Wait].into_iter().enumerate() {
            let at = rng.usize(..=program[t].len());
            program[t].insert(at, op);
        }
    }
    program
}

/// Stores and loads of two threads, sequentially consistent fences in between.
pub fn draw_fenced(rng: &mut Rng) -> Program {
    let mut thread = |t: usize| {
        let accesses = (0..rng.usize(2..=3)).map(|i| {
            let word = rng.usize(..WORDS);
            if rng.bool() {
                Op::Load(word, Relaxed)
            } else {
                Op::Store(word, (10 * (t + 1) + i) as u64, Relaxed)
            }
        });
        let mut ops: Vec<Op> = accesses.collect();
        for _ in 0..rng.usize(1..=2) {
            ops.insert(rng.usize(1..=ops.len()), Op::Fence(SeqCst));
        }
        ops
    };
    vec![thread(0), thread(1)]
}

/// One thread stores to a word more often than loom keeps stores (seven); the other one looks.
pub fn draw_storing(rng: &mut Rng) -> Program {
    let mut store = |i: usize| match rng.u8(..4) {
        0 => Op::Add(0, Relaxed),
        1 => Op::Store(1, 50 + i as u64, Release),
        _ => Op::Store(0, 20 + i as u64, Relaxed),
    };
    let stores = (0..10).map(&mut store).collect();
    let looks = (0..rng.usize(1..=3)).map(|i| match rng.u8(..4) {
        0 => Op::Load(1, Acquire),
        1 if i > 0 => Op::Store(1, 10 + i as u64, Relaxed),
        _ => Op::Load(0, Relaxed),
    });
    vec![looks.collect(), stores]
}

fn operation(rng: &mut Rng, thread: usize, at: usize) -> Op {
    let word = rng.usize(..WORDS);
    let value = (10 * (thread + 1) + at) as u64;
    let known = [0, 10, 20];
    let exchange = [Relaxed, Acquire, Release, AcqRel, SeqCst];
    let mut one_of = |all: &[Ordering]| all[rng.usize(..all.len())];
    let (load, store, change) = (
        one_of(&[Relaxed, Acquire, SeqCst]),
        one_of(&[Relaxed, Release, SeqCst]),
        one_of(&exchange),
    );
    let fence = one_of(&[Acquire, Release, AcqRel, SeqCst]);
    match rng.u8(..14) {
        0..=3 => Op::Load(word, load),
        4..=6 => Op::Store(word, value, store),
        7..=8 => Op::Add(word, change),
        9..=10 => Op::Exchange(word, known[rng.usize(..3)], 100 + value, change, load),
        11 => Op::Fence(fence),
        12 => Op::SkipAfter(known[rng.usize(..3)]),
        _ => Op::Locked(word),
    }
}

/// What the threads share.
pub struct Shared {
    words: [AtomicU64; WORDS],
    visits: Mutex<u64>,
    bell: Notify,
}

impl Shared {
    pub fn new() -> Self {
        Self {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            visits: Mutex::new(0),
            bell: Notify::new(),
        }
    }

    /// Runs a thread; returns what it has read.
    pub fn run(&self, ops: &[Op]) -> Vec<u64> {
        let mut read = Vec::new();
        each(ops, &mut read, |op, read| match *op {
            Op::Load(w, o) => read.push(self.words[w].load(o)),
            Op::Store(w, value, o) => self.words[w].store(value, o),
            Op::Add(w, o) => read.push(self.words[w].fetch_add(1, o)),
            Op::Exchange(w, from, to, o, failure) => read.push(
                self.words[w]
                    .compare_exchange(from, to, o, failure)
                    .map_or_else(|was| was, |was| was + TAKEN),
            ),
            Op::Fence(o) => fence(o),
            Op::Locked(w) => {
                let mut visits = self.visits.lock().unwrap();
                read.push(*visits);
                *visits += 1;
                read.push(self.words[w].load(Relaxed));
            }
            Op::SkipAfter(_) => {}
            Op::Notify => self.bell.notify(),
            Op::Wait => self.bell.wait(),
        });
        read
    }

    /// What is in the words when all threads have ended.
    pub fn end(&self) -> [u64; WORDS] {
        std::array::from_fn(|w| self.words[w].load(Relaxed))
    }
}

/// The operations that are done; notifying and waiting are not left out.
fn each(ops: &[Op], read: &mut Vec<u64>, mut done: impl FnMut(&Op, &mut Vec<u64>)) {
    let mut skip = false;
    for op in ops {
        if std::mem::take(&mut skip) && !matches!(op, Op::Notify | Op::Wait) {
            continue;
        }
        if let Op::SkipAfter(value) = op {
            skip = read.last() == Some(value);
        }
        done(op, read);
    }
}

/// An access to one word: by whom, what it has read, what it has written.
struct Access {
    thread: usize,
    read: Option<u64>,
    written: Option<u64>,
}

/// Is there an order of the stores to each word in which no thread goes back, each change follows what it has read, and the last one is there in the end?
pub fn coherent(program: &Program, outcome: &Outcome) -> bool {
    let mut parts: Vec<&[u64]> = outcome.split(|v| *v == DIVIDER).collect();
    let end = parts.pop().expect("what is there in the end");
    let words = accesses(program, &parts);
    words.iter().zip(end).all(|(accesses, end)| {
        let stores = (0..accesses.len()).filter(|i| accesses[*i].written.is_some());
        some_order(accesses, &mut Vec::new(), &mut stores.collect(), *end)
    })
}

/// The accesses to each word, those of a thread in its order.
fn accesses(program: &Program, parts: &[&[u64]]) -> [Vec<Access>; WORDS] {
    let mut words: [Vec<Access>; WORDS] = Default::default();
    for (thread, ops) in program.iter().enumerate() {
        let mut values = parts[thread].iter().copied();
        each(ops, &mut Vec::new(), |op, read| {
            let mut next = || values.next().expect("as many values as reads");
            let (word, was, written) = match *op {
                Op::Load(w, _) => (w, Some(next()), None),
                Op::Store(w, value, _) => (w, None, Some(value)),
                Op::Add(w, _) => {
                    let was = next();
                    (w, Some(was), Some(was + 1))
                }
                Op::Exchange(w, _, to, ..) => {
                    let was = next();
                    (w, Some(was), (was >= TAKEN).then_some(to))
                }
                Op::Locked(w) => {
                    let _visits = next();
                    (w, Some(next()), None)
                }
                _ => return,
            };
            read.extend(was);
            words[word].push(Access {
                thread,
                read: was.map(|v| v % TAKEN),
                written,
            });
        });
    }
    words
}

/// Tries all orders that begin with `order` and go on with the stores that are `left`.
fn some_order(
    accesses: &[Access],
    order: &mut Vec<usize>,
    left: &mut Vec<usize>,
    end: u64,
) -> bool {
    if left.is_empty() {
        return fits(accesses, order, end);
    }
    (0..left.len()).any(|i| {
        let store = left.remove(i);
        order.push(store);
        let fits = some_order(accesses, order, left, end);
        order.pop();
        left.insert(i, store);
        fits
    })
}

/// Is this order one? Place 0 is what was there first; a load takes the earliest place that it can.
fn fits(accesses: &[Access], order: &[usize], end: u64) -> bool {
    let value = |place: usize| match place {
        0 => Some(0),
        p => accesses[order[p - 1]].written,
    };
    let threads = accesses.iter().map(|a| a.thread + 1).max().unwrap_or(0);
    value(order.len()) == Some(end)
        && (0..threads).all(|t| {
            let mut at = 0;
            accesses
                .iter()
                .enumerate()
                .filter(|(_, a)| a.thread == t)
                .all(|(i, a)| {
                    if a.written.is_some() {
                        let before = order
                            .iter()
                            .position(|s| *s == i)
                            .expect("each store has a place");
                        let follows = a.read.is_none() || a.read == value(before);
                        let fits = follows && before >= at;
                        at = before + 1;
                        fits
                    } else {
                        let place = (at..=order.len()).find(|p| value(*p) == a.read);
                        at = place.unwrap_or(at);
                        place.is_some()
                    }
                })
        })
}
