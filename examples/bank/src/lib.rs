//! A bank whose accounts are guarded by a lock each: right in one way, and wrong in another that no test with threads is sure to find.
//!
//! `tests/model.rs` lets loom and shuttle look at both. What a user of perkey needs for this is here: the two dependencies under their cfg in
//! `Cargo.toml`, and the few lines of [`sync`] that put the checker's cell in place of the real one.
//!
//! ```sh
//! RUSTFLAGS="--cfg perkey_loom --cfg crossbeam_loom" CARGO_TARGET_DIR=target/loom cargo test --release -p bank -- --nocapture
//! RUSTFLAGS="--cfg perkey_shuttle" CARGO_TARGET_DIR=target/shuttle cargo test --release -p bank -- --nocapture
//! ```

use perkey::{LockManyError, LockTable};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What differs under a checker: data that it watches.
mod sync {
    #[cfg(perkey_loom)]
    pub(crate) use loom::cell::UnsafeCell;

    /// The real cell behind loom's interface.
    #[cfg(not(perkey_loom))]
    #[derive(Default)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(not(perkey_loom))]
    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

/// What happened, in this order.
pub type Story = Arc<Mutex<Vec<String>>>;

/// Accounts by number, and who may touch them.
pub struct Bank {
    locks: LockTable<u32>,
    accounts: BTreeMap<u32, sync::UnsafeCell<i64>>,
    /// What happened, to be shown when it went wrong. Of `std`, so that the checker does not see it: it orders nothing.
    story: Story,
}

// SAFETY: an account is touched only under its lock; which is what is checked.
unsafe impl Sync for Bank {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Bank {}

impl Bank {
    /// A bank with these balances, which tells what happens.
    pub fn new(balances: &[(u32, i64)], story: Story) -> Self {
        let cells = balances.iter().map(|&(a, n)| (a, sync::UnsafeCell::new(n)));
        Self {
            locks: LockTable::with_capacity(1),
            accounts: cells.collect(),
            story,
        }
    }

    /// Wrong: takes the locks in the order of the arguments. Two transfers in opposite directions can wait for each other for ever.
    pub fn transfer_one_by_one(&self, from: u32, to: u32, amount: i64) {
        self.tell(format!("{from} → {to}: waits for {from}"));
        let _from = self.locks.lock(&from);
        self.tell(format!("{from} → {to}: has {from}, waits for {to}"));
        let _to = self.locks.lock(&to);
        self.tell(format!("{from} → {to}: has both"));
        self.add(from, -amount);
        self.add(to, amount);
    }

    /// Right: takes both locks at once, in an order that everybody shares.
    ///
    /// # Errors
    /// If the caller holds accounts already, and to wait for these could be for ever.
    pub fn transfer(&self, from: u32, to: u32, amount: i64) -> Result<(), LockManyError> {
        self.tell(format!("{from} → {to}: waits for both"));
        let _both = self.locks.lock_many([&from, &to])?;
        self.tell(format!("{from} → {to}: has both"));
        self.add(from, -amount);
        self.add(to, amount);
        Ok(())
    }

    /// What is in an account.
    pub fn balance(&self, account: u32) -> i64 {
        let _account = self.locks.lock(&account);
        // SAFETY: its lock is held.
        self.accounts[&account].with(|n| unsafe { *n })
    }

    fn add(&self, account: u32, amount: i64) {
        // SAFETY: its lock is held.
        self.accounts[&account].with_mut(|n| unsafe { *n += amount });
    }

    fn tell(&self, what: String) {
        self.story.lock().expect("never poisoned").push(what);
    }
}
