//! Lock order between layers, watched in debug builds: whoever takes two locks in one order where somebody took them in the other panics
//! before he can deadlock, and shows both places.
//!
//! Each lock of a layer (a [`Serializing`](super::Serializing)'s, the table of a [`PerKey`](super::PerKey)) is a node; an edge says that a lock was taken
//! while another was held. A circle of edges is a deadlock that only waits for its day. The keys of one table are one node: their order
//! is the concern of [`lock_many`](crate::LockTable::lock_many). The idea is that of the Linux kernel's lockdep.

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

struct Node {
    name: &'static str,
    /// Keeps the address from being used for another lock.
    alive: Weak<dyn Any + Send + Sync>,
    /// Which locks were taken while this one was held, and where.
    then: HashMap<usize, String>,
}

/// A lock of a layer is held, as far as its order counts.
pub(super) struct Ranked {
    lock: usize,
    _not_send: PhantomData<*mut ()>,
}

impl Ranked {
    /// To be called before waiting for a lock that lives in `owner`.
    ///
    /// # Panics
    /// In debug builds, if the lock and one that the thread holds were ever taken in the other order.
    pub(super) fn enter<T: Any + Send + Sync>(owner: &Arc<T>, name: &'static str) -> Self {
        let lock = Arc::as_ptr(owner).addr();
        if WATCHED {
            let held = HELD.with_borrow(Clone::clone);
            if !held.is_empty() && !held.contains(&lock) {
                let owner: Arc<dyn Any + Send + Sync> = owner.clone();
                watch(&held, lock, name, &owner);
            }
            HELD.with_borrow_mut(|held| held.push(lock));
            if held.is_empty() {
                let owner: Arc<dyn Any + Send + Sync> = owner.clone();
                known(lock, name, &owner);
            }
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

fn known(lock: usize, name: &'static str, owner: &Arc<dyn Any + Send + Sync>) {
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
            name,
            alive: Arc::downgrade(owner),
            then: HashMap::new(),
        };
        graph.insert(lock, node);
    });
}

/// Notes that `lock` is taken after `held`.
fn watch(held: &[usize], lock: usize, name: &'static str, owner: &Arc<dyn Any + Send + Sync>) {
    known(lock, name, owner);
    let wrong = with_graph(|graph| {
        for first in held {
            if graph[first].then.contains_key(&lock) {
                continue;
            }
            if let Some(way) = way(graph, lock, *first) {
                return Some(told(graph, &way, *first, lock));
            }
            let here = Backtrace::force_capture().to_string();
            if let Some(node) = graph.get_mut(first) {
                node.then.insert(lock, here);
            }
        }
        None
    });
    if let Some(wrong) = wrong {
        panic!("{wrong}\nhere:\n{}", Backtrace::force_capture());
    }
}

/// The edges from one lock to another, if there are.
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
        for then in graph.get(&at).into_iter().flat_map(|node| node.then.keys()) {
            if *then != from && !came.contains_key(then) {
                came.insert(*then, at);
                next.push(*then);
            }
        }
    }
    None
}

fn told(graph: &HashMap<usize, Node>, way: &[(usize, usize)], held: usize, lock: usize) -> String {
    let name = |lock: &usize| format!("{} {lock:#x}", graph[lock].name);
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
