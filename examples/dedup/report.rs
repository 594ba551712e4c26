//! What was found, as a table for people and as JSON for programs.

use crate::files::Unreadable;
use crate::groups::{Class, Groups};
use indicatif::{BinaryBytes, HumanCount};
use serde_json::{json, Value};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
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
    pub(crate) unreadable: Vec<Unreadable>,
    threads: usize,
    locks: u64,
    contended: u64,
    longest_wait: Duration,
    took: Duration,
}

/// Files with equal contents, at least two.
struct Duplicates {
    /// Of each of them.
    bytes: u64,
    wasted: u64,
    paths: Vec<PathBuf>,
}

impl Duplicates {
    fn new(class: Class) -> Self {
        let bytes = class[0].stamp.len;
        // On the disk, all hard links are one. A file without an inode number is taken to be on its own.
        let numbered = class.iter().filter_map(|file| file.stamp.inode);
        let linked = numbered.clone().count() - numbered.collect::<HashSet<_>>().len();
        let more = class.len() - linked - 1;
        let mut paths: Vec<_> = class.into_iter().map(|file| file.path).collect();
        paths.sort_unstable();
        Self {
            bytes,
            wasted: bytes * more as u64,
            paths,
        }
    }
}

impl Report {
    pub(crate) fn new(
        groups: &Groups,
        mut unreadable: Vec<Unreadable>,
        threads: usize,
        took: Duration,
    ) -> Self {
        let all: Vec<_> = groups.classes().into_iter().map(Duplicates::new).collect();
        unreadable.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let mut report = Self {
            files: all.iter().map(|d| d.paths.len()).sum(),
            bytes: all.iter().map(|d| d.bytes * d.paths.len() as u64).sum(),
            distinct: all.len(),
            wasted: all.iter().map(|d| d.wasted).sum(),
            largest: all.into_iter().filter(|d| d.wasted > 0).collect(),
            unreadable,
            threads,
            locks: groups.locks(),
            contended: groups.contended(),
            longest_wait: groups.longest_wait(),
            took,
        };
        report
            .largest
            .sort_unstable_by(|a, b| b.wasted.cmp(&a.wasted).then(a.paths.cmp(&b.paths)));
        report.largest.truncate(SHOWN);
        report
    }

    fn duplicates(&self) -> usize {
        self.files - self.distinct
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
        let unreadable = self.unreadable.iter().map(|u| text(&u.path));
        json!({
            "files": self.files,
            "bytes": self.bytes,
            "distinct": self.distinct,
            "duplicates": self.duplicates(),
            "wasted_bytes": self.wasted,
            "largest": largest.collect::<Vec<_>>(),
            "unreadable": self.unreadable.len(),
            "unreadable_paths": unreadable.collect::<Vec<_>>(),
            "threads": self.threads,
            "locks": self.locks,
            "contended": self.contended,
            "longest_wait_seconds": self.longest_wait.as_secs_f64(),
            "seconds": self.took.as_secs_f64(),
        })
    }

    pub(crate) fn text(&self) -> String {
        let count = |n: usize| HumanCount(n as u64).to_string();
        let size = |n| BinaryBytes(n).to_string();
        let wait = match self.contended {
            0 => "none".to_owned(),
            _ => format!("{:.1?}", self.longest_wait),
        };
        let rows = [
            ("files", count(self.files)),
            ("bytes", size(self.bytes)),
            ("distinct", count(self.distinct)),
            ("duplicates", count(self.duplicates())),
            ("wasted bytes", size(self.wasted)),
            ("unreadable", count(self.unreadable.len())),
            ("threads", count(self.threads)),
            ("locks taken", HumanCount(self.locks).to_string()),
            ("contended", HumanCount(self.contended).to_string()),
            ("longest wait", wait),
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
