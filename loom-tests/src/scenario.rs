//! Exploring a model, keys with chosen hashes, data that shows an overlap.

use loom::cell::UnsafeCell;
use perkey::{KeyGuard, LockTable};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// How many preemptions an execution may have; `None` means any number.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// In CI.
    ci: Option<usize>,
    /// With `--full`: the highest that was seen to end (DESIGN.md, section 11).
    full: Option<usize>,
}

/// All executions, in CI too.
pub const ALL: Bound = Bound {
    ci: None,
    full: None,
};

/// Up to `ci` preemptions in CI, `full` with `--full`.
#[must_use]
pub const fn bounds(ci: usize, full: usize) -> Bound {
    Bound {
        ci: Some(ci),
        full: Some(full),
    }
}

/// Up to `ci` preemptions in CI, all executions with `--full`.
#[must_use]
pub const fn all_in_full(ci: usize) -> Bound {
    Bound {
        ci: Some(ci),
        full: None,
    }
}

/// The scenario that this thread explores, and in which execution it is. All of a model's threads run on one of the system's.
#[derive(Default)]
struct Progress {
    name: String,
    case: String,
    execution: Cell<u64>,
    threads: Cell<u64>,
    most_threads: Cell<u64>,
}

thread_local! {
    static PROGRESS: RefCell<Option<Rc<Progress>>> = const { RefCell::new(None) };
}

fn progress() -> Option<Rc<Progress>> {
    PROGRESS.with_borrow(Clone::clone)
}

/// Whoever fails says in which execution, before anything else happens: a broken model may take its process along.
fn tell_failures() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if let Some(p) = progress() {
                let (name, case) = (&p.name, &p.case);
                eprintln!("failed {name}: in {} executions{case}", p.execution.get());
            }
            usual(info);
        }));
    });
}

/// A thread of the model, counted.
pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> loom::thread::JoinHandle<T> {
    if let Some(p) = progress() {
        p.threads.set(p.threads.get() + 1);
        p.most_threads
            .set(p.most_threads.get().max(p.threads.get()));
    }
    loom::thread::spawn(f)
}

/// The bound of this run.
fn chosen(bound: Bound) -> Option<usize> {
    let number = |text: &str| match text {
        "none" => None,
        b => Some(b.parse().expect("a bound is a number or none")),
    };
    let var = |name| std::env::var(name).ok();
    if let Some(b) = var("PERKEY_BOUND") {
        return number(&b);
    }
    let bound = if var("PERKEY_FULL").is_some() {
        bound.full
    } else {
        bound.ci
    };
    match var("PERKEY_MOST").and_then(|most| number(&most)) {
        Some(most) => Some(bound.map_or(most, |b| b.min(most))),
        None => bound,
    }
}

/// A model that nothing cuts short but its bound, whatever loom's own variables say.
#[must_use]
pub fn endless(bound: Option<usize>) -> loom::model::Builder {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    crate::stacks::keep();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = bound;
    model.max_duration = None;
    model.max_permutations = None;
    model.checkpoint_file = None;
    model.max_branches = 100_000;
    model
}

/// Explores every execution of `f` within the bound, and prints how many there were. Nothing cuts it short: a model
/// that is too large does not end, rather than pass.
///
/// The bound can be set from outside: `PERKEY_FULL` asks for the highest one, `PERKEY_BOUND` for a certain one (or `none`),
/// `PERKEY_MOST` for no higher one.
///
/// # Panics
/// If an execution fails, or a bound from outside is no number.
pub fn explore(name: &str, bound: Bound, f: impl Fn() + Send + Sync + 'static) -> u64 {
    explore_each(name, bound, [(String::new(), f)])
}

/// Explores one model after the other, each under a name of its own (none: it is the only one), and prints how many executions there were in all.
///
/// # Panics
/// As [`explore`].
pub fn explore_each<F: Fn() + Send + Sync + 'static>(
    name: &str,
    bound: Bound,
    models: impl IntoIterator<Item = (String, F)>,
) -> u64 {
    let bound = chosen(bound);
    tell_failures();
    let began = Instant::now();
    let (mut executions, mut threads) = (0, 0);
    for (case, f) in models {
        let (more, most) = explore_one(name, &case, bound, f);
        if !case.is_empty() {
            println!("{name}{case}: {more} executions");
        }
        executions += more;
        threads = threads.max(most);
    }
    let bound = bound.map_or_else(|| "none".to_owned(), |b| b.to_string());
    let loom = if complete() {
        String::new()
    } else {
        format!(
            ", {} (`cargo loom` takes one that does not)",
            crate::INCOMPLETE
        )
    };
    println!(
        "explored {name}: {executions} executions, bound {bound}, {threads} threads, {:.1} s{loom}",
        began.elapsed().as_secs_f64()
    );
    executions
}

/// How many executions there were, and threads at most.
fn explore_one(
    name: &str,
    case: &str,
    bound: Option<usize>,
    f: impl Fn() + Send + Sync + 'static,
) -> (u64, u64) {
    let here = Rc::new(Progress {
        name: name.to_owned(),
        case: case.to_owned(),
        most_threads: Cell::new(1),
        ..Progress::default()
    });
    PROGRESS.set(Some(here.clone()));
    endless(bound).check(move || {
        let p = progress().expect("a model is explored on one thread");
        p.execution.set(p.execution.get() + 1);
        p.threads.set(1);
        perkey::model::begin();
        f();
    });
    PROGRESS.set(None);
    (here.execution.get(), here.most_threads.get())
}

/// Does this loom explore what it has to? One thread reads two words. The other writes to both, and reads each before that, which as published hides the
/// reads of the first one: of four outcomes one is explored.
fn complete() -> bool {
    use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    let seen = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let outcomes = seen.clone();
    endless(None).check(move || {
        let words = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let theirs = words.clone();
        let writer = loom::thread::spawn(move || {
            for word in &*theirs {
                word.load(Relaxed);
                word.store(1, Relaxed);
            }
        });
        let read = [0, 1].map(|i| words[i].load(Relaxed));
        seen.lock().expect("no panic in here").insert(read);
        writer.join().expect("no panic in the other thread");
    });
    let all = outcomes.lock().expect("no panic in there").len() == 4;
    all
}

/// A key whose hash is its tens: 10 and 11 hash alike, 10 and 20 do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(pub u64);

impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        h.write_u64(self.0 / 10);
    }
}

/// Hands the number through.
#[derive(Default)]
pub struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys write one u64");
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

/// Keys hash to their tens.
pub type Hashing = BuildHasherDefault<Same>;

/// A table of one bucket with two slots.
pub type Table = LockTable<Key, Hashing>;

/// The keys of the scenarios.
pub const A: Key = Key(10);
/// Hashes like [`A`].
pub const A1: Key = Key(11);
/// Another one.
pub const B: Key = Key(20);
/// And another.
pub const C: Key = Key(30);
/// Hashes like [`C`].
pub const C1: Key = Key(31);
/// One more.
pub const D: Key = Key(40);
/// Yet another.
pub const E: Key = Key(50);
/// The last one.
pub const F: Key = Key(60);

const KEYS: [Key; 8] = [A, A1, B, C, C1, D, E, F];

/// A table, and a cell for each key that loom lets only one thread into at a time (I1).
pub struct World {
    /// The table under test.
    pub table: Arc<Table>,
    cells: [UnsafeCell<u64>; KEYS.len()],
}

// SAFETY: the cells are what is being tested: loom reports any two accesses that are not ordered.
unsafe impl Sync for World {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for World {}

impl World {
    /// An empty table.
    #[must_use]
    #[allow(clippy::new_without_default, clippy::missing_panics_doc)]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            table: Arc::default(),
            cells: std::array::from_fn(|_| UnsafeCell::new(0)),
        })
    }

    /// Writes to the data of `key`. To be called while it is held.
    ///
    /// # Panics
    /// If the key is none of the scenarios'.
    pub fn touch(&self, key: Key) {
        let i = KEYS.iter().position(|k| *k == key).expect("a known key");
        // SAFETY: loom checks it.
        self.cells[i].with_mut(|n| unsafe { *n += 1 });
    }

    /// How often `key` was touched.
    ///
    /// # Panics
    /// If the key is none of the scenarios'.
    #[must_use]
    pub fn touched(&self, key: Key) -> u64 {
        let i = KEYS.iter().position(|k| *k == key).expect("a known key");
        // SAFETY: loom checks it.
        self.cells[i].with(|n| unsafe { *n })
    }

    fn in_hold(&self, guard: &KeyGuard<'_, Key>, key: Key) {
        assert_eq!(*guard.key(), key, "the guard is for the asked key");
        self.touch(key);
    }

    /// Locks, touches and releases one key after the other.
    pub fn lock_all(&self, keys: &[Key]) {
        for key in keys {
            let guard = self.table.lock(key);
            self.in_hold(&guard, *key);
        }
    }

    /// The same with `try_lock`; returns how many were to be had.
    pub fn try_all(&self, keys: &[Key]) -> usize {
        keys.iter()
            .filter(|key| {
                let guard = self.table.try_lock(*key);
                guard.inspect(|g| self.in_hold(g, **key)).is_some()
            })
            .count()
    }

    /// Locks all of them, holding each until the end.
    pub fn hold_all(&self, keys: &[Key]) {
        let mut held = Vec::new();
        for key in keys {
            let guard = self.table.lock(key);
            self.in_hold(&guard, *key);
            held.push(guard);
        }
    }
}

/// Runs `second` on a thread of its own and `first` on this one, until both are at their end.
///
/// # Panics
/// If the thread does.
pub fn two(world: &Arc<World>, first: impl FnOnce(&World), second: impl FnOnce(&World) + 'static) {
    let theirs = world.clone();
    let thread = spawn(move || second(&theirs));
    first(world);
    thread.join().expect("no panic in the other thread");
}
