//! Keys whose code can be made to panic, by numbers.

use perkey::LockTable;
use std::any::Any;
use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::thread;

/// The tables of this program.
pub(crate) type Table = LockTable<Key>;

/// What a panic that is part of the workload carries. Any other panic is a violation.
#[derive(Debug)]
pub(crate) struct Planned;

/// Panics as planned, without a word on stderr.
pub(crate) fn panic_as_planned() -> ! {
    resume_unwind(Box::new(Planned))
}

/// Did this panic belong to the workload?
pub(crate) fn was_planned(panic: &(dyn Any + Send)) -> bool {
    panic.is::<Planned>()
}

/// Runs `f`, which may panic as planned; says whether it did.
pub(crate) fn planned<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => Some(result),
        Err(panic) if was_planned(&*panic) => None,
        Err(panic) => resume_unwind(panic),
    }
}

thread_local! {
    /// So many calls of the code of keys until one panics, on this thread; 0: none does.
    static FUSE: Cell<u32> = const { Cell::new(0) };
}

/// Lets the `n`th call of any key's code on this thread panic, if it comes before `f` is done.
pub(crate) fn with_fuse<R>(n: u32, f: impl FnOnce() -> R) -> Option<R> {
    FUSE.set(n);
    let result = planned(f);
    FUSE.set(0);
    result
}

/// One call of a key's code.
fn called() {
    let left = FUSE.get();
    if left == 0 || thread::panicking() {
        return;
    }
    FUSE.set(left - 1);
    if left == 1 {
        panic_as_planned();
    }
}

/// A key: its number tells it from others; what it hashes to and what it has on the heap is chosen by its table.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) n: u64,
    hash: u64,
    text: String,
}

impl Key {
    /// With `same_hash`, every key has the same one; with `heap`, it owns some bytes.
    pub(crate) fn new(n: u64, same_hash: bool, heap: bool) -> Self {
        let hash = if same_hash { 0 } else { n };
        let text = if heap {
            format!("key number {n} of the soak test")
        } else {
            String::new()
        };
        Self { n, hash, text }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        called();
        Self {
            text: self.text.clone(),
            ..*self
        }
    }

    fn clone_from(&mut self, source: &Self) {
        called();
        self.text.clone_from(&source.text);
        self.hash = source.hash;
        self.n = source.n;
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        called();
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        called();
        self.n == other.n
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        called();
        state.write_u64(self.hash);
    }
}
