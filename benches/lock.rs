//! Lock and unlock, side by side: this table, a bare mutex, two published crates and what people write by hand.
//!
//! ```text
//! cargo bench --bench lock                   the interleaved table, then criterion
//! cargo bench --bench lock -- interleaved    the table only (no benchmark of criterion has that name)
//! cargo bench --bench lock -- 'hot_1' --quick    options of criterion work; so do its filters
//! ```
//! Criterion measures one contender after the other, so that a machine whose speed drifts favours some of them. The table
//! therefore comes first: in every round each contender runs for a few milliseconds, in a rotating order, and the ratios are
//! medians of the ratios *within* a round. Criterion's part, after it, is for comparing with earlier runs.
//!
//! # What is measured
//! Wall time per lock + unlock of one thread, critical section empty, keys `u64`. With two threads (which live as long as the
//! program and start each measurement together) it is the time from the first start to the last end over the operations of *one* thread.
//!
//! | row | keys |
//! |---|---|
//! | `hot` | always the same |
//! | `resident` | 1024 keys in random order, over and over; each contender has them ready as well as it can |
//! | `never` | a new key each time |
//!
//! # What the contenders do and do not
//! | contender | re-entrant | exact keys | gone when unused | resident keys |
//! |---|---|---|---|---|
//! | `perkey` | yes | yes | yes | a table of that capacity |
//! | `perkey, handles` (resident only) | yes | yes | yes | the same, with a handle kept on each key |
//! | `perkey, default size` (resident only) | yes | yes | yes | none of them has a lasting place: 192 slots |
//! | `bare mutex` | yes | it has none: an index into a `Vec` of mutexes | no | all made beforehand |
//! | `lockmap` | **no** | yes | yes | a value put in for each, so that the entry stays |
//! | `lockable` | **no** | yes | yes | a value put in for each, so that the entry stays |
//! | `by hand` | yes | yes | yes: the last release takes the entry out | an `Arc` kept on each key |
//!
//! The bare mutex is the floor and no competitor: it is what locking costs when no table has to be asked. `lockmap` and `lockable` are maps with
//! values as well, which this does not use; a mutex that is not re-entrant is spared the question who is asking. `lockable` can also be awaited, and
//! hashes with `SipHash`, which cannot be changed; all others hash with foldhash. `by hand` is `Mutex<HashMap<K, Weak<ReentrantMutex>>>` with the mutexes of
//! `parking_lot`.

#[cfg(any(perkey_loom, perkey_shuttle))]
fn main() {}

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
fn main() {
    real::main();
}

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
mod real {
    use criterion::Criterion;
    use lockable::{InfallibleUnwrap, LockableHashMap, SyncLimit};
    use lockmap::LockMap;
    use parking_lot::{Mutex, ReentrantMutex};
    use perkey::{LockTable, RandomState};
    use std::collections::HashMap;
    use std::hint::{black_box, spin_loop};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{channel, Receiver, Sender};
    use std::sync::{Arc, Weak};
    use std::time::{Duration, Instant};

    /// Keys of the resident workload, and mutexes of the bare one.
    const KEYS: u64 = 1024;
    /// Keys written out beforehand for one thread; a pass walks over them once or more.
    const STRIP: u64 = 8 * KEYS;
    /// Rounds of the interleaved table that count, and operations of a thread in each.
    const ROUNDS: u32 = 100;
    const ROUND_OPS: u64 = 4 * STRIP;

    // ---- contenders -----------------------------------------------------------------------------------------------

    /// A way to hold one key while `f` runs.
    trait Contender: Send + Sync + 'static {
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R;
    }

    impl Contender for LockTable<u64> {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            let _guard = self.lock(&key);
            f()
        }
    }

    impl Contender for Vec<ReentrantMutex<()>> {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            let _guard = self[usize::try_from(key % KEYS).unwrap()].lock();
            f()
        }
    }

    impl Contender for LockMap<u64, ()> {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            let _guard = self.entry(key);
            f()
        }
    }

    impl Contender for LockableHashMap<u64, ()> {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            let _guard = self
                .blocking_lock(key, SyncLimit::no_limit())
                .infallible_unwrap();
            f()
        }
    }

    /// `Mutex<HashMap<K, Weak<ReentrantMutex>>>`, which keeps nothing that is not in use.
    #[derive(Default)]
    struct ByHand(Mutex<HashMap<u64, Weak<ReentrantMutex<()>>, RandomState>>);

    impl ByHand {
        fn get(&self, key: u64) -> Arc<ReentrantMutex<()>> {
            let mut map = self.0.lock();
            if let Some(lock) = map.get(&key).and_then(Weak::upgrade) {
                return lock;
            }
            let lock = Arc::new(ReentrantMutex::new(()));
            map.insert(key, Arc::downgrade(&lock));
            lock
        }
    }

    impl Contender for ByHand {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            let lock = self.get(key);
            let guard = lock.lock();
            let result = f();
            drop(guard);
            let mut map = self.0.lock();
            // Exact: references come and go under the mutex only.
            if Arc::strong_count(&lock) == 1 {
                map.remove(&key);
            }
            drop(lock);
            result
        }
    }

    /// Something that has to outlive the measurements, beside a contender.
    struct Keeping<C, T>(C, #[allow(dead_code)] T);

    impl<C: Contender, T: Send + Sync + 'static> Contender for Keeping<C, T> {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            self.0.holding(key, f)
        }
    }

    impl<C: Contender> Contender for Arc<C> {
        #[inline]
        fn holding<R>(&self, key: u64, f: impl FnOnce() -> R) -> R {
            (**self).holding(key, f)
        }
    }

    /// The measured loop, the same for all contenders and workloads.
    trait Pass: Send + Sync {
        fn pass(&self, work: &Work, ops: u64);
    }

    impl<C: Contender> Pass for C {
        #[inline(never)]
        fn pass(&self, work: &Work, ops: u64) {
            let (mut base, mut left) = (work.base, usize::try_from(ops).unwrap());
            while left > 0 {
                let now = left.min(work.strip.len());
                for key in &work.strip[..now] {
                    self.holding(black_box(base + key), || black_box(()));
                }
                left -= now;
                base += work.step;
            }
        }
    }

    // ---- workloads ------------------------------------------------------------------------------------------------

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Workload {
        Hot,
        Resident,
        Never,
    }

    /// The keys of one thread.
    struct Work {
        strip: Vec<u64>,
        base: u64,
        /// Added to all keys at the end of the strip.
        step: u64,
    }

    impl Work {
        fn new(workload: Workload, thread: u64) -> Self {
            let strip = match workload {
                Workload::Hot => vec![42; usize::try_from(STRIP).unwrap()],
                Workload::Resident => shuffles(thread),
                // Half of the numbers for each thread, so that two threads meet neither in a key nor in a bare mutex.
                Workload::Never => (0..STRIP)
                    .map(|i| i / (KEYS / 2) * KEYS + thread * (KEYS / 2) + i % (KEYS / 2))
                    .collect(),
            };
            Self {
                strip,
                base: 0,
                step: if workload == Workload::Never {
                    2 * STRIP
                } else {
                    0
                },
            }
        }

        /// `ops` have been done.
        fn advance(&mut self, ops: u64) {
            self.base += ops.div_ceil(STRIP) * self.step;
        }
    }

    /// All keys in random order (Fisher–Yates with xorshift), as often as a strip has room for them.
    fn shuffles(seed: u64) -> Vec<u64> {
        let mut x = 0x9e37_79b9_7f4a_7c15 ^ (seed + 1);
        let mut strip = Vec::new();
        for _ in 0..STRIP / KEYS {
            let mut keys: Vec<u64> = (0..KEYS).collect();
            for i in (1..keys.len()).rev() {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                keys.swap(i, usize::try_from(x % (i as u64 + 1)).unwrap());
            }
            strip.append(&mut keys);
        }
        strip
    }

    struct Row {
        workload: Workload,
        threads: u32,
        /// As criterion's group is called.
        group: &'static str,
        title: &'static str,
    }

    #[rustfmt::skip]
    const ROWS: [Row; 6] = [
        Row { workload: Workload::Hot, threads: 1, group: "hot_1", title: "one hot key, 1 thread" },
        Row { workload: Workload::Resident, threads: 1, group: "resident_1", title: "1024 resident keys, 1 thread" },
        Row { workload: Workload::Never, threads: 1, group: "never_1", title: "never-repeated keys, 1 thread" },
        Row { workload: Workload::Hot, threads: 2, group: "hot_2", title: "one hot key, 2 threads" },
        Row { workload: Workload::Resident, threads: 2, group: "resident_2", title: "1024 resident keys, 2 threads" },
        Row { workload: Workload::Never, threads: 2, group: "never_2", title: "never-repeated keys, 2 threads" },
    ];

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Kind {
        /// What this is all about.
        Table,
        /// The same in another set-up.
        Variant,
        Bare,
        /// A published crate.
        Crate,
        ByHand,
    }

    struct Entrant {
        name: &'static str,
        kind: Kind,
        contender: Arc<dyn Pass>,
        work: [Work; 2],
    }

    fn entrants(workload: Workload) -> Vec<Entrant> {
        let entrant = |name, kind, contender: Arc<dyn Pass>| Entrant {
            name,
            kind,
            contender,
            work: [Work::new(workload, 0), Work::new(workload, 1)],
        };
        let bare: Vec<ReentrantMutex<()>> = (0..KEYS).map(|_| ReentrantMutex::new(())).collect();
        let by_hand = ByHand::default();
        let lockable = LockableHashMap::<u64, ()>::new();
        if workload == Workload::Resident {
            let keys = usize::try_from(KEYS).unwrap();
            let lockmap = LockMap::<u64, ()>::with_capacity(keys);
            for key in 0..KEYS {
                lockmap.insert(key, ());
                lockable
                    .blocking_lock(key, SyncLimit::no_limit())
                    .infallible_unwrap()
                    .insert(());
            }
            let kept: Vec<_> = (0..KEYS).map(|key| by_hand.get(key)).collect();
            let full = Arc::new(LockTable::<u64>::with_capacity(keys));
            let handles: Vec<_> = (0..KEYS).map(|key| full.handle_owned(&key)).collect();
            #[rustfmt::skip]
            let all = vec![
                entrant("perkey", Kind::Table, Arc::new(LockTable::<u64>::with_capacity(keys))),
                entrant("perkey, handles", Kind::Variant, Arc::new(Keeping(full, handles))),
                entrant("perkey, default size", Kind::Variant, Arc::new(LockTable::<u64>::new())),
                entrant("bare mutex", Kind::Bare, Arc::new(bare)),
                entrant("lockmap", Kind::Crate, Arc::new(lockmap)),
                entrant("lockable", Kind::Crate, Arc::new(lockable)),
                entrant("by hand", Kind::ByHand, Arc::new(Keeping(by_hand, kept))),
            ];
            return all;
        }
        vec![
            entrant("perkey", Kind::Table, Arc::new(LockTable::<u64>::new())),
            entrant("bare mutex", Kind::Bare, Arc::new(bare)),
            entrant("lockmap", Kind::Crate, Arc::new(LockMap::<u64, ()>::new())),
            entrant("lockable", Kind::Crate, Arc::new(lockable)),
            entrant("by hand", Kind::ByHand, Arc::new(by_hand)),
        ]
    }

    // ---- threads and time -----------------------------------------------------------------------------------------

    struct Job {
        contender: Arc<dyn Pass>,
        work: Work,
        ops: u64,
        start: Arc<AtomicU32>,
    }

    /// This thread and a helper, which sleeps while there is nothing for it to do.
    struct Crew {
        jobs: Sender<Job>,
        done: Receiver<(Instant, Instant, Work)>,
    }

    impl Crew {
        fn new() -> Self {
            let (jobs, todo) = channel::<Job>();
            let (report, done) = channel();
            std::thread::spawn(move || {
                for job in todo {
                    let (from, to) = timed(&*job.contender, &job.work, job.ops, &job.start, 2);
                    if report.send((from, to, job.work)).is_err() {
                        return;
                    }
                }
            });
            Self { jobs, done }
        }

        /// The time of `ops` operations on each of `threads` threads.
        fn measure(&self, entrant: &mut Entrant, threads: u32, ops: u64) -> Duration {
            let start = Arc::new(AtomicU32::new(0));
            let empty = Work {
                strip: Vec::new(),
                base: 0,
                step: 0,
            };
            let [mine, other] = &mut entrant.work;
            if threads == 2 {
                let job = Job {
                    contender: entrant.contender.clone(),
                    work: std::mem::replace(other, empty),
                    ops,
                    start: start.clone(),
                };
                self.jobs.send(job).expect("the helper lives");
            }
            let (mut from, mut to) = timed(&*entrant.contender, mine, ops, &start, threads);
            mine.advance(ops);
            if threads == 2 {
                let (its_from, its_to, work) = self.done.recv().expect("the helper lives");
                (from, to) = (from.min(its_from), to.max(its_to));
                *other = work;
                other.advance(ops);
            }
            to - from
        }
    }

    /// Waits until all are there, then works.
    fn timed(
        contender: &dyn Pass,
        work: &Work,
        ops: u64,
        start: &AtomicU32,
        threads: u32,
    ) -> (Instant, Instant) {
        start.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0;
        while start.load(Ordering::Acquire) < threads {
            spins += 1;
            if spins < 1_000 {
                spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        let from = Instant::now();
        contender.pass(work, ops);
        (from, Instant::now())
    }

    // ---- the interleaved table ------------------------------------------------------------------------------------

    fn median(mut of: Vec<f64>) -> f64 {
        of.sort_by(f64::total_cmp);
        of[of.len() / 2]
    }

    fn min_max(of: &[f64]) -> (f64, f64) {
        of.iter()
            .fold((f64::INFINITY, 0.0), |(a, b), x| (x.min(a), x.max(b)))
    }

    /// The median, over the rounds, of one contender's time by another's.
    fn ratio(of: &[f64], by: &[f64]) -> f64 {
        median(of.iter().zip(by).map(|(a, b)| a / b).collect())
    }

    fn interleaved(crew: &Crew) {
        println!("Interleaved: {ROUNDS} rounds, nanoseconds per lock + unlock of a thread, median (min – max);");
        println!("ratios are medians of the ratios within a round.\n");
        println!("| workload | contender | ns | min – max | ÷ bare | perkey ahead by |");
        println!("|---|---|---|---|---|---|");
        let ops = f64::from(u32::try_from(ROUND_OPS).unwrap());
        let mut verdicts = Vec::new();
        for row in &ROWS {
            let mut entrants = entrants(row.workload);
            let mut times = vec![Vec::new(); entrants.len()];
            for round in 0..ROUNDS + 5 {
                for i in 0..entrants.len() {
                    let i = (i + round as usize) % entrants.len();
                    let took = crew.measure(&mut entrants[i], row.threads, ROUND_OPS);
                    if round >= 5 {
                        times[i].push(took.as_secs_f64() * 1e9 / ops);
                    }
                }
            }
            let of = |kind| entrants.iter().position(|e| e.kind == kind).unwrap();
            let (ours, bare) = (&times[of(Kind::Table)], &times[of(Kind::Bare)]);
            for (entrant, its) in entrants.iter().zip(&times) {
                let (min, max) = min_max(its);
                let ahead = if matches!(entrant.kind, Kind::Crate | Kind::ByHand) {
                    format!("{:.2}×", ratio(its, ours))
                } else {
                    String::new()
                };
                println!(
                    "| {} | {} | {:.1} | {min:.1} – {max:.1} | {:.2}× | {ahead} |",
                    row.title,
                    entrant.name,
                    median(its.clone()),
                    ratio(its, bare),
                );
            }
            let (best, lead) = entrants
                .iter()
                .zip(&times)
                .filter(|(e, _)| e.kind == Kind::Crate)
                .map(|(e, its)| (e.name, ratio(its, ours)))
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .unwrap();
            let floor = ratio(ours, bare);
            verdicts.push(format!(
                "| {} | {best} | {lead:.2}× | {} | {floor:.2}× | {} |",
                row.title,
                yes(lead > 1.0),
                if row.threads == 1 {
                    yes(floor <= 3.5)
                } else {
                    "not asked"
                },
            ));
        }
        println!(
            "\n| workload | best crate | perkey ahead by | ahead | perkey ÷ bare | within 3.5 |"
        );
        println!("|---|---|---|---|---|---|");
        for verdict in verdicts {
            println!("{verdict}");
        }
        println!();
    }

    fn yes(is: bool) -> &'static str {
        if is {
            "yes"
        } else {
            "**no**"
        }
    }

    // ---- criterion ------------------------------------------------------------------------------------------------

    fn benchmarks(crew: &Crew, criterion: &mut Criterion) {
        for row in &ROWS {
            let mut group = criterion.benchmark_group(row.group);
            for entrant in &mut entrants(row.workload) {
                let name = entrant.name.replace(", ", "_").replace(' ', "_");
                group.bench_function(name, |bencher| {
                    bencher.iter_custom(|iters| {
                        let mut total = Duration::ZERO;
                        let mut left = iters;
                        while left > 0 {
                            let ops = left.min(ROUND_OPS);
                            total += crew.measure(entrant, row.threads, ops);
                            left -= ops;
                        }
                        total
                    });
                });
            }
            group.finish();
        }
    }

    pub(super) fn main() {
        let crew = Crew::new();
        let asked = |option: &str| std::env::args().any(|a| a == option);
        // Like criterion: without `--bench`, which cargo adds, this is a test.
        if asked("--bench") && !asked("--test") && !asked("--list") {
            interleaved(&crew);
        }
        let mut criterion = Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .configure_from_args();
        benchmarks(&crew, &mut criterion);
        criterion.final_summary();
    }
}
