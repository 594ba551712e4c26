//! Invariant I4: with a thread stopped at any access through the facade, or anywhere in the key's code, during any operation
//! on one key, all others finish their work on other keys, in the same bucket and with the same hash, too.
//!
//! A scheduler of our own stops one task, the *victim*, for ever after its n-th scheduling point inside one operation, for n = 0,
//! 1, 2, … until it gets through the operation in fewer; every access through the facade, and every function of the key's code,
//! has at least one. The *others*, three tasks, never use the victim's key. All of them have to finish while it is stopped:
//! if they wait, the victim's being the only task that can run shows it; if they spin, a bound on the steps does. Then
//! everybody goes on, so that the execution ends like any other, with nothing left behind.
//!
//! *Peers* are tasks that may wait for the victim: they use its key (a holder, waiters) or move the clock.
//!
//! Each operation is stopped against each work of the others, with the others one after the other (forwards, backwards), in
//! turn, and interleaved at random with the victim already before it is stopped (`PERKEY_SEED`, `PERKEY_MIXES`).
#![cfg(perkey_shuttle)]
#![allow(clippy::pedantic, clippy::needless_update)]

mod shuttle_common;

use perkey::model::tick;
use perkey::{Observer, OwnedKeyGuard, OwnedKeyLock};
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{current, thread, Runner};
use shuttle_common::{config, from_env, point, seed, table, throw, Data, Key, Registry, Table};
use std::any::Any;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);
/// So many steps without the victim are more than the others ever need: in fact they take less than a tenth of it.
const ENDLESS: usize = 100_000;

// ---- The scheduler ----

/// Whom to run next.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The victim first until it is stopped, then one after the other, the first first.
    Forwards,
    /// The same, the last first.
    Backwards,
    /// The same, everybody one step in turn.
    InTurn,
    /// At random, the victim as soon as the others.
    Mixed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Everything is brought to where the operation begins.
    SetUp,
    /// The operation runs, beside the others.
    Run,
    /// The others are done; everything goes on to its end.
    End,
}

/// What the scheduler and the tasks tell each other; no scheduling points in it.
struct State {
    phase: Phase,
    /// Who waits for the run to begin.
    gated: Vec<TaskId>,
    victim: Option<TaskId>,
    /// Has it finished its operation?
    victim_done: bool,
    /// The others that have not finished.
    others: usize,
    /// Steps of the victim inside the operation.
    taken: usize,
    /// Is it stopped?
    stopped: bool,
    /// Steps of the others since.
    since: usize,
    /// Against I4.
    violation: Option<String>,
}

impl State {
    fn new() -> Self {
        Self {
            phase: Phase::SetUp,
            gated: Vec::new(),
            victim: None,
            victim_done: false,
            others: 0,
            taken: 0,
            stopped: false,
            since: 0,
            violation: None,
        }
    }
}

/// One execution: stops the victim after `stop_at` steps.
struct Freezer {
    state: Arc<Mutex<State>>,
    order: Order,
    stop_at: usize,
    started: bool,
    dice: u64,
}

impl Scheduler for Freezer {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.started, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, all: &[&Task], now: Option<TaskId>, _: bool) -> Option<TaskId> {
        let mut s = self.state.lock().unwrap();
        if s.phase == Phase::Run && s.others == 0 {
            s.phase = Phase::End;
        }
        // Who could run and is not asleep; sorted by number.
        let awake = all.iter().filter(|t| t.runnable()).map(|t| t.id());
        match s.phase {
            // The youngest first: what was spawned gets as far as it can before its parent goes on.
            Phase::SetUp => awake.filter(|t| !s.gated.contains(t)).max(),
            // In turn, so that spinning would end, too.
            Phase::End => {
                let awake: Vec<_> = awake.collect();
                let next = awake.iter().find(|t| Some(**t) > now);
                Some(*next.unwrap_or(&awake[0]))
            }
            Phase::Run => {
                let victim = s.victim.expect("it is gated");
                s.stopped = !s.victim_done && s.taken >= self.stop_at;
                let out = s.stopped;
                let mut can: Vec<_> = awake.filter(|t| !out || *t != victim).collect();
                if out {
                    s.since += 1;
                    if can.is_empty() || s.since > ENDLESS {
                        let how = if can.is_empty() { "wait" } else { "spin" };
                        s.violation = Some(format!(
                            "{} of the others {how} for a thread that is stopped after {} steps",
                            s.others, s.taken
                        ));
                        s.phase = Phase::End;
                        return Some(all.iter().find(|t| t.runnable())?.id());
                    }
                }
                if let Order::Mixed(_) = self.order {
                    // Now and then a sleeper wakes for no reason.
                    if throw(&mut self.dice).is_multiple_of(16) {
                        let asleep = all.iter().filter(|t| !t.runnable()).map(|t| t.id());
                        can.extend(asleep.filter(|t| !out || *t != victim));
                    }
                }
                let next = match self.order {
                    _ if can.len() == 1 => can[0],
                    Order::Mixed(_) => {
                        let n = u64::try_from(can.len()).unwrap();
                        can[usize::try_from(throw(&mut self.dice) % n).unwrap()]
                    }
                    _ if can.contains(&victim) && !s.victim_done => victim,
                    Order::Forwards => can[0],
                    Order::Backwards => can[can.len() - 1],
                    Order::InTurn => *can.iter().find(|t| Some(**t) > now).unwrap_or(&can[0]),
                };
                if next == victim {
                    s.taken += 1;
                }
                Some(next)
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("no random data here")
    }
}

// ---- One execution ----

/// The victim's key.
const V: usize = 0;
/// The others' keys with the same hash, and with other hashes.
const SAME: [usize; 4] = [1, 2, 3, 4];
const OTHER: [usize; 8] = [5, 6, 7, 8, 9, 10, 11, 12];
/// Keys that fill the slots; nobody waits for them.
const FILL: [usize; 6] = [13, 14, 15, 16, 17, 18];
const KEYS: usize = 19;

fn hash(id: usize) -> u64 {
    if id == V || SAME.contains(&id) {
        7
    } else {
        100 + id as u64
    }
}

struct World {
    state: Arc<Mutex<State>>,
    table: Arc<Table>,
    keys: Vec<Key>,
    data: Data,
    /// For the failing twin.
    mutex: shuttle::sync::Mutex<()>,
}

type TableHasher = BuildHasherDefault<shuttle_common::Said>;
type Guard = OwnedKeyGuard<Key, TableHasher>;
type Handle = OwnedKeyLock<Key, TableHasher>;

impl World {
    /// Waits for the run to begin.
    fn gate(&self) {
        self.state.lock().unwrap().gated.push(current::me());
        point();
    }

    fn lock(&self, k: usize) -> Guard {
        let guard = self.table.lock_owned(&self.keys[k]);
        assert_eq!(guard.key().id, k);
        self.data.visit(k);
        guard
    }

    fn handle(&self, k: usize) -> Handle {
        self.table.handle_owned(&self.keys[k])
    }

    /// Leaves the keys in the table, idle.
    fn leave_idle(&self, keys: &[usize]) {
        let guards: Vec<_> = keys.iter().map(|k| self.lock(*k)).collect();
        drop(guards);
    }

    /// The slots of the first array are full, and there are so many segments.
    fn grown(&self, segments: usize) -> Box<dyn Any> {
        let kept = self.fill();
        (0..segments).for_each(|_| self.table.grow(1));
        kept
    }

    /// Handles on as many keys as there are slots.
    fn fill(&self) -> Box<dyn Any> {
        Box::new(FILL.map(|k| self.handle(k)))
    }
}

type Step = fn(&World);

/// What the victim does.
struct Operation {
    name: &'static str,
    /// The main task does this first, and keeps the result until the others are done.
    set_up: fn(&World) -> Box<dyn Any>,
    /// The victim does this first; what it makes is passed to the operation.
    prepare: fn(&World) -> Box<dyn Any>,
    run: fn(&World, Box<dyn Any>),
    peers: &'static [Step],
}

/// What the others do.
struct Work {
    name: &'static str,
    others: [Step; 3],
}

/// What came of one execution.
struct Outcome {
    stopped: bool,
    steps: usize,
    violation: Option<String>,
}

fn execute(
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
fn warm_up(registry: &'static Registry) {
    let t = table();
    tick(Duration::ZERO);
    let guards: Vec<_> = (0..7).map(|k| t.lock(&Key::new(registry, k, 7))).collect();
    drop(guards);
}

/// Stops the victim at every point of its operation, against each work and in each order. The error says what went against I4.
fn stop_everywhere(op: &'static Operation, works: &'static [Work]) -> Result<(), String> {
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

// ---- What the others do ----

/// Locks, nests and releases keys, waiting for each other.
fn contend(w: &World, keys: [usize; 3]) {
    let a = w.lock(keys[0]);
    let b = w.lock(keys[1]);
    let again = w.lock(keys[0]);
    assert_eq!(again.depth(), 2);
    drop(a);
    w.data.visit(keys[0]);
    drop(again);
    drop(b);
    let c = w.lock(keys[2]);
    c.unlock_fair();
}

/// Holds many keys at once: takes slots over, overflows, shrinks.
fn crowd(w: &World, keys: &[usize]) {
    let guards: Vec<_> = keys.iter().map(|k| w.lock(*k)).collect();
    assert!(keys.iter().all(|k| w.table.is_held(&w.keys[*k])));
    w.table.shrink_to_fit();
    assert!(w.table.len() >= keys.len());
    drop(guards);
    w.table.shrink_to_fit();
    drop(w.lock(keys[0]));
}

/// Uses what else there is.
fn handles(w: &World, k: usize, l: usize) {
    let h = w.handle(k);
    let weak = h.downgrade();
    drop(h.clone());
    assert!(weak.upgrade().is_some());
    let guard = h.lock();
    w.data.visit(k);
    drop(h);
    assert!(weak.upgrade().is_some());
    drop(guard);
    drop(weak.upgrade());
    if let Some(guard) = w.table.try_lock(&w.keys[l]) {
        w.data.visit(l);
        guard.unlock_fair();
    }
    w.table.is_locked(&w.keys[l]);
    let guard = w.table.lock_with(&w.keys[l], Key::clone).unwrap();
    w.data.visit(l);
    drop(guard);
    if let Some(guard) = w.table.try_lock_for(&w.keys[l], MS) {
        assert_eq!(guard.key().id, l);
        w.data.visit(l);
    }
}

static WORKS: [Work; 4] = [
    Work {
        name: "keys with the same hash, waited for",
        others: [
            |w| contend(w, [SAME[0], SAME[1], SAME[2]]),
            |w| contend(w, [SAME[0], SAME[1], SAME[0]]),
            |w| handles(w, SAME[2], SAME[0]),
        ],
    },
    Work {
        name: "keys in the same bucket, waited for",
        others: [
            |w| contend(w, [OTHER[0], OTHER[1], OTHER[2]]),
            |w| contend(w, [OTHER[0], OTHER[1], OTHER[0]]),
            |w| handles(w, OTHER[2], OTHER[0]),
        ],
    },
    Work {
        name: "takeover and overflow",
        others: [
            |w| crowd(w, &OTHER[..4]),
            |w| crowd(w, &OTHER[4..]),
            |w| crowd(w, &SAME),
        ],
    },
    Work {
        name: "all of it",
        others: [
            |w| crowd(w, &SAME[1..]),
            |w| handles(w, OTHER[0], SAME[3]),
            |w| contend(w, [OTHER[0], SAME[3], OTHER[1]]),
        ],
    },
];

// ---- What the victim does ----

fn nothing(_: &World) -> Box<dyn Any> {
    Box::new(())
}

fn hold_v(w: &World) -> Box<dyn Any> {
    Box::new(w.lock(V))
}

fn lock_v(w: &World, _: Box<dyn Any>) {
    let guard = w.table.lock(&w.keys[V]);
    assert_eq!(guard.key().id, V);
    w.data.visit(V);
    drop(guard);
}

fn timed_v(w: &World, _: Box<dyn Any>) {
    if let Some(guard) = w.table.try_lock_for(&w.keys[V], MS) {
        w.data.visit(V);
        drop(guard);
    }
}

/// Peers.
fn holder(w: &World) {
    let guard = w.lock(V);
    w.gate();
    w.data.visit(V);
    drop(guard);
}

fn waiter(w: &World) {
    drop(w.lock(V));
}

fn timed_waiter(w: &World) {
    timed_v(w, Box::new(()));
}

fn clock(w: &World) {
    w.gate();
    tick(MS * 2);
}

const DEFAULT: Operation = Operation {
    name: "",
    set_up: nothing,
    prepare: nothing,
    run: lock_v,
    peers: &[],
};

/// An observer whose code takes time.
struct Slow;

impl Observer<Key> for Slow {
    fn wait_began(&self, _: &Key) {
        point();
    }
    fn wait_ended(&self, _: &Key, _: Duration) {
        point();
    }
    fn wait_timed_out(&self, _: &Key, _: Duration) {
        point();
    }
}

macro_rules! operations {
    ($($(#[doc = $doc:literal])* $name:ident { $($field:ident : $value:expr),* $(,)? })*) => {$(
        $(#[doc = $doc])*
        #[test]
        fn $name() {
            static OPERATION: Operation = Operation {
                name: stringify!($name),
                $($field: $value,)*
                ..DEFAULT
            };
            stop_everywhere(&OPERATION, &WORKS).unwrap_or_else(|e| panic!("{e}"));
        }
    )*};
}

operations! {
    /// I4: the key is new, the table empty.
    lock_a_new_key { run: lock_v }
    /// The key is there, idle.
    lock_a_resident_key {
        set_up: |w| {
            w.leave_idle(&[V]);
            nothing(w)
        },
    }
    /// I4: all slots hold idle keys: one is taken over.
    lock_taking_over {
        set_up: |w| {
            w.leave_idle(&FILL);
            nothing(w)
        },
    }
    /// All slots hold idle keys of the others, with the same hash and with other ones, which the others use again.
    lock_taking_over_the_others_keys {
        set_up: |w| {
            w.leave_idle(&[SAME[0], OTHER[0], SAME[1], OTHER[1], SAME[2], OTHER[2]]);
            nothing(w)
        },
    }
    /// Another key with the same hash is alive, and the others use it.
    lock_beside_an_equal_hash {
        set_up: |w| Box::new(w.handle(SAME[0])),
    }
    /// The same, its key resident too.
    lock_a_resident_key_behind_an_equal_hash {
        set_up: |w| {
            w.leave_idle(&[SAME[0], V]);
            nothing(w)
        },
    }
    /// Another task holds the key and lets go.
    wait_for_the_key { peers: &[holder] }
    /// The same, with an observer.
    wait_with_an_observer {
        set_up: |w| {
            w.table.set_observer(Some(Arc::new(Slow)));
            nothing(w)
        },
        peers: &[holder],
    }
    /// Another task holds the key for good: the victim sleeps until the others are done.
    wait_in_vain { set_up: hold_v }
    /// The time-out races the release.
    wait_with_a_time_out {
        run: timed_v,
        peers: &[holder, clock],
    }
    /// The time is over before the holder lets go.
    time_out {
        set_up: hold_v,
        run: timed_v,
        peers: &[clock],
    }
    /// Two waiters, who are in the queue.
    release_with_waiters {
        prepare: hold_v,
        run: |_, guard| drop(guard),
        peers: &[waiter, waiter],
    }
    /// The same, handing over.
    unlock_fair {
        prepare: hold_v,
        run: |_, guard| guard.downcast::<Guard>().unwrap().unlock_fair(),
        peers: &[waiter, waiter],
    }
    /// The waiter gives up meanwhile.
    release_with_a_timed_waiter {
        prepare: hold_v,
        run: |_, guard| drop(guard),
        peers: &[timed_waiter, clock],
    }
    try_lock_a_new_key {
        run: |w, _| drop(w.table.try_lock(&w.keys[V])),
    }
    try_lock_a_held_key {
        set_up: hold_v,
        run: |w, _| drop(w.table.try_lock(&w.keys[V])),
    }
    lock_again {
        prepare: hold_v,
        run: |w, outer| {
            let inner = w.table.lock(&w.keys[V]);
            assert_eq!(inner.depth(), 2);
            drop(outer);
            w.data.visit(V);
            drop(inner);
        },
    }
    handle_clone_downgrade_upgrade {
        run: |w, _| {
            let h = w.table.handle(&w.keys[V]);
            let again = h.clone();
            let weak = h.downgrade();
            drop(h);
            let up = weak.upgrade().expect("alive by the clone");
            drop(up.lock());
            drop(up.try_lock());
            drop(again);
            drop(up);
            assert!(weak.upgrade().is_none());
        },
    }
    upgrade_after_death {
        prepare: |w| {
            let h = w.handle(V);
            let weak = h.downgrade();
            drop(h);
            drop(w.handle(V));
            Box::new(weak)
        },
        run: |_, weak| {
            let weak = weak.downcast::<perkey::OwnedWeakKeyLock<Key, TableHasher>>().unwrap();
            assert!(weak.upgrade().is_none());
        },
    }
    /// The slots are full: the key goes to the chain and leaves it again.
    lock_in_the_chain { set_up: World::fill_slots }
    /// The same with other nodes before and behind it.
    lock_between_nodes_of_the_chain {
        set_up: |w| Box::new((w.fill(), w.handle(SAME[0]), w.handle(OTHER[0]))),
        run: |w, _| {
            let h = w.handle(V);
            drop(w.lock(V));
            drop(h);
        },
    }
    /// The last waiter, or the holder, takes the node out.
    wait_in_the_chain {
        set_up: World::fill_slots,
        peers: &[holder],
    }
    release_in_the_chain_with_waiters {
        set_up: World::fill_slots,
        prepare: hold_v,
        run: |_, guard| drop(guard),
        peers: &[waiter, timed_waiter, clock],
    }
    handles_in_the_chain {
        set_up: World::fill_slots,
        run: |w, _| {
            let h = w.handle(V);
            let weak = h.downgrade();
            drop(weak.upgrade().expect("alive by `h`"));
            drop(h);
            assert!(weak.upgrade().is_none());
        },
    }
    shrink_to_fit {
        set_up: |w| {
            let kept = (w.handle(FILL[0]), w.fill(), w.handle(OTHER[0]));
            w.leave_idle(&[V]);
            drop(kept);
            w.leave_idle(&[V, SAME[0]]);
            nothing(w)
        },
        run: |w, _| w.table.shrink_to_fit(),
    }
    shrink_to_fit_with_a_chain {
        set_up: |w| Box::new((w.fill(), w.handle(OTHER[0]), w.handle(SAME[0]))),
        run: |w, _| w.table.shrink_to_fit(),
    }
    len_and_debug {
        set_up: |w| Box::new((w.fill(), w.handle(V))),
        run: |w, _| {
            w.table.is_empty();
            assert!(format!("{:?}", w.table).contains("len"));
        },
    }
    is_locked_and_is_held {
        set_up: hold_v,
        run: |w, _| {
            w.table.is_locked(&w.keys[V]);
            assert!(!w.table.is_held(&w.keys[V]));
        },
    }
    lock_with {
        run: |w, _| {
            let made = w.table.lock_with(&w.keys[V], |key| {
                point();
                key.clone()
            });
            drop(made.unwrap());
        },
    }
    /// The first array is full; the victim puts a segment in front and takes its key there.
    grow_and_lock {
        set_up: World::fill_slots,
        run: |w, _| {
            w.table.grow(1);
            drop(w.lock(V));
        },
    }
    /// The key goes to the newest of three arrays; older buckets are closed on the way.
    lock_a_new_key_in_a_grown_table {
        set_up: |w| w.grown(2),
    }
    /// The key is in a segment that is not the newest.
    lock_a_key_of_an_older_segment {
        set_up: |w| {
            let kept = w.grown(1);
            let v = w.handle(V);
            w.table.grow(1);
            Box::new((kept, v))
        },
    }
    handles_in_a_grown_table {
        set_up: |w| w.grown(1),
        run: |w, _| {
            let h = w.handle(V);
            let weak = h.downgrade();
            w.table.grow(1);
            drop(weak.upgrade().expect("alive by `h`"));
            drop(h);
            assert!(weak.upgrade().is_none());
            w.table.is_locked(&w.keys[V]);
        },
    }
    /// An older segment with an idle key is drained, leaves the list and is retired.
    drain_a_segment {
        set_up: |w| {
            let kept = w.grown(1);
            w.leave_idle(&[V]);
            w.table.grow(1);
            kept
        },
        run: |w, _| (0..3).for_each(|_| w.table.tend()),
    }
    release_in_a_segment_with_waiters {
        set_up: |w| w.grown(1),
        prepare: hold_v,
        run: |w, guard| {
            w.table.grow(1);
            drop(guard);
        },
        peers: &[waiter, timed_waiter, clock],
    }
    shrink_a_grown_table {
        set_up: |w| {
            let kept = w.grown(1);
            w.leave_idle(&[V, SAME[0]]);
            w.table.grow(1);
            kept
        },
        run: |w, _| w.table.shrink_to_fit(),
    }
    lock_owned {
        run: |w, _| {
            let h = w.handle(V);
            let weak = h.downgrade();
            let guard = w.table.lock_owned(&w.keys[V]);
            let again = w.table.try_lock_owned(&w.keys[V]).expect("ours");
            let third = h.lock();
            w.data.visit(V);
            drop((h, guard, again));
            assert_eq!(third.depth(), 1);
            assert!(weak.upgrade().is_some());
            drop(third);
            assert!(weak.upgrade().is_none());
        },
    }
}

impl World {
    fn fill_slots(&self) -> Box<dyn Any> {
        self.fill()
    }
}

/// The failing twin: a mutex around the table, and somebody waits.
#[test]
fn a_mutex_around_the_table_is_seen() {
    fn guarded(w: &World, k: usize) {
        let _all = w.mutex.lock().unwrap();
        drop(w.table.lock(&w.keys[k]));
    }
    static OPERATION: Operation = Operation {
        name: "a mutex around the table",
        run: |w, _| guarded(w, V),
        ..DEFAULT
    };
    static WORK: [Work; 1] = [Work {
        name: "the same",
        others: [
            |w| guarded(w, OTHER[0]),
            |w| guarded(w, OTHER[1]),
            |w| guarded(w, OTHER[2]),
        ],
    }];
    let seen = stop_everywhere(&OPERATION, &WORK).unwrap_err();
    println!("as it should be: {seen}");
    assert!(seen.contains("3 of the others wait"), "{seen}");
}
