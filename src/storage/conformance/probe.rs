//! [`Probe`]: a layer that writes down what is entered, left and dropped.

use crate::owner::Owner;
use crate::storage::{Digest, Failure, Intent, Layer, Scope, Storage};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What became of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It was entered.
    Entered,
    /// It was left: the operation went well, as far as it was inside.
    Left,
    /// It was dropped without having been left.
    Dropped,
}

/// A line of a [`Log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name of the [`Probe`].
    pub probe: &'static str,
    /// What happened.
    pub step: Step,
    /// The keys of the operation's scope; `None` if it was [`Scope::Store`].
    pub keys: Option<Vec<Digest>>,
    /// Its intent.
    pub intent: Intent,
    /// Whose thread it was.
    pub(super) who: Owner,
}

/// What [`Probe`]s have written down, in order. Clones are handles on the same.
///
/// ```
/// use perkey::storage::conformance::{Log, Probe, Step};
/// use perkey::storage::{Digest, Intent, Memory, PerKey, Storage};
///
/// let log = Log::new();
/// let store = Probe::new("outer", &log, PerKey::new(Probe::new("inner", &log, Memory::new())));
/// store.load(&Digest::of("apple")).unwrap_err(); // unknown
/// let lines: Vec<_> = log.take().iter().map(|e| (e.probe, e.step, e.intent)).collect();
/// assert_eq!(lines, [
///     ("outer", Step::Entered, Intent::Read),
///     ("inner", Step::Entered, Intent::Read),
///     ("inner", Step::Dropped, Intent::Read),
///     ("outer", Step::Dropped, Intent::Read),
/// ]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    /// An empty one.
    ///
    /// ```
    /// assert!(perkey::storage::conformance::Log::new().take().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written since the last time.
    ///
    /// ```
    /// use perkey::storage::conformance::{Log, Probe};
    /// use perkey::storage::{Memory, Storage};
    ///
    /// let log = Log::new();
    /// Probe::new("memory", &log, Memory::new()).list().unwrap();
    /// assert_eq!(log.take().len(), 2);
    /// assert_eq!(log.take().len(), 0);
    /// ```
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, event: Event) {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }
}

/// A layer that does nothing but write down what happens to its contexts. See [`Log`].
pub struct Probe<S> {
    name: &'static str,
    log: Log,
    inner: S,
}

impl<S> Probe<S> {
    /// A probe of this name around `inner`.
    ///
    /// ```
    /// use perkey::storage::conformance::{Log, Probe};
    /// use perkey::storage::{Memory, Storage};
    ///
    /// assert!(Probe::new("memory", &Log::new(), Memory::new()).list().unwrap().is_empty());
    /// ```
    pub fn new(name: &'static str, log: &Log, inner: S) -> Self {
        Self {
            name,
            log: log.clone(),
            inner,
        }
    }
}

/// What a [`Probe`] holds while an operation runs.
pub struct Mark<'a> {
    log: &'a Log,
    event: Event,
}

impl Mark<'_> {
    fn write(&self, step: Step) {
        let event = self.event.clone();
        self.log.add(Event { step, ..event });
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        if self.event.step != Step::Left {
            self.write(Step::Dropped);
        }
    }
}

impl<S: Storage> Layer for Probe<S> {
    type Inner = S;
    type Held<'a>
        = Mark<'a>
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }

    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Mark<'_>, Failure> {
        let mark = Mark {
            log: &self.log,
            event: Event {
                probe: self.name,
                step: Step::Entered,
                keys: match scope {
                    Scope::Key(key) => Some(vec![*key]),
                    Scope::Keys(keys) => Some(keys.to_vec()),
                    Scope::Store => None,
                },
                intent,
                who: Owner::current(),
            },
        };
        mark.write(Step::Entered);
        Ok(mark)
    }

    fn leave(&self, mut held: Mark<'_>) -> Result<(), Failure> {
        held.event.step = Step::Left;
        held.write(Step::Left);
        Ok(())
    }
}

impl<S: fmt::Debug> fmt::Debug for Probe<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Probe")
            .field(&self.name)
            .field(&self.inner)
            .finish()
    }
}
