//! A line a second, and a look at whether anything moves.

use crate::memory::{live_heap, mib, resident};
use crate::world::World;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often to look whether anything moves.
const LOOK: Duration = Duration::from_millis(20);

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) threads: u64,
    pub(crate) operations: u64,
    pub(crate) waits: u64,
    pub(crate) heap: u64,
    pub(crate) resident: Option<u64>,
}

impl Sample {
    fn now(world: &World, begin: Instant) -> Self {
        Self {
            at: begin.elapsed(),
            threads: world.threads.load(Relaxed),
            operations: world.operations.load(Relaxed),
            waits: world.waits(),
            heap: live_heap(),
            resident: resident(),
        }
    }
}

/// What has been seen; and when the round under way should be over.
pub(crate) struct Watch {
    pub(crate) begin: Instant,
    patience: Duration,
    seen: Mutex<Seen>,
}

struct Seen {
    samples: Vec<Sample>,
    /// Between two rounds, when nobody is there.
    musters: Vec<Sample>,
    deadline: Instant,
    over: bool,
}

impl Watch {
    /// For a run of so many seconds and rounds: the places are taken at once, so that watching does not look like a leak.
    pub(crate) fn new(seconds: usize, rounds: usize, patience: Duration) -> Self {
        let begin = Instant::now();
        Self {
            begin,
            patience,
            seen: Mutex::new(Seen {
                samples: Vec::with_capacity(seconds + 16),
                musters: Vec::with_capacity(rounds + 16),
                deadline: begin + patience,
                over: false,
            }),
        }
    }

    fn seen<R>(&self, f: impl FnOnce(&mut Seen) -> R) -> R {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A round begins, which takes so long.
    pub(crate) fn round(&self, length: Duration) {
        self.seen(|s| s.deadline = Instant::now() + length + self.patience);
    }

    /// A round has ended, and nobody is there.
    pub(crate) fn muster(&self, world: &World) {
        let sample = Sample::now(world, self.begin);
        self.seen(|s| s.musters.push(sample));
    }

    /// There is nothing more to watch.
    pub(crate) fn over(&self) {
        self.seen(|s| s.over = true);
    }

    /// The samples of each second, and those between rounds.
    pub(crate) fn samples(&self) -> (Vec<Sample>, Vec<Sample>) {
        self.seen(|s| (s.samples.clone(), s.musters.clone()))
    }

    /// Prints a line a second until it is over; `Err` if a round does not come to its end.
    pub(crate) fn run(&self, world: &World) -> Result<(), String> {
        let mut last = Sample::now(world, self.begin);
        let mut next = self.begin + Duration::from_secs(1);
        let mut looked = Instant::now();
        loop {
            std::thread::sleep(LOOK);
            let now = Instant::now();
            let lost = now.duration_since(looked).saturating_sub(LOOK);
            looked = now;
            let (over, deadline) = self.seen(|s| {
                // Time in which not even this thread got to run, as on a machine that is paused, is nobody's hang.
                s.deadline += lost;
                (s.over, s.deadline)
            });
            if now >= next || over {
                while next <= now {
                    next += Duration::from_secs(1);
                }
                let sample = Sample::now(world, self.begin);
                print(world, &last, &sample);
                self.seen(|s| s.samples.push(sample));
                last = sample;
            }
            if over {
                return Ok(());
            }
            if now > deadline {
                return Err(format!(
                    "I6, {} threads do not come to their end: a wake-up was lost, or a key is not released",
                    world.threads.load(Relaxed)
                ));
            }
        }
    }
}

fn print(world: &World, last: &Sample, now: &Sample) {
    let passed = now.at.saturating_sub(last.at).as_secs_f64().max(1e-3);
    #[allow(clippy::cast_precision_loss)] // it is shown without a digit after the point
    let rate = (now.operations - last.operations) as f64 / passed;
    let line = format!(
        "{:6.1} s  {:3} threads  {:12} operations ({rate:9.0}/s)  {:10} waits  {} overlaps  heap {}  resident {}",
        now.at.as_secs_f64(),
        now.threads,
        now.operations,
        now.waits,
        world.faults.overlaps(),
        mib(now.heap),
        now.resident.map_or("unknown".to_owned(), mib),
    );
    // Whoever reads it may have gone; the run goes on.
    let _ = writeln!(std::io::stdout(), "{line}");
}
