//! The obvious store: a `BTreeMap`, and what the operations under way have changed and not yet made to last.

use super::op::{Name, Op, Out};
use perkey::storage::{Digest, Prefix};
use std::collections::BTreeMap;

type Values = BTreeMap<Digest, Vec<u8>>;

/// An operation under way.
#[derive(Clone, Debug)]
struct Draft {
    /// What it may change.
    keys: Vec<Digest>,
    changes: BTreeMap<Digest, Option<Vec<u8>>>,
}

/// What a store is to hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    stored: Values,
    /// From the outside in.
    drafts: Vec<Draft>,
    /// Bytes of all values at most.
    limit: Option<usize>,
}

impl Model {
    /// An empty one.
    pub(super) fn with_limit(limit: Option<usize>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// The values as the thread sees them.
    pub(super) fn seen(&self) -> Values {
        let mut seen = self.stored.clone();
        for (key, value) in self.drafts.iter().flat_map(|d| &d.changes) {
            match value {
                Some(value) => seen.insert(*key, value.clone()),
                None => seen.remove(key),
            };
        }
        seen
    }

    pub(super) fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        self.seen().remove(key)
    }

    /// An operation that may change these keys begins.
    pub(super) fn enter(&mut self, keys: &[Digest]) {
        self.drafts.push(Draft {
            keys: keys.to_vec(),
            changes: BTreeMap::new(),
        });
    }

    /// The newest operation changes a value.
    pub(super) fn set(&mut self, key: &Digest, value: Option<Vec<u8>>) {
        let draft = self.drafts.last_mut().expect("an operation");
        draft.changes.insert(*key, value);
    }

    /// May what is seen of a key yet be taken back without the newest operation?
    pub(super) fn is_tentative(&self, key: &Digest) -> bool {
        let Some((own, outer)) = self.drafts.split_last() else {
            return false;
        };
        let of = outer.iter().rposition(|d| d.changes.contains_key(key));
        !own.changes.contains_key(key) && of.is_some() && of != around(&own.keys, outer)
    }

    /// The newest operation is taken back.
    pub(super) fn take_back(&mut self) {
        self.drafts.pop();
    }

    /// The newest operation is left: it becomes part of one around it that may change the same keys; else it lasts.
    pub(super) fn leave(&mut self) -> Result<(), Out> {
        let Draft { keys, changes } = self.drafts.pop().expect("an operation");
        let around = around(&keys, &self.drafts);
        if around.is_none() {
            let mut stored = self.stored.clone();
            for (key, value) in &changes {
                match value {
                    Some(value) => stored.insert(*key, value.clone()),
                    None => stored.remove(key),
                };
            }
            let bytes = stored.values().map(Vec::len).sum::<usize>();
            if !changes.is_empty() && self.limit.is_some_and(|limit| bytes > limit) {
                return Err(Out::Full);
            }
            self.stored = stored;
        }
        // What operations further in have noted for the same keys is out of date.
        for draft in &mut self.drafts[around.map_or(0, |at| at + 1)..] {
            draft.changes.retain(|key, _| !changes.contains_key(key));
        }
        if let Some(at) = around {
            self.drafts[at].changes.extend(changes);
        }
        Ok(())
    }

    /// The key that is meant.
    pub(super) fn whole(&self, name: &Name) -> Result<Digest, Out> {
        let text = name.digits().to_lowercase();
        if let Ok(key) = text.parse() {
            return Ok(key);
        }
        if text.len() < Prefix::LEAST {
            return Err(Out::Malformed);
        }
        let seen = self.seen();
        let fits = |key: &&Digest| key.to_string().starts_with(&text);
        let found: Vec<Digest> = seen.keys().filter(fits).copied().collect();
        match found[..] {
            [] => Err(Out::Unknown),
            [key] => Ok(key),
            _ => {
                let digits = found.iter().map(|key| unique(*key, &found)).max();
                Err(Out::Ambiguous(found, digits.unwrap_or_default()))
            }
        }
    }

    fn there(&self, name: &Name) -> Result<(Digest, Vec<u8>), Out> {
        let key = self.whole(name)?;
        let value = self.get(&key).ok_or(Out::Unknown)?;
        Ok((key, value))
    }

    /// One operation on its own keys, as a whole.
    fn change(&mut self, changes: &[(Digest, Option<Vec<u8>>)]) -> Result<(), Out> {
        let keys: Vec<Digest> = changes.iter().map(|(key, _)| *key).collect();
        self.enter(&keys);
        for (key, value) in changes {
            self.set(key, value.clone());
        }
        self.leave()
    }

    /// Also if it is there already: an operation around may take that back.
    fn save(&mut self, key: Digest, value: &[u8]) -> Result<(), Out> {
        self.change(&[(key, Some(value.to_vec()))])
    }

    /// Does what the operation does, and says what it returns.
    pub(super) fn run(&mut self, op: &Op) -> Out {
        self.step(op).unwrap_or_else(|out| out)
    }

    fn step(&mut self, op: &Op) -> Result<Out, Out> {
        Ok(match op {
            Op::SaveAs(key, value) => {
                self.save(*key, value)?;
                Out::Done
            }
            Op::Save(value) => {
                self.save(Digest::of(value), value)?;
                Out::Key(Digest::of(value))
            }
            Op::Load(name) => Out::Value(self.there(name)?.1),
            Op::LoadMany(keys) => {
                let load = |key| self.get(key).ok_or(Out::Unknown);
                Out::Values(keys.iter().map(load).collect::<Result<_, _>>()?)
            }
            Op::Contains(name) => match self.there(name) {
                Ok(_) => Out::There(true),
                Err(Out::Unknown) => Out::There(false),
                Err(other) => return Err(other),
            },
            Op::Evict(name) => {
                let (key, _) = self.there(name)?;
                self.change(&[(key, None)])?;
                Out::Done
            }
            Op::Append(name, byte) => {
                let key = self.whole(name)?;
                let old = self.get(&key);
                let mut new = old.clone().unwrap_or_default();
                new.push(*byte);
                self.change(&[(key, Some(new))])?;
                Out::Saw(old)
            }
            Op::Clear(name) => {
                let key = self.whole(name)?;
                let old = self.get(&key);
                self.change(&[(key, None)])?;
                Out::Saw(old)
            }
            Op::Insert(key, value) => {
                let value = self.get(key).unwrap_or_else(|| value.clone());
                self.change(&[(*key, Some(value.clone()))])?;
                Out::Value(value)
            }
            Op::Rename(from, to) => {
                let from = self.whole(from)?;
                let value = self.get(&from).ok_or(Out::Unknown)?;
                self.rename(from, *to, value)?;
                Out::Done
            }
            Op::Expand(name) => Out::Key(self.there(name)?.0),
            Op::Shrink(name) => {
                let (key, _) = self.there(name)?;
                let all: Vec<Digest> = self.seen().into_keys().collect();
                Out::Digits(unique(key, &all).max(Prefix::LEAST))
            }
            Op::List => Out::Keys(self.seen().into_keys().collect()),
        })
    }

    fn rename(&mut self, from: Digest, to: Digest, value: Vec<u8>) -> Result<(), Out> {
        self.enter(&[from, to]);
        if from != to {
            match self.get(&to) {
                Some(other) if other != value => {
                    self.take_back();
                    return Err(Out::Exists);
                }
                _ => self.set(&to, Some(value)),
            }
            self.set(&from, None);
        }
        self.leave()
    }
}

/// The nearest operation that may change all these keys.
fn around(keys: &[Digest], outer: &[Draft]) -> Option<usize> {
    let has_all = |d: &Draft| keys.iter().all(|key| d.keys.contains(key));
    let around = outer.iter().rposition(has_all);
    around.filter(|_| !keys.is_empty())
}

/// How many digits tell a key from all others.
fn unique(key: Digest, all: &[Digest]) -> usize {
    let text = key.to_string();
    let others = || all.iter().filter(|k| **k != key).map(Digest::to_string);
    let alone = |n: &usize| !others().any(|k| k.starts_with(&text[..*n]));
    (0..=text.len()).find(alone).unwrap_or(text.len())
}
