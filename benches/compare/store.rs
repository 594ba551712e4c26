//! Stores of values, with layers and without.

use super::sample::Sample;
use super::timed::{ns, Gate};
use dashmap::DashMap;
use perkey::storage::{
    Bytes, Digest, Error, Failure, Files, Memory, PerKey, Serializing, Sqlite, Storage,
};
use perkey::RandomState;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

const KEYS: usize = 1_000;
const VALUE: [u8; 64] = [b'v'; 64];
/// One operation of so many overwrites.
const WRITES: usize = 10;

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) enum Backend {
    Memory,
    Files,
    Sqlite,
}

pub(crate) const DASHMAP: &str = "DashMap";
pub(crate) const PER_KEY: [&str; 3] = ["PerKey<Memory>", "PerKey<Files>", "PerKey<Sqlite>"];

pub(crate) fn contenders(backend: Backend) -> &'static [&'static str] {
    match backend {
        Backend::Memory => &["PerKey<Memory>", "Serializing<Memory>", "Memory", DASHMAP],
        Backend::Files => &["PerKey<Files>", "Serializing<Files>", "Files"],
        Backend::Sqlite => &["PerKey<Sqlite>", "Serializing<Sqlite>", "Sqlite"],
    }
}

/// What is done with a store here.
trait Store: Send + Sync + 'static {
    fn load(&self, key: &Digest) -> Result<Bytes, Error>;
    fn save(&self, key: &Digest, value: &[u8]) -> Result<(), Error>;
}

struct Ours<S>(S);

impl<S: Storage + Send + Sync + 'static> Store for Ours<S> {
    fn load(&self, key: &Digest) -> Result<Bytes, Error> {
        self.0.load(key)
    }
    fn save(&self, key: &Digest, value: &[u8]) -> Result<(), Error> {
        self.0.save_as(key, value)
    }
}

impl Store for DashMap<Digest, Bytes, RandomState> {
    fn load(&self, key: &Digest) -> Result<Bytes, Error> {
        Ok(self.get(key).map(|value| value.clone()).unwrap_or_default())
    }
    fn save(&self, key: &Digest, value: &[u8]) -> Result<(), Error> {
        self.insert(*key, Bytes::copy_from_slice(value));
        Ok(())
    }
}

/// [`Work::Store`](super::case::Work::Store).
pub(crate) struct Stored {
    round: Box<dyn FnMut() -> Sample>,
}

impl Stored {
    /// In the directory, which is empty. `None` if there is no such contender.
    pub(crate) fn new(
        name: &str,
        dir: &Path,
        threads: usize,
        time: Duration,
    ) -> Result<Option<Self>, Failure> {
        let files = || Files::options().sync(false).open(dir.join("files"));
        let sqlite = || Sqlite::options().sync(false).open(dir.join("store.db"));
        Ok(Some(match name {
            "PerKey<Memory>" => Self::with(Ours(PerKey::new(Memory::new())), threads, time),
            "Serializing<Memory>" => {
                Self::with(Ours(Serializing::new(Memory::new())), threads, time)
            }
            "Memory" => Self::with(Ours(Memory::new()), threads, time),
            DASHMAP => Self::with(DashMap::<_, _, RandomState>::default(), threads, time),
            "PerKey<Files>" => Self::with(Ours(PerKey::new(files()?)), threads, time),
            "Serializing<Files>" => Self::with(Ours(Serializing::new(files()?)), threads, time),
            "Files" => Self::with(Ours(files()?), threads, time),
            "PerKey<Sqlite>" => Self::with(Ours(PerKey::new(sqlite()?)), threads, time),
            "Serializing<Sqlite>" => Self::with(Ours(Serializing::new(sqlite()?)), threads, time),
            "Sqlite" => Self::with(Ours(sqlite()?), threads, time),
            _ => return Ok(None),
        }))
    }

    fn with(store: impl Store, threads: usize, time: Duration) -> Self {
        let keys: Vec<_> = (0..KEYS).map(|i| Digest::of(i.to_le_bytes())).collect();
        for key in &keys {
            store.save(key, &VALUE).expect("the store takes a value");
        }
        let round = move || {
            let all = Gate::all(threads, time, |i, gate| {
                let mut random = fastrand::Rng::with_seed(i as u64 + 1);
                gate.run(|| {
                    let key = &keys[random.usize(..KEYS)];
                    if random.usize(..WRITES) == 0 {
                        store.save(key, &VALUE).expect("the store takes a value");
                    } else {
                        black_box(store.load(key).expect("the value is there"));
                    }
                })
            });
            let mut sample = Sample::default();
            sample.set("ns", ns(&all));
            sample
        };
        Self {
            round: Box::new(round),
        }
    }

    pub(crate) fn round(&mut self) -> Sample {
        (self.round)()
    }
}
