//! [`Journal`]: what the operations under way have changed and not yet made to last.
//!
//! A backend's context has a *page* of it: `put` and `remove` write there, `leave` hands the page over to be applied, dropping the
//! page takes everything back. An operation inside another one of the same thread sees the other's page; if its keys are among those that the other may
//! change, its own page goes into the other's when it is left, to be applied or taken back with that. Otherwise it is applied at once: the lock of
//! its keys is let go then, so nothing of them may still be pending. What the operations around it had noted for the same keys is out of date from
//! then on, and struck out.
//!
//! An operation that is forgotten (`mem::forget`) is one that never ends: what it and the thread's later operations on its keys change is seen
//! by that thread only.

#![allow(clippy::option_option)] // what an operation did to a key, if anything: a value, or none any more

use crate::mutant::mutant;
use crate::owner::Owner;
use crate::storage::{Digest, Intent, Scope};
use crate::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

/// What an operation has changed: the new value of a key, or `None` if it is removed.
pub type Changes<V> = BTreeMap<Digest, Option<V>>;

/// So many mutexes: threads with operations under way seldom meet.
const SHARDS: usize = 16;

/// What the operations under way have changed and not yet made to last: for backends that have no transactions of their own.
///
/// It gives an operation what [`Storage`](super::Storage) promises: what is dropped leaves nothing behind, what is left lasts as a whole, and an operation inside
/// another one of the same thread sees what that has changed, and becomes part of it if it may change no other keys. A [`Page`] is (in) the context
/// of an operation. `V` stands for a value, or for where it waits to be put in place (a temporary file that is removed when it is dropped, say). Nothing
/// is locked while an operation runs: [`Page::leave`] hands all changes over at once. There is a whole backend made with it at
/// [`Storage`](super::Storage#to-write-one).
///
/// ```
/// use perkey::storage::{Digest, Intent, Journal, Scope};
/// use std::convert::Infallible;
///
/// let journal = Journal::<u32>::new();
/// let key = Digest::of("apple");
/// let mut page = journal.page(Scope::Key(&key), Intent::Write);
/// page.set(&key, Some(1));
/// let inner = journal.page(Scope::Key(&key), Intent::Read);
/// assert_eq!(inner.get(&key), Some(Some(1))); // what the operation around it has done
/// drop(inner);
/// page.leave(|changes| {
///     assert_eq!(changes[&key], Some(1)); // to be stored
///     Ok::<_, Infallible>(())
/// })
/// .unwrap();
/// ```
pub struct Journal<V> {
    shards: [Mutex<HashMap<Owner, Vec<Draft<V>>>>; SHARDS],
}

/// What one operation has changed. Those of a thread are in the order in which they were entered.
struct Draft<V> {
    number: u64,
    /// Those that the operation may change, in ascending order.
    keys: Vec<Digest>,
    changes: Changes<V>,
}

impl<V> Draft<V> {
    fn has(&self, key: &Digest) -> bool {
        self.keys.binary_search(key).is_ok()
    }
}

/// What one operation has changed, in a [`Journal`]. Dropping it takes the changes back. Neither `Send` nor `Sync`.
#[must_use = "what an operation did is taken back when its page is dropped"]
pub struct Page<'a, V> {
    journal: &'a Journal<V>,
    me: Owner,
    number: u64,
    _not_send: PhantomData<*mut ()>,
}

impl<V> Default for Journal<V> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
        }
    }
}

impl<V> fmt::Debug for Journal<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for Page<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").finish_non_exhaustive()
    }
}

impl<V> Journal<V> {
    /// No operation is under way.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<V: Clone> Journal<V> {
    /// A page for an operation of this thread: to be made on entering the context.
    pub fn page(&self, scope: Scope<'_>, intent: Intent) -> Page<'_, V> {
        let mut keys = match (intent, scope) {
            (Intent::Write, Scope::Key(key)) => vec![*key],
            (Intent::Write, Scope::Keys(keys)) => keys.to_vec(),
            (Intent::Read, _) | (_, Scope::Store) => Vec::new(),
        };
        keys.sort_unstable();
        let me = Owner::current();
        let number = self.drafts(me, |drafts| {
            let number = drafts.last().map_or(0, |newest| newest.number) + 1;
            drafts.push(Draft {
                number,
                keys,
                changes: Changes::new(),
            });
            number
        });
        Page {
            journal: self,
            me,
            number,
            _not_send: PhantomData,
        }
    }

    fn drafts<R>(&self, me: Owner, f: impl FnOnce(&mut Vec<Draft<V>>) -> R) -> R {
        let mut shard = self.shards[me.shard(SHARDS)].lock();
        let drafts = shard.entry(me).or_default();
        let result = f(drafts);
        if drafts.is_empty() {
            shard.remove(&me);
        }
        result
    }
}

impl<V: Clone> Page<'_, V> {
    /// What this thread has done to a key and not yet made to last, if anything: set a value, or removed it (`Some(None)`).
    ///
    /// Clones the value while others wait, so that it should be cheap to clone, and its `Clone` must not use the store.
    pub fn get(&self, key: &Digest) -> Option<Option<V>> {
        self.journal.drafts(self.me, |drafts| {
            let mut newest = drafts.iter().rev();
            newest.find_map(|d| d.changes.get(key)).cloned()
        })
    }

    /// Is what [`get`](Self::get) says of a key the doing of another operation of this thread, into which this one does not go when it is left? That one may
    /// yet be taken back without this one.
    pub fn is_tentative(&self, key: &Digest) -> bool {
        self.journal.drafts(self.me, |drafts| {
            let own = self.place(drafts);
            let newest = drafts.iter().rposition(|d| d.changes.contains_key(key));
            newest.is_some_and(|at| at != own && Some(at) != around(drafts, own))
        })
    }

    /// Sets the value of a key, or removes it (`None`); returns what this operation had done to the key before.
    pub fn set(&mut self, key: &Digest, value: Option<V>) -> Option<Option<V>> {
        self.journal.drafts(self.me, |drafts| {
            let own = self.place(drafts);
            drafts[own].changes.insert(*key, value)
        })
    }

    /// The keys in a range as this thread sees them: those that are `stored`, and what has been done to them.
    pub fn keys(
        &self,
        range: RangeInclusive<Digest>,
        stored: impl IntoIterator<Item = Digest>,
    ) -> BTreeSet<Digest> {
        let mut keys: BTreeSet<Digest> = stored.into_iter().collect();
        self.journal.drafts(self.me, |drafts| {
            for (key, value) in drafts.iter().flat_map(|d| d.changes.range(range.clone())) {
                if value.is_some() {
                    keys.insert(*key);
                } else {
                    keys.remove(key);
                }
            }
        });
        keys
    }

    /// Ends the operation. Its changes go over to the operation around it that may change the same keys, if there is one; otherwise `apply` has to store them,
    /// all or none.
    ///
    /// # Errors
    /// Those of `apply`. What the operations around this one have done is as it was then.
    pub fn leave<E>(self, apply: impl FnOnce(Changes<V>) -> Result<(), E>) -> Result<(), E> {
        let mut old = Vec::new();
        let changes = self.hand_over(&mut old);
        if !changes.is_empty() {
            let keys: Vec<Digest> = changes.keys().copied().collect();
            apply(changes)?;
            self.journal.drafts(self.me, |drafts| {
                let outer = self.place(drafts);
                for key in &keys {
                    strike(&mut drafts[..outer], key, &mut old);
                }
            });
        }
        drop((self, old)); // may remove files
        Ok(())
    }

    /// Gives the changes to the operation around this one that has its keys; if there is none, returns them. What is out of date now goes to `old`.
    pub(super) fn hand_over(&self, old: &mut Vec<Option<V>>) -> Changes<V> {
        self.journal.drafts(self.me, |drafts| {
            let own = self.place(drafts);
            let around = around(drafts, own).filter(|_| !mutant("inner_page_applied_at_once"));
            let (outer, own) = drafts.split_at_mut(own);
            own[0].keys.clear();
            let changes = std::mem::take(&mut own[0].changes);
            let Some(around) = around else {
                return changes;
            };
            for (key, value) in changes {
                strike(&mut outer[around + 1..], &key, old);
                old.extend(outer[around].changes.insert(key, value));
            }
            Changes::new()
        })
    }

    /// Puts other entries in place of those that this and the operations around it have for the same keys.
    #[cfg(all(feature = "sqlite", not(any(perkey_loom, perkey_shuttle))))]
    pub(super) fn amend(&self, entries: &Changes<V>) {
        self.journal.drafts(self.me, |drafts| {
            for (key, old) in drafts.iter_mut().flat_map(|d| &mut d.changes) {
                if let Some(new) = entries.get(key) {
                    old.clone_from(new);
                }
            }
        });
    }

    fn place(&self, drafts: &[Draft<V>]) -> usize {
        let own = drafts.iter().position(|d| d.number == self.number);
        own.expect("it is there until the page is dropped")
    }
}

/// Into which draft one goes when it is left: the nearest outside of it that has all its keys.
fn around<V>(drafts: &[Draft<V>], own: usize) -> Option<usize> {
    let keys = &drafts[own].keys;
    let has_all = |draft: &Draft<V>| keys.iter().all(|key| draft.has(key));
    drafts[..own]
        .iter()
        .rposition(has_all)
        .filter(|_| !keys.is_empty())
}

/// Strikes out what is out of date.
fn strike<V>(drafts: &mut [Draft<V>], key: &Digest, old: &mut Vec<Option<V>>) {
    if mutant("outdated_not_struck_out") {
        return;
    }
    old.extend(drafts.iter_mut().filter_map(|d| d.changes.remove(key)));
}

impl<V> Drop for Page<'_, V> {
    fn drop(&mut self) {
        let mut shard = self.journal.shards[self.me.shard(SHARDS)].lock();
        let Some(drafts) = shard.get_mut(&self.me) else {
            return;
        };
        let own = drafts.iter().position(|d| d.number == self.number);
        let taken_back = own.map(|own| drafts.remove(own));
        if drafts.is_empty() {
            shard.remove(&self.me);
        }
        drop(shard);
        drop(taken_back); // may remove files
    }
}
