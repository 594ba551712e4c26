//! Moving a value from one store to another.

use crate::mutant::mutant;
use crate::storage::operation::{unknown, Operation};
use crate::storage::whole::whole;
use crate::storage::{BadKey, Digest, Error, Intent, Key, Scope, Storage, Verb};

/// See [`Storage::transfer`].
pub(super) fn transfer<S: Storage, T: Storage>(
    from: &S,
    asked: Result<Key, BadKey>,
    to: &T,
) -> Result<Digest, Error> {
    let verb = Verb::Transfer;
    let asked = [asked.map_err(|bad| Error::bad(verb, bad))?];
    loop {
        let key = whole(from, verb, &asked)?[0];
        let scope = Scope::Key(&key);
        let enter_from = || Operation::enter(from, verb, scope, Intent::Write);
        let enter_to = || Operation::enter(to, verb, scope, Intent::Write);
        let (mut source, mut target);
        // Whoever goes the other way enters them in the same order.
        if from.lock_order() <= to.lock_order() || mutant("transfer_in_argument_order") {
            source = enter_from()?;
            target = enter_to()?;
        } else {
            target = enter_to()?;
            source = enter_from()?;
        }
        if !source.still(&asked)? {
            target.leave()?;
            source.leave()?;
            continue;
        }
        let value = source.get(verb, &key)?;
        let value = value.ok_or_else(|| unknown(verb, &key))?;
        if from.place().is_some() && from.place() == to.place() {
            target.leave()?;
            source.leave()?;
            return Ok(key); // it is there already
        }
        if target.receive(verb, &key, &value)? {
            target.leave()?;
            source.remove(verb, &key)?;
            source.leave()?;
        } else {
            // There already; unless this is one store, which does not say so.
            source.remove(verb, &key)?;
            source.leave()?;
            target.receive(verb, &key, &value)?;
            target.leave()?;
        }
        return Ok(key);
    }
}
