//! A slow function, whose results are kept: sixteen threads ask at once, and it runs once. When it fails, nothing is kept, and the next one who
//! asks tries again.
//!
//! ```sh
//! cargo run --release --example memoise
//! ```

#![forbid(unsafe_code)]

use perkey::storage::{BoxError, Digest, Error, PerKey, Sqlite, Storage};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Barrier, Mutex};
use std::thread;

const THREADS: usize = 16;

/// The slow function; says how often it ran. Broken, it fails the first time.
#[derive(Default)]
struct Primes {
    runs: AtomicUsize,
    broken: bool,
}

impl Primes {
    fn below(&self, n: u32) -> Result<String, BoxError> {
        if self.runs.fetch_add(1, Relaxed) == 0 && self.broken {
            return Err("the first try fails, as they do".into());
        }
        let is_prime = |&n: &u32| (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0);
        Ok((2..n).filter(is_prime).count().to_string())
    }

    /// The memoised one. The key names the question: function and argument.
    fn memoised(&self, store: &impl Storage, n: u32) -> Result<String, Error> {
        let key = Digest::of(format!("primes below {n}"));
        let value = store.get_or_insert_with(&key, || self.below(n))?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }
}

/// All threads ask the same at once.
fn ask(store: &(impl Storage + Sync), primes: &Primes, n: u32) -> Result<(), BoxError> {
    let start = Barrier::new(THREADS);
    let (given, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                start.wait();
                match primes.memoised(store, n) {
                    Ok(answer) => given.lock().unwrap().push(answer),
                    Err(e) => failed.lock().unwrap().push(e),
                }
            });
        }
    });
    let (given, failed) = (given.into_inner()?, failed.into_inner()?);
    let runs = primes.runs.load(Relaxed);
    let times = if runs == 1 { "time" } else { "times" };
    println!("{THREADS} threads asked, the function ran {runs} {times}");
    for e in failed {
        println!("failed for one of them, nothing is kept: {e}");
    }
    let all_equal = given.windows(2).all(|two| two[0] == two[1]);
    println!("{} answers, all equal: {all_equal}", given.len());
    Ok(())
}

fn main() -> Result<(), BoxError> {
    let store = PerKey::new(Sqlite::in_memory()?);
    let primes = Primes::default();
    ask(&store, &primes, 200_000)?;
    let again = primes.memoised(&store, 200_000)?;
    let more = primes.runs.load(Relaxed) - 1;
    println!("asked again: {again}, after {more} more runs");

    println!("\nThe same with a function that fails the first time:");
    let broken = Primes {
        broken: true,
        ..Primes::default()
    };
    ask(&store, &broken, 100_000)
}
