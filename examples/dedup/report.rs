//! What was found and done, as a table for people and as JSON for programs.

use crate::compare::{Compared, Times, ROUNDS};
use crate::files::Left;
use crate::groups::{Found, Group};
use crate::job::{Done, Verified, Waits};
use indicatif::{BinaryBytes, HumanCount};
use perkey::storage::BoxError;
use serde_json::{json, Value};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How many groups are shown.
const SHOWN: usize = 5;

/// The result of a run.
pub(crate) struct Report {
    files: usize,
    bytes: u64,
    distinct: usize,
    wasted: u64,
    /// The files that waste most, most first.
    largest: Vec<Duplicates>,
    unreadable: Vec<Left>,
    layer: &'static str,
    store: PathBuf,
    /// Objects that this run has written, each counted once.
    stored: usize,
    /// How often one of them was written again: never, if the layer does what it says.
    again: usize,
    repaired: usize,
    not_stored: Vec<Left>,
    verified: Verified,
    threads: usize,
    locks: usize,
    waits: Waits,
    times: Times,
    took: Duration,
    compared: Option<Compared>,
    failed: Option<String>,
    stopped: bool,
}

/// Files with equal contents, at least two.
struct Duplicates {
    /// Of each of them.
    bytes: u64,
    wasted: u64,
    paths: Vec<PathBuf>,
}

impl Duplicates {
    fn new(group: Group) -> Self {
        let bytes = group.files[0].stamp.len;
        // On the disk, all hard links are one. A file without an inode number is taken to be on its own.
        let numbered = group.files.iter().filter_map(|file| file.stamp.inode);
        let linked = numbered.clone().count() - numbered.collect::<HashSet<_>>().len();
        let more = group.files.len() - linked - 1;
        let mut paths: Vec<_> = group.files.into_iter().map(|file| file.path).collect();
        paths.sort_unstable();
        Self {
            bytes,
            wasted: bytes * more as u64,
            paths,
        }
    }
}

impl Report {
    pub(crate) fn new(done: Done, threads: usize, layer: &'static str, store: &Path) -> Self {
        let Found {
            groups,
            mut unreadable,
            mut not_stored,
            repaired,
            locks,
        } = done.found;
        let writes = groups.values().map(|group| group.writes);
        let (stored, again) = writes.fold((0, 0), |(stored, again), writes| {
            (stored + writes.min(1), again + writes.saturating_sub(1))
        });
        // A group is empty if all its files have been lost again.
        let groups = groups.into_values().filter(|group| !group.files.is_empty());
        let all: Vec<_> = groups.map(Duplicates::new).collect();
        unreadable.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        not_stored.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut report = Self {
            files: all.iter().map(|d| d.paths.len()).sum(),
            bytes: all.iter().map(|d| d.bytes * d.paths.len() as u64).sum(),
            distinct: all.len(),
            wasted: all.iter().map(|d| d.wasted).sum(),
            largest: all.into_iter().filter(|d| d.wasted > 0).collect(),
            unreadable,
            layer,
            store: store.to_owned(),
            stored,
            again,
            repaired,
            not_stored,
            verified: done.verified,
            threads,
            locks,
            waits: done.waits,
            times: Times {
                ingest: done.ingest,
                verify: done.verify,
            },
            took: Duration::ZERO,
            compared: None,
            failed: done.failed.map(|e| e.to_string()),
            stopped: false,
        };
        report
            .largest
            .sort_unstable_by(|a, b| b.wasted.cmp(&a.wasted).then(a.paths.cmp(&b.paths)));
        report.largest.truncate(SHOWN);
        report
    }

    /// Has the store not failed?
    pub(crate) fn is_complete(&self) -> bool {
        self.failed.is_none()
    }

    /// What the comparison has come to.
    pub(crate) fn add(&mut self, compared: Result<Option<Compared>, BoxError>) {
        match compared {
            Ok(compared) => self.compared = compared,
            Err(e) => self.failed = Some(format!("cannot compare: {e}")),
        }
    }

    /// How long it took, and whether it was stopped before its end.
    pub(crate) fn finish(&mut self, took: Duration, stopped: bool) {
        self.took = took;
        self.stopped = stopped;
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.failed.is_some() || !self.verified.damaged.is_empty() {
            ExitCode::FAILURE
        } else if self.stopped {
            ExitCode::from(130)
        } else {
            ExitCode::SUCCESS
        }
    }

    /// What went wrong, a line each.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let left = self.unreadable.iter().chain(&self.not_stored);
        let left = left.map(|left| format!("{}: {}", name(&left.path), left.why));
        let damaged = self.verified.damaged.iter();
        let damaged = damaged.map(|(key, wrong)| format!("damaged object {key}: {wrong}"));
        let mut lines: Vec<_> = left.chain(damaged).collect();
        if let Some(why) = &self.failed {
            lines.push(format!("{}: given up: {why}", name(&self.store)));
        }
        if self.stopped {
            let mut line = "stopped by Ctrl-C; this is what was done so far".to_owned();
            if self.store != Path::new("memory") {
                let _ = write!(line, "; to go on: --store {}", name(&self.store));
            }
            lines.push(line);
        }
        lines
    }

    fn duplicates(&self) -> usize {
        self.files - self.distinct
    }

    #[allow(clippy::cast_precision_loss)] // for a rate it does not matter
    fn rate(&self, n: u64) -> f64 {
        n as f64 / self.times.ingest.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub(crate) fn json(&self) -> Value {
        let largest = self.largest.iter().map(|d| {
            json!({
                "bytes": d.bytes,
                "wasted_bytes": d.wasted,
                "files": d.paths.len(),
                "paths": d.paths.iter().map(|p| text(p)).collect::<Vec<_>>(),
            })
        });
        let paths = |left: &[Left]| left.iter().map(|l| text(&l.path)).collect::<Vec<_>>();
        let damaged = self.verified.damaged.iter().map(|(key, _)| key.to_string());
        let times = |times: Times| {
            json!({
                "ingest_seconds": times.ingest.as_secs_f64(),
                "verify_seconds": times.verify.as_secs_f64(),
            })
        };
        let mut json = json!({
            "files": self.files,
            "bytes": self.bytes,
            "distinct": self.distinct,
            "duplicates": self.duplicates(),
            "wasted_bytes": self.wasted,
            "largest": largest.collect::<Vec<_>>(),
            "unreadable": self.unreadable.len(),
            "unreadable_paths": paths(&self.unreadable),
            "layer": self.layer,
            "store": text(&self.store),
            "stored": self.stored,
            "stored_again": self.again,
            "repaired": self.repaired,
            "not_stored": self.not_stored.len(),
            "not_stored_paths": paths(&self.not_stored),
            "objects": self.verified.objects,
            "verified": self.verified.equal,
            "damaged": self.verified.damaged.len(),
            "damaged_objects": damaged.collect::<Vec<_>>(),
            "threads": self.threads,
            "locks": self.locks,
            "contended": self.waits.count,
            "longest_wait_seconds": self.waits.longest.as_secs_f64(),
            "waited_seconds": self.waits.total.as_secs_f64(),
            "ingest_seconds": self.times.ingest.as_secs_f64(),
            "verify_seconds": self.times.verify.as_secs_f64(),
            "files_per_second": self.rate(self.files as u64),
            "bytes_per_second": self.rate(self.bytes),
            "failed": self.failed,
            "stopped": self.stopped,
            "seconds": self.took.as_secs_f64(),
        });
        if let Some(compared) = &self.compared {
            json["compare"] = json!({
                "rounds": ROUNDS,
                "serializing": times(compared.serializing),
                "per-key": times(compared.per_key),
                "ratio": compared.ratio(),
            });
        }
        json
    }

    pub(crate) fn text(&self) -> String {
        let count = |n: usize| HumanCount(n as u64).to_string();
        let size = |n| BinaryBytes(n).to_string();
        let wait = |wait: Duration| match self.waits.count {
            0 => "none".to_owned(),
            _ => format!("{wait:.1?}"),
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate again
        let rate = |n: u64| self.rate(n) as u64;
        let rows = [
            ("files", count(self.files)),
            ("bytes", size(self.bytes)),
            ("distinct", count(self.distinct)),
            ("duplicates", count(self.duplicates())),
            ("wasted bytes", size(self.wasted)),
            ("unreadable", count(self.unreadable.len())),
            ("store", name(&self.store)),
            ("layer", self.layer.to_owned()),
            ("stored", count(self.stored)),
            ("stored again", count(self.again)),
            ("repaired", count(self.repaired)),
            ("not stored", count(self.not_stored.len())),
            ("objects", count(self.verified.objects)),
            ("verified", count(self.verified.equal)),
            ("damaged", count(self.verified.damaged.len())),
            ("threads", count(self.threads)),
            ("locks taken", count(self.locks)),
            ("contended", HumanCount(self.waits.count).to_string()),
            ("longest wait", wait(self.waits.longest)),
            ("waited", wait(self.waits.total)),
            ("ingest", format!("{:.2?}", self.times.ingest)),
            ("files/s", HumanCount(rate(self.files as u64)).to_string()),
            ("bytes/s", size(rate(self.bytes))),
            ("verify", format!("{:.2?}", self.times.verify)),
            ("time", format!("{:.2?}", self.took)),
        ];
        let mut out = String::new();
        for (what, value) in rows {
            let _ = writeln!(out, "{what:<12} {value:>14}");
        }
        if !self.largest.is_empty() {
            let _ = writeln!(
                out,
                "\n{:>12} {:>8} {:>12}  one of them",
                "wasted", "files", "of each"
            );
        }
        for d in &self.largest {
            let (wasted, files, each) = (size(d.wasted), count(d.paths.len()), size(d.bytes));
            let _ = writeln!(
                out,
                "{wasted:>12} {files:>8} {each:>12}  {}",
                name(&d.paths[0])
            );
        }
        if let Some(compared) = &self.compared {
            let _ = writeln!(out, "\nmedian of {ROUNDS}      ingest       verify");
            let layers = [
                ("serializing", compared.serializing),
                ("per-key", compared.per_key),
            ];
            for (layer, Times { ingest, verify }) in layers {
                let (ingest, verify) = (format!("{ingest:.2?}"), format!("{verify:.2?}"));
                let _ = writeln!(out, "{layer:<12} {ingest:>12} {verify:>12}");
            }
            let _ = writeln!(out, "{:<12} {:>12.2}", "ratio", compared.ratio());
        }
        out
    }
}

/// A path as it is, or quoted and escaped if it is not UTF-8: nothing of it is lost.
fn text(path: &Path) -> String {
    path.to_str()
        .map_or_else(|| quoted(path), ToOwned::to_owned)
}

#[allow(clippy::unnecessary_debug_formatting)] // its escapes are what is wanted
fn quoted(path: &Path) -> String {
    format!("{path:?}")
}

/// A path on a terminal, which a line break or an escape sequence in a name is not to reach.
pub(crate) fn name(path: &Path) -> String {
    let text = text(path);
    if text.contains(char::is_control) {
        quoted(path)
    } else {
        text
    }
}
