//! Where the owned key of a new entry comes from: a clone, a caller's function, or a key that is there already.

use crate::table::core::Junk;
use std::borrow::Borrow;

/// Makes the owned key of a new entry. Foreign code: may panic or use the table.
pub(super) trait Source<K> {
    /// Does `prepare` do anything?
    const PREPARES: bool = false;

    /// Called before anything is claimed.
    fn prepare(&mut self) -> Result<(), K> {
        Ok(())
    }

    /// The key, made out of the one whose place it takes, if there is one. What is left over goes to `junk`.
    fn make(&mut self, old: Option<K>, junk: &mut Junk<K>) -> K;
}

/// A key that has been made already.
pub(super) struct Ready<K>(pub(super) Option<K>);

impl<K> Source<K> for Ready<K> {
    fn make(&mut self, old: Option<K>, junk: &mut Junk<K>) -> K {
        if let Some(old) = old {
            junk.push(old);
        }
        self.0.take().expect("an entry is made once")
    }
}

/// An owned key out of a borrowed one; an idle key's memory is used again.
pub(super) struct Borrowed<'q, Q: ?Sized>(pub(super) &'q Q);

impl<K, Q: ToOwned<Owned = K> + ?Sized> Source<K> for Borrowed<'_, Q> {
    #[inline]
    fn make(&mut self, old: Option<K>, _: &mut Junk<K>) -> K {
        match old {
            None => self.0.to_owned(),
            Some(mut key) => {
                self.0.clone_into(&mut key);
                key
            }
        }
    }
}

/// An owned key out of a function, checked.
pub(super) struct Made<'q, Q: ?Sized, K, F> {
    asked: &'q Q,
    make: Option<F>,
    key: Option<K>,
}

impl<'q, Q: ?Sized, K, F> Made<'q, Q, K, F> {
    pub(super) fn new(asked: &'q Q, make: F) -> Self {
        Self {
            asked,
            make: Some(make),
            key: None,
        }
    }
}

impl<'q, K: Borrow<Q>, Q: Eq + ?Sized, F: FnOnce(&'q Q) -> K> Source<K> for Made<'q, Q, K, F> {
    const PREPARES: bool = true;

    fn prepare(&mut self) -> Result<(), K> {
        if let Some(make) = self.make.take() {
            let made = make(self.asked);
            if made.borrow() != self.asked {
                return Err(made);
            }
            self.key = Some(made);
        }
        Ok(())
    }

    fn make(&mut self, old: Option<K>, junk: &mut Junk<K>) -> K {
        if let Some(old) = old {
            junk.push(old);
        }
        self.key
            .take()
            .expect("an entry is made once, after `prepare`")
    }
}
