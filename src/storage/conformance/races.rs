//! What threads are known to lose when nobody keeps them apart: updates, single computations, values on their way.

use super::faults::caught;
use super::ops::KEYS;
use super::part;
use crate::storage::{BoxError, Bytes, Digest, Error, Storage};
use crate::sync::threads::{self, pause, Gate};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;

/// So many threads.
const THREADS: usize = 3;
/// How often each does it: with real threads; once is enough in each of many schedules.
const TIMES: usize = if cfg!(perkey_shuttle) { 1 } else { 50 };

/// Lets threads count in one value, make one value, and move values between two stores, to and fro.
///
/// ```
/// use perkey::storage::conformance::races;
/// use perkey::storage::{Memory, PerKey};
///
/// races(|| PerKey::new(Memory::new()));
/// ```
///
/// # Panics
/// If an update is lost, if a value is made twice or not at all, if a value is lost on its way, or if an operation hangs.
pub fn races<S: Storage + Send + Sync + 'static>(make: impl Fn() -> S) {
    part::<S>("counting", || counted(&Arc::new(make())));
    part::<S>("a value that is made once", || made_once(&Arc::new(make())));
    let both = || [Arc::new(make()), Arc::new(make())];
    part::<S>("values that are moved", || moved(&both()));
}

/// Runs `f` in threads that begin together.
fn together(what: &str, n: usize, f: impl Fn(usize) + Send + Sync + 'static) {
    let (f, begin) = (Arc::new(f), Arc::new(Gate::default()));
    let start = |i| {
        let (f, begin) = (f.clone(), begin.clone());
        threads::start(what, move || {
            begin.wait();
            f(i);
        })
    };
    let tasks: Vec<_> = (0..n).map(start).collect();
    begin.open();
    tasks.into_iter().for_each(threads::Task::join);
}

/// No update is lost.
fn counted<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    let key = Digest::of("counter");
    let counting = store.clone();
    together("a thread that counts", THREADS, move |_| {
        for _ in 0..TIMES {
            counting.update(&key, one_more).expect("an update");
        }
    });
    let counted = store.load(&key).expect("the count");
    assert_eq!(number(&counted), THREADS * TIMES, "updates were lost");
}

fn number(value: &[u8]) -> usize {
    let text = std::str::from_utf8(value).expect("a number");
    text.parse().expect("a number")
}

#[allow(clippy::unnecessary_wraps)] // what `update` takes
fn one_more(old: Option<Bytes>) -> Result<Option<String>, BoxError> {
    let old = old.map_or(0, |old| number(&old));
    pause();
    Ok(Some((old + 1).to_string()))
}

/// However many ask, a value is made once; if making it fails or panics, nothing is left of that, and the next one makes it.
fn made_once<S: Storage + Send + Sync + 'static>(store: &Arc<S>) {
    for round in 0..TIMES {
        let key = Digest::of(round.to_string());
        let (tried, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (asked, t, m) = (store.clone(), tried.clone(), made.clone());
        together("a thread that asks for a value", THREADS, move |_| {
            let make = || {
                // ORDERING: Relaxed, here and below: these count; `together` joins before they are read.
                let before = t.fetch_add(1, Relaxed);
                pause();
                match before {
                    0 if round % 3 == 1 => Err(BoxError::from("on purpose")),
                    0 if round % 3 == 2 => resume_unwind(Box::new("on purpose")),
                    _ => Ok((m.fetch_add(1, Relaxed) + 1).to_string()),
                }
            };
            match caught(|| asked.get_or_insert_with(&key, make)) {
                Ok(Ok(value)) => assert_eq!(value, "1", "a value was made twice"),
                Ok(Err(Error::Closure { .. })) => assert_eq!(round % 3, 1),
                Ok(Err(e)) => panic!("a value that is to be made: {e}"),
                Err(panic) => {
                    if panic.downcast_ref() != Some(&"on purpose") {
                        resume_unwind(panic);
                    }
                }
            }
        });
        // ORDERING: Relaxed; the threads that counted have been joined.
        assert_eq!(made.load(Relaxed), 1, "how often a value was made");
        assert_eq!(tried.load(Relaxed), 1 + usize::from(round % 3 != 0));
        assert_eq!(store.load(&key).expect("the value"), "1");
    }
}

/// Values go to and fro between two stores, and within one: none is lost, none is doubled.
fn moved<S: Storage + Send + Sync + 'static>(stores: &[Arc<S>; 2]) {
    let [a, b, c] = KEYS;
    stores[0].save_as(&a, "one").expect("a value is saved");
    stores[1].save_as(&b, "two").expect("a value is saved");
    let moving = stores.clone();
    together("a thread that moves values", THREADS, move |i| {
        let unknown = |result: Result<(), Error>| match result {
            Ok(()) | Err(Error::Unknown { .. }) => {}
            Err(e) => panic!("a value that is moved: {e}"),
        };
        let [here, there] = [&moving[i % 2], &moving[1 - i % 2]];
        for _ in 0..TIMES {
            unknown(here.transfer(&a, &**there).map(drop));
            unknown(there.transfer(&b, &**here).map(drop));
            unknown(here.rename(&b, &c));
            unknown(here.rename(&c, &b));
        }
    });
    let mut left = Vec::new();
    for store in stores {
        for key in store.list().expect("a listing") {
            left.push(store.load(&key).expect("a value that is listed"));
        }
    }
    left.sort_unstable();
    assert_eq!(left, ["one", "two"], "values that went to and fro");
}
