//! `layers_vs_model`: stacks of layers against a `BTreeMap`, faults at any primitive.
//!
//! The input chooses a backend, the layers around it, and a history of one thread: operations, operations inside others, closures that fail
//! or panic, transfers, and now and then a fault: an error or a panic before or after the n-th call of a primitive. After every step the
//! store must hold what the model says (S5, S7, S14), no key may stay locked (S4), and a fault must leave the old state or, if it struck after
//! the leaving, the new one.

mod model;
mod nest;
mod op;

use arbitrary::{Result, Unstructured};
use model::Model;
use nest::World;
use perkey::storage::conformance::{Faults, Faulty};
use perkey::storage::{Digest, DynStorage, Files, Memory, PerKey, Serializing, Sqlite, Traced};
use perkey::{LockTable, ReentrantLock};
use std::sync::Arc;
use tempfile::TempDir;

/// Steps of a history at most.
const STEPS: usize = 60;

/// Runs one input.
///
/// # Panics
/// If the store and the model differ, or a lock is left behind.
pub fn run(data: &[u8]) {
    run_around(data, |store| store);
}

/// Runs one input, with something more around the stack: a layer that is to be judged.
///
/// # Panics
/// As [`run`].
pub fn run_around(data: &[u8], around: impl FnOnce(DynStorage) -> DynStorage) {
    let _ = history(&mut Unstructured::new(data), around);
}

/// A stack, and what can be seen of its locks.
struct Stack {
    store: DynStorage,
    limit: Option<usize>,
    tables: Vec<Arc<LockTable<Digest>>>,
    locks: Vec<Arc<ReentrantLock<()>>>,
    /// Removed at the end.
    _directory: Option<TempDir>,
}

impl Stack {
    fn new(u: &mut Unstructured<'_>, faults: &Faults) -> Result<Self> {
        let backend: u8 = u.arbitrary()?;
        let (mut limit, mut directory) = (None, None);
        let store = match backend % 16 {
            0..=9 => DynStorage::new(Faulty::new(Memory::new(), faults)),
            10..=12 => {
                limit = Some(100);
                DynStorage::new(Faulty::new(Memory::with_limit(100), faults))
            }
            13 => {
                let place = tempfile::tempdir().expect("a directory");
                let files = Files::options().sync(false).open(place.path());
                directory = Some(place);
                DynStorage::new(Faulty::new(files.expect("a store in files"), faults))
            }
            _ => {
                let sqlite = Sqlite::in_memory().expect("a store in memory");
                DynStorage::new(Faulty::new(sqlite, faults))
            }
        };
        let mut stack = Self {
            store,
            limit,
            tables: Vec::new(),
            locks: Vec::new(),
            _directory: directory,
        };
        for _ in 0..backend / 16 % 5 {
            stack.wrap(u.arbitrary()?, faults);
        }
        Ok(stack)
    }

    /// One layer more. A lock for all keys belongs outside those for one.
    fn wrap(&mut self, layer: u8, faults: &Faults) {
        let store = self.store.clone();
        self.store = match layer % 4 {
            0 if self.locks.is_empty() => {
                let table = Arc::new(LockTable::with_capacity(1));
                self.tables.push(table.clone());
                DynStorage::new(PerKey::with_table(store, table))
            }
            1 => {
                let lock = Arc::new(ReentrantLock::new(()));
                self.locks.push(lock.clone());
                DynStorage::new(Serializing::with_lock(store, lock))
            }
            2 => DynStorage::new(Faulty::new(store, faults)),
            _ => DynStorage::new(Traced::new("fuzz", store)),
        };
    }

    /// Nothing is locked.
    fn check(&self) {
        assert!(
            self.tables.iter().all(|table| table.is_empty()),
            "a key stays in use"
        );
        assert!(
            !self.locks.iter().any(|lock| lock.is_held()),
            "a lock stays held"
        );
    }
}

fn history(u: &mut Unstructured<'_>, around: impl FnOnce(DynStorage) -> DynStorage) -> Result<()> {
    let faults = Faults::new();
    let stack = Stack::new(u, &faults)?;
    let mut world = World {
        store: around(stack.store.clone()),
        model: Model::with_limit(stack.limit),
        faults,
        armed: false,
        other: PerKey::new(Memory::new()),
        other_model: Model::default(),
    };
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let end = world.outermost(u);
        stack.check();
        end?;
    }
    Ok(())
}
