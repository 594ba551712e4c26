//! Threads that lock and unlock for a while.

use super::contender::Contender;
use super::keys::{strip, work, Draw, Fresh, Keys, Strip};
use super::sample::{histogram, Sample};
use hdrhistogram::Histogram;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

/// Operations between two looks at whether to stop.
const BATCH: u32 = 16;
/// Operations of each thread before the start.
const WARM_UP: u32 = 256;

/// What one thread has done.
pub(crate) struct Done {
    pub(crate) ops: u64,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) waits: Histogram<u64>,
}

/// The line that all threads leave together, and its end.
pub(crate) struct Gate {
    threads: usize,
    there: AtomicUsize,
    stop: AtomicBool,
}

impl Gate {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            there: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        }
    }

    /// Waits for the others.
    pub(crate) fn start(&self) {
        self.there.fetch_add(1, SeqCst);
        let mut spins = 0;
        while self.there.load(SeqCst) < self.threads {
            spins += 1;
            if spins < 1_000 && self.threads <= 2 {
                spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    /// Does `op` until the end; before that, a little to get warm.
    #[inline]
    pub(crate) fn run(&self, mut op: impl FnMut()) -> Done {
        for _ in 0..WARM_UP {
            op();
        }
        self.start();
        let from = Instant::now();
        let mut ops = 0;
        while !self.stop.load(Relaxed) {
            for _ in 0..BATCH {
                op();
            }
            ops += u64::from(BATCH);
        }
        Done {
            ops,
            from,
            to: Instant::now(),
            waits: histogram(),
        }
    }

    /// Runs `work` for each thread, and ends it after a while.
    pub(crate) fn all(
        threads: usize,
        time: Duration,
        work: impl Fn(usize, &Gate) -> Done + Sync,
    ) -> Vec<Done> {
        let gate = Gate::new(threads);
        thread::scope(|s| {
            let (work, gate) = (&work, &gate);
            let crew: Vec<_> = (0..threads)
                .map(|i| s.spawn(move || work(i, gate)))
                .collect();
            while gate.there.load(SeqCst) < threads {
                thread::yield_now();
                if crew.iter().any(thread::ScopedJoinHandle::is_finished) {
                    break; // it has panicked, which join tells
                }
            }
            thread::sleep(time);
            gate.stop.store(true, SeqCst);
            let join = |one: thread::ScopedJoinHandle<'_, Done>| one.join();
            crew.into_iter()
                .map(|one| join(one).expect("a thread of the crew has panicked"))
                .collect()
        })
    }
}

/// Nanoseconds per operation of a thread.
pub(crate) fn ns(all: &[Done]) -> f64 {
    let time: Duration = all.iter().map(|done| done.to - done.from).sum();
    let ops: u64 = all.iter().map(|done| done.ops).sum();
    time.as_nanos() as f64 / ops as f64
}

/// Millions of operations per second of all threads together.
pub(crate) fn mops(all: &[Done]) -> f64 {
    let from = all.iter().map(|done| done.from).min();
    let to = all.iter().map(|done| done.to).max();
    let ops: u64 = all.iter().map(|done| done.ops).sum();
    let time = to
        .zip(from)
        .map_or(0.0, |(to, from)| (to - from).as_secs_f64());
    ops as f64 / time / 1e6
}

/// [`Work::Loop`](super::case::Work::Loop).
pub(crate) struct Loop<C: 'static> {
    pub(crate) of: &'static C,
    pub(crate) keys: Keys,
    pub(crate) threads: usize,
    /// Steps of work inside.
    pub(crate) steps: u32,
    pub(crate) time: Duration,
    pub(crate) clock: bool,
    strips: Vec<Vec<u32>>,
    fresh: u64,
}

impl<C: Contender<u64>> Loop<C> {
    pub(crate) fn new(keys: Keys, threads: usize, steps: u32, time: Duration, clock: bool) -> Self {
        let of: &'static C = Box::leak(Box::new(C::new(keys.count() as usize)));
        if keys == Keys::Resident {
            for key in 0..keys.count() {
                std::mem::forget(of.keep(Box::leak(Box::new(key))));
            }
        }
        Self {
            of,
            keys,
            threads,
            steps,
            time,
            clock,
            strips: (0..threads).map(|i| strip(keys, i)).collect(),
            fresh: 1 << 32,
        }
    }

    pub(crate) fn round(&mut self) -> Sample {
        let mut sample = Sample::default();
        let all = self.part(false);
        let contended = self.clock;
        if !contended {
            sample.set("ns", ns(&all));
        } else if self.steps > 0 || self.keys == Keys::Hot {
            sample.set("mops", mops(&all));
        }
        if contended && self.threads > 1 && self.keys == Keys::Hot {
            let fair = all.iter().map(|d| d.ops).sum::<u64>() as f64 / self.threads as f64;
            let shares = || all.iter().map(|d| d.ops as f64 / fair);
            sample.set("least", shares().fold(f64::INFINITY, f64::min));
            sample.set("most", shares().fold(0.0, f64::max));
        }
        if contended {
            let mut waits = histogram();
            for done in self.part(true) {
                waits.add(done.waits).expect("the same bounds");
            }
            sample.waits(&waits);
        }
        sample
    }

    fn part(&mut self, clock: bool) -> Vec<Done> {
        self.fresh += 1 << 32;
        let it = &*self;
        Gate::all(it.threads, it.time, |i, gate| {
            if it.keys == Keys::Never {
                it.go(
                    gate,
                    Fresh::new(i as u64, it.threads as u64, it.fresh),
                    clock,
                )
            } else {
                // Each thread begins elsewhere.
                it.go(
                    gate,
                    Strip::new(&it.strips[i], it.fresh as usize >> 20),
                    clock,
                )
            }
        })
    }

    #[inline(never)]
    fn go(&self, gate: &Gate, mut draw: impl Draw, clock: bool) -> Done {
        let (of, steps) = (self.of, self.steps);
        if !clock {
            return gate.run(|| {
                let key = draw.next();
                let guard = of.lock(&key);
                if steps > 0 {
                    work(steps);
                }
                drop(black_box(guard));
            });
        }
        let mut waits = histogram();
        let mut done = gate.run(|| {
            let key = draw.next();
            let from = Instant::now();
            let guard = of.lock(&key);
            let took = from.elapsed();
            if steps > 0 {
                work(steps);
            }
            drop(black_box(guard));
            waits.saturating_record(took.as_nanos() as u64);
        });
        done.waits = waits;
        done
    }
}

/// [`Work::Again`](super::case::Work::Again).
pub(crate) fn again<C: Contender<u64>>(of: &'static C, time: Duration) -> Sample {
    let mut sample = Sample::default();
    let all = Gate::all(1, time, |_, gate| {
        let key = 42;
        let _outer = of.lock(&key);
        gate.run(|| drop(black_box(of.lock(black_box(&key)))))
    });
    sample.set("ns", ns(&all));
    sample
}
