//! Helpers of the storage tests: a layer and a backend that write down what happens to them and go wrong where they are told to.
#![allow(dead_code, unreachable_pub, missing_docs)]

use perkey::storage::{
    Bytes, Digest, Failure, Intent, Layer, Memory, Prefix, Scope, Storage, ToKey,
};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::{mpsc, Arc, Mutex};

/// A key that begins so, with zeros behind.
pub fn key(digits: &str) -> Digest {
    format!("{digits:0<64}").parse().unwrap()
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// What happened since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// How something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Fails,
    Panics,
}

/// What is thrown, without a message on the terminal.
pub struct Sprung;

/// Goes wrong once, at the place that is set.
#[derive(Clone, Debug, Default)]
pub struct Trap(Arc<Mutex<Option<(&'static str, How)>>>);

impl Trap {
    pub fn set(&self, at: &'static str, how: How) {
        *self.0.lock().unwrap() = Some((at, how));
    }

    /// Has it not gone off? It is not set afterwards.
    pub fn unset(&self) -> bool {
        self.0.lock().unwrap().take().is_some()
    }

    pub fn spring(&self, at: &str) -> Result<(), Failure> {
        let mut set = self.0.lock().unwrap();
        let Some((_, how)) = set.filter(|(place, _)| *place == at) else {
            return Ok(());
        };
        *set = None;
        drop(set);
        match how {
            How::Fails => Err(Failure::other(format!("{at} fails"))),
            How::Panics => resume_unwind(Box::new(Sprung)),
        }
    }
}

/// A layer that writes down when it is entered and left; `enter` and `leave` are places for its trap.
pub struct Probe<S> {
    pub name: &'static str,
    pub log: Log,
    pub trap: Trap,
    pub inner: S,
}

impl<S> Probe<S> {
    pub fn new(name: &'static str, log: &Log, inner: S) -> Self {
        let (log, trap) = (log.clone(), Trap::default());
        Self {
            name,
            log,
            trap,
            inner,
        }
    }
}

/// What it holds: says so when it is dropped.
pub struct Told(&'static str, Log);

impl Drop for Told {
    fn drop(&mut self) {
        self.1.add(format!("drop {}", self.0));
    }
}

impl<S: Storage> Layer for Probe<S> {
    type Inner = S;
    type Held<'a>
        = Told
    where
        S: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }

    fn enter(&self, scope: Scope<'_>, intent: Intent) -> Result<Told, Failure> {
        let scope = match scope {
            Scope::Key(key) => format!("{key:?}").trim_end_matches('0').to_owned(),
            Scope::Keys(keys) => format!("{} keys", keys.len()),
            Scope::Store => "store".to_owned(),
        };
        self.log
            .add(format!("enter {} {scope} {intent:?}", self.name));
        self.trap.spring("enter")?;
        Ok(Told(self.name, self.log.clone()))
    }

    fn leave(&self, held: Told) -> Result<(), Failure> {
        self.log.add(format!("leave {}", self.name));
        self.trap.spring("leave")?;
        drop(held);
        Ok(())
    }
}

/// A [`Memory`] each of whose primitives is a place for its trap: `enter`, `get`, `put`, `remove`, `exists`, `keys`, `leave`.
#[derive(Clone, Default)]
pub struct Brittle {
    pub trap: Trap,
    pub memory: Memory,
}

/// The places.
pub const PLACES: [&str; 7] = ["enter", "get", "put", "remove", "exists", "keys", "leave"];

impl Storage for Brittle {
    type Context<'a> = <Memory as Storage>::Context<'a>;
    type Error = Failure;

    fn operation_context(
        &self,
        scope: Scope<'_>,
        intent: Intent,
    ) -> Result<Self::Context<'_>, Failure> {
        self.trap.spring("enter")?;
        self.memory.operation_context(scope, intent)
    }
    fn leave(&self, c: Self::Context<'_>) -> Result<(), Failure> {
        self.trap.spring("leave")?;
        Storage::leave(&self.memory, c)
    }
    fn get(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<Option<Bytes>, Failure> {
        self.trap.spring("get")?;
        self.memory.get(c, key)
    }
    fn put(&self, c: &mut Self::Context<'_>, key: &Digest, value: &[u8]) -> Result<(), Failure> {
        self.memory.put(c, key, value)?;
        self.trap.spring("put") // when it is half done
    }
    fn remove(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        let there = self.memory.remove(c, key)?;
        self.trap.spring("remove")?;
        Ok(there)
    }
    fn exists(&self, c: &mut Self::Context<'_>, key: &Digest) -> Result<bool, Failure> {
        self.trap.spring("exists")?;
        self.memory.exists(c, key)
    }
    fn is_tentative(&self, c: &Self::Context<'_>, key: &Digest) -> bool {
        self.memory.is_tentative(c, key)
    }
    fn keys(
        &self,
        c: &mut Self::Context<'_>,
        prefix: &Prefix,
        each: &mut dyn FnMut(Digest) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        self.trap.spring("keys")?;
        self.memory.keys(c, prefix, each)
    }
    fn place(&self) -> Option<String> {
        self.memory.place()
    }
}

/// A layer that calls `act` when it is entered.
pub struct Hook<S, F> {
    pub act: F,
    pub inner: S,
}

impl<S: Storage, F: Fn(Scope<'_>)> Layer for Hook<S, F> {
    type Inner = S;
    type Held<'a>
        = ()
    where
        Self: 'a;

    fn inner(&self) -> &S {
        &self.inner
    }
    fn enter(&self, scope: Scope<'_>, _: Intent) -> Result<(), Failure> {
        (self.act)(scope);
        Ok(())
    }
}

/// All values.
pub fn contents(store: &impl Storage) -> Vec<(Digest, Bytes)> {
    let keys = store.list().unwrap();
    let values = store.load_many(&keys).unwrap();
    keys.into_iter().zip(values).collect()
}

/// The value, as text.
pub fn text(store: &impl Storage, key: &(impl ToKey + ?Sized)) -> Option<String> {
    let value = store.load(key).ok()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

/// Runs `f` on a thread of its own, for as long as anything may take: what hangs fails.
#[track_caller]
pub fn ends<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = f();
        let _ = done.send(());
        result
    });
    if is_done.recv_timeout(crate::common::PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("hangs: {what}");
    }
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Runs the block with a store of every kind.
#[macro_export]
macro_rules! on_every_stack {
    (|$store:ident, $memory:ident| $body:block) => {{
        use perkey::storage::{DynStorage, Memory, PerKey, Serializing, Traced};
        macro_rules! with {
            ($make:expr) => {{
                let $memory = Memory::new();
                #[allow(clippy::redundant_closure_call)]
                let $store = $make($memory.clone());
                $body
            }};
        }
        with!(|m: Memory| m);
        with!(Serializing::new);
        with!(PerKey::new);
        with!(|m| Traced::new("traced", PerKey::new(m)));
        with!(|m| Serializing::new(PerKey::new(m)));
        with!(|m| DynStorage::new(PerKey::new(DynStorage::new(m))));
        with!(|m| std::sync::Arc::new(PerKey::new(Traced::new("traced", m))));
    }};
}
