//! The layers around the store, and who waits in them.

use crate::job::{Bars, Done, Job};
use crate::place::Place;
use clap::ValueEnum;
use perkey::storage::{
    Failure, Files, Intent, Layer, Memory, PerKey, Scope, Serializing, Sqlite, Storage,
};
use perkey::{Contention, Observer, ReentrantLockGuard};
use std::sync::Arc;
use std::time::Instant;

/// Which layer makes the store safe for threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One operation at a time.
    Serializing,
    /// One operation at a time on each object.
    PerKey,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Serializing, Self::PerKey];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serializing => "serializing",
            Self::PerKey => "per-key",
        }
    }

    /// Opens a store and does the job on it, with this layer around it.
    ///
    /// If it is not to be `durable`, a crash of the machine may lose what was written last; one of the program does not.
    pub(crate) fn run(
        self,
        place: &Place,
        durable: bool,
        job: &Job<'_>,
        bars: &Bars,
    ) -> Result<Done, Failure> {
        Ok(match place {
            Place::Memory => self.run_on(Memory::new(), job, bars),
            Place::Files(path) => {
                self.run_on(Files::options().sync(durable).open(path)?, job, bars)
            }
            Place::Sqlite(path) => {
                self.run_on(Sqlite::options().sync(durable).open(path)?, job, bars)
            }
        })
    }

    fn run_on<B: Storage + Sync>(self, backend: B, job: &Job<'_>, bars: &Bars) -> Done {
        let waits = Arc::new(Contention::new());
        match self {
            Self::Serializing => {
                let store = Watched {
                    inner: Serializing::new(backend),
                    waits: waits.clone(),
                };
                job.run(&store, &waits, bars)
            }
            Self::PerKey => {
                let store = PerKey::new(backend);
                store.table().set_observer(Some(waits.clone()));
                job.run(&store, &waits, bars)
            }
        }
    }
}

/// Tells of the waits for the lock of a [`Serializing`], as the table of a `PerKey` does by itself: a layer of one's own, that takes the lock before the
/// layer inside does, which then does not wait for its own thread.
pub(crate) struct Watched<B> {
    pub(crate) inner: Serializing<B>,
    pub(crate) waits: Arc<Contention>,
}

impl<B: Storage> Layer for Watched<B> {
    type Inner = Serializing<B>;
    type Held<'a>
        = ReentrantLockGuard<'a, ()>
    where
        B: 'a;

    fn inner(&self) -> &Serializing<B> {
        &self.inner
    }

    fn enter(&self, _: Scope<'_>, _: Intent) -> Result<ReentrantLockGuard<'_, ()>, Failure> {
        let lock = self.inner.lock();
        if let Some(guard) = lock.try_lock() {
            return Ok(guard);
        }
        self.waits.wait_began(&());
        let begin = Instant::now();
        let guard = lock.lock();
        self.waits.wait_ended(&(), begin.elapsed());
        Ok(guard)
    }
}
