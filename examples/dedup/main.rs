//! Takes a directory tree into a content-addressed store, finds the duplicate files on the way, and loads every object back.
//!
//! An object is the contents of a file, under their BLAKE3. Several threads read files, and two equal files may come up at the same moment on two of
//! them; whoever comes second must find what the first has stored. So each thread enters an operation on *its* digests
//! (`groups`), and the layer around the store lets equal files wait for each other: with `PerKey` all others pass, with
//! `Serializing` nobody does.
//!
//! ```text
//! walk ─ paths ─▶ threads: read, digest (files) ─▶ operation: compare or store, note (groups) ─┐
//!                                                                      report ◀─ load back (job) ◀─┘
//! ```
//!
//! What is counted, and how, is said by `--help`.

#![forbid(unsafe_code)]

mod compare;
mod files;
mod groups;
mod job;
mod layers;
mod place;
mod report;
mod stop;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use job::{Bars, Job};
use layers::Kind;
use perkey::storage::BoxError;
use place::Place;
use report::Report;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Instant;
use stop::Stop;
use tempfile::TempDir;

/// Takes files into a content-addressed store, finds those with equal contents, and counts what they waste
///
/// Every regular file below DIR counts, hidden ones and those in .git too. Symbolic links are not followed; they, and
/// fifos, sockets and devices, are neither opened nor counted. Nothing below DIR is ever changed or removed.
///
/// Each path counts as a file. Of equal files one is distinct and the others are duplicates; a duplicate wastes its
/// length, unless it is a hard link of one that is counted already. Empty files are equal to each other and waste nothing.
///
/// Distinct contents are stored once, as an object under their BLAKE3. What the store has already, from this run or an earlier one, is
/// compared with it byte for byte and not written again; a damaged object is written anew. In the end every object of the store
/// is loaded back; one whose digest is not its name is named on stderr and counted as damaged.
///
/// What cannot be read, or changes while it is read, is named on stderr, counted as unreadable and nowhere else. Files larger than --largest are
/// digested, compared with each other and counted, but not stored, and named. A name that is not UTF-8 is shown in quotes, its odd
/// bytes as \xNN.
///
/// Ctrl-C stops it after the files under way, and what is done so far is reported; a second Ctrl-C kills it. The next run on
/// the same store goes on from there.
///
/// Exit status: 0, or 1 if the store failed or has damaged objects or the result could not be written, or 2 if DIR is not a
/// directory, the store cannot be opened or an option is wrong, or 130 after Ctrl-C.
#[derive(Parser)]
#[command(name = "dedup")]
#[allow(clippy::doc_markdown)] // it is shown as it is
struct Options {
    /// What to take in
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Where the objects go: a directory, an SQLite database FILE.db, or `memory`. DIR and FILE.db are made if they are not there, and must
    /// not be in the tree [default: a database in a new temporary directory, which is named and kept]
    #[arg(long, value_name = "DIR|FILE.db|memory")]
    store: Option<PathBuf>,
    /// What makes the store safe for threads
    #[arg(long, value_enum, default_value = Kind::PerKey.name())]
    layer: Kind,
    /// How many threads read files [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// The largest file to store. A thread holds one file, or some small ones, in memory, up to three times
    #[arg(long, value_name = "MIB", default_value = "256", value_parser = clap::value_parser!(u16).range(1..=900))]
    largest: u16,
    /// Afterwards do the same with both layers, five times in turn on new temporary stores, and tell the ratio of their times
    #[arg(long)]
    compare: bool,
    /// Write one JSON object to stdout, and nothing else
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(why) = is_directory(&options.dir) {
        return refused(&options.dir, &why);
    }
    let stop = match Stop::on_interrupt() {
        Ok(stop) => stop,
        Err(e) => return refused(Path::new("Ctrl-C"), &e),
    };
    let report = match run(&options, &stop) {
        Ok(report) => report,
        Err(Refused(what, why)) => return refused(&what, &why),
    };
    for line in report.complaints() {
        say(&line);
    }
    let text = if options.json {
        format!("{:#}\n", report.json())
    } else {
        report.text()
    };
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever reads has seen enough.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            say(&format!("stdout: {e}"));
            ExitCode::FAILURE
        }
        _ => report.exit_code(),
    }
}

/// What is wrong, and why: nothing was done.
struct Refused(PathBuf, BoxError);

fn refused(what: &Path, why: &dyn std::fmt::Display) -> ExitCode {
    say(&format!("{}: {why}", report::name(what)));
    ExitCode::from(2)
}

/// A line on stderr; there is nobody to tell if that fails.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "dedup: {line}");
}

fn is_directory(dir: &Path) -> io::Result<()> {
    if dir.metadata()?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

fn run(options: &Options, stop: &Stop) -> Result<Report, Refused> {
    let begin = Instant::now();
    let tree = &options.dir;
    let (place, scratch) = if let Some(name) = &options.store {
        let place = Place::parse(name).and_then(|place| place.apart_from(tree).map(|()| place));
        let place = place.map_err(|why| Refused(name.clone(), why.into()))?;
        (place, options.compare.then(scratch).transpose()?)
    } else {
        let scratch = scratch()?;
        let place = Place::Sqlite(scratch.path().join("objects.db"));
        (place, Some(scratch))
    };
    // What is in a place that nobody has named is as good as lost after a crash of the machine: no need to write it to the disk at once.
    let durable = options.store.is_some();
    let threads = options.threads.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let skip = scratch
        .as_ref()
        .and_then(|scratch| place::within(tree, scratch.path()));
    let job = Job {
        tree,
        skip: skip.as_deref(),
        threads,
        largest: u64::from(options.largest) << 20,
        batch: place.batch(),
        stop,
    };
    let name = place.path().unwrap_or(Path::new("memory"));
    let bars = bars();
    if !durable {
        bars.ingest
            .println(format!("store: {}", report::name(name)));
    }
    let done = options.layer.run(&place, durable, &job, &bars);
    let done = done.map_err(|e| Refused(name.to_owned(), e.into()))?;
    let mut report = Report::new(done, threads, options.layer.name(), name);
    if let (true, Some(scratch)) = (options.compare && report.is_complete(), &scratch) {
        let bar = bar("{wide_bar} {pos} of {len} runs to compare, {elapsed}");
        report.add(compare::compare(
            &place,
            durable,
            &job,
            scratch.path(),
            &bar,
        ));
    }
    if let (false, Some(scratch)) = (durable, scratch) {
        let _ = scratch.keep();
    }
    report.finish(begin.elapsed(), stop.asked());
    Ok(report)
}

fn scratch() -> Result<TempDir, Refused> {
    let dir = tempfile::Builder::new().prefix("dedup-").tempdir();
    dir.map_err(|e| Refused(std::env::temp_dir(), e.into()))
}

fn bars() -> Bars {
    Bars {
        ingest: bar("{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {elapsed}"),
        verify: bar("{wide_bar} {pos} of {len} objects loaded back, {elapsed}"),
    }
}

/// A bar on stderr; indicatif shows none if that is not a terminal.
fn bar(template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates are constants");
    ProgressBar::new(0).with_style(style)
}
