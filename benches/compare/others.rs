//! The smaller workloads: a key taken again, strings, the heap after many keys, thousands of waiters.

use super::contender::Contender;
use super::heap;
use super::keys::{scatter, strip, Draw, Fresh, Keys, Strip, RESIDENT};
use super::sample::Sample;
use super::timed::{ns, Gate};
use std::fs;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

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

/// [`Work::Strings`](super::case::Work::Strings).
pub(crate) struct Strings<C: 'static> {
    of: &'static C,
    never: bool,
    time: Duration,
    fresh: u64,
    strip: Vec<u32>,
    names: &'static [String],
}

/// 32 bytes of text for a number.
fn write(name: &mut [u8; 32], n: u64) {
    for (i, byte) in name[16..].iter_mut().enumerate() {
        *byte = b"0123456789abcdef"[(n >> (4 * i) & 15) as usize];
    }
}

const NAME: [u8; 32] = *b"user/profile/k0:0000000000000000";

impl<C: Contender<str>> Strings<C> {
    pub(crate) fn new(never: bool, time: Duration) -> Self {
        let of: &'static C = Box::leak(Box::new(C::new(RESIDENT as usize)));
        let names = (0..RESIDENT).map(|n| {
            let mut name = NAME;
            write(&mut name, n);
            String::from_utf8_lossy(&name).into_owned()
        });
        let names = names.collect::<Vec<_>>().leak();
        if !never {
            for name in &*names {
                std::mem::forget(of.keep(name));
            }
        }
        Self {
            of,
            never,
            time,
            fresh: 1 << 32,
            strip: strip(Keys::Resident, 0),
            names,
        }
    }

    pub(crate) fn round(&mut self) -> Sample {
        let mut sample = Sample::default();
        self.fresh += 1 << 32;
        sample.set("ns", ns(&self.part(self.time)));
        self.fresh += 1 << 32;
        sample.set("allocs", self.allocations());
        sample
    }

    fn part(&self, time: Duration) -> Vec<super::timed::Done> {
        Gate::all(1, time, |_, gate| {
            let mut op = self.op();
            gate.run(|| op())
        })
    }

    /// Lock and unlock the next name.
    fn op(&self) -> impl FnMut() + '_ {
        let mut fresh = Fresh::new(0, 1, self.fresh);
        let mut strip = Strip::new(&self.strip, 0);
        let mut name = NAME;
        move || {
            if self.never {
                write(&mut name, fresh.next());
                let name = std::str::from_utf8(&name).expect("it is ASCII");
                drop(black_box(self.of.lock(name)));
            } else {
                let name = &self.names[strip.next() as usize];
                drop(black_box(self.of.lock(name)));
            }
        }
    }

    /// Per operation, in a part that is not timed.
    fn allocations(&self) -> f64 {
        let mut op = self.op();
        let ops = 10_000;
        (0..ops).for_each(|_| op());
        heap::counting(true);
        let before = heap::allocations();
        (0..ops).for_each(|_| op());
        let after = heap::allocations();
        heap::counting(false);
        (after - before) / f64::from(ops)
    }
}

/// [`Work::Distinct`](super::case::Work::Distinct).
pub(crate) fn distinct<C: Contender<u64>>(keys: u64) -> Sample {
    let mut sample = Sample::default();
    heap::counting(true);
    let mut curve = Vec::with_capacity(101);
    let before = heap::live();
    let of = C::new(RESIDENT as usize);
    curve.push((0.0, heap::live() - before));
    for part in 0..100 {
        for n in part * keys / 100..(part + 1) * keys / 100 {
            let key = scatter(n);
            drop(black_box(of.lock(&key)));
        }
        let done = (part + 1) * keys / 100;
        curve.push((done as f64, heap::live() - before));
    }
    heap::counting(false);
    let kib = |bytes: f64| bytes / 1024.0;
    sample.set("left", kib(curve.last().map_or(0.0, |p| p.1)));
    sample.set("peak", kib(curve.iter().map(|p| p.1).fold(0.0, f64::max)));
    sample.curves.insert("heap".to_string(), curve);
    sample
}

/// [`Work::Waiters`](super::case::Work::Waiters).
pub(crate) fn waiters<C: Contender<u64>>(threads: usize, keys: u64) -> Result<Sample, String> {
    let of: &'static C = Box::leak(Box::new(C::new(keys as usize)));
    let keys: &'static [u64] = (0..keys).map(scatter).collect::<Vec<_>>().leak();
    static BEFORE: AtomicUsize = AtomicUsize::new(0);
    static AFTER: AtomicUsize = AtomicUsize::new(0);
    BEFORE.store(0, SeqCst);
    AFTER.store(0, SeqCst);
    let guards: Vec<_> = keys.iter().map(|key| of.lock(key)).collect();
    let mut crew = Vec::with_capacity(threads);
    for i in 0..threads {
        let one = thread::Builder::new().stack_size(64 << 10).spawn(move || {
            BEFORE.fetch_add(1, SeqCst);
            drop(of.lock(&keys[i % keys.len()]));
            AFTER.fetch_add(1, SeqCst);
        });
        crew.push(one.map_err(|e| format!("only {i} threads of {threads}: {e}"))?);
    }
    // All of them are asleep when a while passes in which they take no processor time.
    let mut last = None;
    while BEFORE.load(SeqCst) < threads || last.is_none() || last != processor_time() {
        last = processor_time().or(Some(0.0));
        thread::sleep(Duration::from_millis(100));
        if processor_time().is_none() {
            break;
        }
    }
    let (cpu, from) = (processor_time(), Instant::now());
    drop(guards);
    while AFTER.load(SeqCst) < threads {
        thread::sleep(Duration::from_micros(100));
    }
    let took = from.elapsed();
    let mut sample = Sample::default();
    sample.set("wake", took.as_secs_f64() * 1e3);
    if let (Some(before), Some(after)) = (cpu, processor_time()) {
        sample.set("cpu", after - before);
    }
    for one in crew {
        one.join()
            .map_err(|_| "a waiter has panicked".to_string())?;
    }
    Ok(sample)
}

/// Milliseconds of all threads so far, in steps of ten; `None` if the system does not tell.
fn processor_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = text.rsplit(") ").next()?.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) * 10.0)
}
