//! Lock order between layers, watched in debug builds: whoever takes two locks in one order where somebody took them in the other panics
//! before he can deadlock, and shows both places.
//!
//! Each lock of a layer (a [`Serializing`](super::Serializing)'s, the table of a [`PerKey`](super::PerKey)) is a node; an edge says that a lock was taken
//! while another was held. A circle of edges is a deadlock that only waits for its day. The keys of one table are one node: their order
//! is the concern of [`lock_many`](crate::LockTable::lock_many). But one more key of a table counts where a lock for all keys was taken in
//! between: `PerKey<Serializing<_>>` takes a key, then the lock; an operation on another key inside it waits for a key while it has the lock.
//! The idea is that of the Linux kernel's lockdep.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Not in release builds; nor under a model checker, whose threads share thread-locals.
const WATCHED: bool = cfg!(all(debug_assertions, not(any(perkey_loom, perkey_shuttle))));

thread_local! {
    /// The locks that this thread holds or is about to wait for, by address, as often as they are.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

static GRAPH: Mutex<Option<HashMap<usize, Node>>> = Mutex::new(None);

/// What a node stands for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// A lock.
    One,
    /// The keys of a table.
    Keys,
}

struct Node {
    kind: Kind,
    /// Keeps the address from being used for another lock.
    alive: Weak<dyn Any + Send + Sync>,
    /// Which locks were taken while this one was held, and where.
    then: HashMap<usize, Backtrace>,
}

/// A lock of a layer is held, as far as its order counts.
pub(super) struct Ranked {
    lock: usize,
    _not_send: PhantomData<*mut ()>,
}

impl Ranked {
    /// To be called before taking a lock that lives in `owner`. `waits` says whether that may have to wait, which what the thread holds already has not.
    ///
    /// # Panics
    /// In debug builds, if the lock and one that the thread holds were ever taken in the other order.
    pub(super) fn enter<T: Any + Send + Sync>(
        owner: &Arc<T>,
        kind: Kind,
        waits: impl FnOnce() -> bool,
    ) -> Self {
        let lock = Arc::as_ptr(owner).addr();
        if WATCHED {
            // Not there any more at the end of a thread, perhaps: then nothing is watched.
            let held = HELD.try_with(|held| held.borrow().clone());
            let held = held.unwrap_or_default();
            let owner: Arc<dyn Any + Send + Sync> = owner.clone();
            if !held.contains(&lock) {
                known(lock, kind, &owner);
            }
            if !held.is_empty() && waits() {
                watch(&held, lock);
            }
            let _ = HELD.try_with(|held| held.borrow_mut().push(lock));
        }
        Self {
            lock,
            _not_send: PhantomData,
        }
    }
}

impl Drop for Ranked {
    fn drop(&mut self) {
        if WATCHED {
            // Gone at the end of a thread, perhaps: then nobody asks any more.
            let _ = HELD.try_with(|held| {
                let mut held = held.borrow_mut();
                if let Some(last) = held.iter().rposition(|lock| *lock == self.lock) {
                    held.remove(last);
                }
            });
        }
    }
}

fn with_graph<R>(f: impl FnOnce(&mut HashMap<usize, Node>) -> R) -> R {
    let mut graph = GRAPH.lock().unwrap_or_else(PoisonError::into_inner);
    f(graph.get_or_insert_default())
}

/// Makes the lock a node.
fn known(lock: usize, kind: Kind, owner: &Arc<dyn Any + Send + Sync>) {
    with_graph(|graph| {
        if graph.contains_key(&lock) {
            return;
        }
        graph.retain(|_, node| node.alive.strong_count() > 0);
        let left: Vec<usize> = graph.keys().copied().collect();
        for node in graph.values_mut() {
            node.then.retain(|to, _| left.contains(to));
        }
        let node = Node {
            kind,
            alive: Arc::downgrade(owner),
            then: HashMap::new(),
        };
        graph.insert(lock, node);
    });
}

/// Notes that `lock` is taken after `held`.
fn watch(held: &[usize], lock: usize) {
    let again = held.contains(&lock);
    let wrong = with_graph(|graph| {
        for first in held.iter().filter(|first| **first != lock) {
            let Some(node) = graph.get(first) else {
                continue; // an operation that was forgotten, and its store is gone
            };
            if node.then.contains_key(&lock) || again && node.kind == Kind::Keys {
                continue;
            }
            if let Some(way) = way(graph, lock, *first) {
                return Some(told(graph, &way, *first, lock));
            }
            if let Some(node) = graph.get_mut(first) {
                node.then.insert(lock, Backtrace::force_capture());
            }
        }
        None
    });
    // A panic while another one unwinds would end the process.
    if let (Some(wrong), false) = (wrong, std::thread::panicking()) {
        panic!("{wrong}\nhere:\n{}", Backtrace::force_capture());
    }
}

/// The edges from one lock to another, if there are, by way of locks that are still there.
fn way(graph: &HashMap<usize, Node>, from: usize, to: usize) -> Option<Vec<(usize, usize)>> {
    let mut came: HashMap<usize, usize> = HashMap::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        if at == to {
            let mut way = Vec::new();
            let mut at = to;
            while at != from {
                way.push((came[&at], at));
                at = came[&at];
            }
            way.reverse();
            return Some(way);
        }
        let node = graph.get(&at);
        let node = node.filter(|node| node.alive.strong_count() > 0);
        for then in node.into_iter().flat_map(|node| node.then.keys()) {
            if *then != from && !came.contains_key(then) {
                came.insert(*then, at);
                next.push(*then);
            }
        }
    }
    None
}

fn told(graph: &HashMap<usize, Node>, way: &[(usize, usize)], held: usize, lock: usize) -> String {
    let name = |lock: &usize| match graph[lock].kind {
        Kind::One => format!("the lock of a Serializing ({lock:#x})"),
        Kind::Keys => format!("a key of a PerKey's table ({lock:#x})"),
    };
    let mut text = format!(
        "perkey: locks taken in two orders: {} while {} is held, but elsewhere",
        name(&lock),
        name(&held)
    );
    for (first, then) in way {
        let there = &graph[first].then[then];
        let _ = write!(
            text,
            "\n{} while {} was held, at:\n{there}",
            name(then),
            name(first)
        );
    }
    text
}
