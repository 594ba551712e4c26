//! What must not compile, and which auto traits there are (traps 20, 21, 24).
//!
//! The auto traits are probed in an ordinary test, in both directions. The programs in `tests/ui` are given to `rustc` itself: a
//! line marked `//~ CODE` must be refused with that code (the texts of errors change from one compiler to the next, codes do
//! not; `-` stands for an error without a code), no other line may be, and the program without its marked lines must compile.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small, miri)))]

use perkey::storage::{Bytes, Digest, Intent, Prefix, Scope, Storage};
use perkey::{
    Contention, KeyGuard, KeyLock, KeyMismatch, LockManyError, LockTable, ManyGuard, Observer,
    OwnedKeyGuard, OwnedKeyLock, OwnedWeakKeyLock, ReentrantLock, ReentrantLockGuard, WeakKeyLock,
};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};

// ---- auto traits ------------------------------------------------------------------------------------------------

/// Has the type the trait? The inherent method comes first, if its bound holds.
macro_rules! has {
    ($type:ty: $bound:path) => {{
        struct Probe<T: ?Sized>(PhantomData<T>);
        #[allow(dead_code)]
        trait Otherwise {
            fn has(&self) -> bool {
                false
            }
        }
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code)]
        impl<T: ?Sized + $bound> Probe<T> {
            fn has(&self) -> bool {
                true
            }
        }
        Probe::<$type>(PhantomData).has()
    }};
}

/// (Send, Sync)
macro_rules! auto {
    ($type:ty) => {
        (has!($type: Send), has!($type: Sync))
    };
}

/// `Send + Sync`, `Send` only, `Sync` only, neither.
type Both = u64;
type SendOnly = Cell<u64>;
type SyncOnly = MutexGuard<'static, u64>;
type Neither = Rc<u64>;

/// The four answers of a type with one parameter.
macro_rules! four {
    ($type:ident<$($before:lifetime,)? _ $(, $after:ty)?>) => {
        [
            auto!($type<$($before,)? Both $(, $after)?>),
            auto!($type<$($before,)? SendOnly $(, $after)?>),
            auto!($type<$($before,)? SyncOnly $(, $after)?>),
            auto!($type<$($before,)? Neither $(, $after)?>),
        ]
    };
}

const YES: (bool, bool) = (true, true);
const NO: (bool, bool) = (false, false);
const SEND: (bool, bool) = (true, false);
const SYNC: (bool, bool) = (false, true);

#[test]
fn the_probe_tells_types_apart() {
    assert_eq!(auto!(Both), YES);
    assert_eq!(auto!(SendOnly), SEND);
    assert_eq!(auto!(SyncOnly), SYNC);
    assert_eq!(auto!(Neither), NO);
    assert_eq!(four!(Vec<_>), [YES, SEND, SYNC, NO]);
}

#[test]
fn a_table_is_sync_iff_its_keys_are_send_and_sync_and_its_hasher_is_sync() {
    assert_eq!(four!(LockTable<_>), [YES, SEND, NO, NO]);
    assert_eq!(four!(LockTable<_, SendOnly>), [SEND, SEND, NO, NO]);
    assert_eq!(four!(LockTable<_, SyncOnly>), [SYNC, NO, NO, NO]);
    assert_eq!(four!(LockTable<_, Neither>), [NO, NO, NO, NO]);
}

#[test]
fn a_panic_may_cross_a_table_as_far_as_its_keys_and_its_hasher_allow() {
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    unwind_safe::<LockTable<String>>();
    unwind_safe::<KeyGuard<'static, String>>();
    unwind_safe::<ManyGuard<'static, String>>();
    unwind_safe::<OwnedKeyGuard<String>>();
    unwind_safe::<KeyLock<'static, String>>();
    unwind_safe::<WeakKeyLock<'static, String>>();
    unwind_safe::<OwnedKeyLock<String>>();
    unwind_safe::<OwnedWeakKeyLock<String>>();
    unwind_safe::<ReentrantLock<String>>();
    unwind_safe::<perkey::storage::PerKey<perkey::storage::Memory>>();
    assert!(has!(LockTable<u64>: RefUnwindSafe) && has!(LockTable<u64>: UnwindSafe));
    assert!(!has!(LockTable<SendOnly>: RefUnwindSafe));
    assert!(!has!(LockTable<u64, SendOnly>: RefUnwindSafe));
}

#[test]
fn every_guard_stays_on_its_thread() {
    // Trap 20: neither `Send` nor, for a key, `Sync`.
    assert_eq!(four!(KeyGuard<'static, _>), [NO; 4]);
    assert_eq!(four!(ManyGuard<'static, _>), [NO; 4]);
    assert_eq!(four!(OwnedKeyGuard<_>), [NO; 4]);
    assert_eq!(four!(OwnedKeyGuard<_, SendOnly>), [NO; 4]);
    // Its guard is `Sync` iff the data is.
    assert_eq!(four!(ReentrantLockGuard<'static, _>), [SYNC, NO, SYNC, NO]);
}

#[test]
fn a_reentrant_lock_is_send_and_sync_iff_its_data_is_send() {
    assert_eq!(four!(ReentrantLock<_>), [YES, YES, NO, NO]);
}

#[test]
fn handles_are_send_and_sync_iff_the_keys_are_both() {
    assert_eq!(four!(KeyLock<'static, _>), [YES, NO, NO, NO]);
    assert_eq!(four!(WeakKeyLock<'static, _>), [YES, NO, NO, NO]);
    assert_eq!(four!(OwnedKeyLock<_>), [YES, NO, NO, NO]);
    assert_eq!(four!(OwnedWeakKeyLock<_>), [YES, NO, NO, NO]);
    // They may end the table, with its hasher, on their thread.
    for answers in [
        four!(OwnedKeyLock<_, SendOnly>),
        four!(OwnedKeyLock<_, SyncOnly>),
        four!(OwnedWeakKeyLock<_, SendOnly>),
        four!(OwnedWeakKeyLock<_, SyncOnly>),
    ] {
        assert_eq!(answers, [NO; 4]);
    }
}

#[test]
fn an_observer_is_shared_by_all_threads() {
    assert_eq!(auto!(dyn Observer<Neither>), YES);
    assert_eq!(auto!(Contention), YES);
    assert_eq!(auto!(Arc<dyn Observer<u64>>), YES);
    assert_eq!(four!(KeyMismatch<_>), [YES, SEND, SYNC, NO]);
    assert_eq!(auto!(LockManyError), YES);
}

#[test]
fn stores_are_shared_iff_what_is_inside_is() {
    use perkey::storage::{DynStorage, Error, Failure, Key, Memory, PerKey, Prefix};
    use perkey::storage::{Serializing, Traced, Typed};
    assert_eq!(auto!(Memory), YES);
    assert_eq!(four!(PerKey<_>), [YES, SEND, SYNC, NO]);
    assert_eq!(four!(Serializing<_>), [YES, SEND, SYNC, NO]);
    assert_eq!(four!(Traced<_>), [YES, SEND, SYNC, NO]);
    assert_eq!(auto!(DynStorage), YES);
    // The values are in the store, as bytes, and not in the view.
    type View<T> = Typed<Memory, T>;
    assert_eq!(four!(View<_>), [YES; 4]);
    assert_eq!(auto!(Typed<Neither, Both>), NO);
    for answer in [auto!(Error), auto!(Failure), auto!(Digest), auto!(Prefix)] {
        assert_eq!(answer, YES);
    }
    assert_eq!(auto!(Key), YES);
}

/// A backend whose contexts may go anywhere.
struct Free;

impl Storage for Free {
    type Context<'a> = ();
    type Error = Infallible;

    fn operation_context(&self, _: Scope<'_>, _: Intent) -> Result<(), Infallible> {
        Ok(())
    }
    fn get(&self, (): &mut (), _: &Digest) -> Result<Option<Bytes>, Infallible> {
        Ok(None)
    }
    fn put(&self, (): &mut (), _: &Digest, _: &[u8]) -> Result<(), Infallible> {
        Ok(())
    }
    fn remove(&self, (): &mut (), _: &Digest) -> Result<bool, Infallible> {
        Ok(false)
    }
    fn keys(
        &self,
        (): &mut (),
        _: &Prefix,
        _: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        Ok(())
    }
}

#[test]
fn what_an_operation_holds_stays_on_its_thread() {
    // Trap 20: a lock, a span and a page are the thread's, and an operation in any case.
    use perkey::storage::{DynStorage, Memory, Operation, PerKey, Serializing, Traced};
    assert_eq!(auto!(<Free as Storage>::Context<'static>), YES);
    assert_eq!(auto!(<&Free as Storage>::Context<'static>), YES);
    assert_eq!(auto!(<PerKey<Free> as Storage>::Context<'static>), NO);
    assert!(!has!(<Serializing<Free> as Storage>::Context<'static>: Send));
    assert!(!has!(<Traced<Free> as Storage>::Context<'static>: Send));
    assert_eq!(auto!(<Memory as Storage>::Context<'static>), NO);
    assert_eq!(auto!(<DynStorage as Storage>::Context<'static>), NO);
    assert_eq!(auto!(Operation<'static, Free>), NO);
    assert_eq!(auto!(Operation<'static, PerKey<Free>>), NO);
}

// ---- programs ---------------------------------------------------------------------------------------------------

/// What `rustc` says to a program: (line, code) of every error.
fn errors(rlib: &Path, source: &str, name: &str) -> BTreeSet<(usize, String)> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join(format!("{name}.rs"));
    std::fs::write(&file, source).unwrap();
    let output = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args([
            "--edition=2021",
            "--crate-type=bin",
            "--emit=metadata",
            "--error-format=json",
        ])
        .args(
            std::env::var("RUSTFLAGS")
                .unwrap_or_default()
                .split_whitespace(),
        )
        .arg("--extern")
        .arg(format!("perkey={}", rlib.display()))
        .arg("-L")
        .arg(format!("dependency={}", rlib.parent().unwrap().display()))
        .arg("--out-dir")
        .arg(&dir)
        .arg(&file)
        .output()
        .expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stderr);
    let errors: BTreeSet<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|m| m["level"] == "error" && m["spans"].as_array().is_some_and(|s| !s.is_empty()))
        .flat_map(|m| {
            let code = m["code"]["code"].as_str().unwrap_or("-").to_owned();
            let spans = m["spans"].as_array().cloned().unwrap_or_default();
            spans.into_iter().filter_map(move |s| {
                let line = usize::try_from(s["line_start"].as_u64()?).ok()?;
                (s["is_primary"] == true).then(|| (line, code.clone()))
            })
        })
        .collect();
    assert_eq!(output.status.success(), errors.is_empty(), "{name}: {text}");
    errors
}

/// The library that this very test is linked to is among those beside it: the newest one that this compiler reads.
fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let mut all: Vec<_> = std::fs::read_dir(exe.parent().unwrap())
        .unwrap()
        .filter_map(|f| {
            let f = f.ok()?;
            let name = f.file_name().into_string().ok()?;
            let ours = name.starts_with("libperkey-") && name.ends_with(".rlib");
            Some((f.metadata().ok()?.modified().ok()?, f.path())).filter(|_| ours)
        })
        .collect();
    all.sort();
    // One that was built for somebody else may be newer, and have fewer features.
    let whole = "fn main() { let _ = perkey::storage::Memory::new(); }";
    let mut newest_first = all.into_iter().rev().map(|(_, path)| path);
    newest_first
        .find(|rlib| errors(rlib, whole, "whole").is_empty())
        .expect("the library has been built, with storage")
}

#[test]
fn what_must_not_compile_does_not_and_the_rest_of_it_does() {
    let rlib = library();
    let ui = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut programs: Vec<_> = std::fs::read_dir(ui)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    programs.sort();
    assert!(programs.len() >= 20, "where are they?");
    for program in programs {
        let name = program.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(&program).unwrap();
        let expected: BTreeSet<_> = source
            .lines()
            .enumerate()
            .filter_map(|(i, line)| Some((i + 1, line.split_once("//~ ")?.1.to_owned())))
            .collect();
        assert!(!expected.is_empty(), "{name}: nothing is marked");
        assert_eq!(errors(&rlib, &source, &name), expected, "{name}");
        let rest: String = source
            .lines()
            .map(|line| {
                if line.contains("//~ ") {
                    "\n".to_owned()
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let left = errors(&rlib, &rest, &format!("{name}_without"));
        assert!(left.is_empty(), "{name} without its marked lines: {left:?}");
    }
}
