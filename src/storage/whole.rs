//! Short keys, made whole.

use crate::storage::operation::Operation;
use crate::storage::{Digest, Error, Intent, Key, Prefix, Scope, Storage, Verb};

/// The keys that were asked for, made whole.
pub(super) fn whole<S: Storage>(
    store: &S,
    verb: Verb,
    asked: &[Key],
) -> Result<Vec<Digest>, Error> {
    let mut finder: Option<Operation<'_, S>> = None;
    let mut keys = Vec::with_capacity(asked.len());
    for key in asked {
        keys.push(match key {
            Key::Full(key) => *key,
            Key::Short(prefix) => {
                let op = match &mut finder {
                    Some(op) => op,
                    none => none.insert(Operation::enter(store, verb, Scope::Store, Intent::Read)?),
                };
                one(verb, prefix, op.scan(verb, prefix)?)?
            }
        });
    }
    finder.map_or(Ok(()), Operation::leave)?;
    Ok(keys)
}

/// The only candidate.
fn one(verb: Verb, prefix: &Prefix, candidates: Vec<Digest>) -> Result<Digest, Error> {
    match candidates[..] {
        [] => Err(Error::Unknown {
            verb,
            key: Key::Short(*prefix),
        }),
        [key] => Ok(key),
        _ => {
            let neighbours = candidates.windows(2);
            let digits = neighbours.map(|two| two[0].common(&two[1]) + 1).max();
            Err(Error::Ambiguous {
                verb,
                prefix: *prefix,
                digits: digits.unwrap_or_default(),
                candidates,
            })
        }
    }
}
