//! Listings: in order, by prefix, until somebody breaks off; and the store in the midst of one.

use super::model::Model;
use super::ops::KEYS;
use crate::storage::{Digest, Intent, Prefix, Scope, Storage};
use std::ops::ControlFlow;

/// Keys in ascending order, by every prefix, until it breaks.
pub(super) fn in_order<S: Storage>(store: &S) {
    let mut keys: Vec<Digest> = (0_u8..40).map(|n| Digest::of([n])).chain(KEYS).collect();
    keys.extend([Digest::new([0; 32]), Digest::new([255; 32])]);
    for key in &keys {
        store.save_as(key, "x").expect("a value is saved");
    }
    keys.sort_unstable();
    let listed = store.list().expect("a listing");
    assert_eq!(listed, keys, "not every key, once, in ascending order");
    let mut op = store
        .operation(Scope::Store, Intent::Read)
        .expect("an operation");
    for key in &keys {
        for digits in [4, 5, 6, 63, 64] {
            let prefix = key.prefix(digits).expect("as many digits as there are");
            let fits: Vec<Digest> = keys.iter().filter(|k| prefix.matches(k)).copied().collect();
            assert_eq!(op.list(&prefix).expect("a listing"), fits, "{prefix}");
        }
    }
    assert_eq!(
        op.list(&Prefix::from(Digest::of("none")))
            .expect("a listing"),
        []
    );
    op.leave().expect("the operation is left");
    for stop in [1, 2, keys.len()] {
        let mut seen = Vec::new();
        let mut context = enter(store, Scope::Store, Intent::Read);
        let each = &mut |key| {
            seen.push(key);
            if seen.len() == stop {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        if let Err(e) = store.keys(&mut context, &Prefix::ALL, each) {
            panic!("keys: {}", e.into());
        }
        leave(store, context);
        assert_eq!(
            seen,
            keys[..stop],
            "it goes on until it breaks, and no further"
        );
    }
}

fn enter<'s, S: Storage>(store: &'s S, scope: Scope<'_>, intent: Intent) -> S::Context<'s> {
    match store.operation_context(scope, intent) {
        Ok(context) => context,
        Err(e) => panic!("operation_context: {}", e.into()),
    }
}

fn leave<'s, S: Storage>(store: &'s S, context: S::Context<'s>) {
    if let Err(e) = store.leave(context) {
        panic!("leave: {}", e.into());
    }
}

/// The callback of `keys` may use the store.
pub(super) fn the_store_meanwhile<S: Storage>(store: &S) {
    let model = Model::with(["one", "two", "three"]);
    model.restore(store);
    let mut context = enter(store, Scope::Store, Intent::Read);
    let mut seen = 0;
    let each = &mut |key: Digest| {
        seen += 1;
        store.load(&key).expect("a key that is listed");
        store.list().expect("a listing in a listing");
        store
            .save(key.as_bytes())
            .expect("a value is saved meanwhile");
        store.evict(&key).expect("it goes");
        ControlFlow::Continue(())
    };
    if let Err(e) = store.keys(&mut context, &Prefix::ALL, each) {
        panic!("keys: {}", e.into());
    }
    leave(store, context);
    assert!(
        seen >= KEYS.len(),
        "of {} keys, {seen} were listed",
        KEYS.len()
    );
    for key in KEYS {
        assert!(!store.contains(&key).expect("it can be asked for"));
        assert!(store
            .contains(&Digest::of(key.as_bytes()))
            .expect("it can be asked for"));
    }
}
