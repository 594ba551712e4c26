//! `layers_vs_model` bites: it rejects layers that are broken, each after a few inputs.
#![cfg(not(any(perkey_loom, perkey_shuttle)))]
#![allow(missing_docs)]

use perkey::storage::{Bytes, Digest, DynStorage, Failure, Intent, Prefix, Scope, Storage};
use perkey_fuzz::layers::run_around;
use perkey_fuzz::replay::drawn;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// An operation that is left is taken back.
    NotLeft,
    /// What is removed stays.
    NotRemoved,
    /// Reads of prefixes find one key at most.
    OneKey,
    /// An error of the inside is hidden.
    ErrorHidden,
}

struct Broken(Flaw, DynStorage);

type Context<'a> = <DynStorage as Storage>::Context<'a>;

impl Storage for Broken {
    type Context<'a> = Context<'a>;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Context<'_>, Failure> {
        self.1.operation_context(scope, intent)
    }

    fn leave(&self, context: Context<'_>) -> Result<(), Failure> {
        match self.0 {
            Flaw::NotLeft => {
                drop(context);
                Ok(())
            }
            Flaw::ErrorHidden => {
                let _ = self.1.leave(context);
                Ok(())
            }
            _ => self.1.leave(context),
        }
    }

    fn get(&self, context: &mut Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        self.1.get(context, key)
    }

    fn put(&self, context: &mut Context<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        self.1.put(context, key, value)
    }

    fn remove(&self, context: &mut Context<'_>, key: &Digest) -> Result<bool, Failure> {
        match self.0 {
            Flaw::NotRemoved => Ok(self.1.get(context, key)?.is_some()),
            _ => self.1.remove(context, key),
        }
    }

    fn keys(
        &self,
        context: &mut Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.1.keys(context, prefix, &mut |key| {
            let more = each(key);
            if self.0 == Flaw::OneKey {
                return ControlFlow::Break(());
            }
            more
        })
    }
}

/// How many inputs it takes; `None`: more than that.
fn rejected(flaw: Flaw) -> Option<usize> {
    drawn(1, 400, 100).position(|input| {
        let around = |store| DynStorage::new(Broken(flaw, store));
        catch_unwind(AssertUnwindSafe(|| run_around(&input, around))).is_err()
    })
}

#[test]
fn broken_layers_are_rejected() {
    assert_eq!(rejected(Flaw::None), None);
    for flaw in [
        Flaw::NotLeft,
        Flaw::NotRemoved,
        Flaw::OneKey,
        Flaw::ErrorHidden,
    ] {
        let inputs = rejected(flaw);
        println!("{flaw:?}: after {inputs:?} inputs");
        assert!(inputs.is_some(), "{flaw:?} is not rejected");
    }
}
