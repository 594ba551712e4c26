//! What the others do meanwhile.

use super::shuttle_common::Key;
use super::world::{Work, World, OTHER, SAME};
use super::MS;

/// Locks, nests and releases keys, waiting for each other.
pub(crate) fn contend(w: &World, keys: [usize; 3]) {
    let a = w.lock(keys[0]);
    let b = w.lock(keys[1]);
    let again = w.lock(keys[0]);
    assert_eq!(again.depth(), 2);
    drop(a);
    w.data.visit(keys[0]);
    drop(again);
    drop(b);
    let c = w.lock(keys[2]);
    c.unlock_fair();
}

/// Holds many keys at once: takes slots over, overflows, shrinks.
pub(crate) fn crowd(w: &World, keys: &[usize]) {
    let guards: Vec<_> = keys.iter().map(|k| w.lock(*k)).collect();
    assert!(keys.iter().all(|k| w.table.is_held(&w.keys[*k])));
    w.table.shrink_to_fit();
    assert!(w.table.len() >= keys.len());
    drop(guards);
    w.table.shrink_to_fit();
    drop(w.lock(keys[0]));
}

/// Uses what else there is.
pub(crate) fn handles(w: &World, k: usize, l: usize) {
    let h = w.handle(k);
    let weak = h.downgrade();
    drop(h.clone());
    assert!(weak.upgrade().is_some());
    let guard = h.lock();
    w.data.visit(k);
    drop(h);
    assert!(weak.upgrade().is_some());
    drop(guard);
    drop(weak.upgrade());
    if let Some(guard) = w.table.try_lock(&w.keys[l]) {
        w.data.visit(l);
        guard.unlock_fair();
    }
    w.table.is_locked(&w.keys[l]);
    let guard = w.table.lock_with(&w.keys[l], Key::clone).unwrap();
    w.data.visit(l);
    drop(guard);
    if let Some(guard) = w.table.try_lock_for(&w.keys[l], MS) {
        assert_eq!(guard.key().id, l);
        w.data.visit(l);
    }
}

pub(crate) static WORKS: [Work; 4] = [
    Work {
        name: "keys with the same hash, waited for",
        others: [
            |w| contend(w, [SAME[0], SAME[1], SAME[2]]),
            |w| contend(w, [SAME[0], SAME[1], SAME[0]]),
            |w| handles(w, SAME[2], SAME[0]),
        ],
    },
    Work {
        name: "keys in the same bucket, waited for",
        others: [
            |w| contend(w, [OTHER[0], OTHER[1], OTHER[2]]),
            |w| contend(w, [OTHER[0], OTHER[1], OTHER[0]]),
            |w| handles(w, OTHER[2], OTHER[0]),
        ],
    },
    Work {
        name: "takeover and overflow",
        others: [
            |w| crowd(w, &OTHER[..4]),
            |w| crowd(w, &OTHER[4..]),
            |w| crowd(w, &SAME),
        ],
    },
    Work {
        name: "all of it",
        others: [
            |w| crowd(w, &SAME[1..]),
            |w| handles(w, OTHER[0], SAME[3]),
            |w| contend(w, [OTHER[0], SAME[3], OTHER[1]]),
        ],
    },
];

// ---- What the victim does ----
