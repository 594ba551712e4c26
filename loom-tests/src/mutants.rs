//! `cargo prove mutants`: every mutant is killed by a test that cites the invariant that it breaks; `loom-tests/MUTANTS.md` says by which.

use crate::check::{known, switch, test_of, Shared, Tally, CHECKERS, LIMIT};
use crate::cite;
use crate::run::{each, number, root, run, tests, End};
use crate::suite::{Mutant, MUTANTS};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::sync::Mutex;
use std::time::Instant;

const TABLE: &str = "loom-tests/MUTANTS.md";

/// By which test of which checker, in how many executions (if they are counted) and seconds.
struct Killed {
    checker: &'static str,
    test: String,
    executions: Option<u64>,
    seconds: f64,
}

pub(crate) fn prove(tally: &mut Tally) {
    println!("\n== mutants");
    let tally = Shared::new(tally);
    known(&tally);
    let rows: Mutex<BTreeMap<&str, Killed>> = Mutex::default();
    for checker in CHECKERS.iter().rev() {
        let Some(tests) = tests(checker) else {
            tally.fault(&format!("the {} tests do not build", checker.name));
            continue;
        };
        // The first of its twins whose test cites the invariant has to kill it.
        let todo: Vec<&Mutant> = MUTANTS
            .iter()
            .filter(|m| !rows.lock().expect("no panic in here").contains_key(m.name))
            .collect();
        each(&todo, |mutant| {
            let twin = checker.twins.iter().find(|t| {
                let cited = cite::invariants(t.file, t.test);
                t.mutant == mutant.name && cited.iter().any(|c| c == mutant.breaks)
            });
            let Some((twin, test)) = twin.and_then(|t| Some((t, test_of(t, &tests)?))) else {
                return;
            };
            let began = Instant::now();
            let end = run(test, &switch(twin).expect("a mutant has a switch"), LIMIT);
            let End::Failed(text) = end else {
                return tally.fault(&format!("{} survived {}", mutant.name, test.name));
            };
            let killed = Killed {
                checker: checker.name,
                test: format!("{}::{}", test.file, test.name),
                executions: number(&text, &format!("failed {}: in ", test.name), "executions"),
                seconds: began.elapsed().as_secs_f64(),
            };
            println!("killed  {:32} by {}", mutant.name, killed.test);
            tally.good();
            rows.lock()
                .expect("no panic in here")
                .insert(mutant.name, killed);
        });
    }
    let rows = rows.into_inner().expect("no panic in here");
    fs::write(root().join(TABLE), table(&rows, &tally)).expect("the table can be written");
    println!("{TABLE} is written");
}

fn table(rows: &BTreeMap<&str, Killed>, tally: &Shared<'_>) -> String {
    let mut text = format!(
        "# Mutants: each step is needed\n\n\
         Written by `cargo prove mutants`. {} deliberately broken twins of the code, built with `--cfg perkey_mutant` and switched on one at a time; each has to fail a test \
         that cites the invariant that it breaks (DESIGN.md, section 5 and the chapters on many keys and storage; F1 is fairness). Executions are counted by loom and shuttle, to the one that failed.\n\n\
         | mutant | what is wrong | breaks | killed by | checker | executions | seconds |\n|---|---|---|---|---|---|---|\n",
        MUTANTS.len()
    );
    for mutant in MUTANTS {
        let Some(killed) = rows.get(mutant.name) else {
            tally.fault(&format!(
                "{} is not killed by a test that cites {}",
                mutant.name, mutant.breaks
            ));
            continue;
        };
        let executions = killed.executions.map_or(String::new(), |n| n.to_string());
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | `{}` | {} | {executions} | {:.1} |",
            mutant.name, mutant.what, mutant.breaks, killed.test, killed.checker, killed.seconds
        );
    }
    text
}
