//! [`Model`]: the obvious store, in which every operation is a step of its own.

use super::ops::{Name, Op, Ret, K};
use crate::storage::{Bytes, Prefix, Storage};
use stateright::semantics::SequentialSpec;
use std::collections::BTreeMap;

/// A map, and what each operation does to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model(BTreeMap<K, Bytes>);

impl Model {
    /// What a store holds.
    pub(super) fn of<S: Storage>(store: &S) -> Self {
        let keys = store.list().expect("a listing");
        let load = |key| {
            let value = store.load(&key).expect("a value that is listed");
            (K::of(&key), value)
        };
        Self(keys.into_iter().map(load).collect())
    }

    /// These values under the first keys.
    pub(super) fn with<const N: usize>(values: [&'static str; N]) -> Self {
        let values = values.map(|value| Bytes::from(value.as_bytes()));
        Self(K::ALL.into_iter().zip(values).collect())
    }

    /// Makes a store hold just this.
    pub(super) fn restore<S: Storage>(&self, store: &S) {
        for key in store.list().expect("a listing") {
            if !self.0.keys().any(|own| own.digest() == key) {
                store.evict(&key).expect("a key that is listed goes");
            }
        }
        for (key, value) in &self.0 {
            store
                .save_as(&key.digest(), value)
                .expect("a value is saved");
        }
    }

    /// The key that is meant, or what is said if there is none.
    fn whole(&self, name: &Name) -> Result<K, Ret> {
        match name {
            Name::Full(key) | Name::Upper(key) => Ok(*key),
            Name::Short(digits) => {
                let digits = digits.to_lowercase();
                let fits = |key: &&K| key.digest().to_string().starts_with(&digits);
                let candidates: Vec<K> = self.0.keys().filter(fits).copied().collect();
                match candidates[..] {
                    [] => Err(Ret::Unknown),
                    [key] => Ok(key),
                    _ => {
                        let digits = candidates.iter().map(|key| self.unique(*key)).max();
                        Err(Ret::Ambiguous(candidates, digits.unwrap_or_default()))
                    }
                }
            }
        }
    }

    /// How many digits tell the key from all others.
    fn unique(&self, key: K) -> usize {
        let all: Vec<String> = self.0.keys().map(|key| key.digest().to_string()).collect();
        let key = key.digest().to_string();
        let alone = |n: &usize| all.iter().all(|k| *k == key || !k.starts_with(&key[..*n]));
        (0..=key.len()).find(alone).unwrap_or(key.len())
    }

    fn there(&self, name: &Name) -> Result<(K, Bytes), Ret> {
        let key = self.whole(name)?;
        let value = self.0.get(&key).ok_or(Ret::Unknown)?;
        Ok((key, value.clone()))
    }

    fn step(&mut self, op: &Op) -> Result<Ret, Ret> {
        Ok(match op {
            Op::SaveAs(key, value) => {
                self.0.insert(*key, value.clone());
                Ret::Done
            }
            Op::SaveBoth(keys, value) => {
                self.0.extend(keys.map(|key| (key, value.clone())));
                Ret::Done
            }
            Op::Load(name) => Ret::Value(self.there(name)?.1),
            Op::LoadMany(keys) => {
                let load = |key| self.0.get(key).cloned().ok_or(Ret::Unknown);
                Ret::Values(keys.iter().map(load).collect::<Result<_, _>>()?)
            }
            Op::Contains(name) => match self.there(name) {
                Ok(_) => Ret::There(true),
                Err(Ret::Unknown) => Ret::There(false),
                Err(other) => return Err(other),
            },
            Op::Evict(name) => {
                let (key, _) = self.there(name)?;
                self.0.remove(&key);
                Ret::Done
            }
            Op::Append(name, byte) => {
                let key = self.whole(name)?;
                let old = self.0.get(&key).cloned();
                let new = [old.as_deref().unwrap_or_default(), &[*byte]].concat();
                self.0.insert(key, new.into());
                Ret::Saw(old)
            }
            Op::Clear(name) => {
                let key = self.whole(name)?;
                Ret::Saw(self.0.remove(&key))
            }
            Op::FailUpdate(name) => {
                self.whole(name)?;
                Ret::Closure
            }
            Op::GetOrInsert(key, value) => {
                let made = !self.0.contains_key(key);
                let got = self.0.entry(*key).or_insert_with(|| value.clone());
                Ret::Got(got.clone(), made)
            }
            Op::FailInsert(key) => match self.0.get(key) {
                Some(value) => Ret::Got(value.clone(), false),
                None => Ret::Closure,
            },
            Op::Rename(from, to) => {
                let (from, value) = self.there(from)?;
                if from != *to {
                    if self.0.get(to).is_some_and(|other| *other != value) {
                        return Err(Ret::Exists);
                    }
                    self.0.remove(&from);
                    self.0.insert(*to, value);
                }
                Ret::Done
            }
            Op::Expand(name) => Ret::Key(self.there(name)?.0),
            Op::Shrink(name) => {
                let (key, _) = self.there(name)?;
                let digits = self.unique(key).max(Prefix::LEAST);
                Ret::Short(key.digest().prefix(digits).expect("at least four digits"))
            }
            Op::List => Ret::Keys(self.0.keys().copied().collect()),
        })
    }
}

impl SequentialSpec for Model {
    type Op = Op;
    type Ret = Ret;

    fn invoke(&mut self, op: &Op) -> Ret {
        self.step(op).unwrap_or_else(|error| error)
    }

    /// Who was told that the store is busy has changed nothing, at any time.
    fn is_valid_step(&mut self, op: &Op, ret: &Ret) -> bool {
        *ret == Ret::Busy || self.invoke(op) == *ret
    }
}
