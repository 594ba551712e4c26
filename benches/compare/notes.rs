//! What has to be said beside the figures: fairness, versions, and why a peer is ahead where one is.

use super::contender::{Kind, ALL, OURS};
use super::store;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Why a peer is ahead of this table: workload (or case), peer (empty: any), reason. The first that fits is taken.
#[rustfmt::skip]
const REASONS: [(&str, &str, &str); 15] = [
    ("memory", store::DASHMAP, "A DashMap takes one shard's lock for an access and is done. An operation of a store enters a context, which can be rolled back and in which several accesses are one."),
    ("memory", "", "Without contention a layer comes on top of the backend, and one lock for all is cheaper than finding the lock of a key as long as nobody waits for it."),
    ("files", "", "The time goes to the file system; what a layer adds or saves is below the noise of that."),
    ("sqlite", "", "SQLite has one writer at a time, whatever is around it. A lock of its own around all of it makes writers wait where waiting is cheap; without one they meet inside SQLite, which sleeps and tries again. The bare backend promises less: two operations on a key may mix."),
    ("contended", "", "Throughput against fairness. Whoever lets the running thread take the key again and again has few switches of threads and few calls that wait at all, so that p99.9, which counts calls, looks good as well; see the floor, the longest call and the share of the least served thread in the tables."),
    ("hot/1", "", "What is left is the exchanges on the key's word and the search before them."),
    ("hot", "", "One key for all threads: who sleeps while he waits for the map's own short lock leaves the other one to run alone for its slice, which counts as throughput."),
    ("zipf", "", "The hottest keys are asked for by all threads. With more threads than processors the scheduler decides who runs; one lock around a flat map has the fewest cache lines to fetch as long as it is not waited for."),
    ("latency", "", "Some nanoseconds more or less are an exchange or a cache line (the clock's own step is ten of them); microseconds and above are the scheduler's slices, and the floor has them, too."),
    ("resident", "", "The entry is there already, and a map needs one probe of a flat array under a lock; here, in a table that had to grow for them, they are found under a pin, at one of two places, and a full bucket has a chain. A table that is asked for the capacity beforehand is spared that (`cargo bench --bench lock`)."),
    ("revisited", "", "As with resident keys; an entry that is not alive has to be revived besides."),
    ("strings", "", "As with resident keys; a key on the heap is one more cache line for everybody."),
    ("alive", "", "A flat array touches fewer cache lines for a key than buckets with entries and, where a bucket is full, a chain. Profiled with a million keys: half of the time goes by until the bucket's lines are there. A new key beside a thousand goes to a chain one time in four, as the newest segment is nearly full at that number."),
    ("held", "", "A flat map keeps a key and a pointer in fewer lines. Growing in steps that stop nobody costs more in sum than one rehash that stops everybody (see the longest call)."),
    ("waiters", "", "Every waiter is woken by the system; the gap is in what the releasing thread does for each, and in how many run at once."),
];

pub(crate) fn reason(case: &str, peer: &str) -> &'static str {
    let fits = |(begin, who, _): &&(&str, &str, &str)| {
        case.starts_with(begin) && (who.is_empty() || *who == peer)
    };
    let found = REASONS.iter().find(fits);
    found.map_or("Not explained yet.", |(_, _, why)| why)
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
- The floor of the Zipf workload is 1,000,000 mutexes: more memory than the caches hold, while tables hold what is in use only. It is no lower bound there.
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

    /// Which `parking_lot` (or only its core) is somewhere below a package.
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
