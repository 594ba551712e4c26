//! One execution: a victim, its peers and the others on one table; and all executions of an operation.

use super::freezer::{Freezer, Order, Phase, State, ENDLESS};
use super::shuttle_common::{
    self, config, from_env, point, seed, table, throw, Data, Key, Registry, Table,
};
use perkey::model::tick;
use perkey::{OwnedKeyGuard, OwnedKeyLock};
use shuttle::{current, thread, Runner};
use std::any::Any;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The victim's key.
pub(crate) const V: usize = 0;
/// The others' keys with the same hash, and with other hashes.
pub(crate) const SAME: [usize; 4] = [1, 2, 3, 4];
pub(crate) const OTHER: [usize; 8] = [5, 6, 7, 8, 9, 10, 11, 12];
/// Keys that fill the slots; nobody waits for them.
pub(crate) const FILL: [usize; 6] = [13, 14, 15, 16, 17, 18];
pub(crate) const KEYS: usize = 19;

pub(crate) fn hash(id: usize) -> u64 {
    if id == V || SAME.contains(&id) {
        7
    } else {
        100 + id as u64
    }
}

pub(crate) struct World {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) table: Arc<Table>,
    pub(crate) keys: Vec<Key>,
    pub(crate) data: Data,
    /// For the failing twin.
    pub(crate) mutex: shuttle::sync::Mutex<()>,
}

pub(crate) type TableHasher = BuildHasherDefault<shuttle_common::Said>;
pub(crate) type Guard = OwnedKeyGuard<Key, TableHasher>;
pub(crate) type Handle = OwnedKeyLock<Key, TableHasher>;

impl World {
    /// Waits for the run to begin.
    pub(crate) fn gate(&self) {
        self.state.lock().unwrap().gated.push(current::me());
        point();
    }

    pub(crate) fn lock(&self, k: usize) -> Guard {
        let guard = self.table.lock_owned(&self.keys[k]);
        assert_eq!(guard.key().id, k);
        self.data.visit(k);
        guard
    }

    pub(crate) fn handle(&self, k: usize) -> Handle {
        self.table.handle_owned(&self.keys[k])
    }

    /// Leaves the keys in the table, idle.
    pub(crate) fn leave_idle(&self, keys: &[usize]) {
        let guards: Vec<_> = keys.iter().map(|k| self.lock(*k)).collect();
        drop(guards);
    }

    /// The slots of the first array are full, and there are so many segments.
    pub(crate) fn grown(&self, segments: usize) -> Box<dyn Any> {
        let kept = self.fill();
        (0..segments).for_each(|_| self.table.grow(1));
        kept
    }

    /// Handles on as many keys as there are slots.
    pub(crate) fn fill(&self) -> Box<dyn Any> {
        Box::new(FILL.map(|k| self.handle(k)))
    }
}

pub(crate) type Step = fn(&World);

/// What the victim does.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    /// The main task does this first, and keeps the result until the others are done.
    pub(crate) set_up: fn(&World) -> Box<dyn Any>,
    /// The victim does this first; what it makes is passed to the operation.
    pub(crate) prepare: fn(&World) -> Box<dyn Any>,
    pub(crate) run: fn(&World, Box<dyn Any>),
    pub(crate) peers: &'static [Step],
}

/// What the others do.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) others: [Step; 3],
}

/// What came of one execution.
pub(crate) struct Outcome {
    pub(crate) stopped: bool,
    pub(crate) steps: usize,
    pub(crate) violation: Option<String>,
}

pub(crate) fn execute(
    registry: &'static Registry,
    op: &'static Operation,
    work: &'static Work,
    order: Order,
    stop_at: usize,
) -> Outcome {
    let state = Arc::new(Mutex::new(State::new()));
    let shared = state.clone();
    let dice = if let Order::Mixed(d) = order {
        d | 1
    } else {
        1
    };
    let scheduler = Freezer {
        state: state.clone(),
        order,
        stop_at,
        started: false,
        dice,
    };
    Runner::new(scheduler, config(4 * ENDLESS)).run(move || {
        registry.begin();
        warm_up(registry);
        let w = Arc::new(World {
            state: shared.clone(),
            table: Arc::new(table()),
            keys: (0..KEYS).map(|k| Key::new(registry, k, hash(k))).collect(),
            data: Data::new(KEYS),
            mutex: shuttle::sync::Mutex::new(()),
        });
        let kept = (op.set_up)(&w);
        let victim = {
            let w = w.clone();
            thread::spawn(move || {
                let prepared = (op.prepare)(&w);
                w.state.lock().unwrap().victim = Some(current::me());
                w.gate();
                (op.run)(&w, prepared);
                w.state.lock().unwrap().victim_done = true;
            })
        };
        point();
        let mut peers = vec![victim];
        let spawn = |step: Step, other: bool| {
            let w = w.clone();
            thread::spawn(move || {
                if other {
                    w.gate();
                }
                step(&w);
                w.state.lock().unwrap().others -= usize::from(other);
            })
        };
        for peer in op.peers {
            peers.push(spawn(*peer, false));
            point();
        }
        shared.lock().unwrap().others = work.others.len();
        let others = work.others.map(|step| spawn(step, true));
        point();
        shared.lock().unwrap().phase = Phase::Run;
        for o in others {
            o.join().unwrap();
        }
        drop(kept);
        for p in peers {
            p.join().unwrap();
        }
        // Nothing is left behind.
        let w = Arc::into_inner(w).expect("all are joined");
        w.data.verify();
        assert_eq!(w.table.len(), 0, "{:?}", w.table);
        drop(Arc::into_inner(w.table).expect("all owned guards are gone"));
        assert_eq!(registry.alive(), KEYS, "keys dropped once");
    });
    let s = state.lock().unwrap();
    Outcome {
        stopped: s.stopped,
        steps: s.since,
        violation: s.violation.clone(),
    }
}

/// Makes what the back end makes lazily, behind a lock of shuttle's: the owner numbers, the clock, the model of the epoch.
pub(crate) fn warm_up(registry: &'static Registry) {
    let t = table();
    tick(Duration::ZERO);
    let guards: Vec<_> = (0..7).map(|k| t.lock(&Key::new(registry, k, 7))).collect();
    drop(guards);
}

/// Stops the victim at every point of its operation, against each work and in each order. The error says what went against I4.
pub(crate) fn stop_everywhere(
    op: &'static Operation,
    works: &'static [Work],
) -> Result<(), String> {
    let registry = Registry::leak();
    let mixes = from_env("PERKEY_MIXES", 30);
    let mut orders = vec![Order::Forwards, Order::Backwards, Order::InTurn];
    let mut dice = seed() | 1;
    orders.extend((0..mixes).map(|_| Order::Mixed(throw(&mut dice))));
    // Alone, and with the others in between.
    let (begin, mut alone, mut mixed, mut executions, mut most) = (Instant::now(), 0, 0, 0, 0);
    for work in works {
        for order in &orders {
            for n in 0.. {
                let o = execute(registry, op, work, *order, n);
                executions += 1;
                most = most.max(o.steps);
                if let Some(v) = o.violation {
                    return Err(format!(
                        "I4 violated by {}: {v} (work: {}, order: {order:?}, seed {})",
                        op.name,
                        work.name,
                        seed()
                    ));
                }
                if !o.stopped {
                    assert!(n > 1, "{}: no scheduling point", op.name);
                    let points = match order {
                        Order::Mixed(_) => &mut mixed,
                        _ => &mut alone,
                    };
                    *points = n.max(*points);
                    break;
                }
            }
        }
    }
    assert!(most < ENDLESS / 10, "the bound on steps is too tight");
    println!(
        "{}: {alone} stop points alone, up to {mixed} with the others in between; {executions} executions ({} orders, {} works), \
         at most {most} steps without the victim, seed {}, {:.1} s",
        op.name,
        orders.len(),
        works.len(),
        seed(),
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}
