//! Many keys in one call, by threads that ask for the same ones in every order: they neither overlap nor wait in a circle (I1).
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;

use common::{one_bucket, sorted, Dice};
use perkey::{LockManyError, LockTable};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

/// Data that is not kept together by itself: an overlap of two holders of one key is seen, or an increment lost.
#[derive(Default)]
struct Place {
    inside: AtomicU64,
    count: AtomicU64,
}

impl Place {
    /// To be called with the lock held.
    fn visit(&self, me: u64) {
        assert_eq!(self.inside.load(Relaxed), 0, "two holders");
        self.inside.store(me, Relaxed);
        let count = self.count.load(Relaxed);
        std::hint::spin_loop();
        assert_eq!(self.inside.load(Relaxed), me, "two holders");
        self.count.store(count + 1, Relaxed);
        self.inside.store(0, Relaxed);
    }
}

/// All orders of the keys below `n`.
fn permutations(n: u64) -> Vec<Vec<u64>> {
    let mut all = vec![vec![]];
    for k in 0..n {
        all = all
            .into_iter()
            .flat_map(|p: Vec<u64>| {
                (0..=p.len()).map(move |at| {
                    let mut p = p.clone();
                    p.insert(at, k);
                    p
                })
            })
            .collect();
    }
    all
}

/// Four threads, each with all orders of four keys, some of them asked for twice, in an order of its own.
fn crossing<S: BuildHasher + Sync>(t: &LockTable<u64, S>, how: &(impl Fn(&[u64], u64) + Sync)) {
    let orders = &permutations(4);
    std::thread::scope(|s| {
        for me in 1..=4 {
            s.spawn(move || {
                let mut dice = Dice(me);
                for _ in 0..25 {
                    for at in 0..orders.len() {
                        let mut asked = orders[(at * me as usize) % orders.len()].clone();
                        for _ in 0..dice.below(4) {
                            asked.insert(dice.below(4) as usize, dice.below(4));
                        }
                        asked.truncate(2 + dice.below(6) as usize);
                        how(&asked, me);
                    }
                }
            });
        }
    });
    assert!(t.is_empty());
}

fn distinct(asked: &[u64]) -> Vec<u64> {
    let mut keys = asked.to_vec();
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[test]
fn crossing_orders_neither_overlap_nor_deadlock() {
    // I1; with one hash and with many, with and without keys that fill the slots.
    fn all<S: BuildHasher + Sync>(t: &LockTable<u64, S>) {
        let (places, sum) = (<[Place; 4]>::default(), AtomicUsize::new(0));
        let (t, places, sum) = (t, &places, &sum);
        crossing(t, &move |asked, me| {
            let many = t.lock_many(asked).expect("nothing else is held");
            assert_eq!(sorted(&many), distinct(asked));
            for k in many.keys() {
                places[*k as usize].visit(me);
            }
            sum.fetch_add(many.len(), SeqCst);
        });
        let counted: u64 = places.iter().map(|p| p.count.load(SeqCst)).sum();
        assert_eq!(counted, sum.load(SeqCst) as u64);
    }
    all(&one_bucket());
    all(&LockTable::with_hasher(RandomState::new()));
    let t = Arc::new(one_bucket());
    let (locked, is_locked) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let other = t.clone();
    // Five slots are taken: three of the four keys have to be in the chain.
    let filler = std::thread::spawn(move || {
        let _many = other.lock_many(&[10, 11, 12, 13, 14]).unwrap();
        locked.send(()).unwrap();
        let _ = gone.recv();
    });
    is_locked.recv().unwrap();
    let places = <[Place; 4]>::default();
    let (table, places) = (&*t, &places);
    std::thread::scope(|s| {
        for me in 1..=4u64 {
            s.spawn(move || {
                for order in permutations(4).iter().skip(me as usize) {
                    for k in table.lock_many(order).unwrap().keys() {
                        places[*k as usize].visit(me);
                    }
                }
            });
        }
    });
    drop(go);
    filler.join().unwrap();
    assert!(t.is_empty());
}

#[test]
fn who_asks_for_more_while_holding_never_hangs() {
    // I1. What cannot be waited for is asked for again with nothing held.
    let t = one_bucket();
    let places = <[Place; 4]>::default();
    let (table, places) = (&t, &places);
    crossing(&t, &move |asked, me| {
        let (first, rest) = asked.split_at(1);
        let outer = table.lock_many(first).expect("nothing else is held");
        let k = first[0] as usize;
        match table.lock_many(rest) {
            Ok(inner) => {
                places[k].visit(me);
                for k in inner.keys() {
                    places[*k as usize].visit(me);
                }
                match table.lock_many(asked) {
                    Ok(all) => assert_eq!(sorted(&all), distinct(asked)),
                    Err(e) => panic!("all of it is held: {e}"),
                }
            }
            Err(LockManyError::WouldDeadlock) => {
                places[k].visit(me);
                drop(outer);
                let all = table.lock_many(asked).expect("nothing else is held");
                for k in all.keys() {
                    places[*k as usize].visit(me);
                }
            }
            Err(e) => panic!("{e}"),
        }
    });
}

#[test]
fn every_form_crosses_every_other() {
    // I1
    let t = one_bucket();
    let places = <[Place; 4]>::default();
    let (table, places, turn) = (&t, &places, &AtomicUsize::new(0));
    crossing(&t, &move |asked, me| {
        let soon = Duration::from_micros(50);
        let many = match turn.fetch_add(1, Relaxed) % 5 {
            0 => table.try_lock_many(asked),
            1 => table.try_lock_many_for(asked, soon),
            2 => table.try_lock_many_until(asked, Instant::now() + soon),
            3 => {
                let guard = table.lock(&asked[0]); // one key at a time
                places[asked[0] as usize].visit(me);
                guard.unlock_fair();
                None
            }
            _ => table.lock_many(asked).ok(),
        };
        if let Some(many) = many {
            for k in many.keys() {
                places[*k as usize].visit(me);
            }
            if me % 2 == 0 {
                many.unlock_fair();
            }
        }
    });
}
