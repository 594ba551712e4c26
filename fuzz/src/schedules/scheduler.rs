//! A scheduler whose choices are bytes of the input, so that what changes the input changes the interleaving.
//!
//! Two bytes are a choice: who goes on, and for how many scheduling points. A choice is used up when these are over or the task cannot go on.
//! So most bytes matter, and few of them make a schedule of few preemptions, which is where most faults show. When the bytes
//! are over, a task runs until it sleeps or ends, and then the next one does: every execution ends.

use super::cells;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use std::cell::Cell;

/// Where a task is: the step of its program, and how many scheduling points it has passed in it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    step: u8,
    points: u8,
}

/// Tasks of an execution, the main one included, at most.
const TASKS: usize = 8;

// The scheduler and the tasks share one thread.
thread_local!(static PLACES: Cell<[Place; TASKS]> = const { Cell::new([Place { step: 0, points: 0 }; TASKS]) });

/// The calling task begins a step of this kind.
pub(super) fn step_begins(step: u8) {
    let mut places = PLACES.get();
    places[usize::from(shuttle::current::me()) % TASKS] = Place { step, points: 0 };
    PLACES.set(places);
}

/// A scheduling point of this task; returns where it is.
fn passes(task: TaskId) -> Place {
    let mut places = PLACES.get();
    let place = &mut places[usize::from(task) % TASKS];
    place.points = place.points.saturating_add(1);
    let place = *place;
    PLACES.set(places);
    place
}

/// Chooses as the bytes say, in one execution.
#[derive(Debug)]
pub(super) struct Fed {
    bytes: std::vec::IntoIter<u8>,
    /// How many points the task that runs may still pass; `None`: as many as it likes.
    left: Option<u32>,
    begun: bool,
}

impl Fed {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into_iter(),
            left: Some(0),
            begun: false,
        }
    }

    /// Who is next, and for how long.
    fn choose(&mut self, runnable: &[&Task], now: Option<TaskId>) -> TaskId {
        let awake: Vec<TaskId> = ids(runnable.iter().filter(|task| task.runnable()));
        let Some(who) = self.bytes.next() else {
            self.left = None;
            let next = awake
                .iter()
                .find(|task| now.is_some_and(|now| **task > now));
            return *next.unwrap_or(&awake[0]);
        };
        let long = self.bytes.next().unwrap_or(u8::MAX);
        self.left = Some(match long {
            0..=191 => u32::from(long % 64),
            _ => u32::from(long - 191) * 16,
        });
        // Now and then a sleeper wakes for no reason. If it did all the time, a lost wake-up would not show.
        let candidates = if who >= 240 { ids(runnable) } else { awake };
        candidates[usize::from(who) % candidates.len()]
    }
}

fn ids<'t>(tasks: impl IntoIterator<Item = &'t &'t Task>) -> Vec<TaskId> {
    tasks.into_iter().map(|task| task.id()).collect()
}

impl Scheduler for Fed {
    fn new_execution(&mut self) -> Option<Schedule> {
        PLACES.set([Place::default(); TASKS]);
        (!std::mem::replace(&mut self.begun, true)).then(|| Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        now: Option<TaskId>,
        yields: bool,
    ) -> Option<TaskId> {
        let from = now.map(passes);
        let awake = |task: TaskId| runnable.iter().any(|t| t.id() == task && t.runnable());
        if let Some(now) = now.filter(|now| !yields && awake(*now)) {
            match &mut self.left {
                None => return Some(now),
                Some(0) => {}
                Some(left) => {
                    *left -= 1;
                    return Some(now);
                }
            }
            if self.bytes.len() == 0 {
                self.left = None;
                return Some(now);
            }
        }
        let next = self.choose(runnable, now);
        if let (Some(from), true) = (from, now != Some(next)) {
            let to = PLACES.get()[usize::from(next) % TASKS];
            cells::visit([from.step, from.points, to.step, to.points]);
        }
        Some(next)
    }

    fn next_u64(&mut self) -> u64 {
        0 // nothing is drawn
    }
}
