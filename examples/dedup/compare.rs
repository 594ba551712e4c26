//! `--compare`: both layers on the same input.

use crate::job::{Bars, Done, Job};
use crate::layers::Kind;
use crate::place::Place;
use indicatif::ProgressBar;
use perkey::storage::BoxError;
use std::path::Path;
use std::time::Duration;

/// How often each layer has its turn.
pub(crate) const ROUNDS: usize = 5;

/// What each layer took, in the median of the rounds.
pub(crate) struct Compared {
    pub(crate) serializing: Times,
    pub(crate) per_key: Times,
}

/// What a job took.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) ingest: Duration,
    pub(crate) verify: Duration,
}

impl Times {
    pub(crate) fn both(self) -> Duration {
        self.ingest + self.verify
    }
}

impl Compared {
    /// How many times as long the job takes with the one lock as with one per object.
    pub(crate) fn ratio(&self) -> f64 {
        self.serializing.both().as_secs_f64() / self.per_key.both().as_secs_f64()
    }
}

/// Does the job again and again, in turns with the one layer and the other, each time on a new store like `place` below `scratch`. `None`, if it was
/// asked to stop.
pub(crate) fn compare(
    place: &Place,
    durable: bool,
    job: &Job<'_>,
    scratch: &Path,
    bar: &ProgressBar,
) -> Result<Option<Compared>, BoxError> {
    let mut times = [Vec::new(), Vec::new()];
    bar.set_length(2 * ROUNDS as u64);
    for round in 0..ROUNDS {
        // Whoever comes first in one round comes last in the next.
        for turn in [round % 2, (round + 1) % 2] {
            let dir = tempfile::tempdir_in(scratch)?;
            let place = place.fresh(dir.path());
            let done = Kind::ALL[turn].run(&place, durable, job, &Bars::hidden())?;
            if job.stop.asked() {
                return Ok(None);
            }
            times[turn].push(timed(done)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let [serializing, per_key] = times.map(median);
    Ok(Some(Compared {
        serializing,
        per_key,
    }))
}

fn timed(done: Done) -> Result<Times, BoxError> {
    if let Some(e) = done.failed {
        return Err(e.into());
    }
    if let Some((_, wrong)) = done.verified.damaged.into_iter().next() {
        return Err(wrong.into());
    }
    let (ingest, verify) = (done.ingest, done.verify);
    Ok(Times { ingest, verify })
}

/// Of a few.
fn median(mut times: Vec<Times>) -> Times {
    times.sort_unstable_by_key(|times| times.both());
    times[times.len() / 2]
}
