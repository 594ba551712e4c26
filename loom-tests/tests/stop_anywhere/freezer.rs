//! The scheduler that stops one task at a given step and watches what becomes of the others.

use super::shuttle_common::throw;
use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use std::sync::{Arc, Mutex};

/// So many steps without the victim are more than the others ever need: in fact they take less than a tenth of it.
pub(crate) const ENDLESS: usize = 100_000;

/// Whom to run next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// The victim first until it is stopped, then one after the other, the first first.
    Forwards,
    /// The same, the last first.
    Backwards,
    /// The same, everybody one step in turn.
    InTurn,
    /// At random, the victim as soon as the others.
    Mixed(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Everything is brought to where the operation begins.
    SetUp,
    /// The operation runs, beside the others.
    Run,
    /// The others are done; everything goes on to its end.
    End,
}

/// What the scheduler and the tasks tell each other; no scheduling points in it.
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// Who waits for the run to begin.
    pub(crate) gated: Vec<TaskId>,
    pub(crate) victim: Option<TaskId>,
    /// Has it finished its operation?
    pub(crate) victim_done: bool,
    /// The others that have not finished.
    pub(crate) others: usize,
    /// Steps of the victim inside the operation.
    pub(crate) taken: usize,
    /// Is it stopped?
    pub(crate) stopped: bool,
    /// Steps of the others since.
    pub(crate) since: usize,
    /// Against I4.
    pub(crate) violation: Option<String>,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::SetUp,
            gated: Vec::new(),
            victim: None,
            victim_done: false,
            others: 0,
            taken: 0,
            stopped: false,
            since: 0,
            violation: None,
        }
    }
}

/// One execution: stops the victim after `stop_at` steps.
pub(crate) struct Freezer {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) order: Order,
    pub(crate) stop_at: usize,
    pub(crate) started: bool,
    pub(crate) dice: u64,
}

impl Scheduler for Freezer {
    fn new_execution(&mut self) -> Option<Schedule> {
        (!std::mem::replace(&mut self.started, true)).then(|| Schedule::new(0))
    }

    fn next_task(&mut self, all: &[&Task], now: Option<TaskId>, _: bool) -> Option<TaskId> {
        let mut s = self.state.lock().unwrap();
        if s.phase == Phase::Run && s.others == 0 {
            s.phase = Phase::End;
        }
        // Who could run and is not asleep; sorted by number.
        let awake = all.iter().filter(|t| t.runnable()).map(|t| t.id());
        match s.phase {
            // The youngest first: what was spawned gets as far as it can before its parent goes on.
            Phase::SetUp => awake.filter(|t| !s.gated.contains(t)).max(),
            // In turn, so that spinning would end, too.
            Phase::End => {
                let awake: Vec<_> = awake.collect();
                let next = awake.iter().find(|t| Some(**t) > now);
                Some(*next.unwrap_or(&awake[0]))
            }
            Phase::Run => {
                let victim = s.victim.expect("it is gated");
                s.stopped = !s.victim_done && s.taken >= self.stop_at;
                let out = s.stopped;
                let mut can: Vec<_> = awake.filter(|t| !out || *t != victim).collect();
                if out {
                    s.since += 1;
                    if can.is_empty() || s.since > ENDLESS {
                        let how = if can.is_empty() { "wait" } else { "spin" };
                        s.violation = Some(format!(
                            "{} of the others {how} for a thread that is stopped after {} steps",
                            s.others, s.taken
                        ));
                        s.phase = Phase::End;
                        return Some(all.iter().find(|t| t.runnable())?.id());
                    }
                }
                if let Order::Mixed(_) = self.order {
                    // Now and then a sleeper wakes for no reason.
                    if throw(&mut self.dice).is_multiple_of(16) {
                        let asleep = all.iter().filter(|t| !t.runnable()).map(|t| t.id());
                        can.extend(asleep.filter(|t| !out || *t != victim));
                    }
                }
                let next = match self.order {
                    _ if can.len() == 1 => can[0],
                    Order::Mixed(_) => {
                        let n = u64::try_from(can.len()).unwrap();
                        can[usize::try_from(throw(&mut self.dice) % n).unwrap()]
                    }
                    _ if can.contains(&victim) && !s.victim_done => victim,
                    Order::Forwards => can[0],
                    Order::Backwards => can[can.len() - 1],
                    Order::InTurn => *can.iter().find(|t| Some(**t) > now).unwrap_or(&can[0]),
                };
                if next == victim {
                    s.taken += 1;
                }
                Some(next)
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        unreachable!("no random data here")
    }
}
