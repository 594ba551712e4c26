//! Helpers of the test files: hashers, observers, and ways to bring threads into a known state without sleeping.
#![allow(dead_code, unreachable_pub, missing_docs)]

use perkey::{LockTable, ManyGuard, Observer};
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Mutex};
use std::time::{Duration, Instant};

/// Long enough for anything that is going to happen at all; passing it fails the test, nothing else depends on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls until `f` holds.
#[track_caller]
pub fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !f() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::yield_now();
    }
}

/// Runs `f` on a thread of its own and waits for it.
pub fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|s| s.spawn(f).join()).unwrap_or_else(|p| std::panic::resume_unwind(p))
}

const ORDERS: &str = "PERKEY_TEST_ORDERS";

/// This test binary once more, to run one test as a process of its own, which finds its `orders`.
pub fn as_process(test: &str, orders: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ORDERS, orders);
    command
}

/// What such a process is to do; none in the process that all tests begin in.
pub fn orders() -> Option<String> {
    std::env::var(ORDERS).ok()
}

/// Runs `f` while another thread holds `key`.
pub fn while_held<K, S, Q, R>(table: &LockTable<K, S>, key: &Q, f: impl FnOnce() -> R) -> R
where
    K: Hash + Eq + Send + Sync + Borrow<Q>,
    S: BuildHasher + Sync,
    Q: Hash + Eq + ToOwned<Owned = K> + Sync + ?Sized,
{
    let (locked, is_locked) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    std::thread::scope(|s| {
        s.spawn(move || {
            let _guard = table.lock(key);
            locked.send(()).unwrap();
            let _ = gone.recv(); // an error, when `go` is dropped
        });
        is_locked.recv().unwrap();
        let result = f();
        drop(go);
        result
    })
}

/// Every key has the same hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneHash;

/// Every integer is its own hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainHash;

pub struct Plain(u64, bool);

impl Hasher for Plain {
    fn finish(&self) -> u64 {
        if self.1 {
            self.0
        } else {
            42
        }
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = self.0.wrapping_mul(31).wrapping_add(u64::from(*b));
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

impl BuildHasher for OneHash {
    type Hasher = Plain;
    fn build_hasher(&self) -> Plain {
        Plain(0, false)
    }
}

impl BuildHasher for PlainHash {
    type Hasher = Plain;
    fn build_hasher(&self) -> Plain {
        Plain(0, true)
    }
}

/// What an observer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event<K> {
    Began(K),
    Ended(K),
    TimedOut(K),
}

/// An observer that writes down what it is told.
#[derive(Debug)]
pub struct Events<K> {
    seen: Mutex<Vec<Event<K>>>,
    began: AtomicUsize,
}

impl<K> Default for Events<K> {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            began: AtomicUsize::new(0),
        }
    }
}

impl<K: Clone> Events<K> {
    pub fn all(&self) -> Vec<Event<K>> {
        self.seen.lock().unwrap().clone()
    }

    /// How many waits have begun. Counted last: from then on the waiter runs no code of the observer.
    pub fn began(&self) -> usize {
        self.began.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub fn until_began(&self, n: usize) {
        eventually("a wait begins", || self.began() >= n);
    }
}

impl<K: Clone + Send + Sync> Observer<K> for Events<K> {
    fn wait_began(&self, key: &K) {
        self.seen.lock().unwrap().push(Event::Began(key.clone()));
        self.began.fetch_add(1, Ordering::SeqCst);
    }
    fn wait_ended(&self, key: &K, _: Duration) {
        self.seen.lock().unwrap().push(Event::Ended(key.clone()));
    }
    fn wait_timed_out(&self, key: &K, _: Duration) {
        self.seen.lock().unwrap().push(Event::TimedOut(key.clone()));
    }
}

/// The calling thread, as the system sees it (Linux only: elsewhere it never sleeps).
#[derive(Clone, Debug)]
pub struct Task(PathBuf);

impl Task {
    pub fn me() -> Self {
        let me = std::fs::read_link("/proc/thread-self").unwrap_or_default();
        Self(PathBuf::from("/proc").join(me).join("stat"))
    }

    fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(&self.0).ok()?;
        stat[stat.rfind(')')? + 1..].trim_start().chars().next()
    }

    /// Does it sleep at this moment?
    pub fn is_asleep(&self) -> bool {
        self.state() == Some('S')
    }

    /// Polls until the thread sleeps, and goes on sleeping for a while.
    #[track_caller]
    pub fn until_asleep(&self) {
        let mut seen = 0;
        eventually("the thread sleeps", || {
            seen = if self.state() == Some('S') {
                seen + 1
            } else {
                0
            };
            seen > 50
        });
    }
}

/// A message out of a caught panic.
pub fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("")
}

/// A small generator of pseudo-random numbers (splitmix64), seeded by the test so that a run can be repeated.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// One hash for all keys, or every integer its own.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    One,
    Plain,
}

impl BuildHasher for Pick {
    type Hasher = Plain;
    fn build_hasher(&self) -> Plain {
        Plain(0, matches!(self, Self::Plain))
    }
}

/// Long enough to wait in vain.
pub const SOON: Duration = Duration::from_millis(5);

/// Can another thread take the key now?
pub fn free<S: std::hash::BuildHasher + Sync>(table: &perkey::LockTable<u64, S>, key: u64) -> bool {
    elsewhere(|| table.try_lock(&key).is_some())
}

/// One bucket with six slots: more keys than that are in its chain.
pub fn one_bucket() -> LockTable<u64, OneHash> {
    let t = LockTable::with_capacity_and_hasher(1, OneHash);
    assert_eq!(t.capacity(), 6, "the tests below are made for it");
    t
}

/// Neither this nor any other thread holds a key below `keys`, but for those in `held`, which others hold.
#[track_caller]
pub fn nothing_is_held<S: BuildHasher + Sync>(t: &LockTable<u64, S>, keys: u64, held: &[u64]) {
    for k in 0..keys {
        assert!(!t.is_held(&k), "{k} is held still");
        assert_eq!(t.is_locked(&k), held.contains(&k), "{k}");
    }
    elsewhere(|| {
        for k in (0..keys).filter(|k| !held.contains(k)) {
            assert!(t.try_lock(&k).is_some(), "{k} is locked still");
        }
    });
}

/// The keys that are held, in ascending order.
pub fn sorted(many: &ManyGuard<'_, u64>) -> Vec<u64> {
    let mut keys: Vec<u64> = many.keys().copied().collect();
    keys.sort_unstable();
    keys
}

/// How often something is repeated: less often where nothing is optimised.
pub fn rounds(release: u64) -> u64 {
    if cfg!(debug_assertions) {
        release / 5
    } else {
        release
    }
}
