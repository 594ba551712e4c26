//! The harness. See the top of `benches/compare.rs`.

// Times are divided and drawn; nothing of it needs the last bit.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss
)]

mod by_hand;
mod case;
mod charts;
mod child;
mod contender;
mod fixed;
mod heap;
mod held;
mod keys;
mod notes;
mod parent;
mod published;
mod report;
mod results;
mod sample;
mod store;
mod strings;
mod timed;
mod waiters;

use case::{cases, Case};
use clap::Parser;
use results::{Results, Run};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Locks by key, side by side.
#[derive(Parser)]
#[allow(clippy::struct_excessive_bools)] // they are switches
struct Args {
    /// Workloads or cases: those whose name begins so, such as `zipf` or `zipf/4`. All, if there is none.
    filters: Vec<String>,
    /// Fewer and smaller cases, and fewer rounds: within two minutes.
    #[arg(long)]
    quick: bool,
    /// These contenders only (a part of the name does).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How often to go through all cases. Default: 2, or 1 if it is quick.
    #[arg(long)]
    passes: Option<u32>,
    /// Results of earlier runs that belong to it.
    #[arg(long, num_args = 1..)]
    pool: Vec<PathBuf>,
    /// Measure nothing, only report what is pooled.
    #[arg(long, requires = "pool")]
    report: bool,
    /// Write benches/RESULTS.md and the charts even if this is not a full run.
    #[arg(long)]
    write: bool,
    /// Name the cases and contenders, and end.
    #[arg(long)]
    list: bool,
    /// A contender's side, which the harness starts.
    #[arg(long, hide = true)]
    serve: Option<String>,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if let Some(job) = &args.serve {
        return child::serve(job);
    }
    if args.list {
        list(args.quick);
        return Ok(());
    }
    // As with criterion: without `--bench`, which cargo adds, this is a test.
    if !args.bench && !args.quick && !args.report {
        println!("nothing to measure without --bench or --quick");
        return Ok(());
    }
    let mut results = Results::default();
    for path in &args.pool {
        results.pool(Results::read(path)?)?;
    }
    if !args.report {
        let run = measure(&args)?;
        let kind = if args.quick { "quick-" } else { "" };
        let path = state().join(format!("{kind}{}.json", run.runs[0].at));
        run.write(&path)?;
        println!("\nMeasured figures: {}", path.display());
        results.pool(run)?;
    }
    let text = report::markdown(&results);
    println!("\n{text}");
    let full = !args.report && !args.quick && args.filters.is_empty() && args.only.is_empty();
    if full || args.write {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
        charts::draw_all(&benches.join("charts"), &results)?;
        fs::write(benches.join("RESULTS.md"), text)?;
    }
    Ok(())
}

/// Where runs leave what they have measured.
fn state() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().unwrap_or(tmp).join("compare")
}

fn list(quick: bool) {
    for case in cases(quick) {
        println!("{:<20} {}, {} rounds", case.id, case.title, case.rounds);
    }
    for facts in &contender::ALL {
        println!("{:<24} {}", facts.name, facts.what);
    }
}

fn measure(args: &Args) -> Result<Results, Box<dyn Error>> {
    let begun = Instant::now();
    let limits = parent::Limits {
        answer: Duration::from_secs(if args.quick { 8 } else { 60 }),
        end: begun + Duration::from_secs(if args.quick { 110 } else { 40 * 60 }),
    };
    let asked = |case: &Case| {
        args.filters.is_empty() || args.filters.iter().any(|f| case.id.starts_with(&**f))
    };
    let wanted = |name: &str| {
        args.only.is_empty()
            || name == contender::OURS
            || args.only.iter().any(|part| name.contains(&**part))
    };
    let all: Vec<_> = cases(args.quick).into_iter().filter(asked).collect();
    if all.is_empty() {
        return Err("no case is called like that; --list names them".into());
    }
    let speed = keys::calibrate();
    let mut results = Results::default();
    let passes = args.passes.unwrap_or(if args.quick { 1 } else { 2 });
    for pass in 1..=passes {
        for (i, case) in all.iter().enumerate() {
            let at = begun.elapsed().as_secs();
            eprintln!(
                "{at:>4} s  pass {pass} of {passes}, case {} of {}: {}",
                i + 1,
                all.len(),
                case.id
            );
            if Instant::now() >= limits.end {
                eprintln!("        left out: no time is left");
                continue;
            }
            let measured = parent::play(case, wanted, speed, &limits)?;
            for (name, record) in &measured.of {
                if let Some(why) = record.out.as_ref().filter(|_| !record.rounds.is_empty()) {
                    eprintln!("        {name} is out: {why}");
                }
            }
            results.pool(Results {
                runs: Vec::new(),
                cases: vec![measured],
            })?;
        }
    }
    results.runs.push(Run {
        at: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        seconds: begun.elapsed().as_secs(),
        cpus: std::thread::available_parallelism()?.get(),
        quick: args.quick,
    });
    Ok(results)
}
