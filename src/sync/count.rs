//! The words and cells of `std`, counted: what an operation does to memory (`--cfg perkey_count`, `tests/counts.rs`).
//!
//! They are laid out as in the build that ships, of which all the rest is used, so the lines are those that it touches. Each access is
//! noted on the thread that does it, while that thread is in [`count`].
//!
//! Not seen: plain fields (where the buckets of an array are, the list of segments, hash and bucket of a node), what a key has on the heap, and the
//! inside of the allocator, of std's mutexes, of arc-swap and of crossbeam-epoch, of whose pins the number is noted.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Bytes of a cache line.
const LINE: usize = 64;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Loads of words.
    pub loads: usize,
    /// Stores to words.
    pub stores: usize,
    /// Read-modify-writes of words that wrote: exchanges that succeeded, additions and the like.
    pub exchanges: usize,
    /// Exchanges that failed.
    pub failed: usize,
    /// Pins of a thread that was not pinned: each is a store and a full fence in crossbeam-epoch, on a line of the thread's own.
    pub pins: usize,
    /// Cache lines of words and keys that were written. One that an exchange failed on is among them: that takes it from the other cores, too.
    pub written: BTreeSet<usize>,
    /// Those that were only read.
    pub read: BTreeSet<usize>,
}

thread_local!(static NOW: RefCell<Option<Count>> = const { RefCell::new(None) });

/// Calls `f` and says what it did on this thread.
///
/// # Panics
/// Inside another `count`, and as `f`.
pub fn count<R>(f: impl FnOnce() -> R) -> (R, Count) {
    let before = NOW.replace(Some(Count::default()));
    assert!(before.is_none(), "counted already");
    let result = f();
    let mut count = NOW.take().expect("set above");
    count.read = &count.read - &count.written;
    (result, count)
}

fn note(f: impl FnOnce(&mut Count)) {
    // Not in a thread that ends: nobody counts there.
    let _ = NOW.try_with(|now| now.borrow_mut().as_mut().map(f));
}

fn lines<T>(of: *const T) -> impl Iterator<Item = usize> {
    let first = of.addr();
    let last = first + size_of::<T>().max(1) - 1;
    first / LINE..=last / LINE
}

fn read<T>(what: &T) {
    note(|n| n.read.extend(lines(what)));
}

fn written<T>(what: &T) {
    note(|n| n.written.extend(lines(what)));
}

/// The thread is about to be pinned, or is so once more.
pub(crate) fn pin(already: bool) {
    note(|n| n.pins += usize::from(!already));
}

pub(crate) mod atomic {
    use super::{note, read, written};
    pub(crate) use std::sync::atomic::Ordering;

    fn exchanged<W, R, E>(word: &W, result: Result<R, E>) -> Result<R, E> {
        written(word);
        note(|n| {
            n.exchanges += usize::from(result.is_ok());
            n.failed += usize::from(result.is_err());
        });
        result
    }

    macro_rules! atomic {
        ($name:ident $(<$t:ident>)?, $value:ty) => {
            #[derive(Debug)]
            #[repr(transparent)]
            pub(crate) struct $name $(<$t>)? (std::sync::atomic::$name $(<$t>)?);

            impl $(<$t>)? $name $(<$t>)? {
                pub(crate) const fn new(value: $value) -> Self {
                    Self(std::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, o: Ordering) -> $value {
                    read(self);
                    note(|n| n.loads += 1);
                    self.0.load(o)
                }

                pub(crate) fn store(&self, value: $value, o: Ordering) {
                    written(self);
                    note(|n| n.stores += 1);
                    self.0.store(value, o);
                }

                pub(crate) fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    exchanged(self, self.0.compare_exchange(old, new, success, failure))
                }

                /// Does not fail for no reason, so that the counts repeat on every machine.
                pub(crate) fn compare_exchange_weak(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.compare_exchange(old, new, success, failure)
                }
            }
        };
    }

    atomic!(AtomicU64, u64);
    atomic!(AtomicPtr<T>, *mut T);

    macro_rules! fetch {
        ($($name:ident)*) => {
            impl AtomicU64 {
                $(pub(crate) fn $name(&self, value: u64, o: Ordering) -> u64 {
                    written(self);
                    note(|n| n.exchanges += 1);
                    self.0.$name(value, o)
                })*
            }
        };
    }
    fetch!(fetch_add fetch_sub fetch_or fetch_and fetch_xor);
}

/// `std`'s cell behind loom's closure interface.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        read(self);
        f(self.0.get())
    }

    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        written(self);
        f(self.0.get())
    }
}
