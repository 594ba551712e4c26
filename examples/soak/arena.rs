//! A table with the data behind its keys.

use crate::faults::Faults;
use crate::key::{Key, Table};
use crate::row::{Row, Visit};
use perkey::Contention;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

/// How threads that hold keys of a table may wait for more of them, so that no cycle comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By `lock`, for keys of higher numbers only.
    Numbers,
    /// By `lock_many` only, which has an order of its own.
    Many,
}

/// What an arena is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) keys: u64,
    pub(crate) order: Order,
    pub(crate) same_hash: bool,
    pub(crate) heap: bool,
    /// The code of its keys panics now and then.
    pub(crate) angry: bool,
    capacity: Option<usize>,
}

const PLAIN: Plan = Plan {
    name: "one key",
    keys: 1,
    order: Order::Numbers,
    same_hash: false,
    heap: false,
    angry: false,
    capacity: None,
};

/// Few and many keys, with room and without, of different and of equal hashes.
#[rustfmt::skip]
pub(crate) const PLANS: &[Plan] = &[
    PLAIN,
    Plan { name: "four keys", keys: 4, order: Order::Many, ..PLAIN },
    Plan { name: "five keys of one hash", keys: 5, same_hash: true, capacity: Some(0), ..PLAIN },
    Plan { name: "forty keys of one hash", keys: 40, order: Order::Many, same_hash: true, heap: true, capacity: Some(0), ..PLAIN },
    Plan { name: "names", keys: 3_000, heap: true, capacity: Some(64), ..PLAIN },
    Plan { name: "many keys", keys: 100_000, capacity: Some(1_024), ..PLAIN },
    Plan { name: "keys that panic", keys: 12, heap: true, angry: true, capacity: Some(0), ..PLAIN },
];

/// A table, its data, and what is known of it.
pub(crate) struct Arena {
    pub(crate) plan: Plan,
    pub(crate) table: Arc<Table>,
    pub(crate) waits: Arc<Contention>,
    rows: Vec<Row>,
    /// How often somebody went in; told by the threads when they end.
    visits: AtomicU64,
}

impl Arena {
    pub(crate) fn new(plan: Plan) -> Self {
        let table = plan.capacity.map_or_else(Table::new, Table::with_capacity);
        let waits = Arc::new(Contention::new());
        table.set_observer(Some(waits.clone()));
        Self {
            plan,
            table: Arc::new(table),
            waits,
            rows: (0..plan.keys).map(|_| Row::default()).collect(),
            visits: AtomicU64::new(0),
        }
    }

    /// Key number `n`.
    pub(crate) fn key(&self, n: u64) -> Key {
        Key::new(n, self.plan.same_hash, self.plan.heap)
    }

    /// Goes into the data of key `n`, whose lock the caller holds at this depth.
    pub(crate) fn visit<'a>(
        &'a self,
        n: u64,
        me: u64,
        depth: usize,
        faults: &'a Faults,
    ) -> Visit<'a> {
        let row = &self.rows[usize::try_from(n).expect("a small number")];
        Visit::new(row, me, depth, (self.plan.name, n), faults)
    }

    /// A thread is about to end, which went in so often.
    pub(crate) fn add_visits(&self, n: u64) {
        self.visits.fetch_add(n, Relaxed);
    }

    /// When no other thread is there: nothing is lost, and nothing is left.
    pub(crate) fn muster(&self, faults: &Faults) {
        let name = self.plan.name;
        let mut seen = 0;
        for (n, row) in self.rows.iter().enumerate() {
            match row.visits() {
                Some(visits) => seen += visits,
                None => {
                    faults.overlap(|| format!("I1, key {n} of `{name}`: half an update is left"));
                }
            }
        }
        let made = self.visits.load(Relaxed);
        if seen != made {
            faults.overlap(|| format!("I1, `{name}`: {made} updates were made, {seen} are there"));
        }
        let alive = self.table.len();
        faults.check(alive == 0, || {
            format!("I5, `{name}`: {alive} keys are alive and nobody uses them")
        });
        for n in (0..self.plan.keys).take(64) {
            let key = self.key(n);
            let free = !self.table.is_locked(&key) && self.table.try_lock(&key).is_some();
            faults.check(free, || format!("I3, key {n} of `{name}` is not free"));
        }
        if self.plan.angry {
            self.has_all_places(faults);
        }
        self.table.shrink_to_fit();
    }

    /// No panic has cost a place: as many keys as there are slots fit into them. For a table of a single bucket.
    fn has_all_places(&self, faults: &Faults) {
        let told = || format!("{:?}", self.table);
        // What has been retired is freed in portions, and shrinking leaves nodes in the chain while too much waits.
        (0..100)
            .take_while(|_| !told().contains("overflow: 0"))
            .for_each(|_| self.table.shrink_to_fit());
        let slots = self.table.capacity() as u64;
        let _all: Vec<_> = (0..slots)
            .map(|n| self.table.handle(&self.key(n)))
            .collect();
        faults.check(told().contains("overflow: 0"), || {
            let (name, told) = (&self.plan.name, told());
            format!("I9, `{name}`: a panic has cost a place: {told}")
        });
    }
}
