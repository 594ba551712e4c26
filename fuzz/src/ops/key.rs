//! A key whose code springs a trap, and a ledger of the keys that are alive.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// What the table calls of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Hash,
    Eq,
    Clone,
    /// Counted twice: before and after the target has been changed.
    CloneFrom,
    Drop,
}

impl Call {
    pub(super) const ALL: [Self; 5] = [
        Self::Hash,
        Self::Eq,
        Self::Clone,
        Self::CloneFrom,
        Self::Drop,
    ];
}

struct Trap {
    call: Call,
    left: u8,
    act: Box<dyn FnOnce()>,
}

#[derive(Default)]
struct Ledger {
    last: u32,
    live: BTreeSet<u32>,
}

thread_local! {
    static TRAP: RefCell<Option<Trap>> = const { RefCell::new(None) };
    static LEDGER: RefCell<Ledger> = const { RefCell::new(Ledger { last: 0, live: BTreeSet::new() }) };
}

/// From now on the call of this kind and number runs `act`, once.
pub(super) fn arm(call: Call, left: u8, act: impl FnOnce() + 'static) {
    let act = Box::new(act);
    TRAP.set(Some(Trap { call, left, act }));
}

/// Takes the trap away; was there one still?
pub(super) fn disarm() -> bool {
    TRAP.take().is_some()
}

fn called(call: Call) {
    if std::thread::panicking() {
        return; // a second panic would be an abort, by the language
    }
    let act = TRAP.with_borrow_mut(|trap| {
        let t = trap.as_mut().filter(|t| t.call == call)?;
        if t.left > 0 {
            t.left -= 1;
            return None;
        }
        trap.take().map(|t| t.act)
    });
    if let Some(act) = act {
        act();
    }
}

/// The payload of a panic that a trap has made.
struct Sprung;

/// Panics as a trap does: without a message.
pub(super) fn spring() {
    resume_unwind(Box::new(Sprung));
}

/// Runs `f`; `None`: a trap has panicked in it.
pub(super) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(r) => Some(r),
        Err(p) if p.is::<Sprung>() => None,
        Err(p) => resume_unwind(p),
    }
}

/// How many keys of tables are alive.
pub(super) fn live() -> usize {
    LEDGER.with_borrow(|ledger| ledger.live.len())
}

/// A key.
pub(super) struct Key {
    pub(super) n: u8,
    /// Its place in the ledger, unless it only asks.
    id: Option<u32>,
}

impl Key {
    /// One to ask with.
    pub(super) const fn asking(n: u8) -> Self {
        Self { n, id: None }
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        called(Call::Clone);
        let id = LEDGER.with_borrow_mut(|ledger| {
            ledger.last += 1;
            ledger.live.insert(ledger.last);
            ledger.last
        });
        Self {
            n: self.n,
            id: Some(id),
        }
    }

    fn clone_from(&mut self, source: &Self) {
        called(Call::CloneFrom);
        self.n = source.n;
        called(Call::CloneFrom);
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let was = LEDGER.with_borrow_mut(|ledger| ledger.live.remove(&id));
            assert!(was, "key {} is dropped twice", self.n);
            called(Call::Drop);
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        called(Call::Eq);
        self.n == other.n
    }
}
impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, h: &mut H) {
        called(Call::Hash);
        h.write_u8(self.n);
    }
}

/// All keys have the same hash, or each its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pick {
    One,
    Own,
}

impl BuildHasher for Pick {
    type Hasher = Said;

    fn build_hasher(&self) -> Said {
        match self {
            Self::One => Said { factor: 0, hash: 0 },
            Self::Own => Said {
                factor: 0x9e37_79b9_7f4a_7c15,
                hash: 0,
            },
        }
    }
}

/// The number of the key, spread or not.
pub(super) struct Said {
    factor: u64,
    hash: u64,
}

impl Hasher for Said {
    fn finish(&self) -> u64 {
        self.hash
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(self.factor);
        }
    }
}
