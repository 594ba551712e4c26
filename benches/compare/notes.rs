//! What has to be said beside the figures: fairness, versions, and why a peer is ahead where one is.

use super::contender::{Kind, ALL, OURS};
use super::store;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Why a peer is ahead of this table: workload (or case), peer (empty: any), reason. The first that fits is taken.
#[rustfmt::skip]
const REASONS: [(&str, &str, &str); 16] = [
    ("memory", store::DASHMAP, "a DashMap takes one shard's lock for an access and is done; an operation of a store enters a context, in which several accesses are one, and can be rolled back."),
    ("memory", "", "with no contention a layer comes on top of the backend; one lock for all is cheaper than finding the lock of a key as long as nobody waits for it."),
    ("files", "", "the time goes to the file system; what a layer adds, or saves, is below the noise of that."),
    ("sqlite", "Sqlite", "the bare backend has several connections, readers of which do not wait for each other; see also the next reason."),
    ("sqlite", "", "writers wait for each other inside SQLite. A lock around all of it makes them wait where waiting is cheaper than SQLite's own (which sleeps and tries again)."),
    ("contended/0", "", "with nothing inside, throughput is highest if the running thread keeps the key and the others sleep: who barges, or hands over late, is ahead here, and pays in the longest call and in the least share (see both tables)."),
    ("contended", "", "throughput against fairness: fewer hand-overs are fewer switches of threads; see the longest call and the least share."),
    ("hot", "", "one key for all threads: the map's short critical section spins where this table's waiters go to sleep in order of arrival, and fewer changes of the owner count as more throughput. On one thread it is the cost of two exchanges on the key's word."),
    ("zipf", "", "with more threads than processors the order in which sleeping threads are woken decides; a sleep inside the map's own mutex is counted as well."),
    ("latency", "", "a percentile in the range of nanoseconds is a matter of one exchange more or less; one in the range of microseconds and above is a matter of the scheduler's slices."),
    ("resident", "", "the entry is there already, so that a shard's lock and a probe are all that a map needs; here it is an epoch's pin, a search and the exchanges of a reference and of the lock."),
    ("revisited", "", "see `resident`; an entry that is not alive has to be revived."),
    ("alive", "", "a hash map of one flat array touches fewer cache lines for a key than buckets with entries and, where a bucket is full, a chain."),
    ("held", "", "a flat map keeps a key and a lock in fewer lines; growing by steps that stop nobody costs more in sum than one rehash which stops everybody (see the longest call)."),
    ("waiters", "", "how the threads are woken is up to the system's futex in all of them; the gap is the order of the wake-ups."),
    ("again", "", "finding the key again goes through the table; a lock of one's own in hand does not."),
];

pub(crate) fn reason(case: &str, peer: &str) -> &'static str {
    let fits = |(begin, who, _): &&(&str, &str, &str)| {
        case.starts_with(begin) && (who.is_empty() || *who == peer)
    };
    let found = REASONS.iter().find(fits);
    found.map_or("not explained yet.", |(_, _, why)| why)
}

/// The notes on top.
pub(crate) fn fairness() -> String {
    let mut text = String::new();
    let lock = Lock::read();
    let yes = |is: bool| if is { "yes" } else { "**no**" };
    text.push_str("| contender | what it is | version | parking_lot it pulls in | re-entrant | exact keys | gone when unused | hasher |\n|---|---|---|---|---|---|---|---|\n");
    for facts in &ALL {
        let version = facts.package.map_or("–".to_string(), |p| lock.version(p));
        let parking = match facts.package {
            Some(package) if package != OURS => lock.pulled_in(package),
            Some(_) => "none: its own lock".to_string(),
            None => String::new(),
        };
        // What is written by hand locks with the mutexes of this harness.
        let by_hand = facts.what.contains("ReentrantMutex");
        let parking = if by_hand {
            lock.version("parking_lot")
        } else {
            parking
        };
        let _ = writeln!(
            text,
            "| {}{} | {} | {version} | {parking} | {} | {} | {} | {} |",
            facts.name,
            if facts.kind == Kind::Reference {
                " (reference)"
            } else {
                ""
            },
            facts.what,
            yes(facts.reentrant),
            yes(facts.exact),
            facts.cleans,
            facts.hasher,
        );
    }
    text.push_str(NOTES);
    text
}

const NOTES: &str = "
- *Peers* are what has a lock of its own for each key, made on demand. *References* do less: the floor asks no table, stripes and the global lock let keys share. No peer's lead is claimed over those, nor the other way round.
- What is not re-entrant is spared the question who is asking; `lockmap`, `lockable`, `keyed-lock` and `key-mutex` would wait for themselves and have no part in that workload.
- Each is made by its default constructor and grows as it goes; only the floor is told how many keys there will be.
- parking_lot 0.13 gave up eventual fairness, so that tails differ by version, not by map. Which one each pulls in is in the table above, as the lock file says.
- `std` mutexes (`key-mutex`) and those of `lockable` (tokio's, waited for by blocking) are not parking_lot's: their tails are their own.
- key-lock 0.1.0 is left out: it loses updates, as an entry is taken out while another thread is about to use it. The asynchronous sides of `lockable`, `keyed-lock` and `key-mutex` are left out as well: a thread is the owner here.
- The hand-made maps take an entry out with its last user and never let two locks of one key be in use; what people write is often less exact, and a little faster.
- Every contender plays in a process of its own; nobody sees another one's heap, collector or fragmentation. The allocator counts only in parts that are not timed.
- Two threads and more are at the mercy of the scheduler; a gap below 15 % is called a tie, whichever side it is on.
- Work inside the critical section is a chain of multiplications, calibrated once for all.
- A contender that did not come to an end within the limit, or ended with an error, is left out of that case from that round on, with the reason.
";

/// The lock file, as far as it is needed.
struct Lock {
    /// By name: versions, and what each depends on.
    packages: BTreeMap<String, Vec<(String, Vec<String>)>>,
}

impl Lock {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut packages = BTreeMap::<_, Vec<_>>::new();
        for part in text.split("[[package]]").skip(1) {
            let field = |name: &str| {
                let line = part.lines().find_map(|l| l.strip_prefix(name))?;
                Some(line.trim_matches([' ', '=', '"']).to_string())
            };
            let needs = part.split_once("dependencies = [").map_or("", |p| p.1);
            let needs = needs.split(']').next().unwrap_or("").lines();
            let needs = needs.map(|l| l.trim_matches([' ', '"', ',']).to_string());
            let needs = needs.filter(|l| !l.is_empty()).collect();
            if let (Some(name), Some(version)) = (field("name "), field("version ")) {
                packages.entry(name).or_default().push((version, needs));
            }
        }
        Self { packages }
    }

    /// The newest version of a package.
    fn version(&self, package: &str) -> String {
        let versions = self.packages.get(package);
        let newest = versions.and_then(|v| v.last());
        newest.map_or("unknown".to_string(), |(version, _)| version.clone())
    }

    /// Which parking_lot (or only its core) is somewhere below a package.
    fn pulled_in(&self, package: &str) -> String {
        let mut seen = BTreeSet::new();
        let version = self.version(package);
        let mut todo = vec![format!("{package} {version}")];
        let mut found = BTreeSet::new();
        while let Some(next) = todo.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            let (name, version) = next.split_once(' ').unwrap_or((&next, ""));
            if name == "parking_lot" || name == "parking_lot_core" {
                let only = if name == "parking_lot" { "" } else { "core " };
                let version = if version.is_empty() {
                    self.version(name)
                } else {
                    version.to_string()
                };
                found.insert(format!("{only}{version}"));
            }
            for (is, needs) in self.packages.get(name).into_iter().flatten() {
                if version.is_empty() || version == is {
                    todo.extend(needs.iter().cloned());
                }
            }
        }
        let list = found.into_iter().collect::<Vec<_>>().join(", ");
        if list.is_empty() {
            "none".to_string()
        } else {
            list
        }
    }
}
