//! A process that is killed (SIGKILL) while several of its threads write: what it has acknowledged is there, and nothing is half.
//!
//! The test runs itself once more as the process that is to be killed. What each thread of that one does follows from a seed, so
//! it only says which step it has done, and both sides know what the store has to contain. A store goes through several kills, and begins anew then.
#![allow(clippy::pedantic)]
#![cfg(all(unix, not(any(perkey_loom, perkey_shuttle, perkey_small))))]

mod common;

use common::{as_process, orders, Dice};
use perkey::storage::{BoxError, Digest, Error, Files, PerKey, Sqlite, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

const THREADS: u64 = 4;
/// A thread's own keys, besides those of values that it saves once.
const OWN: u64 = 4;
/// Keys that all threads count at.
const SHARED: u64 = 2;
/// Kills before a store begins anew.
const LIVES: u64 = 10;

const SIGKILL: i32 = 9;

/// S8, S11.
#[test]
fn files() {
    let open = |path: &Path| Files::open(path).unwrap();
    killed("files", 200, open, temporary_files);
}

#[test]
fn files_that_are_not_synced() {
    let open = |path: &Path| Files::options().sync(false).open(path).unwrap();
    killed("files_that_are_not_synced", 100, open, temporary_files);
}

/// S8, for a database.
#[test]
fn sqlite() {
    let open = |path: &Path| Sqlite::open(path).unwrap();
    killed("sqlite", 200, open, |_| Vec::new());
}

#[test]
fn sqlite_that_is_not_synced() {
    let open = |path: &Path| Sqlite::options().sync(false).open(path).unwrap();
    killed("sqlite_that_is_not_synced", 100, open, |_| Vec::new());
}

fn temporary_files(store: &Path) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(store.join("tmp")).unwrap();
    folder.map(|entry| entry.unwrap().path()).collect()
}

/// The test, for any store: `test` is its own name, `open` opens a store at a path (and makes one there), `leftovers` looks for what should have gone when
/// it was opened.
fn killed<S: Storage + Sync>(
    test: &str,
    kills: u64,
    open: impl Fn(&Path) -> S,
    leftovers: impl Fn(&Path) -> Vec<PathBuf>,
) {
    if let Some(orders) = orders() {
        let (seed, path) = orders.split_once(' ').unwrap();
        write_until_killed(PerKey::new(open(path.as_ref())), seed.parse().unwrap());
    }
    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut dice = Dice(seed);
    let (mut steps, mut later) = (0, 0);
    for _ in 0..kills.div_ceil(LIVES) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let mut expected = Contents::default();
        for life in 1..=LIVES {
            let seed = dice.next();
            let acknowledged = kill_once(test, &path, seed, &mut dice);
            let _alone = alone();
            let store = open(&path);
            let left = leftovers(&path);
            let what = format!("{test}: seed {seed}, kill {life} of this store");
            assert!(left.is_empty(), "{what}: left over: {left:?}");
            steps += acknowledged.iter().map(|n| *n as usize).sum::<usize>();
            later += expected.follow(&store, seed, &acknowledged, &what);
        }
    }
    println!(
        "{test}: {kills} kills, {steps} steps acknowledged, {later} more found done (seed {seed})"
    );
    assert!(
        steps as u64 > kills,
        "only {steps} steps in {kills} lives: nothing was tested"
    );
}

/// A process that is being started has copies of all that is open here until it is the other program: so nothing is, meanwhile.
fn alone() -> impl Drop {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- the process that is killed -----------------------------------------------------------------------------------

fn write_until_killed<S: Storage + Sync>(store: PerKey<S>, seed: u64) -> ! {
    let store = &store;
    std::thread::scope(|s| {
        for thread in 0..THREADS {
            s.spawn(move || {
                let _failed = EndsAll;
                let mut own = Own::at_start(store, thread);
                let mut out = std::io::stdout();
                for n in 0.. {
                    let step = own.step(seed, thread, n);
                    step.take(store, &own);
                    own.note(&step);
                    // One write, so that lines are whole. Nobody to read it: the parent has gone.
                    if out.write_all(format!("did {thread}\n").as_bytes()).is_err() {
                        std::process::exit(0);
                    }
                }
            });
        }
    });
    unreachable!("nobody ends but by a panic, and with it the process");
}

/// A thread that fails is not to go unnoticed among the others.
struct EndsAll;

impl Drop for EndsAll {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Starts it and kills it; how many steps has each thread acknowledged?
fn kill_once(test: &str, path: &Path, seed: u64, dice: &mut Dice) -> [u64; THREADS as usize] {
    let starting = alone();
    let mut child = as_process(test, &format!("{seed} {}", path.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(starting);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut done = [0; THREADS as usize];
    let mut line = String::new();
    let mut next = || {
        line.clear();
        let read = out.read_line(&mut line).unwrap();
        // A last line that is not whole was not acknowledged. The first one stands behind what the test harness has printed.
        let said = line.strip_suffix('\n').and_then(|l| l.rsplit_once("did "));
        if let Some((_, thread)) = said {
            done[thread.parse::<usize>().unwrap()] += 1;
        }
        read > 0
    };
    for _ in 0..dice.below(50) {
        if !next() {
            break;
        }
    }
    std::thread::sleep(Duration::from_micros(dice.below(3000))); // says only when
    kill(child);
    while next() {}
    done
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(SIGKILL), "it ended by itself: {said}");
}

// ---- what it does -------------------------------------------------------------------------------------------------

type Values = BTreeMap<Digest, Vec<u8>>;

/// What a thread does next.
#[derive(Debug)]
enum Step {
    Save(Vec<u8>),
    SaveAs(Digest, Vec<u8>),
    Update(Digest, Vec<u8>),
    Evict(Digest),
    Rename(Digest, Digest),
    Count(Digest),
}

/// A thread's own keys and their values, as they are when it does nothing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Own(Values);

fn own_key(thread: u64, k: u64) -> Digest {
    Digest::of(format!("own {thread} {k}"))
}

fn shared_key(k: u64) -> Digest {
    Digest::of(format!("shared {k}"))
}

/// Text and then noise: mostly small, now and then large.
fn value(text: &str, dice: &mut Dice) -> Vec<u8> {
    let length = match dice.below(8) {
        0 => 200_000,
        1 | 2 => 20_000,
        _ => 500,
    };
    let mut value = format!("{text}:").into_bytes();
    let mut noise = Dice(Digest::of(text).as_bytes()[0].into());
    let length = value.len() + dice.below(length) as usize;
    while value.len() < length {
        value.extend(noise.next().to_le_bytes());
    }
    value
}

/// The value of a counter: as long as the count says.
fn count(n: u64) -> Vec<u8> {
    value(&n.to_string(), &mut Dice(n))
}

fn counted(value: &[u8]) -> u64 {
    let text = value.split(|b| *b == b':').next().unwrap();
    let n = std::str::from_utf8(text).unwrap().parse().unwrap();
    assert!(value == count(n), "half of {n}");
    n
}

impl Own {
    fn at_start(store: &impl Storage, thread: u64) -> Self {
        let keys = (0..OWN).map(|k| own_key(thread, k));
        Self(
            keys.filter_map(|k| Some((k, look(store, &k, "at the start of a life")?)))
                .collect(),
        )
    }

    fn step(&self, seed: u64, thread: u64, n: u64) -> Step {
        let mut dice = Dice(seed ^ (thread << 32 | n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let value = value(&format!("{seed} {thread} {n}"), &mut dice);
        let key = own_key(thread, dice.below(OWN));
        let other = own_key(thread, dice.below(OWN));
        match dice.below(10) {
            0..4 => Step::Save(value),
            4 | 5 => Step::Update(key, value),
            6 if self.0.contains_key(&key) => Step::Evict(key),
            7 | 8 if self.0.contains_key(&key) && !self.0.contains_key(&other) => {
                Step::Rename(key, other)
            }
            9 => Step::Count(shared_key(dice.below(SHARED))),
            _ => Step::SaveAs(key, value),
        }
    }

    /// What the step makes of the values.
    fn note(&mut self, step: &Step) {
        let values = &mut self.0;
        match step {
            Step::Save(value) => values.insert(Digest::of(value), value.clone()),
            Step::SaveAs(key, value) | Step::Update(key, value) => {
                values.insert(*key, value.clone())
            }
            Step::Evict(key) => values.remove(key),
            Step::Rename(from, to) => {
                let value = values.remove(from).unwrap();
                values.insert(*to, value)
            }
            Step::Count(_) => None,
        };
    }
}

impl Step {
    fn take(&self, store: &impl Storage, own: &Own) {
        match self {
            Self::Save(value) => drop(store.save(value).unwrap()),
            Self::SaveAs(key, value) => store.save_as(key, value).unwrap(),
            Self::Update(key, value) => store
                .update(key, |old| {
                    assert!(
                        old.as_deref() == own.0.get(key).map(Vec::as_slice),
                        "another value"
                    );
                    Ok::<_, BoxError>(Some(value))
                })
                .unwrap(),
            Self::Evict(key) => store.evict(key).unwrap(),
            Self::Rename(from, to) => store.rename(from, to).unwrap(),
            Self::Count(key) => store
                .update(key, |old| {
                    let n = old.map_or(0, |old| counted(&old));
                    Ok::<_, BoxError>(Some(count(n + 1)))
                })
                .unwrap(),
        }
    }
}

/// The value of a key. Anything but none is to be intact.
fn look(store: &impl Storage, key: &Digest, what: &str) -> Option<Vec<u8>> {
    match store.load(key) {
        Ok(value) => Some(value.to_vec()),
        Err(Error::Unknown { .. }) => None,
        Err(e) => panic!("{what}: {e}"),
    }
}

// ---- what is there afterwards -------------------------------------------------------------------------------------

/// What a store contains between two lives.
#[derive(Default)]
struct Contents {
    values: Values,
    counts: BTreeMap<Digest, u64>,
}

impl Contents {
    /// After another life: whatever was acknowledged is there, or what its thread was about to do next. How many had done the latter?
    fn follow<S: Storage>(
        &mut self,
        store: &S,
        seed: u64,
        acknowledged: &[u64; THREADS as usize],
        what: &str,
    ) -> usize {
        let found: Values = store
            .list()
            .unwrap()
            .into_iter()
            .map(|key| {
                let value = look(store, &key, what);
                (
                    key,
                    value.unwrap_or_else(|| panic!("{what}: {key} is listed, but not there")),
                )
            })
            .collect();
        let mut later = 0;
        let (mut least, mut most) = (self.counts.clone(), BTreeMap::<Digest, u64>::new());
        for (thread, steps) in (0..).zip(acknowledged) {
            let keys: BTreeSet<_> = (0..OWN).map(|k| own_key(thread, k)).collect();
            let mut own = Own(self.values.clone());
            own.0.retain(|key, _| keys.contains(key));
            for n in 0..*steps {
                let step = own.step(seed, thread, n);
                if let Step::Count(key) = step {
                    *least.entry(key).or_default() += 1;
                }
                own.note(&step);
            }
            let next = own.step(seed, thread, *steps);
            if let Step::Count(key) = next {
                *most.entry(key).or_default() += 1;
            }
            let mut then = own.clone();
            then.note(&next);
            let keys: BTreeSet<_> = own.0.keys().chain(then.0.keys()).chain(&keys).collect();
            let is = |key| found.get(key);
            for key in &keys {
                let fits = is(key) == own.0.get(key) || is(key) == then.0.get(key);
                assert!(
                    fits,
                    "{what}: thread {thread} has done {steps} steps and was about to {}; {key} has {}, not {} or {}",
                    format!("{next:?}").chars().take(60).collect::<String>(),
                    shown(&is(key).cloned()),
                    shown(&own.0.get(key).cloned()),
                    shown(&then.0.get(key).cloned()),
                );
            }
            if let Step::Rename(from, to) = &next {
                assert!(is(from).or(is(to)).is_some(), "{what}: lost on the way");
            }
            later += usize::from(own != then && keys.iter().all(|key| is(key) == then.0.get(key)));
            for key in keys {
                self.values.remove(key);
                self.values
                    .extend(is(key).map(|value| (*key, value.clone())));
            }
        }
        for key in (0..SHARED).map(shared_key) {
            let n = found.get(&key).map_or(0, |value| counted(value));
            let least = least.get(&key).copied().unwrap_or_default();
            let most = least + most.get(&key).copied().unwrap_or_default();
            assert!(
                (least..=most).contains(&n),
                "{what}: counted {n}, not {least} to {most}"
            );
            self.counts.insert(key, n);
            if let Some(value) = found.get(&key) {
                self.values.insert(key, value.clone());
            }
        }
        let strange: Vec<_> = found
            .keys()
            .filter(|key| !self.values.contains_key(*key))
            .collect();
        assert!(strange.is_empty(), "{what}: nobody has saved {strange:?}");
        let lost: Vec<_> = self
            .values
            .keys()
            .filter(|key| !found.contains_key(*key))
            .collect();
        assert!(
            lost.is_empty(),
            "{what}: from an earlier life, lost: {lost:?}"
        );
        assert!(
            found == self.values,
            "{what}: a value from an earlier life is another"
        );
        later
    }
}

fn shown(value: &Option<Vec<u8>>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(value) => format!(
            "{:?}… ({} bytes)",
            String::from_utf8_lossy(&value[..value.len().min(40)]),
            value.len()
        ),
    }
}
