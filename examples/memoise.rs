//! A slow function, whose results are kept: sixteen threads ask at once, and it runs once. When it fails, nothing is kept, and the next
//! one who asks tries again.
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

/// The slow function. Its first run fails.
fn primes_below(n: u32, runs: &AtomicUsize) -> Result<String, BoxError> {
    if runs.fetch_add(1, Relaxed) == 0 {
        return Err("the first try fails, as they do".into());
    }
    let is_prime = |&n: &u32| (2..n).take_while(|d| d * d <= n).all(|d| n % d != 0);
    Ok((2..n).filter(is_prime).count().to_string())
}

/// The memoised one. The key names the question: function and argument.
fn memoised<S: Storage>(store: &S, n: u32, runs: &AtomicUsize) -> Result<String, Error> {
    let key = Digest::of(format!("primes_below({n})"));
    let value = store.get_or_insert_with(&key, || primes_below(n, runs))?;
    Ok(String::from_utf8_lossy(&value).into_owned())
}

fn main() -> Result<(), BoxError> {
    let store = PerKey::new(Sqlite::in_memory()?);
    let (runs, start) = (AtomicUsize::new(0), Barrier::new(THREADS));
    let (given, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|s| {
        for _ in 0..THREADS {
            s.spawn(|| {
                start.wait(); // all ask at once
                match memoised(&store, 200_000, &runs) {
                    Ok(answer) => given.lock().unwrap().push(answer),
                    Err(e) => failed.lock().unwrap().push(e),
                }
            });
        }
    });
    let (runs_then, given) = (runs.load(Relaxed), given.into_inner()?);
    println!("{THREADS} threads asked, the function ran {runs_then} times");
    for e in failed.into_inner()? {
        println!("failed for one of them, nothing is kept: {e}");
    }
    let all_equal = given.windows(2).all(|two| two[0] == two[1]);
    println!(
        "the others: {} answers, all equal: {all_equal}",
        given.len()
    );

    let again = memoised(&store, 200_000, &runs)?;
    let more = runs.load(Relaxed) - runs_then;
    println!("asked again: {again}, after {more} more runs");
    Ok(())
}
