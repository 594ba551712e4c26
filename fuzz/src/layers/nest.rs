//! Steps on a store and its model side by side: single operations, and operations around others.

use super::model::Model;
use super::op::{caught, key, value, OnPurpose, Op, Out};
use arbitrary::{Result, Unstructured};
use perkey::storage::conformance::{Fault, Faults, How, Primitive, When};
use perkey::storage::{
    BoxError, Bytes, Digest, DynStorage, Intent, Memory, Operation, PerKey, Scope, Storage,
};
use std::collections::BTreeMap;
use std::panic::resume_unwind;

/// Operations inside operations: so deep at most.
const DEPTH: usize = 3;

/// A store, what it is to hold, and what stands in its way.
pub(super) struct World {
    pub(super) store: DynStorage,
    pub(super) model: Model,
    pub(super) faults: Faults,
    /// A fault is armed, and has not come out yet.
    pub(super) armed: bool,
    /// Where values are transferred to.
    pub(super) other: PerKey<Memory>,
    pub(super) other_model: Model,
}

/// What a store holds, as the calling thread sees it.
fn seen(store: &impl Storage) -> BTreeMap<Digest, Vec<u8>> {
    let keys = store.list().expect("a listing");
    let load = |key| (key, store.load(&key).expect("it is listed").to_vec());
    keys.into_iter().map(load).collect()
}

impl World {
    /// The store is as the model says; not looked at while a fault is armed.
    fn check(&self) {
        if !self.armed {
            assert_eq!(seen(&self.store), self.model.seen(), "what is seen");
        }
    }

    /// A step at the outermost level, with a fault now and then.
    pub(super) fn outermost(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let fault: u8 = u.arbitrary()?;
        if fault >= 128 {
            let how: u8 = u.arbitrary()?;
            self.faults.arm(Fault {
                at: Primitive::ALL[usize::from(fault) % Primitive::ALL.len()],
                call: usize::from(how / 4 % 6),
                when: [When::Before, When::After][usize::from(how % 2)],
                how: [How::Error, How::Panic][usize::from(how / 2 % 2)],
            });
            self.armed = true;
        }
        let result = self.step(u, 0);
        self.armed = false;
        self.faults.disarm();
        self.check();
        assert_eq!(
            seen(&self.other),
            self.other_model.seen(),
            "the other store"
        );
        result
    }

    fn step(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        match u.int_in_range(0..=7u8)? {
            0 if depth < DEPTH => self.operation(u, depth)?,
            1 if depth < DEPTH => self.update(u, depth)?,
            2 if depth < DEPTH => self.insert(u, depth)?,
            3 if depth == 0 => self.transfer(u)?,
            _ => self.single(&Op::new(u)?),
        }
        self.check();
        Ok(())
    }

    fn single(&mut self, op: &Op) {
        let mut after = self.model.clone();
        let expected = after.run(op);
        let out = op.run(&self.store);
        if let Out::Fault(fault) = out {
            self.armed = false; // it strikes once
            let now = seen(&self.store);
            if now != self.model.seen() {
                assert!(done(fault), "{op:?}, {fault:?}: something was done");
                assert_eq!(now, after.seen(), "{op:?}, {fault:?}");
                self.model = after;
            }
        } else {
            assert_eq!(out, expected, "{op:?}");
            self.model = after;
        }
    }

    /// An operation of several steps, with others inside.
    fn operation(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let mut keys = vec![key(u)?, key(u)?];
        let how: u8 = u.arbitrary()?;
        keys.truncate(1 + usize::from(how % 2));
        let write = !(how / 2).is_multiple_of(4);
        let intent = if write { Intent::Write } else { Intent::Read };
        let store = self.store.clone();
        let mut entered = None;
        let out = caught(|| {
            entered = Some(store.operation(Scope::Keys(&keys), intent)?);
            Ok(Out::Done)
        });
        let Some(mut op) = entered else {
            self.fault_only(&out);
            return Ok(());
        };
        self.model.enter(if write { &keys } else { &[] });
        let body = self.body(u, depth, &keys, write, &mut op);
        if !matches!(body, Ok(true)) || (how / 8).is_multiple_of(4) {
            drop(op);
            self.model.take_back();
            return body.map(drop);
        }
        let out = caught(|| op.leave().map(|()| Out::Done));
        self.left(out, |_| {});
        Ok(())
    }

    /// Only a fault can be the reason.
    fn fault_only(&mut self, out: &Out) {
        assert!(matches!(out, Out::Fault(_)), "{out:?}");
        self.armed = false;
    }

    /// The newest operation has been left, or not.
    fn left(&mut self, out: Out, set: impl FnOnce(&mut Model)) {
        match out {
            Out::Fault(fault) => {
                self.armed = false;
                if done(fault) {
                    set(&mut self.model);
                    self.model.leave().expect("there was room");
                } else {
                    self.model.take_back();
                }
            }
            Out::Full => {
                set(&mut self.model);
                assert_eq!(self.model.leave(), Err(Out::Full));
            }
            out => {
                set(&mut self.model);
                assert_eq!((out, self.model.leave()), (Out::Done, Ok(())));
            }
        }
    }

    /// Steps inside an operation; `false`: a fault came out of it.
    fn body(
        &mut self,
        u: &mut Unstructured<'_>,
        depth: usize,
        keys: &[Digest],
        write: bool,
        op: &mut Operation<'_, DynStorage>,
    ) -> Result<bool> {
        for _ in 0..u.int_in_range(0..=4u8)? {
            let kind = u.int_in_range(0..=7u8)?;
            if kind < 2 {
                self.step(u, depth + 1)?;
                continue;
            }
            let (a, b, new) = (key(u)?, key(u)?, value(u)?);
            let may = |key: &Digest, change: bool| keys.contains(key) && (write || !change);
            let old = self.model.get(&a);
            let mut saw = None;
            let out = caught(|| {
                Ok(match kind {
                    2 => op.save_as(&a, &new).map(|()| Out::Done)?,
                    3 => op.evict(&a).map(|()| Out::Done)?,
                    4 => op.rename(&a, &b).map(|()| Out::Done)?,
                    5 => Out::Value(op.load(&a)?.to_vec()),
                    6 => Out::There(op.contains(&a)?),
                    _ => {
                        op.update(&a, |old| {
                            saw = old.map(Vec::from);
                            Ok::<_, BoxError>(Some(&new))
                        })?;
                        Out::Done
                    }
                })
            });
            let changes = matches!(kind, 2 | 3 | 4 | 7);
            let allowed = may(&a, changes) && (kind != 4 || may(&b, true));
            if let Out::Fault(_) = out {
                self.armed = false;
                return Ok(false); // what it has done goes with the operation
            }
            let expected = match (kind, old) {
                _ if !allowed => Out::NotEntered,
                (2, _) => {
                    self.model.set(&a, Some(new));
                    Out::Done
                }
                (7, old) => {
                    assert_eq!(saw, old, "what an update is given");
                    self.model.set(&a, Some(new));
                    Out::Done
                }
                (6, old) => Out::There(old.is_some()),
                (_, None) => Out::Unknown,
                (3, _) => {
                    self.model.set(&a, None);
                    Out::Done
                }
                (4, Some(old)) => self.rename(&a, &b, old),
                (_, Some(old)) => Out::Value(old),
            };
            assert_eq!(out, expected, "step {kind} of an operation");
            self.check();
        }
        Ok(true)
    }

    fn rename(&mut self, from: &Digest, to: &Digest, value: Vec<u8>) -> Out {
        if from != to {
            match self.model.get(to) {
                Some(other) if other != value => return Out::Exists,
                _ => self.model.set(to, Some(value)),
            }
            self.model.set(from, None);
        }
        Out::Done
    }

    /// Steps inside a closure, and how it ends.
    fn closure(
        &mut self,
        u: &mut Unstructured<'_>,
        depth: usize,
        end: u8,
        new: Option<Vec<u8>>,
    ) -> std::result::Result<Option<Vec<u8>>, OnPurpose> {
        let steps = u.int_in_range(0..=3u8).unwrap_or_default();
        for _ in 0..steps {
            if self.step(u, depth + 1).is_err() {
                break;
            }
        }
        match end % 8 {
            0 => Err(OnPurpose),
            1 => resume_unwind(Box::new(OnPurpose)),
            _ => Ok(new),
        }
    }

    fn update(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let op = Op::new(u)?;
        let (Op::Append(name, _) | Op::Clear(name) | Op::Load(name) | Op::Evict(name)) = &op else {
            self.single(&op);
            return Ok(());
        };
        let end: u8 = u.arbitrary()?;
        let new = if (end / 8).is_multiple_of(4) {
            None
        } else {
            Some(value(u)?)
        };
        let store = self.store.clone();
        let expected = self.model.whole(name);
        let mut called = None;
        let out = caught(|| {
            store.update(name, |old: Option<Bytes>| {
                let key = expected.clone().expect("it is called with a key");
                self.model.enter(&[key]);
                let old = old.map(Vec::from);
                assert_eq!(old, self.model.get(&key), "what an update is given");
                called = Some((key, old.is_some()));
                self.closure(u, depth, end, new.clone())
            })?;
            Ok(Out::Done)
        });
        match (called, out) {
            (None, Out::Fault(_)) => self.armed = false,
            (None, out) => assert_eq!(Err(out), expected),
            (Some(_), Out::Closure) => {
                assert!(end % 8 < 2);
                self.model.take_back();
            }
            (Some((key, was)), out) => {
                assert!(end % 8 >= 2);
                self.left(out, |model| {
                    if new.is_some() || was || model.is_tentative(&key) {
                        model.set(&key, new);
                    }
                });
            }
        }
        Ok(())
    }

    fn insert(&mut self, u: &mut Unstructured<'_>, depth: usize) -> Result<()> {
        let (key, end, new) = (key(u)?, u.arbitrary::<u8>()?, value(u)?);
        let store = self.store.clone();
        let old = self.model.get(&key);
        let mut called = false;
        let mut got = None;
        let out = caught(|| {
            let value = store.get_or_insert_with(&key, || {
                called = true;
                self.model.enter(&[key]);
                let made = self.closure(u, depth, end, Some(new.clone()));
                made.map(Option::unwrap_or_default)
            })?;
            got = Some(value.to_vec());
            Ok(Out::Done)
        });
        match out {
            Out::Fault(_) if !called => self.armed = false,
            Out::Closure => {
                assert!(called && end % 8 < 2);
                self.model.take_back();
            }
            out if called => {
                assert!(old.is_none() && end % 8 >= 2);
                assert!(got.is_none_or(|got| got == new));
                self.left(out, |model| model.set(&key, Some(new)));
            }
            out => {
                assert_eq!((out, got), (Out::Done, old.clone()));
                self.model.enter(&[key]);
                self.model.set(&key, old);
                assert_eq!(self.model.leave(), Ok(()), "nothing is new");
            }
        }
        Ok(())
    }

    /// A value on its way from one store to the other is always in one of them.
    fn transfer(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let op = Op::new(u)?;
        let (Op::Load(name) | Op::Evict(name) | Op::Expand(name)) = &op else {
            self.single(&op);
            return Ok(());
        };
        let out = match caught(|| self.store.transfer(name, &self.other).map(Out::Key)) {
            Out::Fault(_) => None,
            out => Some(out),
        };
        let found = self.model.whole(name);
        let found = found.and_then(|key| Ok((key, self.model.get(&key).ok_or(Out::Unknown)?)));
        let (key, value) = match found {
            Ok(found) => found,
            Err(expected) => {
                self.armed &= out.is_some();
                assert!(out.is_none_or(|out| out == expected));
                return Ok(());
            }
        };
        if self
            .other_model
            .get(&key)
            .is_some_and(|there| there != value)
        {
            self.armed &= out.is_some();
            assert!(out.is_none_or(|out| out == Out::Exists));
            return Ok(());
        }
        let (mut after, mut other) = (self.model.clone(), self.other_model.clone());
        for (model, value) in [(&mut after, None), (&mut other, Some(value))] {
            model.enter(&[key]);
            model.set(&key, value);
            model.leave().expect("there is room");
        }
        if let Some(out) = out {
            assert_eq!(out, Out::Key(key));
            (self.model, self.other_model) = (after, other);
            return Ok(());
        }
        self.armed = false;
        let (here, there) = (seen(&self.store), seen(&self.other));
        if there == other.seen() {
            self.other_model = other;
            if here == after.seen() {
                self.model = after;
            }
        }
        Ok(()) // and the rest is looked at as ever
    }
}

/// Did it strike when all was done?
fn done(fault: Fault) -> bool {
    fault.at == Primitive::Leave && fault.when == When::After
}
