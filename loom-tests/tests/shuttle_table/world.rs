//! What one execution works on, and the steps of random programs.

use super::shuttle_common::{table, Data, Key, Registry, Table};
use perkey::model::tick;
use shuttle::rand::{thread_rng, RngCore};
use shuttle::thread;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn below(n: usize) -> usize {
    usize::try_from(thread_rng().next_u64() >> 33).unwrap() % n
}

/// What one execution works on.
pub(crate) struct World {
    pub(crate) table: Arc<Table>,
    pub(crate) keys: Vec<Key>,
    pub(crate) data: Data,
    pub(crate) registry: &'static Registry,
    pub(crate) tally: Tally,
}

/// How often what happened, over all executions of a test.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Tally {
    pub(crate) fn count(&self, what: &'static str) {
        *self.0.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Prints the counts; all of `wanted` must have happened.
    pub(crate) fn show(&self, name: &str, wanted: &[&str]) {
        let tally = self.0.lock().unwrap();
        println!("{name}: {tally:?}");
        if std::env::var_os("PERKEY_REPLAY").is_none() {
            for w in wanted {
                assert!(tally.contains_key(w), "{w} never happened");
            }
        }
    }
}

impl World {
    pub(crate) fn new(
        registry: &'static Registry,
        tally: &Tally,
        keys: usize,
        hash: fn(usize) -> u64,
    ) -> Self {
        registry.begin();
        Self {
            table: Arc::new(table()),
            keys: (0..keys)
                .map(|id| Key::new(registry, id, hash(id)))
                .collect(),
            data: Data::new(keys),
            registry,
            tally: tally.clone(),
        }
    }

    /// Runs one task for each program, and `main` meanwhile, whose result is kept until all are done.
    pub(crate) fn run<R>(
        self,
        programs: Vec<Box<dyn FnOnce(&Self) + Send>>,
        main: impl FnOnce(&Self) -> R,
    ) {
        let world = Arc::new(self);
        let tasks: Vec<_> = programs
            .into_iter()
            .map(|program| {
                let world = world.clone();
                thread::spawn(move || program(&world))
            })
            .collect();
        let kept = main(&world);
        for t in tasks {
            t.join().unwrap();
        }
        drop(kept);
        Arc::into_inner(world).expect("all are joined").end();
    }

    pub(crate) fn end(self) {
        self.data.verify();
        for key in &self.keys {
            assert!(!self.table.is_locked(key) && !self.table.is_held(key));
        }
        assert_eq!(
            self.table.len(),
            0,
            "something is left behind: {:?}",
            self.table
        );
        let idle = self.registry.alive() - self.keys.len();
        assert!(
            idle <= 6.min(self.keys.len()),
            "{idle} idle keys: one is there twice"
        );
        if below(2) == 0 {
            self.table.shrink_to_fit();
            assert_eq!(self.registry.alive(), self.keys.len(), "after shrinking");
        }
        drop(Arc::into_inner(self.table).expect("no owned guard is left"));
        assert_eq!(self.registry.alive(), self.keys.len(), "the table's keys");
    }

    /// With key `k` held.
    pub(crate) fn visit(&self, k: usize, found: &Key) {
        assert_eq!(found.id, k, "another key's guard");
        self.data.visit(k);
    }

    /// One step of a random program, which may wait for keys from `floor` on: whoever waits for key k holds keys below k only.
    #[allow(clippy::too_many_lines)]
    pub(crate) fn step(&self, floor: usize) {
        let n = self.keys.len();
        if floor == n {
            return;
        }
        let k = floor + below(n - floor);
        let key = &self.keys[k];
        let t = &self.table;
        match below(14) {
            0 | 1 => {
                let guard = t.lock(key);
                self.visit(k, guard.key());
                self.step(k + 1);
                self.visit(k, guard.key());
            }
            2 => {
                let any = below(n);
                if let Some(guard) = t.try_lock(&self.keys[any]) {
                    self.visit(any, guard.key());
                    self.tally.count("try_lock: yes");
                } else {
                    self.tally.count("try_lock: no");
                }
            }
            3 => {
                if let Some(guard) = t.try_lock_for(key, MS) {
                    self.visit(k, guard.key());
                    self.tally.count("try_lock_for: yes");
                } else {
                    self.tally.count("try_lock_for: no");
                }
            }
            4 => tick(MS * 7 / 10),
            5 => {
                let h = t.handle(key);
                let again = h.clone();
                let guard = if below(2) == 0 {
                    drop(h);
                    again.lock()
                } else {
                    drop(again);
                    h.lock()
                };
                self.visit(k, guard.key());
            }
            6 => {
                let h = t.handle(key);
                let weak = h.downgrade();
                let up = weak.upgrade().expect("alive by `h`");
                drop(h);
                assert_eq!(up.key().id, k);
                if let Some(guard) = up.try_lock() {
                    self.visit(k, guard.key());
                }
                drop(up);
                match weak.upgrade() {
                    Some(up) => {
                        self.tally.count("upgrade after the last of its own: yes");
                        let guard = up.lock();
                        self.visit(k, guard.key());
                    }
                    None => self.tally.count("upgrade after the last of its own: no"),
                }
            }
            7 => {
                let guard = t.lock_owned(key);
                self.visit(k, guard.key());
                self.step(k + 1);
            }
            8 => {
                assert!(t.len() <= n);
                assert!(!t.is_held(key), "nobody here holds a key from `floor` on");
                t.is_locked(key);
            }
            9 => t.shrink_to_fit(),
            10 => {
                let guard = t.lock_with(key, Key::clone).unwrap();
                self.visit(k, guard.key());
            }
            11 => {
                let guard = t.lock(key);
                self.visit(k, guard.key());
                guard.unlock_fair();
            }
            12 => {
                let outer = t.lock(key);
                let inner = t.lock(key);
                assert_eq!((outer.depth(), inner.depth()), (2, 2));
                assert!(t.is_held(key) && t.is_locked(key));
                self.visit(k, inner.key());
                drop(outer);
                assert_eq!(inner.depth(), 1);
                self.visit(k, inner.key());
            }
            _ => {
                let h = t.handle_owned(key);
                let weak = h.downgrade();
                let guard = h.try_lock_for(MS);
                drop(h);
                if let Some(guard) = guard {
                    assert!(weak.upgrade().is_some(), "alive by the guard");
                    self.visit(k, guard.key());
                }
            }
        }
    }
}
