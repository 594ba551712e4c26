//! [`Memory`]: a store in memory.

use crate::storage::journal::{Changes, Journal, Page};
use crate::storage::{Bytes, Digest, Failure, Intent, Prefix, Scope, Storage};
use crate::sync::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// A part for each first digit.
const PARTS: usize = 16;

type Part = BTreeMap<Digest, Bytes>;

/// A store in memory. Clones are handles on the same one.
///
/// Values are handed out without copying. It is sound without any layer: what an operation changes is there at once when it is left, or
/// not at all; but only a layer keeps `update` and the like from losing what another thread changes meanwhile. Threads that use keys with different first
/// digits do not wait for each other, and never while a closure runs.
///
/// ```
/// use perkey::storage::{Memory, PerKey, Storage};
///
/// let store = PerKey::new(Memory::new());
/// let key = store.save("apple").unwrap();
/// assert_eq!(store.clone().load(&key).unwrap(), "apple"); // the same store
/// ```
#[derive(Clone, Default)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    parts: [Mutex<Part>; PARTS],
    /// Bytes of all values; counted only if there is a limit.
    used: Mutex<usize>,
    limit: Option<usize>,
    journal: Journal<Bytes>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            parts: std::array::from_fn(|_| Mutex::new(Part::new())),
            used: Mutex::new(0),
            limit: None,
            journal: Journal::default(),
        }
    }
}

/// What an operation has changed so far.
pub struct Pending<'a>(Page<'a, Bytes>);

impl Memory {
    /// An empty store.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// assert!(Memory::new().list().unwrap().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store for values of so many bytes in all. What would be more fails with [`Error::Full`](crate::storage::Error::Full), and changes
    /// nothing.
    ///
    /// ```
    /// use perkey::storage::{Error, Memory, Storage};
    ///
    /// let store = Memory::with_limit(5);
    /// let apple = store.save("apple").unwrap();
    /// assert!(matches!(store.save("pear"), Err(Error::Full { .. })));
    /// store.evict(&apple).unwrap();
    /// store.save("pear").unwrap();
    /// ```
    pub fn with_limit(bytes: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit: Some(bytes),
                ..Shared::default()
            }),
        }
    }

    /// How many values there are. Each part is counted at its own moment.
    ///
    /// ```
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let store = Memory::new();
    /// store.save_many(["apple", "pear"]).unwrap();
    /// assert_eq!(store.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.shared.parts.iter().map(|part| part.lock().len()).sum()
    }

    /// Are there none?
    ///
    /// ```
    /// assert!(perkey::storage::Memory::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, key: &Digest) -> &Mutex<Part> {
        &self.shared.parts[part(key)]
    }

    /// All of the changes, or none.
    fn apply(&self, changes: Changes<Bytes>) -> Result<(), Failure> {
        let mut used = match self.shared.limit {
            // Whoever applies several changes holds several parts; in ascending order, as the keys are.
            Some(limit) if !changes.is_empty() => Some((self.shared.used.lock(), limit)),
            _ => None,
        };
        let mut at: Vec<usize> = changes.keys().map(part).collect();
        at.dedup();
        let mut parts: BTreeMap<usize, _> = at
            .into_iter()
            .map(|at| (at, self.shared.parts[at].lock()))
            .collect();
        if let Some((used, limit)) = &mut used {
            let (mut less, mut more) = (0, 0);
            for (key, value) in &changes {
                less += parts[&part(key)].get(key).map_or(0, Bytes::len);
                more += value.as_ref().map_or(0, Bytes::len);
            }
            let after = **used - less + more;
            if after > *limit {
                return Err(Failure::Full(
                    format!("{after} bytes of values, {limit} at most").into(),
                ));
            }
            **used = after;
        }
        let mut old = Vec::new();
        for (key, value) in changes {
            let part = parts.get_mut(&part(&key)).expect("locked above");
            old.extend(match value {
                Some(value) => part.insert(key, value),
                None => part.remove(&key),
            });
        }
        drop((parts, used));
        drop(old);
        Ok(())
    }
}

fn part(key: &Digest) -> usize {
    usize::from(key.as_bytes()[0] >> 4)
}

impl Storage for Memory {
    type Context<'a> = Pending<'a>;
    type Error = Failure;

    fn operation_context(&self, scope: Scope<'_>, intent: Intent) -> Result<Pending<'_>, Failure> {
        Ok(Pending(self.shared.journal.page(scope, intent)))
    }

    fn leave(&self, context: Pending<'_>) -> Result<(), Failure> {
        context.0.leave(|changes| self.apply(changes))
    }

    fn get(&self, context: &mut Pending<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        let pending = context.0.get(key);
        Ok(pending.unwrap_or_else(|| self.part(key).lock().get(key).cloned()))
    }

    fn put(&self, context: &mut Pending<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        context.0.set(key, Some(Bytes::copy_from_slice(value)));
        Ok(())
    }

    fn remove(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        let there = self.exists(context, key)?;
        context.0.set(key, None);
        Ok(there)
    }

    fn exists(&self, context: &mut Pending<'_>, key: &Digest) -> Result<bool, Failure> {
        let pending = context.0.get(key).map(|value| value.is_some());
        Ok(pending.unwrap_or_else(|| self.part(key).lock().contains_key(key)))
    }

    fn is_tentative(&self, context: &Pending<'_>, key: &Digest) -> bool {
        context.0.is_tentative(key)
    }

    fn keys(
        &self,
        context: &mut Pending<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let range = prefix.range();
        let mut stored = Vec::new();
        for at in part(range.start())..=part(range.end()) {
            let part = self.shared.parts[at].lock();
            stored.extend(part.range(range.clone()).map(|(key, _)| *key));
        }
        let keys = context.0.keys(range, stored);
        let _ = keys.into_iter().try_for_each(each);
        Ok(())
    }

    fn place(&self) -> Option<String> {
        Some(format!("memory {:p}", Arc::as_ptr(&self.shared)))
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("limit", &self.shared.limit)
            .finish_non_exhaustive()
    }
}
