//! The workloads, each with its cases.

use super::contender::{Facts, FLOOR};
use super::keys::Keys;
use super::store;
use serde::{Deserialize, Serialize};

/// What is to be done in a round.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Lock and unlock, over and over. With `clock`, a second part of the round measures each wait.
    Loop {
        keys: Keys,
        threads: usize,
        inside_ns: u32,
        millis: u64,
        clock: bool,
    },
    /// Take a key again that is held.
    Again { millis: u64 },
    /// Lock that many keys, then release them.
    Held { keys: u64 },
    /// Lock and unlock beside that many keys which are alive.
    Alive { keys: u64, millis: u64 },
    /// The heap after that many different keys.
    Distinct { keys: u64 },
    /// Keys of 32 bytes, looked up by `&str`.
    Strings { never: bool, millis: u64 },
    /// Threads that wait for keys which are all released.
    Waiters { threads: usize, keys: u64 },
    /// 90 % loads from a store.
    Store {
        backend: store::Backend,
        threads: usize,
        millis: u64,
    },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Case {
    /// `workload/case`.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) work: Work,
    pub(crate) rounds: u32,
}

impl Case {
    pub(crate) fn workload(&self) -> &str {
        self.id.split('/').next().unwrap_or(&self.id)
    }

    /// Who takes part.
    pub(crate) fn contenders(&self) -> Vec<&'static str> {
        match self.work {
            Work::Store { backend, .. } => store::contenders(backend).to_vec(),
            _ => super::contender::ALL.iter().map(|f| f.name).collect(),
        }
    }

    /// Why a contender cannot.
    pub(crate) fn unfit(&self, of: &Facts) -> Option<&'static str> {
        match self.work {
            Work::Again { .. } if !of.reentrant => Some("not re-entrant: it would wait for itself"),
            Work::Loop {
                keys: Keys::Resident,
                ..
            } if !of.keeps && of.exact => Some("cannot keep an entry that is not held"),
            Work::Alive { .. } if !of.exact => Some("has no keys that could be alive"),
            Work::Strings { .. } if of.name == FLOOR => Some("has an index, no place for a string"),
            _ => None,
        }
    }
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

#[rustfmt::skip]
pub(crate) const WORKLOADS: [Workload; 13] = [
    Workload { name: "hot", title: "One hot key", text: "Lock and unlock one key, nothing inside." },
    Workload { name: "resident", title: "1,024 resident keys", text: "Random order; each contender has them ready as well as it can: a handle, an `Arc` or a value is kept, so that no entry has to be made." },
    Workload { name: "revisited", title: "1,024 keys that nobody keeps", text: "The same keys in the same order, but between two uses a key is not alive." },
    Workload { name: "never", title: "Never-repeated keys", text: "A new key each time, no two threads the same." },
    Workload { name: "strings", title: "`String` keys", text: "32 bytes, looked up by `&str`: `resident` as above, `never` a new one each time, written into a buffer (which costs all of them the same few nanoseconds)." },
    Workload { name: "again", title: "Re-entrant", text: "Take and release a key that the thread holds already." },
    Workload { name: "zipf", title: "Zipf", text: "Zipf(0.99) over 1,000,000 keys, 100 ns inside. Throughput of all threads together; in a part of its own, with the clock read around each lock, how long that took." },
    Workload { name: "contended", title: "Contended", text: "One key for all threads, nothing outside the critical section. Shares are those of the least and the most served thread, 1 being fair, within a round." },
    Workload { name: "latency", title: "Latency", text: "One lock call, with the clock read around it (which costs some 20 – 40 ns and is included), on 1,024 keys that nobody keeps." },
    Workload { name: "alive", title: "Cost by alive keys", text: "Lock and unlock while so many keys are alive: a random one of those (`old`), or a new one (`new`). What cannot keep an entry has them held by a guard, and cannot be asked for `old`." },
    Workload { name: "held", title: "Held at once", text: "Lock so many random keys in an empty table, hold them all, release them in the same order. The longest call: two threads, half of the keys each, the clock read around each lock; it contains what the scheduler adds." },
    Workload { name: "distinct", title: "Memory after many different keys", text: "Lock and unlock that many different keys on one thread, then look at the heap (bytes asked for, without the allocator's own overhead)." },
    Workload { name: "waiters", title: "Thousands of waiters", text: "Threads that wait for 1,000 keys, which one thread holds and then releases one after another: until the last has had its key, and the processor time all of it took." },
];

#[rustfmt::skip]
pub(crate) const STORES: [Workload; 3] = [
    Workload { name: "memory", title: "Storage: memory", text: "90 % loads, 10 % overwriting, values of 64 bytes, 1,000 keys evenly. Time per operation of a thread." },
    Workload { name: "files", title: "Storage: files", text: "The same, `sync(false)`." },
    Workload { name: "sqlite", title: "Storage: SQLite", text: "The same, `sync(false)`, in a file. The bare backend has more connections than one." },
];

fn plain(keys: Keys, threads: usize, millis: u64) -> Work {
    Work::Loop {
        keys,
        threads,
        inside_ns: 0,
        millis,
        clock: false,
    }
}

fn threads(n: usize) -> String {
    format!("{n} thread{}", if n == 1 { "" } else { "s" })
}

/// All cases of a run.
#[rustfmt::skip]
pub(crate) fn cases(quick: bool) -> Vec<Case> {
    let mut all = Vec::new();
    let mut add = |id: String, title: String, rounds: u32, work| all.push(Case { id, title, work, rounds });
    let pick = |fast: u32, full: u32| if quick { fast } else { full };
    let (rounds, millis) = (pick(5, 20), u64::from(pick(5, 10)));
    for (name, keys, on) in [
        ("hot", Keys::Hot, &[1, 2][..]), ("resident", Keys::Resident, &[1, 2]),
        ("revisited", Keys::Revisited, &[1, 2]), ("never", Keys::Never, &[1, 2, 4]),
    ] {
        for &n in on {
            add(format!("{name}/{n}"), threads(n), rounds, plain(keys, n, millis));
        }
    }
    add("strings/resident".into(), "resident".into(), rounds, Work::Strings { never: false, millis });
    add("strings/never".into(), "never".into(), rounds, Work::Strings { never: true, millis });
    add("again/1".into(), threads(1), rounds, Work::Again { millis });
    for n in [1, 2, 4, 16] {
        add(format!("zipf/{n}"), threads(n), pick(3, 12), Work::Loop { keys: Keys::Zipf, threads: n, inside_ns: 100, millis: u64::from(pick(10, 20)), clock: true });
    }
    for inside_ns in [0, 50, 500] {
        for n in [2, 4, 8, 64] {
            if !quick || (inside_ns != 50 && n != 4) {
                add(format!("contended/{inside_ns}/{n}"), format!("{inside_ns} ns, {n} threads"), pick(2, 6), Work::Loop { keys: Keys::Hot, threads: n, inside_ns, millis: u64::from(pick(15, 25)), clock: true });
            }
        }
    }
    for n in [1, 2, 16] {
        add(format!("latency/{n}"), threads(n), pick(2, 8), Work::Loop { keys: Keys::Revisited, threads: n, inside_ns: 0, millis: u64::from(pick(10, 20)), clock: true });
    }
    for keys in [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000] {
        if !quick || [1, 1_000, 100_000].contains(&keys) {
            add(format!("alive/{keys}"), grouped(keys), pick(2, 6), Work::Alive { keys, millis });
        }
    }
    let held: &[u64] = if quick { &[100_000] } else { &[1_000, 1_000_000] };
    for &keys in held {
        add(format!("held/{keys}"), grouped(keys), pick(2, 2), Work::Held { keys });
    }
    let distinct = if quick { 1_000_000 } else { 20_000_000 };
    add(format!("distinct/{distinct}"), grouped(distinct), 1, Work::Distinct { keys: distinct });
    let waiting = if quick { 2_000 } else { 10_000 };
    add(format!("waiters/{waiting}"), format!("{} threads", grouped(waiting)), pick(1, 2), Work::Waiters { threads: waiting as usize, keys: 1_000 });
    for (name, backend) in [("memory", store::Backend::Memory), ("files", store::Backend::Files), ("sqlite", store::Backend::Sqlite)] {
        for n in [1, 2, 4, 8] {
            if !quick || n != 4 {
                add(format!("{name}/{n}"), threads(n), pick(3, 10), Work::Store { backend, threads: n, millis: u64::from(pick(15, 30)) });
            }
        }
    }
    all
}

/// With commas.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
