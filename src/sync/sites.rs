//! Atomics of the mutant build under loom: each access knows where in the source it stands, and one of them can be weakened.
//!
//! `cargo prove orderings` asks with the environment variable `PERKEY_SITES` which places a model reaches (they are appended to the file of that
//! name, `file:line:column` each), and names in `PERKEY_WEAKEN` the one whose ordering is to be another in this run, as
//! `file:line:column:success=Relaxed` (`failure` for that of an exchange). No other build has any of this.

use std::collections::HashSet;
use std::io::Write;
use std::panic::Location;
use std::sync::{Mutex, OnceLock};

pub(crate) use loom::sync::atomic::Ordering;

/// The access that is weakened in this run, if one is.
struct Weakened {
    place: String,
    line: u32,
    failure: bool,
    to: Ordering,
}

fn weakened() -> Option<&'static Weakened> {
    static WEAKENED: OnceLock<Option<Weakened>> = OnceLock::new();
    let weakened = WEAKENED.get_or_init(|| {
        let text = std::env::var("PERKEY_WEAKEN").ok()?;
        let (site, to) = text.split_once('=').expect("PERKEY_WEAKEN has a =");
        let (place, part) = site.rsplit_once(':').expect("PERKEY_WEAKEN has parts");
        let line = place.rsplit(':').nth(1).expect("PERKEY_WEAKEN has a line");
        Some(Weakened {
            place: place.to_owned(),
            line: line.parse().expect("a line is a number"),
            failure: part == "failure",
            to: match to {
                "Relaxed" => Ordering::Relaxed,
                "Acquire" => Ordering::Acquire,
                "Release" => Ordering::Release,
                other => panic!("PERKEY_WEAKEN to {other}"),
            },
        })
    });
    weakened.as_ref()
}

/// Notes that this place was reached.
fn reached(at: &'static Location<'static>) {
    static FILE: OnceLock<Option<Mutex<std::fs::File>>> = OnceLock::new();
    static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os("PERKEY_SITES")?;
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        Some(Mutex::new(file.expect("PERKEY_SITES can be written")))
    });
    let Some(file) = file else { return };
    let place = at.to_string();
    let mut seen = SEEN.lock().expect("no panic in here");
    if seen.get_or_insert_default().insert(place.clone()) {
        let mut file = file.lock().expect("no panic in here");
        writeln!(file, "{place}").expect("PERKEY_SITES can be written");
    }
}

/// The ordering of an access at `at`, in this run.
fn ordering(at: &'static Location<'static>, failure: bool, written: Ordering) -> Ordering {
    if !failure {
        reached(at);
    }
    match weakened() {
        Some(w) if w.line == at.line() && w.failure == failure && w.place == at.to_string() => w.to,
        _ => written,
    }
}

macro_rules! atomic {
    ($name:ident $(<$t:ident>)?, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name $(<$t>)? (loom::sync::atomic::$name $(<$t>)?);

        #[allow(dead_code)] // one set of methods for both
        impl $(<$t>)? $name $(<$t>)? {
            #[track_caller]
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, o: Ordering) -> $value {
                self.0.load(ordering(Location::caller(), false, o))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, o: Ordering) {
                self.0.store(value, ordering(Location::caller(), false, o));
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                let at = Location::caller();
                self.0.compare_exchange(
                    old,
                    new,
                    ordering(at, false, success),
                    ordering(at, true, failure),
                )
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(old, new, success, failure) // loom's does not fail for no reason either
            }
        }
    };
}

atomic!(AtomicU64, u64);
atomic!(AtomicPtr<T>, *mut T);

macro_rules! fetch {
    ($($name:ident)*) => {
        impl AtomicU64 {
            $(#[track_caller]
            pub(crate) fn $name(&self, value: u64, o: Ordering) -> u64 {
                self.0.$name(value, ordering(Location::caller(), false, o))
            })*
        }
    };
}
fetch!(fetch_add fetch_sub fetch_or fetch_and fetch_xor);

/// What an exchange starts from (see [`super::start`]): the word as it is, loaded, where the load's ordering is what is weakened.
#[track_caller]
pub(crate) fn start(word: &AtomicU64, usual: u64, o: Ordering) -> u64 {
    let at = Location::caller();
    let now = ordering(at, false, o);
    if now == o {
        usual
    } else {
        word.0.load(now)
    }
}
