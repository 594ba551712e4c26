//! One contender at one case, in a process of its own: prepares, then plays a round whenever it is told to.

use super::case::{Case, Work};
use super::contender::{facts, with_numbers, with_strings, Contender, Facts, Visit};
use super::heap::distinct;
use super::held::{Alive, Held};
use super::sample::Sample;
use super::store::Stored;
use super::strings::Strings;
use super::timed::{again, Loop};
use super::waiters::waiters;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::{stdin, stdout, BufRead, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// What the parent says once.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) contender: String,
    pub(crate) case: Case,
    /// Steps of [`work`](super::keys::work) in a nanosecond.
    pub(crate) speed: f64,
    /// An empty directory.
    pub(crate) dir: PathBuf,
}

/// What the child says: first that it is ready, then the outcome of each round.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready,
    Sample(Sample),
    Failed(String),
}

type Round = Box<dyn FnMut() -> Result<Sample, String>>;

/// Plays until nobody asks any more.
pub(crate) fn serve(job: &str) -> Result<(), Box<dyn Error>> {
    let job: Job = serde_json::from_str(job)?;
    let mut round = prepare(&job)?;
    say(&Answer::Ready)?;
    let (send, asked) = channel();
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            if line.is_err() || send.send(()).is_err() {
                break;
            }
        }
        // The parent is gone or has seen enough. Nothing is tidied up: a million entries take their time, and what hangs would hang on.
        std::process::exit(0)
    });
    for () in asked {
        say(&round().map_or_else(Answer::Failed, Answer::Sample))?;
    }
    Ok(())
}

fn say(answer: &Answer) -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    serde_json::to_writer(&mut out, answer)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

fn prepare(job: &Job) -> Result<Round, Box<dyn Error>> {
    let (name, work) = (&*job.contender, job.case.work.clone());
    let unknown = || format!("no contender is called {name}");
    if let Work::Store {
        threads, millis, ..
    } = work
    {
        let time = Duration::from_millis(millis);
        let mut store = Stored::new(name, &job.dir, threads, time)?.ok_or_else(unknown)?;
        return Ok(Box::new(move || Ok(store.round())));
    }
    let facts = facts(name).ok_or_else(unknown)?;
    if let Work::Strings { never, millis } = work {
        let time = Duration::from_millis(millis);
        return Ok(with_strings(name, Text { never, time }).ok_or_else(unknown)?);
    }
    let speed = job.speed;
    let visit = Numbers { work, speed, facts };
    Ok(with_numbers(name, visit).ok_or_else(unknown)?)
}

struct Text {
    never: bool,
    time: Duration,
}

impl Visit<str> for Text {
    type Out = Round;
    fn visit<C: Contender<str>>(self) -> Round {
        let mut strings = Strings::<C>::new(self.never, self.time);
        Box::new(move || Ok(strings.round()))
    }
}

struct Numbers {
    work: Work,
    speed: f64,
    facts: &'static Facts,
}

impl Visit<u64> for Numbers {
    type Out = Round;
    fn visit<C: Contender<u64>>(self) -> Round {
        match self.work {
            Work::Loop {
                keys,
                threads,
                inside_ns,
                millis,
                clock,
            } => {
                let steps = (f64::from(inside_ns) * self.speed).round() as u32;
                let time = Duration::from_millis(millis);
                let mut it = Loop::<C>::new(keys, threads, steps, time, clock);
                Box::new(move || Ok(it.round()))
            }
            Work::Again { millis } => {
                let of: &'static C = Box::leak(Box::new(C::new(1)));
                Box::new(move || Ok(again(of, Duration::from_millis(millis))))
            }
            Work::Held { keys } => {
                let mut it = Held::<C>::new(keys, self.facts);
                Box::new(move || Ok(it.round()))
            }
            Work::Alive { keys, millis } => {
                let time = Duration::from_millis(millis);
                let mut it = Alive::<C>::new(keys, time, self.facts);
                Box::new(move || Ok(it.round()))
            }
            Work::Distinct { keys } => Box::new(move || Ok(distinct::<C>(keys))),
            Work::Waiters { threads, keys } => Box::new(move || waiters::<C>(threads, keys)),
            Work::Strings { .. } | Work::Store { .. } => unreachable!("have other keys"),
        }
    }
}
