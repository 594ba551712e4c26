//! Thousands of threads that wait.

use super::contender::Contender;
use super::keys::scatter;
use super::sample::Sample;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// [`Work::Waiters`](super::case::Work::Waiters).
pub(crate) fn waiters<C: Contender<u64>>(threads: usize, keys: u64) -> Result<Sample, String> {
    let of: &'static C = Box::leak(Box::new(C::new(keys as usize)));
    let keys: &'static [u64] = (0..keys).map(scatter).collect::<Vec<_>>().leak();
    let before = Arc::new(AtomicUsize::new(0));
    let after = Arc::new(AtomicUsize::new(0));
    let guards: Vec<_> = keys.iter().map(|key| of.lock(key)).collect();
    let mut crew = Vec::with_capacity(threads);
    for i in 0..threads {
        let (before, after) = (before.clone(), after.clone());
        let one = thread::Builder::new().stack_size(64 << 10).spawn(move || {
            before.fetch_add(1, SeqCst);
            drop(of.lock(&keys[i % keys.len()]));
            after.fetch_add(1, SeqCst);
        });
        crew.push(one.map_err(|e| format!("only {i} threads of {threads}: {e}"))?);
    }
    // All of them are asleep when a while passes in which they take no processor time.
    let mut last = None;
    while before.load(SeqCst) < threads || last.is_none() || last != processor_time() {
        last = processor_time().or(Some(0.0));
        thread::sleep(Duration::from_millis(100));
        if processor_time().is_none() {
            break;
        }
    }
    let (cpu, from) = (processor_time(), Instant::now());
    drop(guards);
    while after.load(SeqCst) < threads {
        thread::sleep(Duration::from_micros(100));
    }
    let took = from.elapsed();
    let mut sample = Sample::default();
    sample.set("wake", took.as_secs_f64() * 1e3);
    if let (Some(from), Some(to)) = (cpu, processor_time()) {
        sample.set("cpu", to - from);
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
