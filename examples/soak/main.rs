//! All operations at once, for as long as you like, and a look at whether anything breaks.
//!
//! ```sh
//! cargo run --release --example soak -- --minutes 30 --svg soak.svg
//! ```
//!
//! Threads come and go, and draw operations (`steps`) on tables of one key, of few and of many (`arena`), with and without equal hashes, with keys whose code
//! panics (`key`); some die while others wait, some forget what they hold (`graves`). Behind each key is data that shows when two are inside (`row`). Every
//! second or so all of them end (`crew`), and everything has to add up (`world`).
//!
//! ```text
//! main ─ round after round ─▶ crew ─ threads ─▶ worker, steps ─▶ world: arenas ─ rows
//!   └── watch: a line a second ─▶ flat, plot
//! ```

#![forbid(unsafe_code)]

mod arena;
mod crew;
mod faults;
mod flat;
mod graves;
mod key;
mod memory;
mod plot;
mod row;
mod steps;
mod tally;
mod watch;
mod worker;
mod world;

use clap::{Parser, ValueEnum};
use fastrand::Rng;
use std::path::PathBuf;
use std::process::{exit, ExitCode};
use std::thread;
use std::time::{Duration, Instant};
use watch::Watch;
use world::World;

/// Uses the lock table in every way at once, and looks for anything that breaks
///
/// Prints a line a second: time, threads at work, operations (and how many in the last second), waits for a key, overlaps (how often two threads were found inside
/// of one key), live heap, resident memory. In the end it says whether memory was flat, and draws the run.
///
/// Exit status: 0, or 1 if anything was violated (it stops then, and says what on stderr), or 2 if an option is wrong or the picture cannot be written.
#[derive(Parser)]
#[command(name = "soak")]
struct Options {
    /// How long; fractions are allowed
    #[arg(long, value_name = "N", default_value = "1", value_parser = minutes)]
    minutes: Duration,
    /// How many threads there are at most
    #[arg(long, value_name = "N", default_value = "12", value_parser = clap::value_parser!(u64).range(1..=1000))]
    threads: u64,
    /// Where the picture of the run goes [default: soak.svg in the directory for temporary files]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// What the operations are drawn from. How the threads interleave is not repeated by it
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,
    /// How long all threads may take to end before that counts as a hang, in seconds
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// How long one round takes, in seconds
    #[arg(long, value_name = "N", default_value = "1", value_parser = seconds)]
    round: Duration,
    /// Does something wrong on purpose, to show that it is noticed
    #[arg(long, hide = true)]
    broken: Option<Broken>,
}

/// What can be done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Broken {
    /// A lock is left out.
    Overlap,
    /// A handle is forgotten.
    Forget,
    /// A guard of a key that others wait for is forgotten.
    Hang,
    /// Memory is kept.
    Memory,
}

fn minutes(text: &str) -> Result<Duration, String> {
    seconds(text).map(|s| s * 60)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let n: f64 = text.parse().map_err(|e| format!("{e}"))?;
    let range = 0.0..100_000.0;
    if n > 0.0 && range.contains(&n) {
        Ok(Duration::from_secs_f64(n))
    } else {
        Err("it has to be more than 0 and less than 100000".into())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let svg = options
        .svg
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join("soak.svg"));
    let rounds = options.minutes.as_secs_f64() / options.round.as_secs_f64();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // both are small
    let (seconds, rounds) = (options.minutes.as_secs() as usize, rounds as usize);
    let patience = Duration::from_secs(options.patience);
    let (world, watch) = (
        World::new(options.broken),
        Watch::new(seconds, rounds, patience),
    );
    thread::scope(|s| {
        s.spawn(|| {
            if let Err(hang) = watch.run(&world) {
                world.faults.check(false, || hang);
                let _ = finish(&world, &watch, &svg);
                exit(1); // the threads cannot be joined
            }
        });
        soak(&options, &world, &watch);
        watch.over();
    });
    match finish(&world, &watch, &svg) {
        Ok(()) if world.faults.all() == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{}: {e}", svg.display());
            ExitCode::from(if world.faults.all() == 0 { 2 } else { 1 })
        }
    }
}

/// Round after round.
fn soak(options: &Options, world: &World, watch: &Watch) {
    let end = Instant::now() + options.minutes;
    let (mut rng, mut threads) = (Rng::with_seed(options.seed), 0);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || world.faults.all() > 0 {
            return;
        }
        let length = options.round.min(left);
        watch.round(length);
        crew::round(world, options.threads, length, &mut threads, &mut rng);
        world.muster();
        watch.muster(world);
    }
}

/// Says what has come of it, and draws it.
fn finish(
    world: &World,
    watch: &Watch,
    svg: &std::path::Path,
) -> Result<(), Box<dyn std::error::Error>> {
    let (samples, musters) = watch.samples();
    let heap = flat::flat("live heap", &musters, |s| Some(s.heap), 256 << 10);
    let resident = flat::flat("resident memory", &musters, |s| s.resident, 8 << 20);
    for told in [heap, resident] {
        match told {
            Ok(text) => println!("{text}"),
            Err(text) => world.faults.check(false, || text),
        }
    }
    println!("{}", world.tally);
    println!(
        "{} rounds, {} violations",
        musters.len(),
        world.faults.all()
    );
    let minutes = watch.begin.elapsed().as_secs_f64() / 60.0;
    let title = format!("perkey soak, {minutes:.1} minutes");
    plot::draw(svg, &samples, &title)?;
    println!("drawn: {}", svg.display());
    Ok(())
}
