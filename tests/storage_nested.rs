//! Operations inside operations of the same thread: what they see, what becomes part of what, and what stays when one of them fails.
#![allow(clippy::pedantic, missing_docs)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]

mod common;
#[path = "common/probe.rs"]
mod probe;

use common::elsewhere;
use perkey::storage::{
    BoxError, Bytes, Digest, Error, Files, Intent, Memory, Operation, PerKey, Prefix, Scope,
    Serializing, Sqlite, Storage,
};
use probe::{contents, ends, key, text, Brittle, How};
use std::mem::forget;

const A: Digest = Digest::new([0xaa; 32]);
const B: Digest = Digest::new([0xbb; 32]);
const C: Digest = Digest::new([0xcc; 32]);

type Closure = Result<Option<&'static str>, BoxError>;

fn write<'s, S: Storage>(s: &'s S, keys: &[Digest]) -> Operation<'s, S> {
    s.operation(Scope::Keys(keys), Intent::Write).unwrap()
}

fn read<'s, S: Storage>(s: &'s S, keys: &[Digest]) -> Operation<'s, S> {
    s.operation(Scope::Keys(keys), Intent::Read).unwrap()
}

/// What other threads see under A, B and C, past all locks.
fn there(memory: &Memory) -> [Option<String>; 3] {
    elsewhere(|| [A, B, C].map(|k| text(memory, &k)))
}

fn values<const N: usize>(values: [&str; N]) -> [Option<String>; N] {
    values.map(|v| (!v.is_empty()).then(|| v.to_owned()))
}

// ---- they do not wait for themselves --------------------------------------------------------------------------------

#[test]
fn load_inside_update_inside_save_does_not_hang() {
    fn nest(s: &impl Storage) {
        let answer = s.get_or_insert_with(&A, || {
            s.update(&A, |old| {
                assert!(old.is_none() && !s.contains(&A)?);
                assert!(matches!(s.load(&A), Err(Error::Unknown { .. })));
                s.save_as(&A, "inner")?;
                assert_eq!(s.load(&A)?, "inner");
                assert_eq!(s.load("aaaa")?, "inner");
                assert_eq!(s.list()?, [A]);
                Closure::Ok(Some("middle"))
            })?;
            assert_eq!(s.load_many([A, A])?, ["middle", "middle"]);
            Ok::<_, BoxError>("outer")
        });
        assert_eq!(answer.unwrap(), "outer");
        assert_eq!(s.load(&A).unwrap(), "outer");
        s.evict(&A).unwrap();
    }
    ends("operations inside operations", || {
        on_every_stack!(|s, _memory| { nest(&s) });
    });
}

#[test]
fn operations_on_other_keys_inside_go_on_too() {
    ends("other keys inside", || {
        on_every_stack!(|s, _memory| {
            s.update(&A, |_| {
                s.save_as(&B, "b")?;
                s.rename(&B, &C)?;
                s.save_many(["x", "y"])?;
                Closure::Ok(Some("a"))
            })
            .unwrap();
            assert_eq!(s.list().unwrap().len(), 4);
        });
    });
}

// ---- the same keys: part of the operation around ----------------------------------------------------------------------

/// S14.
#[test]
fn what_is_done_inside_shares_the_fate_of_the_operation_around() {
    on_every_stack!(|s, memory| {
        for fails in [true, false] {
            s.save_as(&A, "old").unwrap();
            let result = s.update(&A, |_| {
                s.save_as(&A, "inner")?;
                assert_eq!(there(&memory)[0].as_deref(), Some("old"), "not yet");
                s.evict("aaaa")?;
                s.update(&A, |old| {
                    assert!(old.is_none());
                    Closure::Ok(Some("again"))
                })?;
                assert_eq!(s.load(&A)?, "again");
                if fails {
                    return Err("not today".into());
                }
                Closure::Ok(Some("new"))
            });
            assert_eq!(result.is_err(), fails);
            let left = if fails { "old" } else { "new" };
            assert_eq!(there(&memory), values([left, "", ""]));
            assert_eq!(text(&s, &A).as_deref(), Some(left));
        }
    });
}

#[test]
fn what_fails_inside_is_undone_alone() {
    on_every_stack!(|s, memory| {
        let mut outer = write(&s, &[A, B]);
        outer.save_as(&A, "outer").unwrap();
        let inner = s.update(&A, |_| {
            s.save_as(&A, "innermost")?;
            Err::<Option<&str>, BoxError>("no".into())
        });
        assert!(inner.is_err());
        assert_eq!(outer.load(&A).unwrap(), "outer");
        s.save_as(&B, "inner").unwrap();
        outer.leave().unwrap();
        assert_eq!(there(&memory), values(["outer", "inner", ""]));
    });
}

/// S14.
#[test]
fn changes_to_the_same_key_come_in_their_order() {
    on_every_stack!(|s, memory| {
        let mut outer = write(&s, &[A, B]);
        outer.save_as(&A, "1").unwrap();
        let mut middle = write(&s, &[A]);
        middle.save_as(&A, "2").unwrap();
        // Its keys are the outermost's only, and it is newer than what the one between has done.
        let mut inner = write(&s, &[B, A]);
        inner.save_as(&A, "3").unwrap();
        inner.leave().unwrap();
        assert_eq!(middle.load(&A).unwrap(), "3");
        middle.leave().unwrap();
        assert_eq!(outer.load(&A).unwrap(), "3");
        assert_eq!(there(&memory), values(["", "", ""]));
        outer.leave().unwrap();
        assert_eq!(there(&memory), values(["3", "", ""]));
    });
}

#[test]
fn listing_inside_shows_what_the_thread_has_done_so_far() {
    on_every_stack!(|s, memory| {
        let (one, other) = (key("abcd1"), key("abcd2"));
        s.save_as(&one, "1").unwrap();
        let mut op = write(&s, &[one, other]);
        op.save_as(&other, "2").unwrap();
        assert_eq!(s.list().unwrap(), [one, other]);
        assert!(matches!(s.load("abcd"), Err(Error::Ambiguous { .. })));
        assert_eq!(op.shrink(&other).unwrap().digits(), 5);
        op.evict(&one).unwrap();
        assert_eq!(s.list().unwrap(), [other]);
        assert_eq!(s.load("abcd").unwrap(), "2");
        let prefix: Prefix = "abcd".parse().unwrap();
        assert_eq!(op.list(&prefix).unwrap(), [other]);
        assert_eq!(elsewhere(|| memory.list().unwrap()), [one]);
        drop(op);
        assert_eq!(s.list().unwrap(), [one]);
    });
}

// ---- other keys: operations of their own ------------------------------------------------------------------------------

#[test]
fn what_is_done_to_other_keys_inside_stays() {
    on_every_stack!(|s, memory| {
        let result = s.update(&A, |_| {
            s.save_as(&B, "b")?;
            assert_eq!(there(&memory), values(["", "b", ""]), "at once");
            Err::<Option<&str>, BoxError>("not today".into())
        });
        assert!(matches!(result, Err(Error::Closure { .. })));
        assert_eq!(there(&memory), values(["", "b", ""]));
    });
}

/// S14. It was applied when it was left, and what the operation around it had noted for the shared key came on top of that: the value was in
/// both places.
#[test]
fn what_shares_some_keys_only_is_not_overwritten_by_the_operation_around() {
    on_every_stack!(|s, memory| {
        for fails in [false, true] {
            s.save_as(&A, "0").unwrap();
            let mut outer = write(&s, &[A]);
            outer.save_as(&A, "1").unwrap();
            s.rename(&A, &B).unwrap();
            assert_eq!(there(&memory), values(["", "1", ""]));
            assert!(!outer.contains(&A).unwrap());
            assert_eq!(s.list().unwrap(), [B]);
            if fails {
                drop(outer);
            } else {
                outer.leave().unwrap();
            }
            assert_eq!(there(&memory), values(["", "1", ""]));
            s.evict(&B).unwrap();
        }
        // What it does not touch stays pending.
        let mut outer = write(&s, &[A, C]);
        outer.save_as(&A, "1").unwrap();
        outer.save_as(&C, "1").unwrap();
        let mut inner = write(&s, &[A, B]);
        inner.save_as(&A, "2").unwrap();
        inner.save_as(&B, "2").unwrap();
        inner.leave().unwrap();
        assert_eq!(there(&memory), values(["2", "2", ""]));
        drop(outer);
        assert_eq!(there(&memory), values(["2", "2", ""]));
    });
}

/// S14. It was seen to be there already, and not written: with the operation around it, which was taken back, it was gone, though it had been left.
#[test]
fn what_is_saved_again_inside_lasts_without_the_operation_around() {
    fn again(s: &impl Storage, seen: impl Fn() -> [Option<String>; 3]) {
        s.save_as(&A, "0").unwrap();
        let mut outer = write(s, &[A, C]);
        outer.save_as(&A, "1").unwrap();
        let mut inner = write(s, &[A, B]);
        inner.save_as(&A, "1").unwrap();
        inner.leave().unwrap();
        drop(outer);
        assert_eq!(seen(), values(["1", "", ""]), "a value");
        let mut outer = write(s, &[A, C]);
        outer.evict(&A).unwrap();
        let mut inner = write(s, &[A, B]);
        inner.update(&A, |_| Closure::Ok(None)).unwrap();
        inner.leave().unwrap();
        drop(outer);
        assert_eq!(seen(), values(["", "", ""]), "none");
        s.save_as(&B, "2").unwrap();
        let mut outer = write(s, &[A, C]);
        outer.save_as(&A, "2").unwrap();
        s.rename(&B, &A).unwrap();
        drop(outer);
        assert_eq!(seen(), values(["2", "", ""]), "a value that was moved");
        s.save_as(&A, "0").unwrap();
        let mut outer = write(s, &[A, C]);
        outer.save_as(&A, "2").unwrap();
        let mut inner = write(s, &[A, B]);
        let got = inner.get_or_insert_with(&A, || Ok::<_, BoxError>("made"));
        assert_eq!(got.unwrap(), "2");
        inner.leave().unwrap();
        drop(outer);
        assert_eq!(seen(), values(["2", "", ""]), "a value that was asked for");
        // Part of the one around it, which is part of the one around that: nothing lasts.
        let mut outermost = write(s, &[A, B, C]);
        outermost.save_as(&A, "3").unwrap();
        let outer = write(s, &[A, B]);
        let mut inner = write(s, &[A]);
        inner.save_as(&A, "3").unwrap();
        inner.leave().unwrap();
        outer.leave().unwrap();
        drop(outermost);
        assert_eq!(seen(), values(["2", "", ""]), "what is part of it");
    }
    on_every_stack!(|s, memory| {
        again(&s, || there(&memory));
    });
    let dir = tempfile::tempdir().unwrap();
    let in_it =
        |s: &(dyn Fn(&Digest) -> Option<String> + Sync)| elsewhere(|| [A, B, C].map(|key| s(&key)));
    let s = PerKey::new(Files::open(dir.path().join("files")).unwrap());
    again(&s, || in_it(&|key| text(&s, key)));
    let s = PerKey::new(Sqlite::in_memory().unwrap());
    again(&s, || in_it(&|key| text(&s, key)));
}

/// In every backend, and told of by a change that another thread makes in between, too.
#[test]
fn what_shares_some_keys_only_in_files_and_in_sqlite() {
    fn shares(s: &(impl Storage + Sync)) {
        for fails in [false, true] {
            s.save_as(&A, "0").unwrap();
            let mut outer = write(s, &[A]);
            outer.save_as(&A, "1").unwrap();
            s.rename(&A, &B).unwrap();
            assert!(!outer.contains(&A).unwrap());
            elsewhere(|| s.save_as(&C, "elsewhere").unwrap());
            assert_eq!(s.list().unwrap(), [B, C]);
            if fails {
                drop(outer);
            } else {
                outer.save_as(&A, "2").unwrap();
                outer.leave().unwrap();
            }
            let expected = values([if fails { "" } else { "2" }, "1", "elsewhere"]);
            assert_eq!(elsewhere(|| [A, B, C].map(|k| text(s, &k))), expected);
            s.evict(&B).unwrap();
            s.update(&A, |_| Closure::Ok(None)).unwrap();
        }
        let outer = read(s, &[A]);
        s.save_as(&A, "lasts").unwrap();
        drop(outer);
        assert_eq!(elsewhere(|| text(s, &A)).as_deref(), Some("lasts"));
    }
    let dir = tempfile::tempdir().unwrap();
    shares(&PerKey::new(Memory::new()));
    shares(&PerKey::new(Files::open(dir.path().join("files")).unwrap()));
    shares(&PerKey::new(Sqlite::in_memory().unwrap()));
    shares(&PerKey::new(Sqlite::open(dir.path().join("s.db")).unwrap()));
}

/// The changes of the operation around it are not lost for one inside that cannot be applied.
#[test]
fn what_cannot_be_applied_leaves_the_operation_around_as_it_was() {
    let memory = Memory::with_limit(10);
    let s = PerKey::new(memory.clone());
    let mut outer = write(&s, &[A]);
    outer.save_as(&A, "1").unwrap();
    let mut inner = write(&s, &[A, B]);
    inner.save_as(&A, "2").unwrap();
    inner.save_as(&B, "more than ten bytes").unwrap();
    assert!(matches!(inner.leave(), Err(Error::Full { .. })));
    assert_eq!(outer.load(&A).unwrap(), "1");
    outer.leave().unwrap();
    assert_eq!(there(&memory), values(["1", "", ""]));
    // Where it is part of the one around it, that one reports it.
    let mut outer = write(&s, &[A]);
    s.save_as(&A, "more than ten bytes").unwrap();
    outer.load(&A).unwrap();
    assert!(matches!(outer.leave(), Err(Error::Full { .. })));
    assert_eq!(there(&memory), values(["1", "", ""]));
    assert!(s.table().is_empty());
}

/// An operation that only reads has nothing to make last: dropping it is as good as leaving it.
#[test]
fn what_is_done_inside_one_that_reads_lasts() {
    on_every_stack!(|s, memory| {
        let mut outer = read(&s, &[A]);
        s.save_as(&A, "1").unwrap();
        assert_eq!(outer.load(&A).unwrap(), "1");
        drop(outer);
        assert_eq!(there(&memory), values(["1", "", ""]));
        // Further out there may be one that writes.
        let writes = write(&s, &[A, B]);
        let reads = read(&s, &[A]);
        s.save_as(&A, "2").unwrap();
        drop(reads);
        assert_eq!(text(&s, &A).as_deref(), Some("2"));
        drop(writes);
        assert_eq!(there(&memory), values(["1", "", ""]));
    });
}

// ---- in whatever order they end ---------------------------------------------------------------------------------------

/// Two operations, or three, on the same keys or others, each left or dropped, in every order: nothing is stuck afterwards, and what the thread
/// sees is what everybody sees.
#[test]
fn operations_may_end_in_any_order() {
    let scopes: [&[Digest]; 4] = [&[A], &[B], &[A, B], &[B, C]];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let mut seen = 0;
    for scope in 0..64 {
        let scope = [scope % 4, scope / 4 % 4, scope / 16].map(|i| scopes[i]);
        for order in orders {
            for left in 0..8 {
                let memory = Memory::new();
                let s = PerKey::new(memory.clone());
                for k in [A, B, C] {
                    s.save_as(&k, "old").unwrap();
                }
                let mut ops = [0, 1, 2].map(|i| {
                    let mut op = write(&s, scope[i]);
                    for k in scope[i] {
                        op.save_as(k, i.to_string()).unwrap();
                    }
                    Some(op)
                });
                let last = |ops: &[Option<Operation<'_, _>>]| ops.iter().flatten().count() == 0;
                for i in order {
                    let op = ops[i].take().unwrap();
                    if left & 1 << i == 0 {
                        drop(op);
                    } else {
                        op.leave().unwrap();
                    }
                    if last(&ops) {
                        break;
                    }
                    assert!(!s.table().is_empty(), "the others hold their keys still");
                }
                let what = format!("{scope:?} {order:?} {left:03b}");
                assert!(s.table().is_empty(), "{what}");
                let mine = [A, B, C].map(|k| text(&s, &k));
                assert_eq!(mine, there(&memory), "{what}");
                for (k, value) in [A, B, C].iter().zip(mine) {
                    let value = value.unwrap();
                    // A value is from somebody who had the key and left.
                    match value.parse::<usize>() {
                        Ok(i) => assert!(scope[i].contains(k) && left & 1 << i != 0, "{what}"),
                        Err(_) => assert_eq!(value, "old"),
                    }
                    // If all who had it left, it is not the old one.
                    let had = (0..3).filter(|i| scope[*i].contains(k));
                    if had.clone().count() > 0 && had.clone().all(|i| left & 1 << i != 0) {
                        assert_ne!(value, "old", "{what}");
                    }
                }
                // In order of nesting the last word is the innermost's that was left, with all around it that have its keys.
                if order == [2, 1, 0] && left == 7 {
                    for k in [A, B, C] {
                        let newest = (0..3).rev().find(|i| scope[*i].contains(&k));
                        let expected = newest.map_or("old".into(), |i| i.to_string());
                        assert_eq!(text(&s, &k).unwrap(), expected, "{what} {k}");
                    }
                }
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 64 * 6 * 8);
}

#[test]
fn an_operation_outlives_the_one_it_was_part_of() {
    let memory = Memory::new();
    let s = PerKey::new(memory.clone());
    let mut outer = write(&s, &[A]);
    outer.save_as(&A, "outer").unwrap();
    let mut inner = write(&s, &[A]);
    outer.leave().unwrap();
    assert_eq!(there(&memory), values(["outer", "", ""]));
    inner.save_as(&A, "inner").unwrap();
    assert!(s.table().is_held(&A));
    inner.leave().unwrap();
    assert_eq!(there(&memory), values(["inner", "", ""]));
    assert!(s.table().is_empty());
}

// ---- whose they are -----------------------------------------------------------------------------------------------------

#[test]
fn what_is_under_way_belongs_to_its_thread_and_its_store() {
    let memory = Memory::new();
    let s = PerKey::new(memory.clone());
    let other = Memory::new();
    let mut op = write(&s, &[A]);
    op.save_as(&A, "1").unwrap();
    // Another handle of the store, with a layer or without, is the same store.
    assert_eq!(s.clone().load(&A).unwrap(), "1");
    assert_eq!(memory.load(&A).unwrap(), "1");
    memory.save_as(&A, "2").unwrap();
    assert_eq!(op.load(&A).unwrap(), "2");
    // Another store is not, nor is another thread.
    assert!(!other.contains(&A).unwrap());
    other.save_as(&A, "elsewhere").unwrap();
    assert_eq!(there(&memory), values(["", "", ""]));
    drop(op);
    assert_eq!(there(&memory), values(["", "", ""]));
    assert_eq!(there(&other), values(["elsewhere", "", ""]));
}

/// Documented: it never ends, so the key stays the thread's own, and so does what it has changed.
#[test]
fn an_operation_that_is_forgotten_never_ends() {
    let memory = Memory::new();
    let s = PerKey::new(memory.clone());
    std::thread::scope(|scope| {
        let (s, memory) = (&s, &memory);
        let thread = scope.spawn(move || {
            let mut op = write(s, &[A]);
            op.save_as(&A, "forgotten").unwrap();
            forget(op);
            assert_eq!(s.load(&A).unwrap(), "forgotten");
            s.save_as(&A, "inside").unwrap();
            s.save_as(&B, "b").unwrap();
            assert_eq!(there(memory), values(["", "b", ""]));
        });
        thread.join().unwrap();
    });
    assert!(s.table().is_locked(&A) && s.table().try_lock(&A).is_none());
    assert_eq!(there(&memory), values(["", "b", ""]));
    s.save_as(&C, "c").unwrap();
    assert_eq!(text(&s, &C).as_deref(), Some("c"));
}

/// A panic while an operation inside is being left leaves both undone.
#[test]
fn a_panic_on_leaving_inside_undoes_all() {
    let brittle = Brittle::default();
    let s = Serializing::new(PerKey::new(brittle.clone()));
    s.save_as(&A, "old").unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        s.update(&A, |_| {
            s.save_as(&A, "inner")?;
            brittle.trap.set("leave", How::Panics);
            s.save_as(&A, "panics")?;
            Closure::Ok(None)
        })
    }));
    assert!(result.is_err() && !brittle.trap.unset());
    assert_eq!(contents(&s), [(A, Bytes::from("old"))]);
    assert!(elsewhere(|| s.lock().try_lock().is_some()));
}
