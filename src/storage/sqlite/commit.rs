//! [`Commit`]: the changes of an operation, applied if what the operation has seen is still so.

use crate::storage::journal::{Changes, Page};
use crate::storage::sqlite::sql;
use crate::storage::{Bytes, Digest};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior};

/// BLAKE3 of a key and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Sum([u8; 32]);

impl Sum {
    pub(super) fn of(key: &Digest, value: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(key.as_bytes()).update(value);
        Self(hasher.finalize().into())
    }

    /// The first column of a row; `None` if that is no sum.
    pub(super) fn in_row(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let bytes = row.get_ref(0)?.as_blob()?;
        Ok(bytes.try_into().ok().map(Self))
    }

    /// The sum that is stored for a key, and whether it is one. Does not read the value.
    #[allow(clippy::option_option)] // a row, if there is one; a sum, if it is one
    pub(super) fn stored(
        connection: &Connection,
        key: &Digest,
    ) -> rusqlite::Result<Option<Option<Self>>> {
        let mut query = connection.prepare_cached(sql::SUM)?;
        query.query_row([key.as_bytes()], Self::in_row).optional()
    }
}

/// What an operation has seen of a key in the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Missing,
    Sum(Sum),
    /// Now this, now that: in between somebody else has changed it.
    Changed,
}

impl Seen {
    /// Notes what is seen now.
    pub(super) fn note(page: &mut Page<'_, Self>, key: &Digest, now: Self) {
        match page.get(key).flatten() {
            None => page.set(key, Some(now)),
            Some(before) if before == now => None,
            Some(_) => page.set(key, Some(Self::Changed)),
        };
    }
}

/// The changes of an operation.
pub(super) struct Commit(Vec<Change>);

struct Change {
    key: Digest,
    value: Option<(Sum, Bytes)>,
    seen: Option<Seen>,
}

impl Commit {
    pub(super) fn new(changes: Changes<Bytes>, seen: &Page<'_, Seen>) -> Self {
        let change = |(key, value): (Digest, Option<Bytes>)| Change {
            key,
            value: value.map(|value| (Sum::of(&key, &value), value)),
            seen: seen.get(&key).flatten(),
        };
        Self(changes.into_iter().map(change).collect())
    }

    /// All changes or, if one of the values is not what the operation has seen, none and its key.
    pub(super) fn apply(&self, connection: &mut Connection) -> rusqlite::Result<Option<Digest>> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for change in &self.0 {
            if !change.is_as_seen(&transaction)? {
                return Ok(Some(change.key));
            }
            change.apply(&transaction)?;
        }
        transaction.commit()?;
        Ok(None)
    }

    /// Tells the operations around this one, on the same thread, what it has done: to them it is nobody else's change.
    pub(super) fn tell(&self, seen: &Page<'_, Seen>) {
        let now = |change: &Change| match &change.value {
            Some((sum, _)) => Seen::Sum(*sum),
            None => Seen::Missing,
        };
        seen.amend(&self.0.iter().map(|c| (c.key, Some(now(c)))).collect());
    }
}

impl Change {
    fn is_as_seen(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let Some(seen) = self.seen else {
            return Ok(true);
        };
        let stored = Sum::stored(connection, &self.key)?;
        Ok(match stored {
            None => seen == Seen::Missing,
            Some(None) => false,
            Some(Some(sum)) => seen == Seen::Sum(sum) || self.is_content(sum),
        })
    }

    /// Is the value its key's only one, and stored already? Then it does not matter who did it.
    fn is_content(&self, stored: Sum) -> bool {
        let new = self.value.as_ref();
        new.is_some_and(|(sum, value)| *sum == stored && self.key == Digest::of(value))
    }

    fn apply(&self, connection: &Connection) -> rusqlite::Result<usize> {
        let key = self.key.as_bytes();
        let Some((sum, value)) = &self.value else {
            let mut delete = connection.prepare_cached(sql::REMOVE)?;
            return delete.execute([key]);
        };
        let mut upsert = connection.prepare_cached(sql::PUT)?;
        upsert.execute((key, &sum.0, &value[..]))
    }
}
