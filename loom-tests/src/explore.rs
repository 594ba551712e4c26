//! `cargo prove explore`: runs every loom model at its highest bound (with `--fast`, at CI's) and prints one table.

use crate::check::{Shared, Tally, LONG, LOOM};
use crate::cite;
use crate::run::{each, run, said, tests, End};
use std::collections::BTreeMap;
use std::sync::Mutex;

pub(crate) fn prove(fast: bool, tally: &mut Tally) {
    let tally = Shared::new(tally);
    let Some(tests) = tests(&LOOM) else {
        return tally.fault("the loom tests do not build");
    };
    let env = if fast {
        Vec::new()
    } else {
        vec![("PERKEY_FULL", "1".to_owned())]
    };
    let rows: Mutex<BTreeMap<(String, String), String>> = Mutex::default();
    each(&tests, |test| {
        let (file, name) = (&test.file, &test.name);
        match run(test, &env, LONG) {
            End::Passed(text) => {
                let said = said(test, &text);
                let mut words = said.split(", ");
                let executions = words.next().and_then(|w| w.strip_suffix(" executions"));
                let bound = words.next().and_then(|w| w.strip_prefix("bound "));
                let threads = words.next().and_then(|w| w.strip_suffix(" threads"));
                let seconds = words.next().and_then(|w| w.split(' ').next());
                let (Some(executions), Some(bound), Some(threads), Some(seconds)) =
                    (executions, bound, threads, seconds)
                else {
                    return tally.fault(&format!("{file}::{name} does not say what it explored"));
                };
                let cited = cite::invariants(file, name).join(" ");
                eprintln!("explored {name}: {said}");
                tally.good();
                rows.lock().expect("no panic in here").insert(
                    (file.clone(), name.clone()),
                    format!(
                        "| `{name}` | {threads} | {bound} | {executions} | {seconds} | {cited} |"
                    ),
                );
            }
            End::Failed(text) => tally.fault(&format!("{file}::{name}\n{text}")),
            End::Stopped(why) => tally.fault(&format!("{file}::{name} {why}")),
        }
    });
    println!("| scenario | threads | preemption bound | executions | seconds | invariants |\n|---|---|---|---|---|---|");
    for row in rows.into_inner().expect("no panic in here").values() {
        println!("{row}");
    }
}
