//! [`Journal`]: what the operations under way have changed and not yet made to last.
//!
//! A backend's context has a *page* of it: `put` and `remove` write there, `leave` hands the page over to be applied, dropping the
//! page takes everything back. An operation inside another one of the same thread sees the other's page; if its keys are among the other's, its own page goes
//! into the other's when it is left, to be applied or taken back with that. Otherwise it is applied at once: the lock of its keys is
//! let go then, so nothing of them may still be pending.

#![allow(clippy::option_option)] // what an operation did to a key, if anything: a value, or none any more

use crate::owner::Owner;
use crate::storage::{Digest, Prefix, Scope};
use crate::sync::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;
use std::ops::RangeInclusive;

/// Changes: the new value of a key, or that it is removed.
pub(super) type Changes<V> = BTreeMap<Digest, Option<V>>;

/// So many mutexes: threads with operations under way seldom meet.
const SHARDS: usize = 16;

/// The pages of all threads.
pub(super) struct Journal<V> {
    shards: [Mutex<HashMap<Owner, Vec<Draft<V>>>>; SHARDS],
}

struct Draft<V> {
    number: u64,
    keys: Vec<Digest>,
    changes: Changes<V>,
}

/// One operation's page. Dropping it takes its changes back.
pub(super) struct Page<'a, V> {
    journal: &'a Journal<V>,
    me: Owner,
    number: u64,
    /// The page around it that has its keys, too.
    around: Option<u64>,
    _not_send: PhantomData<*mut ()>,
}

impl<V> Default for Journal<V> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashMap::new())),
        }
    }
}

impl<V: Clone> Journal<V> {
    /// A page for an operation of this thread.
    pub(super) fn page(&self, scope: Scope<'_>) -> Page<'_, V> {
        let keys = match scope {
            Scope::Key(key) => vec![*key],
            Scope::Keys(keys) => keys.to_vec(),
            Scope::Store => Vec::new(),
        };
        let me = Owner::current();
        let (number, around) = self.drafts(me, |drafts| {
            let has_all = |draft: &&Draft<V>| keys.iter().all(|key| draft.keys.contains(key));
            let around = drafts.iter().rev().find(has_all).map(|d| d.number);
            let number = drafts.iter().map(|d| d.number).max().unwrap_or(0) + 1;
            drafts.push(Draft {
                number,
                keys,
                changes: Changes::new(),
            });
            (number, around)
        });
        Page {
            journal: self,
            me,
            number,
            around,
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
    /// What this thread has done to a key and not yet made to last.
    pub(super) fn get(&self, key: &Digest) -> Option<Option<V>> {
        self.journal.drafts(self.me, |drafts| {
            let mut newest = drafts.iter().rev();
            newest.find_map(|d| d.changes.get(key)).cloned()
        })
    }

    /// Changes a key; returns what this operation had written there before.
    pub(super) fn set(&mut self, key: &Digest, value: Option<V>) -> Option<Option<V>> {
        self.journal.drafts(self.me, |drafts| {
            let own = drafts.iter_mut().find(|d| d.number == self.number);
            own.expect("it is there until the page is dropped")
                .changes
                .insert(*key, value)
        })
    }

    /// The keys that begin so, as this thread sees them, out of those that are `stored`.
    pub(super) fn keys(
        &self,
        prefix: &Prefix,
        stored: impl IntoIterator<Item = Digest>,
    ) -> BTreeSet<Digest> {
        self.keys_in(prefix.range(), stored)
    }

    /// The keys in a range, as this thread sees them, out of those that are `stored`.
    pub(super) fn keys_in(
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

    /// The changes that are to be applied now: all of the operation's, or none if an operation around it takes them over.
    pub(super) fn leave(self) -> Changes<V> {
        let changes = self.journal.drafts(self.me, |drafts| {
            let own = drafts.iter_mut().find(|d| d.number == self.number);
            let changes = std::mem::take(&mut own.expect("as above").changes);
            let around = drafts.iter_mut().find(|d| Some(d.number) == self.around);
            if let Some(around) = around {
                around.changes.extend(changes);
                return Changes::new();
            }
            changes
        });
        drop(self);
        changes
    }
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
