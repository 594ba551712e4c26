//! Waiting: the queue of one lock, sleeping, waking and handing over.
//!
//! Rules (I6), all under the queue's mutex:
//! - Q1. `PARKED` is set exactly while the queue is not empty.
//! - Q2. Somebody joins only after he saw `LOCKED` set together with `PARKED`; so the holder's exchange comes later and sees
//!   `PARKED`.
//! - Q3. A release that sees `PARKED` takes the longest waiter out and either wakes him (`ON_WAY`) or leaves `LOCKED` set for him. It wakes nobody
//!   while `ON_WAY` is set: otherwise each release would wake one, a system call each, for a lock that whoever runs takes again and again.
//!   Nor does it look at the queue then, but for one release in [`SKIPS`], which may find that it is time to hand over.
//! - Q4. Who was woken says that he has come (clears `ON_WAY`), before he does anything else about it, and leaves only after he has taken the lock
//!   or seen it locked by somebody else, whose release then does Q3 (he joins again in his old place before that, or gives up). A
//!   release that does not look is an exchange that finds `ON_WAY` set: it comes before that, and he finds the lock free.
//! - Q5. Who gives up and finds that he was handed the lock keeps it.
//!
//! Eventual fairness as in `parking_lot` (after `WebKit`'s `WTF::ParkingLot`): a release hands the lock over at most every half millisecond,
//! or when the longest waiter was woken in vain [`VAIN_MAX`] times; in between whoever comes first takes it.
//!
//! A waiter that is descheduled inside the mutex can delay a release of the *same contended* lock by those few instructions;
//! no other key shares the mutex (I4).

use crate::lock::raw::{RawLock, Woken};
use crate::lock::word::{LOCKED, ON_WAY, PARKED};
use crate::mutant::mutant;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::time::{self, Instant};
use crate::sync::{guess, spin_limit, Canary, Mutex, Parker};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// How often the longest waiter may wake and find the lock taken again before it is handed to him.
const VAIN_MAX: u32 = if cfg!(any(perkey_loom, perkey_shuttle)) {
    1
} else {
    16
};
/// One of so many releases looks at the queue while a woken waiter is on his way.
const SKIPS: u64 = if cfg!(any(perkey_loom, perkey_shuttle)) {
    2
} else {
    16
};
/// How long barging goes on before the lock is handed over.
const FAIR_AFTER: Duration = Duration::from_micros(500);

/// After how many rounds of waiting a waiter looks for the first time (seven pauses). Each look takes the cache line from the holder, who could take
/// and release the lock a dozen times in the meantime; one that comes late is felt as well (thirty pauses are most of a microsecond).
const UNSEEN: u32 = 2;

/// In the queue.
const QUEUED: u64 = 0;
/// Taken out of the queue, and counted as being on his way: try again.
const WOKEN: u64 = 1;
/// Taken out of the queue with the lock in his hands.
const GRANTED: u64 = 2;
/// Not in the queue: he has not joined yet, or he was woken and has come.
const OUTSIDE: u64 = 3;

/// One waiter, as the others see him.
struct Ticket {
    /// [`QUEUED`], [`WOKEN`], [`GRANTED`] or [`OUTSIDE`]; changed under the mutex.
    status: AtomicU64,
    parker: Arc<Parker>,
}

struct Queued {
    ticket: Arc<Ticket>,
    /// The order of first arrival.
    arrival: u64,
    /// How often he was woken in vain.
    vain: u32,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Queued>,
    arrivals: u64,
    /// When the next release hands the lock over; set when the first waiter comes.
    fair_at: Option<Instant>,
}

/// What a lock needs only when somebody waits or a weak handle is made.
pub(crate) struct Side {
    queue: Mutex<Queue>,
    /// How many releases did not look at the queue. The holder's.
    skipped: AtomicU64,
    /// The number of the life that weak handles were made for; see `table/handle.rs`.
    pub(crate) life: AtomicU64,
    canary: Canary,
}

impl Side {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::new(Queue::default()),
            skipped: AtomicU64::new(0),
            life: AtomicU64::new(0),
            canary: Canary::new(),
        }
    }

    /// Whoever comes by it finds it built, and not freed.
    pub(super) fn seen(&self) {
        self.canary.touch();
    }

    /// Runs `f` under the mutex of the queue, which also orders the ends and beginnings of lives.
    pub(crate) fn exclusively<R>(&self, f: impl FnOnce() -> R) -> R {
        let _queue = self.queue.lock();
        f()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.canary.bury();
    }
}

impl Queue {
    /// Joins, in the order of first arrival.
    fn join(&mut self, me: Queued) {
        if self.waiting.is_empty() {
            self.fair_at = time::now().checked_add(FAIR_AFTER);
        }
        let at = if mutant("join_at_the_end") {
            self.waiting.len()
        } else {
            self.waiting.partition_point(|q| q.arrival < me.arrival)
        };
        self.waiting.insert(at, me);
    }

    fn leave(&mut self, ticket: &Arc<Ticket>) {
        self.waiting.retain(|q| !Arc::ptr_eq(&q.ticket, ticket));
    }

    /// Is it time to hand over rather than wake?
    fn fair_is_due(&mut self) -> bool {
        let Some(first) = self.waiting.front() else {
            return false;
        };
        let now = time::now();
        let due = first.vain >= VAIN_MAX && !mutant("vain_not_counted")
            || self.fair_at.is_some_and(|at| now >= at) && !mutant("time_not_counted");
        if due {
            self.fair_at = now.checked_add(FAIR_AFTER);
        }
        due
    }
}

impl RawLock {
    /// Spins briefly; `true`: taken. Not while others sleep, whose turn it is, unless the caller is one of them.
    pub(super) fn spin(&self, woken: bool) -> bool {
        let backoff = crossbeam_utils::Backoff::new();
        for round in 0..spin_limit() {
            backoff.snooze();
            if round < UNSEEN {
                continue;
            }
            let w = guess(&self.word);
            if w & PARKED != 0 && !woken {
                return false;
            }
            if w & LOCKED == 0 && self.take_bit() {
                return true;
            }
        }
        false
    }

    /// Sets `LOCKED` if it is clear.
    fn take_bit(&self) -> bool {
        // ORDERING: Acquire on success, partner of the Release in `unlock` and `pass_on` (I1). A read-modify-write, not a
        // load, decides, so that the latest value counts.
        self.word.fetch_or(LOCKED, Ordering::Acquire) & LOCKED == 0
    }

    /// Says that who was woken has come. Under the mutex.
    fn come(&self) {
        // ORDERING: Relaxed: a release that does not look is an exchange on the same word: before this one, and the lock is free when we try
        // it, or after, and it fails and looks (Q4). The queue itself is under the mutex.
        self.word.fetch_and(!ON_WAY, Ordering::Relaxed);
    }

    /// May this release go without a look at the queue, where a woken waiter is on his way? Mostly. The caller holds the lock.
    pub(super) fn skip(&self) -> bool {
        let Some(side) = self.side() else {
            return false;
        };
        // ORDERING: Relaxed: only holders touch it, one after the other.
        let skipped = side.skipped.load(Ordering::Relaxed) + 1;
        // ORDERING: Relaxed, as above.
        side.skipped.store(skipped, Ordering::Relaxed);
        skipped % SKIPS != 0 || mutant("skips_without_end")
    }

    /// Clears `PARKED` when the queue has become empty (Q1). Under the mutex.
    fn queue_changed(&self, queue: &Queue) {
        if queue.waiting.is_empty() {
            // ORDERING: Relaxed; the flag is a hint to the holder, the queue itself is under the mutex.
            self.word.fetch_and(!PARKED, Ordering::Relaxed);
        }
    }

    /// Waits in the queue; `true`: taken.
    pub(super) fn queue_up(&self, deadline: Option<Instant>) -> bool {
        let side = self.side_or_make();
        let ticket = Arc::new(Ticket {
            status: AtomicU64::new(OUTSIDE),
            parker: Arc::new(Parker::new()),
        });
        let mut arrival = None;
        let mut vain = 0;
        loop {
            // What a waiter finds when he comes, or comes back.
            {
                let mut queue = side.queue.lock();
                // ORDERING: Relaxed; the mutex orders the stores.
                let status = ticket.status.load(Ordering::Relaxed);
                if status == GRANTED && !mutant("grant_ignored") {
                    return true; // Q5
                }
                if status == WOKEN && !mutant("on_way_after_coming") {
                    // Q4
                    self.come();
                    // ORDERING: Relaxed; under the mutex.
                    ticket.status.store(OUTSIDE, Ordering::Relaxed);
                }
                let expired = deadline.is_some_and(|at| time::now() >= at);
                let taken = if mutant("leave_without_looking") && expired {
                    false
                } else {
                    self.take_bit() // Q4
                };
                if taken || expired {
                    if status == QUEUED && !mutant("ticket_left_behind") {
                        queue.leave(&ticket);
                        self.queue_changed(&queue);
                    }
                    return taken;
                }
                if status != QUEUED {
                    // Locked by somebody else: tell him that we are here, unless he has just gone (Q2).
                    if !self.announce() {
                        continue;
                    }
                    let arrival = *arrival.get_or_insert_with(|| {
                        queue.arrivals += 1;
                        queue.arrivals
                    });
                    // ORDERING: Relaxed; under the mutex.
                    ticket.status.store(QUEUED, Ordering::Relaxed);
                    queue.join(Queued {
                        ticket: ticket.clone(),
                        arrival,
                        vain,
                    });
                    vain += 1;
                }
            }
            ticket.parker.park(deadline);
            // ORDERING: Acquire, partner of the Release in `pass_on`: with the lock comes what its last holder did (I1).
            match ticket.status.load(Ordering::Acquire) {
                GRANTED => return true,
                WOKEN if self.take_bit() || self.spin(true) => {
                    if !mutant("on_way_after_taking") {
                        let _queue = side.queue.lock();
                        self.come(); // Q4; not in the queue, so there is nothing else to tidy
                    }
                    return true;
                }
                _ => {}
            }
        }
    }

    /// Sets `PARKED` if the lock is still held; `false`: it has been given back. Under the mutex.
    fn announce(&self) -> bool {
        if mutant("parked_not_set") {
            return true;
        }
        let mut w = guess(&self.word);
        loop {
            if w & LOCKED == 0 && !mutant("announce_unchecked") {
                return false;
            }
            if w & PARKED != 0 {
                return true;
            }
            // ORDERING: Release, partner of the Acquire in `unlock_slow`: the holder finds the queue that we made. (Its
            // contents are under the mutex.) Relaxed on failure: only the value is used.
            match self.word.compare_exchange_weak(
                w,
                w | PARKED,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => w = now,
            }
        }
    }

    /// Q3: gives the lock up, to the longest waiter or to whoever comes first. Returns whom to wake.
    pub(super) fn pass_on(&self, side: &Side, fair: bool) -> Woken {
        side.seen();
        let mut queue = side.queue.lock();
        let fair = fair && !mutant("fair_ignored");
        let hand_over = (queue.fair_is_due() || fair) && !queue.waiting.is_empty();
        // Of the bits below others change ON_WAY and PARKED under the mutex only, and LOCKED is ours.
        let w = guess(&self.word);
        let first = if w & ON_WAY != 0 && !hand_over {
            None
        } else {
            queue.waiting.pop_front()
        };
        let mut change = match (&first, hand_over) {
            (_, true) => 0, // LOCKED stays set: from here on it is the waiter's
            (Some(_), _) => LOCKED | ON_WAY,
            (None, _) => LOCKED,
        };
        if queue.waiting.is_empty() {
            change |= w & PARKED;
        }
        if change != 0 {
            // ORDERING: Release, partner of `take_bit` and of every other Acquire that takes this lock (I1).
            self.word.fetch_xor(change, Ordering::Release);
        }
        let ticket = first?.ticket;
        // ORDERING: Release, partner of the Acquire after `park` in `queue_up`: a grant carries what this holder did (I1).
        ticket
            .status
            .store(if hand_over { GRANTED } else { WOKEN }, Ordering::Release);
        drop(queue);
        (!mutant("wake_dropped")).then(|| ticket.parker.clone())
    }
}
