//! Owner, depth, taking and giving back: the lock without data.

use crate::lock::latest;
use crate::lock::wait::Side;
use crate::lock::word::{self, ENDING, LOCKED, ON_WAY, PARKED};
use crate::mutant::mutant;
use crate::owner::{self, Owner, DEPTH_MAX};
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{guess, start, time::Instant, OwnWord, Parker};
use std::sync::Arc;

/// Why a lock, a reference or an insertion was refused: a count or a sequence is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Depth,
    References,
    Generations,
}

impl Exhausted {
    #[cold]
    pub(crate) fn panic(self) -> ! {
        match self {
            Self::Depth => panic!("perkey: this owner holds the lock {DEPTH_MAX} times already"),
            Self::References => panic!(
                "perkey: {} guards, handles and waiters on one key already",
                word::COUNT_MAX
            ),
            Self::Generations => panic!(
                "perkey: this bucket has seen its last insertion ({} of them)",
                word::SEQ_MAX
            ),
        }
    }
}

/// A re-entrant lock. `LOCKED` and `PARKED` of `word` are its own; `settle` and the counts serve an entry around it.
///
/// Invariant: between an acquisition and its release only the owner stores to `owner`.
pub(crate) struct RawLock {
    pub(crate) word: AtomicU64,
    owner: OwnWord,
    /// The queue, made by the first waiter and kept as long as the lock.
    pub(super) side: AtomicPtr<Side>,
}

impl RawLock {
    #[cfg(not(perkey_loom))]
    pub(crate) const fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            owner: OwnWord::new(),
            side: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    #[cfg(perkey_loom)]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            owner: OwnWord::new(),
            side: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Does `me` hold the lock?
    #[inline]
    pub(crate) fn is_held_by(&self, me: Owner) -> bool {
        me.is_in(self.owner.get())
    }

    /// How often the owner holds it. Only the owner may trust the answer.
    pub(crate) fn depth(&self) -> u64 {
        owner::depth(self.owner.get())
    }

    /// Holds it once more (I3). The caller is the owner.
    #[inline]
    pub(crate) fn deepen(&self) -> Result<(), Exhausted> {
        let o = self.owner.get();
        if owner::depth(o) >= DEPTH_MAX && !mutant("depth_unchecked") {
            return Err(Exhausted::Depth);
        }
        if !mutant("depth_not_counted") {
            self.owner.set(o + 1);
        }
        Ok(())
    }

    /// Notes `me` as the one who holds it, once. The caller has just taken it, or publishes the entry born locked.
    #[inline]
    pub(crate) fn set_owner(&self, me: Owner) {
        self.owner.set(me.once());
    }

    /// Notes that nobody holds it.
    #[inline]
    pub(crate) fn clear_owner(&self) {
        if mutant("owner_not_cleared") {
            return;
        }
        self.owner.set(0);
    }

    /// Takes the lock if it is free; the rest of the word stays. `false`: somebody holds it.
    pub(crate) fn try_take(&self, me: Owner) -> bool {
        let mut w = guess(&self.word);
        while w & LOCKED == 0 {
            // ORDERING: Acquire on success, partner of the Release in `unlock`/`unlock_slow`: what the last holder did
            // happens before what we do (I1). Relaxed on failure: only the value is used.
            match self.word.compare_exchange_weak(
                w,
                w | LOCKED,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    self.set_owner(me);
                    return true;
                }
                Err(now) => w = now,
            }
        }
        false
    }

    /// Gives one level back and, with the last one, the lock and `unit` references in one exchange. The caller is the owner.
    /// `Err(word)`: it was the last one, and somebody waits, or something else ends with it: `unlock_rest` does it.
    ///
    /// `usual` is the word as it is when nobody else is there.
    #[inline(always)]
    pub(crate) fn unlock(&self, unit: u64, usual: u64) -> Result<(), u64> {
        let o = self.owner.get();
        if owner::depth(o) > 1 && !mutant("unlock_clears_depth") {
            self.owner.set(o - 1);
            return Ok(());
        }
        if unit > 0 {
            latest::forget(); // a lock without a table is never noted
        }
        self.clear_owner();
        // ORDERING: Acquire, as the failure below.
        let w = start(&self.word, usual, Ordering::Acquire);
        if w & (PARKED | ENDING) != 0 {
            return Err(w);
        }
        // ORDERING: Release on success, partner of every Acquire that takes this lock, claims this entry or finds it gone (I1,
        // I7). Acquire on failure, partner of the Release in `announce`: with PARKED comes the queue that its setter made.
        self.word
            .compare_exchange(
                w,
                word::released(w, unit),
                Ordering::Release,
                Ordering::Acquire,
            )
            .map(|_| ())
    }

    /// The rest of an `unlock` that stopped at the word `w`; returns the word after it. `fair` hands the lock to the longest waiter. The
    /// references keep the lock until the exchange; after it the caller owns nothing here.
    #[cold]
    pub(crate) fn unlock_rest(&self, unit: u64, mut w: u64, fair: bool) -> u64 {
        let first = w;
        loop {
            let seen = if mutant("coming_not_seen") { first } else { w };
            let on_way = seen & ON_WAY != 0;
            if w & PARKED != 0 && !(on_way && !fair && self.skip()) {
                return self.unlock_slow(unit, fair); // Q3
            }
            let new = word::settle(word::released(w, unit));
            // ORDERING: as in `unlock`.
            match self
                .word
                .compare_exchange_weak(w, new, Ordering::Release, Ordering::Acquire)
            {
                Ok(_) => return new,
                Err(now) => w = now,
            }
        }
    }

    /// Gives the lock back while somebody waits: wakes one, or hands it over. Our reference goes last (section "Waiting" of
    /// DESIGN.md): until then the entry, and with it the queue, cannot go away.
    #[cold]
    fn unlock_slow(&self, unit: u64, fair: bool) -> u64 {
        let side = self
            .side()
            .expect("PARKED is only set by a waiter, who made the queue");
        if mutant("reference_before_wake") {
            let new = if unit == 0 {
                0
            } else {
                self.put(unit, word::MEMBER | unit)
            };
            self.pass_on(side, fair).iter().for_each(|p| p.unpark());
            return new;
        }
        let woken = self.pass_on(side, fair);
        let new = if unit == 0 {
            0
        } else {
            self.put(unit, word::MEMBER | unit)
        };
        if let Some(parker) = woken {
            parker.unpark();
        }
        new
    }

    /// Takes `unit` references off. Returns the word after that. `usual` as in `unlock`.
    #[inline]
    pub(crate) fn put(&self, unit: u64, usual: u64) -> u64 {
        // ORDERING: Relaxed, as the failure below.
        let mut w = start(&self.word, usual, Ordering::Relaxed);
        loop {
            let new = word::settle(w - unit);
            // ORDERING: Release on success: a claim or a death that sees the reference gone (Acquire) comes after all that
            // was done under it, reads of the key included (I7; loom: `{a,b}|{a'}`). Relaxed on failure.
            match self
                .word
                .compare_exchange_weak(w, new, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return new,
                Err(now) => w = now,
            }
        }
    }

    /// Waits for the lock until `deadline`. The caller keeps the entry alive (one user) and is not the owner.
    /// `false`: the deadline passed, and nothing of the attempt is left.
    #[cold]
    pub(crate) fn wait(&self, me: Owner, deadline: Option<Instant>) -> bool {
        let taken = self.spin(false) || self.queue_up(deadline);
        if taken {
            self.set_owner(me);
        }
        taken
    }

    /// The queue, if one was ever made.
    pub(crate) fn side(&self) -> Option<&Side> {
        // ORDERING: Acquire, partner of the Release that installs it.
        let p = self.side.load(Ordering::Acquire);
        // SAFETY: once installed it is freed only by `drop` or `take_side`, which have the lock to themselves.
        unsafe { p.as_ref() }.inspect(|side| side.seen())
    }

    /// The queue, made now if need be.
    pub(crate) fn side_or_make(&self) -> &Side {
        if let Some(side) = self.side() {
            return side;
        }
        let new = Box::into_raw(Box::new(Side::new()));
        // ORDERING: Release on success, so that whoever loads it (Acquire, in `side`) finds it built; Acquire on failure for
        // the same reason, the other way round.
        match self.side.compare_exchange(
            std::ptr::null_mut(),
            new,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            // SAFETY: just installed; lives as long as the lock.
            Ok(_) => unsafe { &*new },
            Err(theirs) => {
                // SAFETY: `new` was never shared.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: installed by somebody else; lives as long as the lock.
                let theirs = unsafe { &*theirs };
                theirs.seen();
                theirs
            }
        }
    }

    /// Takes the queue away, to free it.
    ///
    /// # Safety
    /// The caller has the lock to itself (an entry that it claimed, or `&mut`).
    pub(crate) unsafe fn take_side(&self) -> Option<Box<Side>> {
        // ORDERING: Relaxed; the claim (Acquire) comes after all uses, and the next user after the claim.
        let p = self.side.load(Ordering::Relaxed);
        if p.is_null() {
            return None;
        }
        // ORDERING: Relaxed, as above.
        self.side.store(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: it came from a box, and nobody else can reach it.
        Some(unsafe { Box::from_raw(p) })
    }
}

impl Drop for RawLock {
    fn drop(&mut self) {
        // SAFETY: `&mut self`.
        drop(unsafe { self.take_side() });
    }
}

/// A sleeping place that is to be woken once nothing of the lock is needed any more.
pub(super) type Woken = Option<Arc<Parker>>;
