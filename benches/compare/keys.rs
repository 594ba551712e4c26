//! Which keys, one after another; and the work that is done while one is held.

use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::time::Instant;

pub(crate) const RESIDENT: u64 = 1024;
pub(crate) const ZIPF: u64 = 1_000_000;
/// Keys written out beforehand for one thread: a power of two.
const STRIP: usize = 1 << 17;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Keys {
    /// Always the same.
    Hot,
    /// 1024 keys in random order over and over, which are kept.
    Resident,
    /// The same, but nobody keeps them.
    Revisited,
    /// A new one each time.
    Never,
    /// Zipf's law with exponent 0.99 over 1,000,000 keys.
    Zipf,
}

impl Keys {
    /// How many different ones there may be at a time.
    pub(crate) fn count(self) -> u64 {
        match self {
            Keys::Hot | Keys::Never | Keys::Resident | Keys::Revisited => RESIDENT,
            Keys::Zipf => ZIPF,
        }
    }
}

/// The keys of one thread.
pub(crate) trait Draw: Send {
    fn next(&mut self) -> u64;
}

/// Keys written out beforehand: a power of two of them.
pub(crate) struct Strip<'a> {
    keys: &'a [u32],
    at: usize,
}

impl<'a> Strip<'a> {
    /// Begins at `at`, wherever that is.
    pub(crate) fn new(keys: &'a [u32], at: usize) -> Self {
        Self { keys, at }
    }
}

impl Draw for Strip<'_> {
    #[inline]
    fn next(&mut self) -> u64 {
        self.at = (self.at + 1) & (self.keys.len() - 1);
        u64::from(self.keys[self.at])
    }
}

/// The keys of a thread.
pub(crate) fn strip(keys: Keys, thread: usize) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(thread as u64 + 1);
    match keys {
        Keys::Hot | Keys::Never => vec![42; 1024],
        Keys::Resident | Keys::Revisited => (0..8)
            .flat_map(|_| {
                let mut all: Vec<u32> = (0..RESIDENT as u32).collect();
                random.shuffle(&mut all);
                all
            })
            .collect(),
        Keys::Zipf => {
            let law = Zipf::new(ZIPF, 0.99);
            (0..STRIP).map(|_| law.draw(&mut random)).collect()
        }
    }
}

/// Any of the first `count` keys.
pub(crate) fn uniform(count: u64) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..STRIP).map(|_| random.u32(0..count as u32)).collect()
}

/// Keys that never come again: all numbers of one residue class, so that no two threads meet, neither in a key nor in a lock of the floor,
/// scattered by a multiplication that keeps them different (and their lowest bits a permutation).
pub(crate) struct Fresh {
    at: u64,
    step: u64,
}

impl Fresh {
    /// The keys of one of `threads` threads, a power of two; none of them is below `from`'s.
    pub(crate) fn new(thread: u64, threads: u64, from: u64) -> Self {
        Self {
            at: from * threads + thread,
            step: threads,
        }
    }
}

/// Different for different numbers. Large ones stay large enough not to meet the keys of a strip.
pub(crate) fn scatter(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Draw for Fresh {
    #[inline]
    fn next(&mut self) -> u64 {
        self.at = self.at.wrapping_add(self.step);
        scatter(self.at)
    }
}

/// Draws ranks by rejection-inversion (Hörmann and Derflinger, 1996).
struct Zipf {
    count: u64,
    exponent: f64,
    first: f64,
    last: f64,
    sure: f64,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        let mut it = Self {
            count,
            exponent,
            first: 0.0,
            last: 0.0,
            sure: 0.0,
        };
        it.first = it.area(1.5) - 1.0;
        it.last = it.area(count as f64 + 0.5);
        it.sure = 2.0 - it.inverse(it.area(2.5) - it.height(2.0));
        it
    }

    fn height(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    fn area(&self, x: f64) -> f64 {
        (x.powf(1.0 - self.exponent) - 1.0) / (1.0 - self.exponent)
    }

    fn inverse(&self, area: f64) -> f64 {
        (area * (1.0 - self.exponent) + 1.0).powf(1.0 / (1.0 - self.exponent))
    }

    /// A key; neighbours in rank are far apart.
    fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        loop {
            let u = self.last + random.f64() * (self.first - self.last);
            let x = self.inverse(u);
            let rank = x.round().clamp(1.0, self.count as f64);
            if rank - x <= self.sure || u >= self.area(rank + 0.5) - self.height(rank) {
                // 611,953 is a prime, so this is a permutation.
                return (rank as u64 * 611_953 % self.count) as u32;
            }
        }
    }
}

/// Steps of a chain of multiplications in a nanosecond. Measured once, for all contenders.
pub(crate) fn calibrate() -> f64 {
    let steps = 200_000;
    let mut best = f64::INFINITY;
    for _ in 0..50 {
        let from = Instant::now();
        work(steps);
        best = best.min(from.elapsed().as_nanos() as f64);
    }
    f64::from(steps) / best
}

/// So many steps.
#[inline]
pub(crate) fn work(steps: u32) {
    let mut x = u64::from(black_box(steps));
    for _ in 0..steps {
        x = black_box(x.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1);
    }
}
