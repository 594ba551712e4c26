//! `Sqlite`: what it has in common with `Memory`, and what a file, other processes and a full disk add to that.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle, perkey_small)))]

#[path = "../common/mod.rs"]
mod common;
mod conflicts;
mod faults;
mod files;
mod semantics;
mod threads;

use perkey::storage::{BoxError, Bytes, Digest, Error, Sqlite, Storage};
use std::path::Path;
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::thread;

/// A store that does not wait for the disk.
fn open(path: impl AsRef<Path>) -> Sqlite {
    Sqlite::options().sync(false).open(path).unwrap()
}

/// A connection around the store.
fn raw(path: impl AsRef<Path>) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

fn number(value: Option<Bytes>) -> Result<u64, BoxError> {
    value.map_or(Ok(0), |v| Ok(std::str::from_utf8(&v)?.parse()?))
}

/// Counts one more.
fn count(store: &impl Storage, counter: &Digest) -> Result<(), Error> {
    store.update(counter, |old| {
        Ok::<_, BoxError>(Some((number(old)? + 1).to_string()))
    })
}

/// Counts one more, however often somebody else comes in between.
fn count_until_done(store: &impl Storage, counter: &Digest) {
    while let Err(e) = count(store, counter) {
        assert!(matches!(e, Error::Busy { .. }), "{e}");
    }
}

fn counted(store: &impl Storage, counter: &Digest) -> u64 {
    number(Some(store.load(counter).unwrap())).unwrap()
}

const THREADS: usize = 8;

fn each_thread(f: impl Fn(usize) + Sync) {
    thread::scope(|s| {
        for n in 0..THREADS {
            let f = &f;
            s.spawn(move || f(n));
        }
    });
}

/// Where all threads wait for each other; a barrier that notices if one of them has failed.
#[derive(Default)]
struct Together {
    arrived: Mutex<usize>,
    all: Condvar,
}

impl Together {
    fn wait(&self) {
        let mut arrived = self.arrived.lock().unwrap();
        *arrived += 1;
        let enough = arrived.next_multiple_of(THREADS);
        self.all.notify_all();
        let (arrived, waited) = self
            .all
            .wait_timeout_while(arrived, common::PATIENCE, |arrived| *arrived < enough)
            .unwrap();
        assert!(
            !waited.timed_out() && *arrived >= enough,
            "some have not come"
        );
    }
}

const ORDERS: &str = "PERKEY_SQLITE";

/// This program once more, for one test, which is given orders.
fn child(program: &Path, test: &str, orders: &Path) -> Command {
    let mut child = Command::new(program);
    child.args(["--exact", test, "--nocapture"]);
    child.env(ORDERS, orders);
    child
}

/// What the process is for, if it is a child.
fn orders() -> Option<std::path::PathBuf> {
    std::env::var_os(ORDERS).map(Into::into)
}
