//! The lock table under random and PCT schedules: 4 to 8 tasks, a few keys, 10,000 schedules of each kind per scenario.
//!
//! Checked throughout: no two holders of one key and no lost increment on data that is not atomic (I1), the guard is for the
//! key that was asked for (I2), depths (I3), `len() == 0` at the end (I5), no deadlock, that is no lost wake-up (I6), no node
//! touched after its burial (I7), every key dropped once, and no read of a key while another task writes it. The counts that
//! are printed, and asserted not to be 0, show that the scenarios get where they want to go.
//!
//! Traps 4, 7 (the other half is in `stop_anywhere`), 8, 10, 16 (there is no resizing: churn and overflow instead) and 30.
//! See `shuttle_common` for seeds and replays.
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic, clippy::type_complexity)]

mod shuttle_common;
#[path = "shuttle_table/world.rs"]
mod world;

use perkey::model::{set_lagging, tick};
use perkey::OwnedWeakKeyLock;
use shuttle::thread;
use shuttle_common::{check, table, until_all_sleep, Key, Registry};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::Arc;
use world::{below, Tally, World, MS};

/// Programs drawn at random: everything the table offers, by `tasks` tasks of `steps` steps.
fn mixed(name: &str, tasks: usize, steps: usize, keys: usize, hash: fn(usize) -> u64) {
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let program = move |w: &World| (0..steps).for_each(|_| w.step(0));
        World::new(registry, &t, keys, hash)
            .run((0..tasks).map(|_| Box::new(program) as _).collect(), |_| {
                tick(MS * 2)
            });
    });
    tally.show(
        name,
        &[
            "try_lock: yes",
            "try_lock: no",
            "try_lock_for: yes",
            "try_lock_for: no",
            "upgrade after the last of its own: yes",
            "upgrade after the last of its own: no",
        ],
    );
}

#[test]
fn four_tasks_draw_their_programs() {
    mixed("four_tasks_draw_their_programs", 4, 4, 3, |id| id as u64);
}

#[test]
fn eight_tasks_draw_their_programs() {
    mixed("eight_tasks_draw_their_programs", 8, 2, 3, |id| id as u64);
}

#[test]
fn constant_hash() {
    mixed("constant_hash", 5, 3, 4, |_| 7);
}

/// I1, I2, I5, I7: as above, while segments come, are drained and go. More keys than the first array has slots.
#[test]
fn keys_come_and_go_while_the_table_grows() {
    let name = "keys_come_and_go_while_the_table_grows";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let hash = if below(3) == 0 {
            |_| 7
        } else {
            |id: usize| id as u64
        };
        let program = |w: &World| {
            for _ in 0..3 {
                match below(6) {
                    0 => w.table.grow(1),
                    1 => (0..2).for_each(|_| w.table.tend()),
                    2 if below(3) == 0 => w.table.shrink_to_fit(),
                    2 => set_lagging(below(2) == 0),
                    _ => w.step(0),
                }
            }
        };
        let w = Arc::new(World::new(registry, &t, 10, hash));
        // Some are held meanwhile: what others ask for is in chains, or in segments.
        let held: Vec<_> = (0..below(9)).map(|k| w.table.handle(&w.keys[k])).collect();
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let w = w.clone();
                thread::spawn(move || program(&w))
            })
            .collect();
        tick(MS * 2);
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(w.table.len(), held.len());
        drop(held);
        w.data.verify();
        assert_eq!(w.table.len(), 0, "{:?}", w.table);
        for _ in 0..100 {
            if w.table.segments() > 1 {
                w.table.tend();
            }
        }
        let segments = w.table.segments();
        assert!(segments <= 1, "{segments} segments with nothing in them");
        t.count(if segments == 0 { "not grown" } else { "grown" });
        w.table.shrink_to_fit();
        let w = Arc::into_inner(w).expect("all are joined");
        assert_eq!(w.registry.alive(), w.keys.len(), "after shrinking");
    });
    tally.show(name, &["grown", "not grown"]);
}

/// I7: a node is to be linked into the chain of a segment that is drained meanwhile and waits for one pin only: it comes too late.
#[test]
fn a_node_comes_too_late_for_a_drained_segment() {
    let name = "a_node_comes_too_late_for_a_drained_segment";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let w = Arc::new(World::new(registry, &t, 13, |_| 7));
        let handle = |k: usize| w.table.handle_owned(&w.keys[k]);
        let _first: Vec<_> = (0..6).map(handle).collect();
        w.table.grow(1);
        let segment: Vec<_> = (6..12).map(handle).collect();
        let late = thread::spawn({
            let w = w.clone();
            move || {
                let guard = w.table.lock(&w.keys[12]);
                w.visit(12, guard.key());
            }
        });
        let drains = thread::spawn({
            let w = w.clone();
            move || {
                w.table.grow(1);
                drop(segment);
                w.table.tend();
                let gone = w.table.segments() == 1;
                w.tally.count(if gone { "drained" } else { "came first" });
            }
        });
        late.join().unwrap();
        drains.join().unwrap();
        assert_eq!(w.table.len(), 6);
    });
    tally.show(name, &["drained", "came first"]);
}

/// Insertions into an empty bucket that overlap: of the same key, and of others whose stamps replace its own.
#[test]
fn insertions_race() {
    let name = "insertions_race";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let hash = if below(2) == 0 {
            |_| 7
        } else {
            |id: usize| id as u64
        };
        let w = World::new(registry, &t, 3, hash);
        let program = |k: usize| {
            move |w: &World| {
                let guard = w.table.lock(&w.keys[k]);
                w.visit(k, guard.key());
            }
        };
        w.run(
            [0, 1, 0, 2, 0]
                .into_iter()
                .map(|k| Box::new(program(k)) as _)
                .collect(),
            |_| (),
        );
    });
}

/// Counts, when the tasks are done, whether a key had to be made again.
struct Came {
    made: usize,
    registry: &'static Registry,
    t: Tally,
}

impl Drop for Came {
    fn drop(&mut self) {
        if self.registry.made() > self.made + 3 {
            self.t.count("a key came again");
        }
    }
}

/// Five of the six slots are held, so that three keys take the last one over from each other all the time, or overflow.
#[test]
fn takeover_of_one_slot() {
    let name = "takeover_of_one_slot";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let program = |w: &World| {
            for _ in 0..3 {
                let k = below(3);
                let key = &w.keys[k];
                match below(4) {
                    0 => {
                        if let Some(guard) = w.table.try_lock(key) {
                            w.visit(k, guard.key());
                        }
                    }
                    1 => assert_eq!(w.table.handle(key).key().id, k),
                    _ => {
                        let guard = w.table.lock(key);
                        w.visit(k, guard.key());
                        assert_eq!(guard.depth(), 1);
                    }
                }
            }
        };
        let hash = if below(2) == 0 {
            |_| 7
        } else {
            |id: usize| id as u64 % 2
        };
        let w = World::new(registry, &t, 8, hash);
        let table = w.table.clone();
        let fillers: Vec<_> = (3..8).map(|k| table.handle_owned(&w.keys[k])).collect();
        drop(table);
        let made = registry.made();
        let t = t.clone();
        w.run((0..4).map(|_| Box::new(program) as _).collect(), |w| {
            match below(4) {
                0 => w.table.shrink_to_fit(),
                1 => drop(fillers),
                _ => return Some((fillers, Came { made, registry, t })),
            }
            None
        });
    });
    tally.show(name, &["a key came again"]);
}

/// More keys alive than slots: they go to the chain, are found there, waited for, and leave it.
#[test]
fn overflow() {
    let name = "overflow";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let hash = match below(3) {
            0 => |_| 7,
            1 => |id: usize| id as u64 % 2,
            _ => |id: usize| id as u64,
        };
        let w = World::new(registry, &t, 9, hash);
        // The six slots are used: keys 0 to 2 are in the chain until `main` lets the others go.
        let table = w.table.clone();
        let fillers: Vec<_> = (3..9).map(|k| table.handle_owned(&w.keys[k])).collect();
        drop(table);
        let programs: Vec<Box<dyn FnOnce(&World) + Send>> = vec![
            Box::new(|w| {
                let a = w.table.lock(&w.keys[0]);
                let b = w.table.lock(&w.keys[1]);
                let c = w.table.lock(&w.keys[2]);
                w.visit(0, a.key());
                w.visit(1, b.key());
                w.visit(2, c.key());
                let debug = format!("{:?}", w.table);
                if !debug.contains("overflow: 0") {
                    w.tally.count("chain in use");
                }
                drop(a);
                let again = w.table.lock(&w.keys[2]);
                drop(c);
                w.visit(2, again.key());
                if below(2) == 0 {
                    w.table.shrink_to_fit();
                }
            }),
            Box::new(|w| {
                for k in [1, 2, 0] {
                    let guard = w.table.lock(&w.keys[k]);
                    w.visit(k, guard.key());
                }
            }),
            Box::new(|w| {
                for k in [2, 1] {
                    if let Some(guard) = w.table.try_lock(&w.keys[k]) {
                        w.visit(k, guard.key());
                    }
                }
                let guard = w.table.try_lock_for(&w.keys[0], MS);
                if let Some(guard) = &guard {
                    w.visit(0, guard.key());
                }
                w.tally.count(if guard.is_some() {
                    "in time"
                } else {
                    "too late"
                });
            }),
            Box::new(|w| {
                let h = w.table.handle(&w.keys[1]);
                let weak = h.downgrade();
                if below(2) == 0 {
                    drop(h);
                    tick(MS * 2);
                } else {
                    w.visit(1, h.lock().key());
                    drop(h);
                }
                match weak.upgrade() {
                    Some(h) => {
                        w.tally.count("revived by others");
                        w.visit(1, h.lock().key());
                    }
                    None => w.tally.count("gone"),
                }
            }),
        ];
        w.run(programs, |_| (below(2) == 0).then_some(fillers));
    });
    tally.show(
        name,
        &[
            "chain in use",
            "in time",
            "too late",
            "revived by others",
            "gone",
        ],
    );
}

/// Waiters with and without time-outs on one key, a holder, a clock. After a time-out nothing of the attempt is left.
#[test]
fn time_outs_race_the_release() {
    let name = "time_outs_race_the_release";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let w = World::new(registry, &t, 2, |id| id as u64);
        let timed = |w: &World| {
            match w.table.try_lock_for(&w.keys[0], MS) {
                Some(guard) => {
                    w.visit(0, guard.key());
                    assert!(w.table.is_held(&w.keys[0]));
                    w.tally.count("in time");
                    if below(2) == 0 {
                        guard.unlock_fair();
                    }
                }
                None => {
                    assert!(!w.table.is_held(&w.keys[0]), "neither out nor in");
                    w.tally.count("too late");
                }
            };
        };
        let programs: Vec<Box<dyn FnOnce(&World) + Send>> = vec![
            Box::new(timed),
            Box::new(timed),
            Box::new(timed),
            Box::new(|w| {
                let guard = w.table.lock(&w.keys[0]);
                w.visit(0, guard.key());
            }),
            Box::new(|_| {
                tick(MS / 2);
                tick(MS);
            }),
        ];
        let held = w.table.lock_owned(&w.keys[0]);
        w.run(programs, |w| {
            w.visit(0, held.key());
            if below(2) == 0 {
                held.unlock_fair();
            } else {
                drop(held);
            }
        });
    });
    tally.show(name, &["in time", "too late"]);
}

/// The last waiter gives up while the holder releases, and the place (one slot, or a node of the chain) goes to another key at
/// once, which is held then: what the release still has to do must not reach that one.
#[test]
fn a_release_does_not_reach_the_next_key() {
    let name = "a_release_does_not_reach_the_next_key";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        registry.begin();
        let keys: Arc<Vec<Key>> = Arc::new(
            (0..9)
                .map(|id| Key::new(registry, id, id as u64 % 2))
                .collect(),
        );
        let table = Arc::new(table());
        let chained = below(4) == 0;
        let fillers: Vec<_> = (3..if chained { 9 } else { 8 })
            .map(|k| table.handle_owned(&keys[k]))
            .collect();
        let held = table.lock_owned(&keys[0]);
        let (t, ta, ke) = (t.clone(), table.clone(), keys.clone());
        let waiter = thread::spawn(move || {
            let guard = ta.try_lock_for(&ke[0], MS);
            t.count(if guard.is_some() {
                "in time"
            } else {
                "too late"
            });
        });
        until_all_sleep();
        tick(MS);
        let holding = Arc::new(AtomicBool::new(false));
        let (h, ta, ke) = (holding.clone(), table.clone(), keys.clone());
        let next = thread::spawn(move || {
            let _guard = ta.lock(&ke[1]);
            h.store(true, Relaxed);
            while h.load(Relaxed) {
                thread::park();
            }
        });
        drop(held);
        if holding.load(Relaxed) {
            assert!(
                table.is_locked(&keys[1]),
                "released by another key's holder"
            );
            assert!(table.try_lock(&keys[1]).is_none());
        }
        waiter.join().unwrap();
        while !holding.swap(false, Relaxed) {
            thread::yield_now();
        }
        next.thread().unpark();
        next.join().unwrap();
        drop(fillers);
        assert_eq!(table.len(), 0);
        drop(Arc::into_inner(table).unwrap());
        assert_eq!(registry.alive(), keys.len());
    });
    tally.show(name, &["in time", "too late"]);
}

/// When the tasks are done there is no strong handle left.
struct Dead<S>(OwnedWeakKeyLock<Key, S>);

impl<S> Drop for Dead<S> {
    fn drop(&mut self) {
        assert!(self.0.upgrade().is_none(), "risen from the dead");
    }
}

/// A weak handle belongs to one life: once an upgrade failed, or the life is known to be over, no later one succeeds, however
/// much the key is used.
#[test]
fn weak_handles_know_their_life() {
    let name = "weak_handles_know_their_life";
    let (registry, tally) = (Registry::leak(), Tally::default());
    let t = tally.clone();
    check(name, move || {
        let chained = below(2) == 0;
        let w = World::new(registry, &t, 8, |_| 7);
        let table = w.table.clone();
        let fillers: Vec<_> = (2..if chained { 8 } else { 7 })
            .map(|k| table.handle_owned(&w.keys[k]))
            .collect();
        let first = table.handle_owned(&w.keys[0]);
        let weak = first.downgrade();
        drop(table);
        let upgrader = |weak: OwnedWeakKeyLock<Key, _>| {
            move |w: &World| {
                let mut gone = false;
                for _ in 0..3 {
                    match weak.upgrade() {
                        Some(h) => {
                            assert!(!gone, "risen from the dead");
                            w.tally.count("alive");
                            assert_eq!(h.key().id, 0);
                            if let Some(guard) = h.try_lock() {
                                w.visit(0, guard.key());
                            }
                        }
                        None => {
                            w.tally.count("dead");
                            gone = true;
                        }
                    }
                }
            }
        };
        let user = |w: &World| {
            for k in [0, 1, 0] {
                let guard = w.table.lock(&w.keys[k]);
                w.visit(k, guard.key());
                // A life of its own, perhaps: its weak handle is as good as any.
                let h = w.table.handle(&w.keys[k]);
                let weak = h.downgrade();
                drop(h);
                assert!(weak.upgrade().is_some(), "alive by the guard");
            }
        };
        let programs: Vec<Box<dyn FnOnce(&World) + Send>> = vec![
            Box::new(upgrader(weak.clone())),
            Box::new(upgrader(weak.clone())),
            Box::new(user),
            Box::new(user),
        ];
        w.run(programs, |w| {
            drop(first);
            if weak.upgrade().is_none() {
                let again = w.table.handle(&w.keys[0]);
                assert!(weak.upgrade().is_none(), "a new life");
                drop(again);
            }
            drop(fillers);
            Dead(weak)
        });
    });
    tally.show(name, &["alive", "dead"]);
}

/// Guards and handles that own the table: the last of them frees it, on whatever task that is.
#[test]
fn the_last_owner_frees_the_table() {
    let name = "the_last_owner_frees_the_table";
    let registry = Registry::leak();
    check(name, move || {
        registry.begin();
        let keys: Arc<Vec<Key>> = Arc::new((0..8).map(|id| Key::new(registry, id, 7)).collect());
        let table = Arc::new(table());
        let tasks: Vec<_> = (0..4)
            .map(|i| {
                let (table, keys) = (table.clone(), keys.clone());
                thread::spawn(move || {
                    let guard = table.lock_owned(&keys[i]);
                    let handle = table.handle_owned(&keys[i + 4]);
                    let weak = handle.downgrade();
                    let shared = table.try_lock_owned(&keys[7]);
                    drop(table);
                    assert_eq!((guard.key().id, handle.key().id), (i, i + 4));
                    drop(shared);
                    let last = handle.try_lock();
                    drop(handle);
                    drop(guard);
                    assert!(
                        last.is_none() || weak.upgrade().is_some(),
                        "alive by the guard"
                    );
                    drop(last);
                    if let Some(h) = weak.upgrade() {
                        assert_eq!(h.key().id, i + 4);
                    }
                })
            })
            .collect();
        drop(table);
        for t in tasks {
            t.join().unwrap();
        }
        assert_eq!(
            registry.alive(),
            keys.len(),
            "the table is gone, and its keys"
        );
    });
}
