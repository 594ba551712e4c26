//! Foreign code that stops for ever (I4, I9, trap 7): at every call of every operation, in every state of a table, all others can go on, on keys
//! that the stopped thread does not hold.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

mod common;
#[path = "common/foreign.rs"]
mod foreign;
#[path = "common/trap.rs"]
mod trap;

use common::{Pick, PATIENCE};
use foreign::*;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::{mpsc, Arc};
use trap::{trapped, Call};

/// What all others must be able to do while a thread stands still in foreign code, on keys that it does not hold.
fn others_work(table: &Table, ledger: &Arc<Ledger>) {
    for n in 100..120 {
        let guard = table.lock(&ledger.asked(n));
        assert_eq!((guard.key().asked.n, guard.depth()), (n, 1));
    }
    let all: Vec<_> = (120..130).map(|n| table.lock(&ledger.asked(n))).collect();
    let handle = table.handle(&ledger.asked(131));
    let weak = handle.downgrade();
    assert!(weak.upgrade().is_some() && table.len() >= 11);
    assert!(table.is_held(&ledger.asked(120)) && !table.is_locked(&ledger.asked(132)));
    drop((all, handle));
    assert!(weak.upgrade().is_none());
    table.shrink_to_fit();
    // Not even the key of the stopped operation makes them wait, unless it is held.
    for n in [1, 20, 30] {
        drop(table.try_lock(&ledger.asked(n)));
    }
    assert!(!format!("{table:?}").is_empty());
}

fn stops(call: Call) {
    let mut times = 0;
    for hash in [Pick::One, Pick::Plain] {
        for state in states(hash) {
            for (i, op) in OPS.iter().enumerate() {
                for n in 1.. {
                    assert!(n < 500, "{} does not end", op.name);
                    let (stopped, has_stopped) = mpsc::channel();
                    let (go, gone) = mpsc::channel::<()>();
                    let thread = std::thread::spawn(move || {
                        let world = World::new(state, hash);
                        let home = Home {
                            table: world.table.clone(),
                            ledger: world.ledger.clone(),
                            key: OPS[i].key,
                        };
                        let there = (home.table.clone(), home.ledger.clone());
                        let stop = stopped.clone();
                        let act: Rc<dyn Fn()> = Rc::new(move || {
                            stop.send(Some(there.clone())).unwrap();
                            let _ = gone.recv();
                        });
                        let (sprung, result) = trapped(call, n, act, || (OPS[i].run)(&home));
                        if !sprung {
                            stopped.send(None).unwrap();
                        }
                        if let Err(p) = result {
                            resume_unwind(p);
                        }
                        drop(home);
                        world.check("after the stop");
                        drop(stopped);
                        world.end("after the stop");
                    });
                    let Some((table, ledger)) = has_stopped.recv().expect("the thread lives")
                    else {
                        thread.join().unwrap();
                        break;
                    };
                    let what = format!(
                        "stopped at {call:?} no. {n} of '{}', {state:?}, {hash:?}",
                        op.name
                    );
                    let (done, is_done) = mpsc::channel();
                    let other = std::thread::spawn(move || {
                        others_work(&table, &ledger);
                        drop((table, ledger));
                        done.send(()).unwrap();
                    });
                    is_done
                        .recv_timeout(PATIENCE)
                        .unwrap_or_else(|e| panic!("{what}: the others do not finish: {e}"));
                    other.join().unwrap();
                    drop(go);
                    if let Err(p) = thread.join() {
                        eprintln!("{what}");
                        resume_unwind(p);
                    }
                    times += 1;
                }
            }
        }
    }
    assert!(times > 10, "{call:?} was reached {times} times only");
}

#[test]
fn a_thread_stopped_in_hash_stops_nobody_else() {
    // I4
    stops(Call::Hash);
}

#[test]
fn a_thread_stopped_in_eq_stops_nobody_else() {
    // I4
    stops(Call::Eq);
}

#[test]
fn a_thread_stopped_in_borrow_stops_nobody_else() {
    // I4
    stops(Call::Borrow);
}

#[test]
fn a_thread_stopped_in_to_owned_stops_nobody_else() {
    // I4
    stops(Call::ToOwned);
}

#[test]
fn a_thread_stopped_in_clone_into_stops_nobody_else() {
    // I4
    stops(Call::CloneInto);
}

#[test]
fn a_thread_stopped_in_drop_stops_nobody_else() {
    // I4
    stops(Call::Drop);
}
