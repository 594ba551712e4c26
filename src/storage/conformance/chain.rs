//! What a layer owes to what is inside it: entered for every operation, after the layer, and left before it.

use super::faults::{caught, each, every};
use super::faulty::{Faults, Faulty};
use super::model::Model;
use super::ops::{Name, Op, K, KEYS};
use super::probe::{Event, Log, Probe, Step};
use super::{part, Promise};
use crate::owner::Owner;
use crate::storage::{BoxError, Digest, Failure, Intent, Layer, Memory, Scope, Storage};
use std::panic::resume_unwind;

/// What [`layer`](super::layer) puts inside of a layer: a store in memory that can fail, with a [`Probe`] around it.
#[derive(Debug)]
pub struct Inner(Probe<Faulty<Memory>>);

impl Inner {
    /// An empty store, which writes into a log as `inner` and fails as it is told.
    ///
    /// ```
    /// use perkey::storage::conformance::{Faults, Inner, Log};
    /// use perkey::storage::{PerKey, Storage};
    ///
    /// let log = Log::new();
    /// let store = PerKey::new(Inner::new(&log, &Faults::new()));
    /// store.list().unwrap();
    /// assert_eq!(log.take().len(), 2); // entered and left, for a listing, too
    /// ```
    pub fn new(log: &Log, faults: &Faults) -> Self {
        Self(Probe::new("inner", log, Faulty::new(Memory::new(), faults)))
    }
}

/// Nothing around the probe.
impl Layer for Inner {
    type Inner = Probe<Faulty<Memory>>;
    type Held<'a> = ();

    fn inner(&self) -> &Self::Inner {
        &self.0
    }

    fn enter(&self, _: Scope<'_>, _: Intent) -> Result<(), Failure> {
        Ok(())
    }
}

/// Runs every operation, with and without faults inside, on a layer between two [`Probe`]s.
///
/// ```
/// use perkey::storage::conformance::chain;
/// use perkey::storage::PerKey;
///
/// chain(PerKey::new);
/// ```
///
/// # Panics
/// If the inner context is not entered exactly once for each of the outer one, with its keys and intent; if it is not left or dropped before
/// the outer one; if the outer one is left although the inner one was not.
pub fn chain<S: Storage + Send + Sync + 'static>(wrap: impl Fn(Inner) -> S) {
    part::<S>("chain", || chained(wrap));
}

fn chained<S: Storage>(wrap: impl Fn(Inner) -> S) {
    let (log, faults) = (Log::new(), Faults::new());
    let store = Probe::new("outer", &log, wrap(Inner::new(&log, &faults)));
    let before = Model::with(["one", "two"]);
    let fails = [
        Op::FailUpdate(Name::Full(K::A)),
        Op::FailInsert(K::C),
        Op::Load(Name::Full(K::C)),
        Op::Evict(Name::Short("beef")),
    ];
    for op in each().iter().chain(&fails) {
        before.restore(&store);
        log.take();
        drop(op.attempt(&store));
        let events = log.take();
        assert!(!events.is_empty(), "{op:?}: entered nothing");
        in_order(&format!("{op:?}"), &events);
        every(|fault| {
            before.restore(&store);
            log.take();
            faults.arm(fault);
            let _ = caught(|| op.attempt(&store));
            let struck = faults.disarm();
            in_order(&format!("{op:?}, {fault:?}"), &log.take());
            struck
        });
    }
    panics(&store, &log);
}

/// A closure that panics, and an operation inside it.
fn panics<S: Storage>(store: &Probe<S>, log: &Log) {
    let [a, b, _] = KEYS;
    let closure = |_| -> Result<Option<&str>, BoxError> {
        store.load(&b).expect("an operation inside");
        resume_unwind(Box::new("on purpose"))
    };
    log.take();
    assert!(caught(|| store.update(&a, closure)).is_err());
    in_order("an update whose closure panics", &log.take());
}

/// One context of the outer probe, with the inner one in it.
fn in_order(what: &str, events: &[Event]) {
    // What has been entered and not yet left, of this one thread; and of the outer ones, whether the inner one has been entered and left.
    let mut open: Vec<(&Event, Option<Step>)> = Vec::new();
    let wrong = |event: &Event, how: &str| {
        let lines = events.iter().fold(String::new(), |text, event| {
            let Event {
                probe,
                step,
                keys,
                intent,
                ..
            } = event;
            format!("{text}\n  {probe} {step:?} {keys:?} {intent:?}")
        });
        panic!("{what}: {} {:?} {how}:{lines}", event.probe, event.step)
    };
    for event in events {
        if event.step == Step::Entered {
            if event.probe == "inner" {
                match open.last_mut() {
                    Some((outer, inner @ None))
                        if outer.probe == "outer"
                            && outer.keys == event.keys
                            && outer.intent == event.intent =>
                    {
                        *inner = Some(Step::Entered);
                    }
                    _ => wrong(event, "without an outer one of the same scope and intent"),
                }
            }
            open.push((event, None));
            continue;
        }
        let Some((entered, inner)) = open.pop() else {
            return wrong(event, "was not entered");
        };
        if entered.probe != event.probe {
            wrong(event, "before what is inside it");
        }
        if event.probe == "inner" {
            if let Some((_, inner)) = open.last_mut() {
                *inner = Some(event.step);
            }
        } else if event.step == Step::Left && inner != Some(Step::Left) {
            wrong(event, "without that the inner one was left");
        }
    }
    if let Some((event, _)) = open.last() {
        wrong(event, "is never left");
    }
}

/// Did two threads have contexts at the same time that the promise keeps apart?
pub(super) fn apart(events: &[Event], promise: Promise) {
    let mut open: Vec<(Owner, Option<&Vec<Digest>>)> = Vec::new();
    for event in events {
        let keys = event.keys.as_ref();
        if event.step != Step::Entered {
            let own = open
                .iter()
                .rposition(|(who, k)| *who == event.who && *k == keys);
            open.remove(own.expect("what ends was entered"));
            continue;
        }
        for (who, others) in open.iter().filter(|(who, _)| *who != event.who) {
            let meet = match (keys, others) {
                (Some(keys), Some(others)) => keys.iter().any(|key| others.contains(key)),
                _ => false,
            };
            assert!(
                !(promise == Promise::Serial || promise == Promise::PerKey && meet),
                "inside the layer, {who:?} has {others:?} while {:?} enters {keys:?}",
                event.who
            );
        }
        open.push((event.who, keys));
    }
}
