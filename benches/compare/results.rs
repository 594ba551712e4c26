//! What runs have measured, and how it is kept, pooled and judged.

use super::case::Case;
use super::sample::{Metric, Sample};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

/// One run or several.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) runs: Vec<Run>,
    pub(crate) cases: Vec<Measured>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) seconds: u64,
    pub(crate) cpus: usize,
    pub(crate) quick: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) case: Case,
    pub(crate) of: BTreeMap<String, Record>,
}

/// What is known of one contender at one case.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// By round; the same index is the same round for all contenders.
    pub(crate) rounds: Vec<Option<Sample>>,
    /// Why it was left out, from then on.
    pub(crate) out: Option<String>,
}

/// A median, with the least and the most.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    fn of(mut all: Vec<f64>) -> Option<Self> {
        all.retain(|x| x.is_finite());
        all.sort_by(f64::total_cmp);
        let (least, most) = (*all.first()?, *all.last()?);
        let middle = all.len() / 2;
        let median = if all.len().is_multiple_of(2) {
            f64::midpoint(all[middle - 1], all[middle])
        } else {
            all[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

impl Record {
    pub(crate) fn spread(&self, metric: &str) -> Option<Spread> {
        Spread::of(self.values(metric).flatten().collect())
    }

    fn values<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = Option<f64>> + 'a {
        let value = move |s: &Sample| s.values.get(metric).copied();
        self.rounds.iter().map(move |s| s.as_ref().and_then(value))
    }

    /// The curve, point by point the median over the rounds.
    pub(crate) fn curve(&self, name: &str) -> Vec<(f64, f64)> {
        let curves: Vec<_> = self
            .rounds
            .iter()
            .flatten()
            .filter_map(|s| s.curves.get(name))
            .collect();
        let points = curves.iter().map(|c| c.len()).min().unwrap_or(0);
        let point = |i: usize| {
            let y = Spread::of(curves.iter().map(|c| c[i].1).collect())?.median;
            Some((curves[0][i].0, y))
        };
        (0..points).filter_map(point).collect()
    }
}

/// How much better a contender is than another: above 1 it is ahead. The median of the ratios within a round.
pub(crate) fn lead(of: &Record, over: &Record, metric: &Metric) -> Option<f64> {
    let pairs = of.values(metric.name).zip(over.values(metric.name));
    let ratios = pairs.filter_map(|(a, b)| {
        let (a, b) = (a?, b?);
        Some(if metric.less_is_better { b / a } else { a / b })
    });
    Some(Spread::of(ratios.collect())?.median)
}

/// A gap below this is none.
const TIE: f64 = 1.15;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ahead,
    Tie,
    Behind,
}

pub(crate) fn verdict(lead: f64) -> Verdict {
    if lead >= TIE {
        Verdict::Ahead
    } else if lead * TIE > 1.0 {
        Verdict::Tie
    } else {
        Verdict::Behind
    }
}

impl Results {
    pub(crate) fn read(path: &Path) -> Result<Self, Box<dyn Error>> {
        let said = |e: &dyn Error| format!("{}: {e}", path.display());
        let text = fs::read_to_string(path).map_err(|e| said(&e))?;
        Ok(serde_json::from_str(&text).map_err(|e| said(&e))?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let said = |e: &dyn Error| format!("{}: {e}", path.display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(|e| said(&e))?;
        }
        let text = serde_json::to_string(self)?;
        Ok(fs::write(path, text).map_err(|e| said(&e))?)
    }

    /// Takes in another run.
    ///
    /// # Errors
    /// If it has measured something else under the same name, a quick run and a full one, say.
    pub(crate) fn pool(&mut self, other: Self) -> Result<(), String> {
        for theirs in &other.cases {
            let same = |ours: &&Measured| ours.case.id == theirs.case.id;
            if let Some(ours) = self.cases.iter().find(same) {
                if ours.case.work != theirs.case.work {
                    let id = &ours.case.id;
                    return Err(format!(
                        "{id} was not the same in all runs; a quick run and a full one do not pool"
                    ));
                }
            }
        }
        self.runs.extend(other.runs);
        for theirs in other.cases {
            match self.cases.iter_mut().find(|m| m.case.id == theirs.case.id) {
                Some(ours) => ours.pool(theirs),
                None => self.cases.push(theirs),
            }
        }
        Ok(())
    }
}

impl Measured {
    fn rounds(&self) -> usize {
        let rounds = self.of.values().map(|r| r.rounds.len());
        rounds.max().unwrap_or(0)
    }

    fn pool(&mut self, other: Self) {
        let (before, after) = (self.rounds(), other.rounds());
        for (name, theirs) in other.of {
            let ours = self.of.entry(name).or_default();
            ours.rounds.resize(before, None);
            ours.rounds.extend(theirs.rounds);
            ours.out = ours.out.take().or(theirs.out);
        }
        for record in self.of.values_mut() {
            record.rounds.resize(before + after, None);
        }
    }
}
