//! Runs the checks: `verify` (all of them), `loom`, `shuttle`; `--full` explores the loom scenarios at their highest bounds. And
//! `prove`, which writes down what they show: `prove orderings`, `prove mutants`, `prove explore`, `prove exact`.
//!
//! Scenarios run one process each. Then every mutant of the library is switched on in turn, and the scenario that guards it
//! has to fail; a mutant without a scenario, or a scenario without a mutant, is a fault.

mod check;
mod cite;
mod explore;
mod mutants;
mod orderings;
mod patched;
mod run;
mod sites;
mod steps;
mod suite;

use check::{check, Shared, Tally, EXACT, LITMUS, LOOM, SHUTTLE, THREADS, WIDTHS};
use run::cargo;
use std::process::ExitCode;
use steps::Step;

const USAGE: &str = "\
usage: cargo verify | cargo loom | cargo shuttle, each with -- --full if wanted
       cargo prove orderings [--changed] | cargo prove mutants | cargo prove explore [--fast] | cargo prove exact";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (options, words): (Vec<&str>, Vec<&str>) = args
        .iter()
        .map(String::as_str)
        .partition(|a| a.starts_with("--"));
    let has = |name: &str| options.contains(&name);
    let full = has("--full");
    let mut tally = Tally::default();
    match &words[..] {
        ["loom"] => {
            check(&LITMUS, full, &mut tally);
            check(&LOOM, full, &mut tally);
        }
        ["shuttle"] => check(&SHUTTLE, full, &mut tally),
        ["verify"] => verify(full, &mut tally),
        ["prove", "orderings"] => orderings::prove(has("--changed"), &mut tally),
        ["prove", "mutants"] => mutants::prove(&mut tally),
        ["prove", "exact"] => check(&EXACT, full, &mut tally),
        ["prove", "explore"] => explore::prove(has("--fast"), &mut tally),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    if tally.end() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Everything, in the order in which it fails fastest.
fn verify(full: bool, tally: &mut Tally) {
    for Step(name, flags, target, args) in steps::STEPS {
        println!("\n== {name}");
        let mut command = cargo(flags, target, args);
        if args[0] == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        if command.status().is_ok_and(|s| s.success()) {
            tally.good();
        } else {
            tally.fault(name);
        }
    }
    check::known(&Shared::new(tally));
    check(&WIDTHS, full, tally);
    check(&THREADS, full, tally);
    check(&SHUTTLE, full, tally);
    check(&LITMUS, full, tally);
    check(&LOOM, full, tally);
    orderings::prove(true, tally);
}
