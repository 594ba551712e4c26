//! The job on a store: take a tree in, then load every object back.

use crate::files::{self, Left, Read};
use crate::groups::{Found, Groups};
use crate::stop::Stop;
use ignore::WalkBuilder;
use indicatif::ProgressBar;
use perkey::storage::{Digest, Error, Storage};
use perkey::Contention;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{mpsc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// So many bytes of files are recorded in one operation at most, or one file.
const BATCH_BYTES: usize = 1 << 20;

/// How often a bar is drawn anew, if nothing happens.
const TICK: Duration = Duration::from_millis(200);

/// What to do.
pub(crate) struct Job<'a> {
    pub(crate) tree: &'a Path,
    /// What is left out of it.
    pub(crate) skip: Option<&'a Path>,
    pub(crate) threads: usize,
    /// Larger files are not stored.
    pub(crate) largest: u64,
    /// So many files are recorded in one operation.
    pub(crate) batch: usize,
    pub(crate) stop: &'a Stop,
}

/// What has been done.
pub(crate) struct Done {
    pub(crate) found: Found,
    pub(crate) waits: Waits,
    pub(crate) ingest: Duration,
    pub(crate) verified: Verified,
    pub(crate) verify: Duration,
    /// Why it was given up.
    pub(crate) failed: Option<Error>,
}

/// Waits for locks while files were recorded.
pub(crate) struct Waits {
    pub(crate) count: u64,
    pub(crate) longest: Duration,
    pub(crate) total: Duration,
}

/// What loading the objects back has shown.
#[derive(Default)]
pub(crate) struct Verified {
    /// Objects in the store.
    pub(crate) objects: usize,
    /// Those that were loaded back and have the digest that is their name.
    pub(crate) equal: usize,
    /// What is wrong with the others.
    pub(crate) damaged: Vec<(Digest, String)>,
}

/// They show how far it is.
pub(crate) struct Bars {
    pub(crate) ingest: ProgressBar,
    pub(crate) verify: ProgressBar,
}

impl Bars {
    pub(crate) fn hidden() -> Self {
        Self {
            ingest: ProgressBar::hidden(),
            verify: ProgressBar::hidden(),
        }
    }
}

impl Job<'_> {
    pub(crate) fn run<S: Storage + Sync>(
        &self,
        store: &S,
        waits: &Contention,
        bars: &Bars,
    ) -> Done {
        let begin = Instant::now();
        let groups = Groups::default();
        bars.ingest.enable_steady_tick(TICK);
        let mut failed = self.ingest(store, &groups, &bars.ingest).err();
        bars.ingest.finish_and_clear();
        let ingest = begin.elapsed();
        let waits = Waits {
            count: waits.waits(),
            longest: waits.longest(),
            total: waits.total(),
        };
        let mut verified = Verified::default();
        let begin = Instant::now();
        if failed.is_none() && !self.stop.asked() {
            bars.verify.enable_steady_tick(TICK);
            match self.verify(store, &bars.verify) {
                Ok(done) => verified = done,
                Err(e) => failed = Some(e),
            }
            bars.verify.finish_and_clear();
        }
        Done {
            found: groups.take(),
            waits,
            ingest,
            verified,
            verify: begin.elapsed(),
            failed,
        }
    }

    /// Takes the files of the tree in, until all are, or it is asked to stop, or the store fails.
    fn ingest<S: Storage + Sync>(
        &self,
        store: &S,
        groups: &Groups,
        bar: &ProgressBar,
    ) -> Result<(), Error> {
        let failure = Failure::default();
        let over = || self.stop.asked() || failure.is_there();
        // Not bounded: the bar has a total as soon as the walk is over, and the groups keep the paths anyway.
        let (send, receive) = mpsc::channel::<PathBuf>();
        let receive = Mutex::new(receive);
        let next = || {
            if over() {
                return None;
            }
            receive.lock().unwrap().recv().ok()
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| loop {
                    let files = self.batch(next, groups, bar);
                    if files.is_empty() {
                        break;
                    }
                    if let Err(e) = groups.record(store, files) {
                        failure.is(e);
                    }
                });
            }
            groups.unreadable(self.walk(bar, over, |path| {
                // Nobody receives only if all threads have panicked, which the scope tells.
                let _ = send.send(path);
            }));
            drop(send);
        });
        failure.get()
    }

    /// Reads files, as many as are recorded together. None, if there are no more.
    fn batch(
        &self,
        next: impl Fn() -> Option<PathBuf>,
        groups: &Groups,
        bar: &ProgressBar,
    ) -> Vec<Read> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        while files.len() < self.batch && bytes < BATCH_BYTES {
            let Some(path) = next() else { break };
            match files::read(path, self.largest, bar) {
                Ok(file) => {
                    bytes += file.contents.as_ref().map_or(0, Vec::len);
                    files.push(file);
                }
                Err(left) => groups.unreadable([left]),
            }
        }
        files
    }

    /// Calls `found` with every regular file of the tree; returns what could not be looked into.
    fn walk(
        &self,
        bar: &ProgressBar,
        over: impl Fn() -> bool,
        found: impl Fn(PathBuf),
    ) -> Vec<Left> {
        let mut left = Vec::new();
        let skip = self.skip.map(Path::to_owned);
        let mut walk = WalkBuilder::new(self.tree);
        walk.standard_filters(false)
            .filter_entry(move |entry| skip.as_deref() != Some(entry.path()));
        for entry in walk.build() {
            if over() {
                break;
            }
            match entry {
                Ok(entry) if entry.file_type().is_some_and(|t| t.is_file()) => {
                    bar.inc_length(entry.metadata().map_or(0, |m| m.len()));
                    found(entry.into_path());
                }
                Ok(_) => {}
                Err(e) => left.push(not_walked(self.tree, e)),
            }
        }
        left
    }

    /// Loads every object of the store, and looks whether its digest is its name; until it is asked to stop.
    fn verify<S: Storage + Sync>(&self, store: &S, bar: &ProgressBar) -> Result<Verified, Error> {
        let keys = store.list()?;
        bar.set_length(keys.len() as u64);
        let next = AtomicUsize::new(0);
        let verified = Mutex::new(Verified {
            objects: keys.len(),
            ..Verified::default()
        });
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    while let Some(key) = keys.get(next.fetch_add(1, Relaxed)) {
                        if self.stop.asked() {
                            break;
                        }
                        let wrong = match store.load(key) {
                            Ok(object) if Digest::of(&object) == *key => None,
                            Ok(object) => Some(format!("its digest is {}", Digest::of(&object))),
                            Err(e) => Some(e.to_string()),
                        };
                        bar.inc(1);
                        let mut verified = verified.lock().unwrap();
                        match wrong {
                            None => verified.equal += 1,
                            Some(wrong) => verified.damaged.push((*key, wrong)),
                        }
                    }
                });
            }
        });
        let mut verified = verified.into_inner().unwrap();
        verified.damaged.sort_unstable();
        Ok(verified)
    }
}

/// The first error of the store; there is no going on after it.
#[derive(Default)]
struct Failure {
    is_there: AtomicBool,
    first: Mutex<Option<Error>>,
}

impl Failure {
    fn is(&self, e: Error) {
        self.first.lock().unwrap().get_or_insert(e);
        self.is_there.store(true, Relaxed);
    }

    fn is_there(&self) -> bool {
        self.is_there.load(Relaxed)
    }

    fn get(self) -> Result<(), Error> {
        self.first.into_inner().unwrap().map_or(Ok(()), Err)
    }
}

fn not_walked(tree: &Path, mut error: ignore::Error) -> Left {
    let mut at = tree.to_owned();
    loop {
        error = match error {
            ignore::Error::WithDepth { err, .. } => *err,
            ignore::Error::WithPath { path, err } => {
                at = path;
                *err
            }
            other => return Left::new(at, &other),
        }
    }
}
