//! The table without its hasher: the buckets, and the ends of references.

use crate::lock::latest;
use crate::lock::raw::Exhausted;
use crate::lock::word::{self, stamp, DEAD, USER};
use crate::mutant::mutant;
use crate::owner::Owner;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::table_number;
use crate::sync::time::{now, Instant};
use crate::table::array::Array;
use crate::table::bucket::Bucket;
use crate::table::entry::{Entry, Met};
use crate::table::guard::{Hold, KeyGuard};
use crate::table::node::Node;
use crate::table::observer::Observers;
use crate::table::segment::Segments;
use crossbeam_utils::CachePadded;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;

/// Slots of a bucket. With the stamp, the chain and the hashes in the first cache line, six entries of a `u64` key fill
/// four lines.
pub(super) const SLOTS: usize = if cfg!(perkey_loom) { 2 } else { 6 };
/// The first array of a table of default capacity, in bytes: 32 buckets for a key of 8 bytes, fewer for a larger one, but at least one.
const DEFAULT_BYTES: usize = 8 << 10;

/// The word of a slot that one thread holds and nobody else looks at.
const HELD: u64 = word::MEMBER | word::LOCKED | USER;

/// Keys that are to be dropped as soon as nothing is held: no claim, no pin, no reference.
pub(super) struct Junk<K> {
    one: Option<K>,
    more: Vec<K>,
}

impl<K> Default for Junk<K> {
    fn default() -> Self {
        Self {
            one: None,
            more: Vec::new(),
        }
    }
}

impl<K> Junk<K> {
    pub(super) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.more.len()
    }

    pub(super) fn push(&mut self, key: K) {
        match self.one {
            None => self.one = Some(key),
            Some(_) => self.more.push(key),
        }
    }
}

/// The buckets. Each is a shard of its own: no two share a word, let alone a lock.
pub(super) struct Core<K> {
    /// No other table has it.
    number: u64,
    /// As long as the table.
    pub(super) first: Array<K>,
    pub(super) segments: Segments<K>,
    /// Away from what every search reads.
    numbers: CachePadded<Numbers>,
    pub(super) observers: Observers<K>,
}

/// Numbers that are given out.
struct Numbers {
    /// For publications that go to a chain: at least as large as every one given out.
    tickets: AtomicU64,
    /// For lives that weak handles were made for.
    lives: AtomicU64,
}

// SAFETY: sending the table sends its keys.
unsafe impl<K: Send> Send for Core<K> {}
// SAFETY: a shared table gives `&K` to several threads (`K: Sync`), and takes keys in on one and drops them on another
// (`K: Send`). All else in it is atomic.
unsafe impl<K: Send + Sync> Sync for Core<K> {}

// A panic in foreign code leaves nothing half done (I9).
impl<K: RefUnwindSafe> UnwindSafe for Core<K> {}
impl<K: RefUnwindSafe> RefUnwindSafe for Core<K> {}

impl<K> Core<K> {
    /// Of default capacity.
    pub(super) fn small() -> Self {
        let buckets = DEFAULT_BYTES / size_of::<CachePadded<Bucket<K>>>();
        Self::new(if cfg!(any(perkey_loom, perkey_shuttle)) || buckets == 0 {
            1
        } else {
            1 << buckets.ilog2()
        })
    }

    /// At least one bucket; a power of two.
    pub(super) fn new(buckets: usize) -> Self {
        Self {
            number: table_number(),
            first: Array::new(buckets),
            segments: Segments::new(),
            numbers: CachePadded::new(Numbers {
                tickets: AtomicU64::new(0),
                lives: AtomicU64::new(0),
            }),
            observers: Observers::default(),
        }
    }

    /// Is there a bucket that `f` says yes to? It may run under a pin.
    pub(super) fn any_bucket(&self, mut f: impl FnMut(&Bucket<K>) -> bool) -> bool {
        if self.first.iter().any(&mut f) {
            return true;
        }
        let view = self.segments.view();
        view.is_some_and(|view| view.iter().any(|segment| segment.array.iter().any(&mut f)))
    }

    /// Where a key with this hash is looked for first: the bucket, its stamp, and after that the slots that have the hash.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> (&Bucket<K>, u64, u32) {
        let bucket = self.first.bucket(hash);
        let stamp = bucket.stamp();
        (bucket, stamp, bucket.having(hash))
    }

    /// What this thread has taken last, once more, if it holds it still and it is the key asked for. `None` says nothing.
    #[inline]
    pub(super) fn again(&self, hash: u64, eq: impl Fn(&K) -> bool) -> Option<KeyGuard<'_, K>> {
        let entry: NonNull<Entry<K>> = latest::find(self.number, hash)?;
        // SAFETY: an entry of this table, which this thread holds (`lock/latest.rs`).
        unsafe { entry.as_ref() }.raw.deepen().ok()?;
        // SAFETY: the level that was just added is the guard's.
        let guard = unsafe { KeyGuard::from_held(self, entry) };
        eq(guard.key()).then_some(guard)
    }

    /// Notes what this thread has just taken; the key has this hash.
    #[inline]
    pub(super) fn noted<'t>(&self, hash: u64, guard: KeyGuard<'t, K>) -> KeyGuard<'t, K> {
        latest::set(self.number, hash, guard.pointer());
        guard
    }

    pub(super) fn slots(&self) -> usize {
        let view = self.segments.view();
        let more: usize = view.map_or(0, |view| view.iter().map(|s| s.array.len()).sum());
        (self.first.len() + more) * SLOTS
    }

    /// A number for a publication in a chain: larger than `after`, and never given out twice.
    pub(super) fn ticket(&self, after: u64) -> u64 {
        // ORDERING: Relaxed throughout; only the atomicity counts.
        let mut last = self.numbers.tickets.load(Ordering::Relaxed);
        loop {
            let next = last.max(after) + 1;
            // ORDERING: Relaxed, see above.
            match self.numbers.tickets.compare_exchange_weak(
                last,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return next,
                Err(now) => last = now,
            }
        }
    }

    /// A number for a life; never given out twice.
    pub(super) fn new_life(&self) -> u64 {
        // ORDERING: Relaxed; only the atomicity counts.
        self.numbers.lives.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Gives `unit` references on an entry back. If a node of a chain dies of it, its key goes to `junk`.
    ///
    /// # Safety
    /// The references are the caller's, and he does not use them again.
    #[allow(clippy::unused_self)] // whoever has the table may
    pub(super) unsafe fn put(&self, entry: NonNull<Entry<K>>, unit: u64, junk: &mut Junk<K>) {
        // SAFETY: the caller's references keep the entry until the exchange, after which it is not touched.
        let after = unsafe { entry.as_ref() }.raw.put(unit, word::MEMBER | unit);
        // SAFETY: as `after` says.
        unsafe { bury(entry, after, junk) };
    }

    /// Gives one level of a key's lock back.
    ///
    /// # Safety
    /// The level is the calling thread's, which does not use it again.
    #[inline(always)]
    pub(super) unsafe fn unlock(&self, entry: NonNull<Entry<K>>, fair: bool) {
        // SAFETY: the level keeps the entry until the exchange, after which it is not touched.
        let raw = &unsafe { entry.as_ref() }.raw;
        if let Err(w) = raw.unlock(USER, HELD) {
            // SAFETY: the level is still there.
            unsafe { self.unlock_rest(entry, w, fair) };
        }
    }

    /// # Safety
    /// As `unlock`, which stopped short of the exchange at the word `w`.
    #[cold]
    #[inline(never)]
    #[allow(clippy::unused_self)] // as above
    unsafe fn unlock_rest(&self, entry: NonNull<Entry<K>>, w: u64, fair: bool) {
        // SAFETY: as in `unlock`.
        let after = unsafe { entry.as_ref() }.raw.unlock_rest(USER, w, fair);
        let mut junk = Junk::default();
        // SAFETY: as `after` says.
        unsafe { bury(entry, after, &mut junk) };
    }

    /// Waits until the lock of a used entry is ours. `Ok(None)`: the deadline passed; nothing of the attempt is left.
    #[cold]
    pub(super) fn wait<'t>(
        &'t self,
        hold: Hold<'t, K>,
        me: Owner,
        deadline: Option<Instant>,
    ) -> Result<Option<KeyGuard<'t, K>>, Exhausted> {
        let observer = self.observers.get();
        let began = observer.as_ref().map(|_| now());
        if let Some(o) = &observer {
            o.tell(|o| o.wait_began(hold.key()));
        }
        // Foreign code that ran since the search (the observer, a key's `Drop`) may have taken the lock for this thread and kept
        // it: nobody waits for himself (I3).
        let raw = &hold.entry().raw;
        let mine = raw.is_held_by(me);
        let taken = if mine {
            raw.deepen()?;
            true
        } else {
            raw.wait(me, deadline)
        };
        let waited = || began.map_or_else(Default::default, |b| now().saturating_duration_since(b));
        if taken {
            let guard = if mine {
                // SAFETY: held by this thread, one level of it just taken; that level's user is the first guard's, not `hold`.
                unsafe { KeyGuard::from_held(self, hold.pointer()) }
            } else {
                hold.into_guard()
            };
            if let Some(o) = &observer {
                o.tell(|o| o.wait_ended(guard.key(), waited()));
            }
            Ok(Some(guard))
        } else {
            if let Some(o) = &observer {
                o.tell(|o| o.wait_timed_out(hold.key(), waited()));
            }
            if mutant("timed_out_user_kept") {
                std::mem::forget(hold);
            }
            Ok(None)
        }
    }

    /// How many keys are alive, and how many have to be counted as being in a chain.
    pub(super) fn count(&self) -> (usize, usize) {
        let (mut alive, mut chained) = (0, 0);
        self.any_bucket(|bucket| {
            bucket.help(bucket.stamp());
            for w in bucket.words() {
                let used = word::users(w) > 0 || mutant("idle_counted");
                alive += usize::from(word::phase(w) == word::MEMBER && used);
            }
            bucket.chain.for_each_word(|w| {
                alive += usize::from(word::phase(w) == word::MEMBER && word::users(w) > 0);
                chained += 1;
            });
            false
        });
        (alive, chained)
    }
}

/// If a node died of it: ends it, and takes its key to `junk`.
///
/// # Safety
/// `after` is the word that the caller's own exchange left.
#[cold]
unsafe fn bury<K>(entry: NonNull<Entry<K>>, after: u64, junk: &mut Junk<K>) {
    if word::phase(after) == DEAD {
        let node: NonNull<Node<K>> = entry.cast();
        // SAFETY: only the exchange that took the last reference leaves *dead*: once. Nobody takes it out but the caller.
        junk.push(unsafe { node.as_ref().last_key() });
        // SAFETY: as above.
        unsafe { Node::leave(node) };
    }
}

impl<K> Drop for Core<K> {
    fn drop(&mut self) {
        let mut keys = Vec::new();
        let mut segments = self.segments.take();
        let newer = segments.iter_mut().flat_map(|s| s.array.iter_mut());
        // A key is there in every member, and in what was published without having been promoted, if it was stamped.
        for bucket in self.first.iter_mut().chain(newer) {
            bucket.help(bucket.stamp());
            for entry in &mut bucket.entries {
                // SAFETY: `&mut self`. An array's memory goes without a look at what is in it.
                drop(unsafe { entry.raw.take_side() });
                // ORDERING: Relaxed; `&mut self`.
                if word::phase(entry.word().load(Ordering::Relaxed)) == word::MEMBER {
                    // SAFETY: `&mut self`: nobody else is there, and a member holds a key.
                    keys.push(unsafe { entry.take_key() });
                    // ORDERING: Relaxed; `&mut self`.
                    entry.word().store(word::FREE, Ordering::Relaxed);
                }
            }
            bucket.chain.clear(&mut |key| keys.push(key), |w| {
                word::phase(w) == word::MEMBER
            });
        }
        drop(keys); // foreign code; if one panics, the vector still drops the others
    }
}

impl<K> Met<'_, K> {
    pub(super) fn key(&self) -> &K {
        match self {
            Met::Mine(guard) => guard.key(),
            Met::Passing(pass) => pass.key(),
        }
    }

    /// Gives back what was taken to look at the entry.
    pub(super) fn finish(self, junk: &mut Junk<K>) {
        match self {
            Met::Passing(pass) => pass.finish(junk),
            Met::Mine(guard) => {
                let entry = guard.into_entry();
                // SAFETY: the level is the guard's, given back here.
                let raw = &unsafe { entry.as_ref() }.raw;
                if let Err(w) = raw.unlock(USER, HELD) {
                    let after = raw.unlock_rest(USER, w, false);
                    // SAFETY: as `after` says.
                    unsafe { bury(entry, after, junk) };
                }
            }
        }
    }
}

/// Why an acquisition was refused.
pub(super) enum Refused<K> {
    Exhausted(Exhausted),
    /// The key that was made for the asked one differs from it.
    WrongKey(K),
}

impl<K> From<Exhausted> for Refused<K> {
    fn from(e: Exhausted) -> Self {
        Self::Exhausted(e)
    }
}

/// The number and place in a bucket's stamp.
pub(super) fn stamped_at(stamp: u64, place: u64) -> Option<u64> {
    (stamp::place(stamp) == place).then(|| stamp::seq(stamp))
}
