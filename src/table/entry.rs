//! One key and its lock: phases, references, meeting a search.

use crate::lock::raw::{Exhausted, RawLock};
use crate::lock::word::{
    self, CLAIMED, COUNT_MAX, DEAD, LOCKED, MEMBER, OVERFLOW, PASSER, READY, USER, WEAK,
};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{give_way, guess, start, UnsafeCell};
use crate::table::core::{Core, Junk};
use crate::table::guard::{Hold, KeyGuard};
use crate::table::Want;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::RefUnwindSafe;
use std::ptr::NonNull;

/// Invariant: `key` is initialised exactly in the phases *ready* and *member*, and while a `Claim` says so.
pub(super) struct Entry<K> {
    pub(super) raw: RawLock,
    key: UnsafeCell<MaybeUninit<K>>,
}

/// What a search finds in an entry with the right hash: somebody whose key may now be compared.
pub(super) enum Met<'t, K> {
    /// The calling thread holds it. It holds it once more now, so that foreign code cannot make it go away by dropping
    /// a guard.
    Mine(KeyGuard<'t, K>),
    /// A passing reference.
    Passing(Pass<'t, K>),
}

// See `Core`.
impl<K: RefUnwindSafe> RefUnwindSafe for Entry<K> {}

impl<K> Entry<K> {
    pub(super) fn new() -> Self {
        Self {
            raw: RawLock::new(),
            key: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    pub(super) fn word(&self) -> &AtomicU64 {
        &self.raw.word
    }

    /// # Safety
    /// The key is initialised, and a reference (or the lock) keeps it so for as long as the result is used.
    #[inline]
    pub(super) unsafe fn key(&self) -> &K {
        // SAFETY: nobody writes while a reference is held (I7).
        self.key.with(|k| unsafe { (*k).assume_init_ref() })
    }

    /// # Safety
    /// The caller has claimed the entry, and it holds no key.
    pub(super) unsafe fn write_key(&self, key: K) {
        // SAFETY: nobody else looks at a claimed entry.
        self.key.with_mut(|k| unsafe {
            (*k).write(key);
        });
    }

    /// # Safety
    /// The caller has claimed (or killed) the entry, and it holds a key; afterwards it holds none.
    pub(super) unsafe fn take_key(&self) -> K {
        // SAFETY: nobody else looks at a claimed or dead entry, and the key is initialised.
        self.key.with_mut(|k| unsafe { (*k).assume_init_read() })
    }

    /// Promotes the publication number `seq`, whose stamp stands, if that has not been done yet (help).
    #[inline]
    pub(super) fn promote(&self, seq: u64) {
        // ORDERING: Relaxed. The stamp, read with Acquire, comes after the publication, so this is *ready* number `seq` or
        // something later; no number is published twice, so the exchange cannot hit anything else.
        let w = guess(self.word());
        if word::is_ready(w, seq) {
            self.promote_from(w);
        }
    }

    /// Promotes the publication with this *ready* word, whose stamp stands.
    #[inline]
    pub(super) fn promote_from(&self, w: u64) {
        // ORDERING: Relaxed: it continues the release sequence of the publication, whose key and owner a search
        // that reads *member* (Acquire, in `meet`) therefore sees. On failure somebody else has done it.
        let _ = self.word().compare_exchange(
            w,
            word::promoted(w),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// Meets the entry at `this` on a search: takes a passing reference if it is a member. `stamped` is the number of the
    /// publication that the bucket's stamp names, if the stamp names this entry. `guess` is the word as a search mostly finds it: trying it
    /// first saves a load.
    ///
    /// # Safety
    /// `this` stays allocated during the call (a slot, or a node under a pin or a reference).
    #[inline]
    pub(super) unsafe fn meet(
        core: &Core<K>,
        this: NonNull<Self>,
        me: Option<Owner>,
        stamped: Option<u64>,
        guess: u64,
    ) -> Result<Option<Met<'_, K>>, Exhausted> {
        // SAFETY: promised by the caller.
        let entry = unsafe { this.as_ref() };
        if me.is_some_and(|me| entry.raw.is_held_by(me)) && entry.raw.deepen().is_ok() {
            // SAFETY: this thread holds the lock, one level of which is the guard's now.
            return Ok(Some(Met::Mine(unsafe { KeyGuard::from_held(core, this) })));
        }
        let mut w = guess;
        // ORDERING: Acquire on each failure below, also where the outcome is "not here": whoever ended the tenancy of the key
        // that we look for released that into this word, and we must come after him (I1; loom: `{a,b}|{a}`).
        loop {
            match word::phase(w) {
                DEAD if mutant("dead_node_met") => w = w & !DEAD | MEMBER,
                MEMBER => {
                    if word::passers(w) >= COUNT_MAX && !mutant("references_unchecked") {
                        return Err(Exhausted::References);
                    }
                    // ORDERING: Acquire, partner of the Release of the publication (through the promotion) and of the last
                    // holder's release.
                    match entry.word().compare_exchange_weak(
                        w,
                        w + PASSER,
                        Ordering::Acquire,
                        Ordering::Acquire,
                    ) {
                        Ok(_) => {
                            return Ok(Some(Met::Passing(Pass {
                                core,
                                entry: this,
                                seen: w + PASSER,
                            })))
                        }
                        Err(now) => w = now,
                    }
                }
                // ORDERING: Relaxed; a mutant.
                READY if mutant("wait_for_ready") => w = entry.word().load(Ordering::Relaxed),
                READY
                    if !mutant("no_help_in_search")
                        && stamped.is_some_and(|s| word::is_ready(w, s)) =>
                {
                    // ORDERING: Relaxed on success as in `promote`; on failure Acquire as above.
                    match entry.word().compare_exchange_weak(
                        w,
                        word::promoted(w),
                        Ordering::Relaxed,
                        Ordering::Acquire,
                    ) {
                        Ok(_) => w = word::promoted(w),
                        Err(now) => w = now,
                    }
                }
                _ => return Ok(None),
            }
        }
    }

    /// A passing reference on a member that nobody holds, if one exchange gets it. `None` says nothing.
    ///
    /// # Safety
    /// As for `meet`.
    #[inline]
    pub(super) unsafe fn pass(core: &Core<K>, this: NonNull<Self>) -> Option<Pass<'_, K>> {
        // SAFETY: promised by the caller.
        let entry = unsafe { this.as_ref() };
        // ORDERING: Relaxed, as the failure below.
        let mut w = start(entry.word(), MEMBER, Ordering::Relaxed);
        if word::passers(w) > 0 {
            w = entry.give_way(w)?;
        }
        if word::phase(w) != MEMBER || w & LOCKED != 0 {
            return None;
        }
        // ORDERING: Acquire on success, as in `meet`. Relaxed on failure: nothing is concluded from it.
        entry
            .word()
            .compare_exchange(w, w + PASSER, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        Some(Pass {
            core,
            entry: this,
            seen: w + PASSER,
        })
    }

    /// Others take the lock or look at the key this very moment: lets them, rather than fight for the cache line. The word after that, or `w`;
    /// `None`: there are as many as can be counted.
    #[cold]
    fn give_way(&self, mut w: u64) -> Option<u64> {
        give_way(|| {
            // ORDERING: Relaxed: a guess, as for `start`.
            w = self.word().load(Ordering::Relaxed);
            word::passers(w) > 0
        });
        (word::passers(w) < COUNT_MAX).then_some(w)
    }

    /// Claims an entry that is free or idle. `Some(had_key)` on success.
    #[inline]
    pub(super) fn claim(&self) -> Option<bool> {
        let w = guess(self.word());
        let claimable = word::idle(w)
            || word::phase(w) == word::FREE
            || mutant("claim_under_passers") && word::phase(w) == MEMBER && word::users(w) == 0
            || mutant("claim_in_use") && word::phase(w) == MEMBER && w & LOCKED == 0
            || mutant("claim_of_the_dead") && word::phase(w) == DEAD;
        if !claimable {
            return None;
        }
        // ORDERING: Acquire, partner of the Release in `put` and `unlock`: reads of the old key come before its end (I7),
        // and we come after its last holder (I1). Relaxed on failure: another candidate is tried.
        self.word()
            .compare_exchange(
                w,
                CLAIMED | w & OVERFLOW,
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()?;
        Some(word::phase(w) == MEMBER)
    }

    /// Adds a user. The caller keeps the entry alive.
    pub(super) fn add_user(&self) -> Result<(), Exhausted> {
        let mut w = guess(self.word());
        if word::phase(w) == READY && !mutant("user_of_the_unpromoted") {
            self.promote_from(w); // stamped, or nobody would keep it alive
            w = guess(self.word());
        }
        loop {
            if word::users(w) >= COUNT_MAX {
                return Err(Exhausted::References);
            }
            // ORDERING: Relaxed: the caller's own reference orders all that matters, as in `Arc::clone`.
            match self.word().compare_exchange_weak(
                w,
                w + USER,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => w = now,
            }
        }
    }
}

/// A passing reference: keeps the key from being rewritten, and the entry from dying.
pub(super) struct Pass<'t, K> {
    core: &'t Core<K>,
    entry: NonNull<Entry<K>>,
    /// The word that taking it left: a good guess for the next exchange.
    seen: u64,
}

impl<'t, K> Pass<'t, K> {
    pub(super) fn entry(&self) -> &Entry<K> {
        // SAFETY: the reference keeps the entry.
        unsafe { self.entry.as_ref() }
    }

    pub(super) fn key(&self) -> &K {
        // SAFETY: the reference keeps the key.
        unsafe { self.entry().key() }
    }

    /// The key is the one asked for: turns the reference into the lock, if one exchange does it. `None` says nothing.
    #[inline]
    pub(super) fn take(self, me: Owner) -> Option<KeyGuard<'t, K>> {
        if word::users(self.seen) >= COUNT_MAX {
            return None;
        }
        // ORDERING: Acquire on success, as in `settle`. Relaxed on failure: nothing is concluded from it.
        self.entry()
            .word()
            .compare_exchange(
                self.seen,
                (self.seen - PASSER + USER) | LOCKED,
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .ok()?;
        let this = ManuallyDrop::new(self);
        this.entry().raw.set_owner(me);
        // SAFETY: LOCKED and one user are ours since the exchange.
        Some(unsafe { KeyGuard::from_held(this.core, this.entry) })
    }

    /// The key is the one asked for: turns the reference into what is wanted.
    pub(super) fn settle(self, want: Want, me: Owner) -> Result<Got<'t, K>, Exhausted> {
        let (core, this) = (self.core, self.entry);
        let entry = self.entry();
        let mut w = self.seen;
        loop {
            let locked = w & LOCKED != 0;
            if locked && matches!(want, Want::Lock | Want::Try) && entry.raw.is_held_by(me) {
                // `meet` could not deepen it, or the foreign code that compared the key has taken it since, and kept it.
                entry.raw.deepen()?;
                // SAFETY: this thread holds the lock, one level of which is the guard's now.
                return Ok(Got::Locked(unsafe { KeyGuard::from_held(core, this) }));
            }
            match want {
                Want::Look => {
                    return Ok(Got::Seen(if !locked {
                        Holder::Nobody
                    } else if entry.raw.is_held_by(me) {
                        Holder::Me
                    } else {
                        Holder::Other
                    }))
                }
                Want::Try if locked => return Ok(Got::Busy),
                _ => {}
            }
            if word::users(w) >= COUNT_MAX {
                return Err(Exhausted::References);
            }
            let take = want != Want::Handle && !locked;
            let new = (w - PASSER + USER) | if take { LOCKED } else { 0 };
            // ORDERING: Acquire, partner of the Release in `unlock` (I1). Relaxed on failure: only the value is used.
            match entry
                .word()
                .compare_exchange_weak(w, new, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => {
                    let _ = ManuallyDrop::new(self);
                    return Ok(if take {
                        entry_of(this).raw.set_owner(me);
                        // SAFETY: LOCKED and one user are ours since the exchange.
                        Got::Locked(unsafe { KeyGuard::from_held(core, this) })
                    } else {
                        // SAFETY: one user is ours since the exchange.
                        Got::Used(unsafe { Hold::from_user(core, this) })
                    });
                }
                Err(now) => w = now,
            }
        }
    }

    /// Turns the reference into a user if the life that `life` numbers is still going on.
    pub(super) fn revive(self, life: u64) -> Result<Option<Hold<'t, K>>, Self> {
        // ORDERING: Relaxed: numbers are unique, and the entry keeps one until it gets the next, through whatever lives (a takeover
        // need not clear it: the end of a life has cleared WEAK). If it is ours, the rest happens under the mutex.
        let ours = |side: &crate::lock::Side| side.life.load(Ordering::Relaxed) == life;
        let Some(side) = self.entry().raw.side().filter(|s| ours(s)) else {
            return Err(self);
        };
        let alive = side.exclusively(|| {
            if !ours(side) {
                return false;
            }
            let mut w = guess(self.entry().word());
            loop {
                let over = w & WEAK == 0 || word::users(w) == 0;
                if over
                    && !mutant("upgrade_of_the_dead")
                    && !(mutant("upgrade_into_next_life") && word::users(w) > 0)
                {
                    return false;
                }
                if word::users(w) >= COUNT_MAX {
                    Exhausted::References.panic();
                }
                // ORDERING: Relaxed: our passing reference (Acquire) has ordered all that a user relies on, and the lock will
                // be taken with an Acquire of its own. While we are in the mutex no new life gets WEAK.
                match self.entry().word().compare_exchange_weak(
                    w,
                    w - PASSER + USER,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return true,
                    Err(now) => w = now,
                }
            }
        });
        if !alive {
            return Ok(None);
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: one user is ours since the exchange.
        Ok(Some(unsafe { Hold::from_user(this.core, this.entry) }))
    }

    /// Gives the reference back; a key that died with it goes to `junk`.
    pub(super) fn finish(self, junk: &mut Junk<K>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the reference is given back here and not used again.
        unsafe { this.core.put(this.entry, PASSER, junk) };
    }
}

impl<K> Drop for Pass<'_, K> {
    #[inline]
    fn drop(&mut self) {
        /// By value: what a pointer goes to cannot stay in registers.
        #[cold]
        fn cold<K>(core: &Core<K>, entry: NonNull<Entry<K>>) {
            if mutant("pass_lost_in_panic") && std::thread::panicking() {
                return;
            }
            let mut junk = Junk::default();
            // SAFETY: the reference is given back here and not used again.
            unsafe { core.put(entry, PASSER, &mut junk) };
        }
        cold(self.core, self.entry);
    }
}

/// # Panics
/// Never; the caller holds a reference.
fn entry_of<'a, K>(this: NonNull<Entry<K>>) -> &'a Entry<K> {
    // SAFETY: only called with a reference held on the entry.
    unsafe { this.as_ref() }
}

/// Who holds a key's lock.
#[repr(u64)] // as below
pub(super) enum Holder {
    Nobody,
    Me,
    Other,
}

/// What an operation on a key ends with. In whole words: what was just written byte by byte cannot be read at once, and the processor waits
/// until it is in the cache.
#[repr(u64)]
pub(super) enum Got<'t, K> {
    /// The lock.
    Locked(KeyGuard<'t, K>),
    /// One user, without the lock: a handle, or somebody who has to wait.
    Used(Hold<'t, K>),
    /// Nothing: somebody else holds the lock, and it is not to be waited for.
    Busy,
    /// Looked at only.
    Seen(Holder),
}
