//! Finds the duplicate files of a directory tree, and shows what a lock per key is good for.
//!
//! Several threads digest files. Two equal files may come up at the same moment on two of them; whoever comes second must
//! see what the first has recorded. So each thread takes the lock of *its* digest while it compares a file with those
//! recorded under that digest and records it (`groups`): equal files wait for each other, all others pass.
//!
//! ```text
//! walk ─ paths ─▶ threads: digest (files) ─▶ lock of the digest: compare, record (groups) ─▶ table (report)
//! ```
//!
//! What is counted, and how, is said by `--help`.

#![forbid(unsafe_code)]

mod files;
mod groups;
mod report;

use clap::Parser;
use files::Unreadable;
use groups::Groups;
use ignore::WalkBuilder;
use indicatif::{ProgressBar, ProgressStyle};
use report::Report;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{mpsc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Finds files with equal contents, and counts what they waste
///
/// Every regular file below DIR counts, hidden ones and those in .git too. Symbolic links are not followed; they, and
/// fifos, sockets and devices, are neither opened nor counted. Nothing is ever changed or removed.
///
/// Each path counts as a file. Of equal files one is distinct and the others are duplicates; a duplicate wastes its
/// length, unless it is a hard link of one that is counted already. Empty files are equal to each other and waste nothing.
///
/// What cannot be read, or changes while it is read, is named on stderr, counted as unreadable and nowhere else. A name that
/// is not UTF-8 is shown in quotes, its odd bytes as \xNN.
///
/// Exit status: 0, or 2 if DIR is not a directory or an option is wrong, or 1 if the result could not be written.
#[derive(Parser)]
#[command(name = "dedup")]
struct Options {
    /// Where to look
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How many threads read files [default: as many as the machine runs at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write one JSON object to stdout, and nothing else
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(why) = is_directory(&options.dir) {
        say(&format!("dedup: {}: {why}", report::name(&options.dir)));
        return ExitCode::from(2);
    }
    let report = run(&options);
    for Unreadable { path, why } in &report.unreadable {
        say(&format!("dedup: {}: {why}", report::name(path)));
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
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            say(&format!("dedup: stdout: {e}"));
            ExitCode::FAILURE
        }
    }
}

/// A line on stderr; there is nobody to tell if that fails.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn is_directory(dir: &Path) -> io::Result<()> {
    if dir.metadata()?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

fn run(options: &Options) -> Report {
    let begin = Instant::now();
    let threads = options.threads.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    let bar = progress();
    let groups = Groups::new();
    let unreadable = Mutex::new(Vec::new());
    // Not bounded: the bar has a total as soon as the walk is over, and the groups keep the paths anyway.
    let (send, receive) = mpsc::channel::<PathBuf>();
    let receive = Mutex::new(receive);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let next = || receive.lock().unwrap().recv().ok();
                while let Some(path) = next() {
                    let lost = match files::digest(&path, &bar) {
                        Ok((digest, stamp)) => groups.record(digest, path, stamp),
                        Err(e) => vec![Unreadable::new(path, &e)],
                    };
                    if !lost.is_empty() {
                        unreadable.lock().unwrap().extend(lost);
                    }
                }
            });
        }
        let lost = walk(&options.dir, &bar, |path| {
            // Nobody receives only if all threads have panicked, which the scope tells.
            let _ = send.send(path);
        });
        unreadable.lock().unwrap().extend(lost);
        drop(send);
    });
    bar.finish_and_clear();
    Report::new(
        &groups,
        unreadable.into_inner().unwrap(),
        threads,
        begin.elapsed(),
    )
}

/// Calls `found` with every regular file below `dir`; returns what could not be looked into.
fn walk(dir: &Path, bar: &ProgressBar, found: impl Fn(PathBuf)) -> Vec<Unreadable> {
    let mut lost = Vec::new();
    for entry in WalkBuilder::new(dir).standard_filters(false).build() {
        match entry {
            Ok(entry) if entry.file_type().is_some_and(|t| t.is_file()) => {
                bar.inc_length(entry.metadata().map_or(0, |m| m.len()));
                found(entry.into_path());
            }
            Ok(_) => {}
            Err(e) => lost.push(not_walked(dir, e)),
        }
    }
    lost
}

fn not_walked(dir: &Path, mut error: ignore::Error) -> Unreadable {
    let mut at = dir.to_owned();
    loop {
        error = match error {
            ignore::Error::WithDepth { err, .. } => *err,
            ignore::Error::WithPath { path, err } => {
                at = path;
                *err
            }
            other => return Unreadable::new(at, &other),
        }
    }
}

/// A bar on stderr; indicatif shows none if that is not a terminal.
fn progress() -> ProgressBar {
    let style = "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {elapsed}";
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template(style).expect("the template is a constant"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
