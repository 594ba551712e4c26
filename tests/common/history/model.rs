//! What one key may answer when one operation comes after another.
//!
//! Linearizability is local: a history is linearizable if what was done to each key is, taken by itself. So this is the model of one key only. Two operations
//! are no single moment, and are two steps here, for which two threads of the history stand (see [`Op::second`]):
//!
//! - A `lock` that has to wait, or a timed one, first *joins* the waiters, which it does only while another thread holds the key, and is *granted* the lock, or gives up, later. A waiter
//!   uses the key, so its life goes on.
//! - A release makes the key free first, and uses it until it has woken who waits.

use stateright::semantics::SequentialSpec;

/// Three threads and the one that starts them.
pub const THREADS: usize = 4;

/// An operation on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Takes the lock, if need be after a while.
    Lock,
    /// Takes the lock if no other thread has it.
    Try,
    /// Takes the lock, or gives up after a while.
    Timed,
    /// The first step of a `Lock` or `Timed` that waits.
    Join,
    /// Gives one level back.
    Unlock,
    /// The last step of an `Unlock`.
    Leave,
    /// Makes a handle; or a handle's clone.
    Handle,
    /// Drops a handle, or a clone.
    DropHandle,
    /// Makes the weak handle of this number from a handle.
    Downgrade(usize),
    /// Makes a handle from this weak one.
    Upgrade(usize),
    /// Is the key held?
    IsLocked,
    /// Is it held by the thread that asks?
    IsHeld,
}

impl Op {
    /// The other step of an operation that has two.
    pub fn second(self) -> Option<Self> {
        match self {
            Self::Lock | Self::Timed => Some(Self::Join),
            Self::Unlock => Some(Self::Leave),
            _ => None,
        }
    }

    /// Does it make its thread a user, if it is answered by something else than `No`?
    pub fn takes(self) -> bool {
        use Op::{Handle, Lock, Timed, Try, Upgrade};
        matches!(self, Lock | Try | Timed | Handle | Upgrade(_))
    }

    /// Does it give that up?
    pub fn gives(self) -> bool {
        matches!(self, Self::Unlock | Self::DropHandle)
    }
}

/// What an operation was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// A guard of this depth.
    Depth(usize),
    Yes,
    No,
    Done,
}

impl Ret {
    pub fn depth(depth: Option<usize>) -> Self {
        depth.map_or(Self::No, Self::Depth)
    }

    pub fn yes(yes: bool) -> Self {
        if yes {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// A key.
#[derive(Clone, Debug, Default)]
pub struct Model {
    owner: Option<usize>,
    depth: usize,
    handles: usize,
    /// How many lives are over.
    life: usize,
    /// The life that each weak handle was made in.
    weak: Vec<Option<usize>>,
    threads: [Thread; THREADS],
}

/// What one thread does to it at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    waits: bool,
    releases: bool,
    /// It has got the lock without having waited: its `Join` has nothing to do.
    granted: bool,
}

impl Model {
    fn is_alive(&self) -> bool {
        self.depth > 0 || self.handles > 0 || self.threads.iter().any(|t| t.waits || t.releases)
    }

    /// Takes a level, if the key is free or the thread's.
    fn take(&mut self, me: usize, ret: Ret) -> bool {
        if self.owner.is_some_and(|o| o != me) {
            return false;
        }
        self.owner = Some(me);
        self.depth += 1;
        ret == Ret::Depth(self.depth)
    }

    /// The same, of one who may have waited.
    fn granted(&mut self, me: usize, ret: Ret) -> bool {
        let thread = &mut self.threads[me];
        thread.granted = !thread.waits;
        thread.waits = false;
        self.take(me, ret)
    }

    fn step(&mut self, me: usize, op: Op, ret: Ret) -> bool {
        let held_by_another = self.owner.is_some_and(|o| o != me);
        match op {
            Op::Lock => self.granted(me, ret),
            Op::Try if ret == Ret::No => held_by_another,
            Op::Try => self.take(me, ret),
            Op::Timed if ret == Ret::No => std::mem::take(&mut self.threads[me].waits),
            Op::Timed => self.granted(me, ret),
            Op::Join => {
                let thread = &mut self.threads[me];
                if std::mem::take(&mut thread.granted) {
                    return true;
                }
                thread.waits = true;
                held_by_another
            }
            Op::Unlock => {
                if self.owner != Some(me) {
                    return false;
                }
                self.depth -= 1;
                if self.depth == 0 {
                    self.owner = None;
                }
                self.threads[me].releases = true;
                true
            }
            Op::Leave => std::mem::take(&mut self.threads[me].releases),
            Op::Handle => {
                self.handles += 1;
                true
            }
            Op::DropHandle => {
                self.handles -= 1;
                true
            }
            Op::Downgrade(n) => {
                if self.weak.len() <= n {
                    self.weak.resize(n + 1, None);
                }
                self.weak[n] = Some(self.life);
                self.handles > 0
            }
            Op::Upgrade(n) => {
                let made = self.weak.get(n).copied().flatten();
                let lives = self.is_alive() && made == Some(self.life);
                self.handles += usize::from(lives);
                ret == Ret::yes(lives)
            }
            Op::IsLocked => ret == Ret::yes(self.owner.is_some()),
            Op::IsHeld => ret == Ret::yes(self.owner == Some(me)),
        }
    }
}

impl SequentialSpec for Model {
    type Op = (usize, Op);
    type Ret = Ret;

    fn invoke(&mut self, _: &(usize, Op)) -> Ret {
        unreachable!("every operation of a history has returned")
    }

    fn is_valid_step(&mut self, (me, op): &(usize, Op), ret: &Ret) -> bool {
        let was_alive = self.is_alive();
        let valid = self.step(*me, *op, *ret);
        if was_alive && !self.is_alive() {
            self.life += 1;
        }
        valid
    }
}
