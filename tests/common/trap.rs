//! A trap in the code of a key: what happens at the first, second, third … call of one kind.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::rc::Rc;

/// The calls that a key's code counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Hash,
    Eq,
    Borrow,
    ToOwned,
    /// Counted twice: before and after the target has been changed.
    CloneInto,
    Drop,
    /// Of the iterator that keys come from.
    Next,
}

/// What a trap that panics does so with; `resume_unwind` keeps the panic hook quiet.
pub struct Sprung;

struct Trap {
    call: Call,
    left: usize,
    act: Rc<dyn Fn()>,
}

thread_local! {
    static TRAP: RefCell<Option<Trap>> = const { RefCell::new(None) };
}

/// For the key's code: here it is called.
pub fn called(call: Call) {
    if std::thread::panicking() {
        return; // a second panic would be an abort, by the language
    }
    let act = TRAP.with_borrow_mut(|trap| {
        let t = trap.as_mut().filter(|t| t.call == call)?;
        t.left -= 1;
        (t.left == 0).then(|| trap.take().unwrap().act)
    });
    if let Some(act) = act {
        act();
    }
}

/// The act of a trap that panics.
pub fn panics() -> Rc<dyn Fn()> {
    Rc::new(|| resume_unwind(Box::new(Sprung)))
}

/// Runs `f` with `act` at the call number `n` of this kind. Was it reached, and how did `f` end?
pub fn trapped<R>(
    call: Call,
    n: usize,
    act: Rc<dyn Fn()>,
    f: impl FnOnce() -> R,
) -> (bool, std::thread::Result<R>) {
    TRAP.set(Some(Trap { call, left: n, act }));
    let result = catch_unwind(AssertUnwindSafe(f));
    let sprung = TRAP.take().is_none();
    (sprung, result)
}
