//! A layer of one's own: it takes the time of every operation, outside of the locks and inside of them.
//!
//! ```sh
//! cargo run --release --example own_layer
//! ```

#![forbid(unsafe_code)]

use perkey::storage::{
    BoxError, Bytes, Digest, Failure, Intent, Layer, PerKey, Scope, Sqlite, Storage,
};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A layer: what is inside, and what it has seen.
struct Timed<S>(S, Mutex<Seen>);

/// Operations that have begun, those that went well, and what these took.
#[derive(Clone, Copy, Default)]
struct Seen {
    begun: u32,
    done: u32,
    time: Duration,
}

/// This is all that makes it a layer.
impl<S: Storage> Layer for Timed<S> {
    type Inner = S;
    /// What is held while an operation runs, and handed to `leave`.
    type Held<'a>
        = Instant
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.0
    }
    fn enter(&self, _: Scope<'_>, _: Intent) -> Result<Instant, Failure> {
        self.1.lock().unwrap().begun += 1;
        Ok(Instant::now())
    }
    fn leave(&self, begin: Instant) -> Result<(), Failure> {
        let mut seen = self.1.lock().unwrap(); // an operation that fails or panics does not get here
        (seen.done, seen.time) = (seen.done + 1, seen.time + begin.elapsed());
        Ok(())
    }
}

impl<S> Timed<S> {
    fn new(inner: S) -> Self {
        Self(inner, Mutex::default())
    }

    fn report(&self, place: &str) {
        let Seen { begun, done, time } = *self.1.lock().unwrap();
        let taken_back = begun - done;
        println!("{place:<22} {begun} operations, {taken_back} taken back, {time:.1?}");
    }
}

fn main() -> Result<(), BoxError> {
    // The outer one sees the wait for the key and the work, the inner one the work alone.
    let store = Timed::new(PerKey::new(Timed::new(Sqlite::in_memory()?)));
    let counter = Digest::of("counter");
    let add_one = |old: Option<Bytes>| {
        thread::sleep(Duration::from_millis(2)); // some work
        Ok::<_, BoxError>(Some([old.map_or(0, |old| old[0]) + 1]))
    };
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..5).try_for_each(|_| store.update(&counter, add_one)));
        }
    });
    println!(
        "four threads, five times one more: {}",
        store.load(&counter)?[0]
    );

    let refuse = |_| Err::<Option<&str>, _>("not today");
    if let Err(e) = store.update(&counter, refuse) {
        println!("once more, which fails: {e}");
    }
    store.report("outside of the locks:");
    store.0.inner().report("inside of them:");
    Ok(())
}
