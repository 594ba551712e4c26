//! Many keys at once: held, or alive beside the one that is asked for.

use super::contender::{Contender, Facts};
use super::heap;
use super::keys::{scatter, uniform, Draw, Fresh, Strip};
use super::published::Kept;
use super::sample::Sample;
use super::timed::{ns, Gate};
use std::hint::black_box;
use std::marker::PhantomData;
use std::thread;
use std::time::{Duration, Instant};

/// [`Work::Held`](super::case::Work::Held).
pub(crate) struct Held<C> {
    keys: &'static [u64],
    exact: bool,
    first: bool,
    _of: PhantomData<C>,
}

impl<C: Contender<u64>> Held<C> {
    pub(crate) fn new(keys: u64, facts: &Facts) -> Self {
        Self {
            keys: (0..keys).map(scatter).collect::<Vec<_>>().leak(),
            exact: facts.exact,
            first: true,
            _of: PhantomData,
        }
    }

    pub(crate) fn round(&mut self) -> Sample {
        let mut sample = Sample::default();
        if std::mem::take(&mut self.first) {
            self.weigh(&mut sample);
        }
        // An empty one in each part, so that all of them grow on the way.
        let of = C::new(self.keys.len());
        let mut guards = Vec::with_capacity(self.keys.len());
        let count = self.keys.len() as f64;
        let from = Instant::now();
        for key in self.keys {
            guards.push(of.lock(key));
        }
        let locked = Instant::now();
        drop(black_box(guards));
        let released = Instant::now();
        sample.set("lock", (locked - from).as_nanos() as f64 / count);
        sample.set("release", (released - locked).as_nanos() as f64 / count);
        // Two threads that hold many keys each wait for each other where keys share a lock.
        if self.exact {
            sample.set("longest_call", self.longest().as_secs_f64() * 1e3);
        }
        sample
    }

    /// The heap for it, in a part that is not timed. What is there beforehand, as with the floor, counts as well.
    fn weigh(&self, sample: &mut Sample) {
        let mut of = None;
        let mut guards = Vec::with_capacity(self.keys.len());
        heap::counting(true);
        let before = heap::live();
        let of: &C = of.insert(C::new(self.keys.len()));
        for key in self.keys {
            guards.push(of.lock(key));
        }
        let during = heap::live();
        heap::counting(false);
        sample.set("bytes", (during - before) / self.keys.len() as f64);
        drop(guards);
    }

    fn longest(&self) -> Duration {
        let gate = Gate::new(2);
        let of = C::new(self.keys.len());
        let half = self.keys.len() / 2;
        let work = |keys: &'static [u64]| {
            let mut guards = Vec::with_capacity(keys.len());
            gate.start();
            let mut longest = Duration::ZERO;
            for key in keys {
                let from = Instant::now();
                guards.push(of.lock(key));
                longest = longest.max(from.elapsed());
            }
            longest
        };
        thread::scope(|s| {
            let other = s.spawn(|| work(&self.keys[..half]));
            let mine = work(&self.keys[half..]);
            mine.max(other.join().expect("the other thread has panicked"))
        })
    }
}

/// [`Work::Alive`](super::case::Work::Alive).
pub(crate) struct Alive<C: 'static> {
    of: &'static C,
    kept: bool,
    strip: Vec<u32>,
    time: Duration,
    fresh: u64,
}

impl<C: Contender<u64>> Alive<C> {
    pub(crate) fn new(keys: u64, time: Duration, facts: &Facts) -> Self {
        let of: &'static C = Box::leak(Box::new(C::new(keys as usize)));
        let all: &'static [u64] = (0..keys).collect::<Vec<_>>().leak();
        for key in all {
            let kept: Option<Box<dyn Kept>> = of.keep(key);
            if kept.is_none() {
                std::mem::forget(of.lock(key));
            }
            std::mem::forget(kept);
        }
        Self {
            of,
            kept: facts.keeps,
            strip: uniform(keys),
            time,
            fresh: 1 << 32,
        }
    }

    pub(crate) fn round(&mut self) -> Sample {
        let mut sample = Sample::default();
        self.fresh += 1 << 32;
        if self.kept {
            let at = (self.fresh >> 20) as usize;
            sample.set("old", self.part(|| Strip::new(&self.strip, at)));
        }
        sample.set("new", self.part(|| Fresh::new(0, 1, self.fresh)));
        sample
    }

    fn part<D: Draw>(&self, draw: impl Fn() -> D + Sync) -> f64 {
        ns(&Gate::all(1, self.time, |_, gate| {
            let mut draw = draw();
            gate.run(|| {
                let key = draw.next();
                drop(black_box(self.of.lock(&key)));
            })
        }))
    }
}
