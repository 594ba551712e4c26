//! The packed state word of a lock and of a table entry: layout, phases, pure transitions. No atomics here.
//!
//! ```text
//! phase member   | passers (28) | users (28) | ON_WAY | phase (3) | OVERFLOW | WEAK | PARKED | LOCKED |
//! phase ready    |        sequence (56)      |   0    | phase (3) | OVERFLOW |  0   |   0    | LOCKED |
//! other phases   |             0             |   0    | phase (3) | OVERFLOW |  0   |   0    |   0    |
//! ```
//! *users* keep an entry alive: every guard (however deep), handle and waiter is one. *passers* are searches that
//! compare the key: they keep it from being rewritten, and nothing else (they do not show in `len`, and end no weak
//! handle's wait for death).

use crate::mutant::mutant;

/// Somebody holds the lock. Set by the taker, cleared by the holder (or left set for the one it hands the lock to).
pub(crate) const LOCKED: u64 = 1;
/// The queue is not empty. Changed under the queue's mutex only.
pub(crate) const PARKED: u64 = 1 << 1;
/// A weak handle on the present life exists. Set under the queue's mutex, cleared by the exchange that ends the life.
pub(crate) const WEAK: u64 = 1 << 2;
/// The entry is a node of the overflow chain: it dies where an entry in a slot would become idle.
pub(crate) const OVERFLOW: u64 = 1 << 3;

/// A waiter was woken and has not come yet: a release need not look at the queue. Changed under the queue's mutex only.
pub(crate) const ON_WAY: u64 = 1 << 7;

const PHASE_SHIFT: u32 = 4;
const PHASE_MASK: u64 = 0b111 << PHASE_SHIFT;
/// No key.
pub(crate) const FREE: u64 = 0;
/// One thread rewrites the entry; nobody else reads its key.
pub(crate) const CLAIMED: u64 = 1 << PHASE_SHIFT;
/// Key and hash are written; a member as soon as the bucket's stamp names it.
pub(crate) const READY: u64 = 2 << PHASE_SHIFT;
/// In the table: alive while there are users, else idle.
pub(crate) const MEMBER: u64 = 3 << PHASE_SHIFT;
/// Terminal, overflow only: on its way out of the chain.
pub(crate) const DEAD: u64 = 4 << PHASE_SHIFT;

const USER_SHIFT: u32 = 8;
const PASSER_SHIFT: u32 = 36;
const COUNT_BITS: u32 = 28;
/// One user.
pub(crate) const USER: u64 = 1 << USER_SHIFT;
/// One passer.
pub(crate) const PASSER: u64 = 1 << PASSER_SHIFT;
/// The most users (or passers) of one entry.
pub(crate) const COUNT_MAX: u64 = if cfg!(perkey_small) {
    3
} else {
    (1 << COUNT_BITS) - 1
};
const SEQ_SHIFT: u32 = 8;
/// The last generation (insertion sequence) of a bucket.
pub(crate) const SEQ_MAX: u64 = if cfg!(perkey_small) {
    40
} else {
    (1 << (64 - SEQ_SHIFT)) - 1
};

#[inline]
pub(crate) const fn phase(w: u64) -> u64 {
    w & PHASE_MASK
}

#[inline]
pub(crate) const fn users(w: u64) -> u64 {
    w >> USER_SHIFT & ((1 << COUNT_BITS) - 1)
}

#[inline]
pub(crate) const fn passers(w: u64) -> u64 {
    w >> PASSER_SHIFT
}

/// Neither users nor passers.
#[inline]
const fn unreferenced(w: u64) -> bool {
    w >> USER_SHIFT == 0
}

/// A member that nobody uses or looks at: free to be taken over.
#[inline]
pub(crate) const fn idle(w: u64) -> bool {
    phase(w) == MEMBER && unreferenced(w)
}

/// The *ready* word of a publication.
#[inline]
pub(crate) const fn ready(seq: u64, flags: u64) -> u64 {
    seq << SEQ_SHIFT | READY | flags
}

/// The number of a publication.
#[inline]
pub(crate) const fn seq(ready: u64) -> u64 {
    ready >> SEQ_SHIFT
}

/// Is `w` the publication number `seq`, still waiting to be promoted?
#[inline]
pub(crate) const fn is_ready(w: u64, seq: u64) -> bool {
    phase(w) == READY && self::seq(w) == seq
}

/// What a *ready* word becomes when its stamp stands: a member with one user, locked if it was born locked.
#[inline]
pub(crate) const fn promoted(w: u64) -> u64 {
    w & (LOCKED | OVERFLOW) | MEMBER | USER
}

/// With one of these, something may end with a reference: see `settle`.
pub(crate) const ENDING: u64 = WEAK | OVERFLOW;

/// What `w` becomes once a reference has been taken off: the life ends with the last user, and a node of the chain dies
/// with its last reference.
#[inline]
pub(crate) const fn settle(w: u64) -> u64 {
    if w & ENDING == 0 {
        return w; // the usual case, as a branch: foretold, where what follows has to be waited for
    }
    let w = if users(w) == 0 { w & !WEAK } else { w };
    if w & OVERFLOW != 0 && phase(w) == MEMBER && unreferenced(w) {
        w & !PHASE_MASK | DEAD
    } else {
        w
    }
}

/// What `w` becomes once the lock and `unit` references have been given back; to be settled yet, if it is `ENDING`. A
/// publication that nobody has promoted since (its holder need not) becomes the idle member that promotion and release would have left.
#[inline]
pub(crate) fn released(w: u64, unit: u64) -> u64 {
    if phase(w) == READY && !mutant("release_of_the_unpromoted") {
        MEMBER
    } else {
        w - LOCKED - unit
    }
}

/// The stamp of a bucket: the sequence number of its last insertion and where it went.
pub(crate) mod stamp {
    use super::SEQ_SHIFT;

    /// The place of an insertion that went to the overflow chain.
    pub(crate) const CHAIN: u64 = 0xff;
    /// In the place of one: nothing can be inserted into the bucket any more. The number stays.
    const CLOSED: u64 = 0xfe;
    /// Closed, and nothing is or can get in it.
    const DRAINED: u64 = 0xfd;

    #[inline]
    pub(crate) const fn new(seq: u64, place: u64) -> u64 {
        seq << SEQ_SHIFT | place
    }

    /// The stamp of a bucket that is closed at `stamp`.
    #[inline]
    pub(crate) const fn closed(stamp: u64) -> u64 {
        stamp & !0xff | CLOSED
    }

    /// The stamp of a closed bucket that has been drained.
    #[inline]
    pub(crate) const fn drained(stamp: u64) -> u64 {
        stamp & !0xff | DRAINED
    }

    #[inline]
    pub(crate) const fn is_closed(stamp: u64) -> bool {
        matches!(stamp & 0xff, CLOSED | DRAINED)
    }

    #[inline]
    pub(crate) const fn is_drained(stamp: u64) -> bool {
        stamp & 0xff == DRAINED
    }

    #[inline]
    pub(crate) const fn seq(stamp: u64) -> u64 {
        stamp >> SEQ_SHIFT
    }

    #[inline]
    pub(crate) const fn place(stamp: u64) -> u64 {
        stamp & 0xff
    }
}

#[cfg(all(test, not(any(perkey_loom, perkey_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_ready_word_becomes_a_member_with_one_user() {
        let w = ready(SEQ_MAX, LOCKED);
        assert!(is_ready(w, SEQ_MAX));
        assert!(!is_ready(w, SEQ_MAX - 1));
        let m = promoted(w);
        assert_eq!(
            (phase(m), users(m), passers(m), m & LOCKED),
            (MEMBER, 1, 0, LOCKED)
        );
        assert_eq!(phase(promoted(ready(1, OVERFLOW))), MEMBER);
        assert_eq!(promoted(ready(1, OVERFLOW)) & OVERFLOW, OVERFLOW);
    }

    #[test]
    fn the_counts_do_not_touch_each_other() {
        let full = MEMBER | (COUNT_MAX * USER) | (COUNT_MAX * PASSER);
        assert_eq!((users(full), passers(full)), (COUNT_MAX, COUNT_MAX));
        assert_eq!(phase(full - USER), MEMBER);
        assert_eq!(users(full - PASSER), COUNT_MAX);
        assert!(!idle(full) && idle(MEMBER) && !idle(MEMBER | PASSER) && !idle(MEMBER | USER));
    }

    #[test]
    fn the_last_user_ends_the_life_and_the_last_reference_the_node() {
        assert_eq!(settle(MEMBER | WEAK), MEMBER);
        assert_eq!(settle(MEMBER | WEAK | USER), MEMBER | WEAK | USER);
        assert_eq!(settle(MEMBER | WEAK | PASSER), MEMBER | PASSER);
        assert_eq!(settle(MEMBER | OVERFLOW), DEAD | OVERFLOW);
        assert_eq!(
            settle(MEMBER | OVERFLOW | PASSER),
            MEMBER | OVERFLOW | PASSER
        );
        assert_eq!(settle(0), 0, "a lock without a table has no phases");
    }

    #[test]
    fn a_release_promotes_what_nobody_has_promoted() {
        let ready = ready(7, LOCKED);
        assert_eq!(released(ready, USER), released(promoted(ready), USER));
        assert_eq!(released(ready, USER), MEMBER);
        let seen = promoted(ready) + PASSER;
        assert_eq!(released(seen, USER), MEMBER | PASSER);
        assert_eq!(released(LOCKED, 0), 0, "a lock without a table");
    }

    #[test]
    fn a_stamp_gives_back_what_went_in() {
        let s = stamp::new(SEQ_MAX, stamp::CHAIN);
        assert_eq!((stamp::seq(s), stamp::place(s)), (SEQ_MAX, stamp::CHAIN));
        let c = stamp::closed(s);
        assert!(stamp::is_closed(c) && !stamp::is_closed(s) && !stamp::is_drained(c));
        let d = stamp::drained(c);
        assert!(stamp::is_closed(d) && stamp::is_drained(d));
        assert_eq!((stamp::seq(c), stamp::seq(d)), (SEQ_MAX, SEQ_MAX));
    }
}
