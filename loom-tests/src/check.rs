//! The model checkers: their scenarios, then their twins.

use crate::run::{each, root, run, said, tests, End, Test};
use crate::suite::{self, Twin};
use crate::{cite, sites, steps};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A model that takes longer is a fault, not a pass.
pub(crate) const LIMIT: Duration = Duration::from_mins(15);
/// The same at its highest bound, on a machine that does other things, too.
pub(crate) const LONG: Duration = Duration::from_hours(2);

/// One of the model checkers.
pub(crate) struct Checker {
    pub(crate) name: &'static str,
    pub(crate) flags: &'static str,
    /// The directory that it is built in.
    pub(crate) target: &'static str,
    /// Which tests to build, and which of these to take.
    pub(crate) build: &'static [&'static str],
    pub(crate) prefixes: &'static [&'static str],
    /// Whether to run the tests as they are, too.
    whole: bool,
    /// Which of them are too large for it.
    left_out: &'static [&'static str],
    pub(crate) twins: &'static [Twin],
}

pub(crate) const LOOM: Checker = Checker {
    name: "loom",
    flags: steps::LOOM,
    target: "loom",
    build: &["-p", "loom-tests", "--tests"],
    prefixes: &["loom_"],
    whole: true,
    left_out: &[],
    twins: suite::LOOM,
};

pub(crate) const SHUTTLE: Checker = Checker {
    name: "shuttle",
    flags: steps::SHUTTLE,
    target: "shuttle",
    build: &["-p", "loom-tests", "--tests"],
    prefixes: &["shuttle_", "stop_anywhere"],
    whole: true,
    left_out: &[],
    twins: suite::SHUTTLE,
};

/// Only the twins: the tests themselves are run without the mutants, by `verify`.
pub(crate) const THREADS: Checker = Checker {
    name: "threads",
    flags: "--cfg perkey_mutant",
    target: "threads",
    build: suite::THREADS_BUILD,
    prefixes: suite::THREADS_FILES,
    whole: false,
    left_out: &[],
    twins: suite::THREADS,
};

/// Only the twins, here too.
pub(crate) const WIDTHS: Checker = Checker {
    name: "small",
    flags: "--cfg perkey_mutant --cfg perkey_small",
    target: "small",
    build: &["-p", "perkey", "--test", "widths"],
    prefixes: &["widths"],
    whole: false,
    left_out: &[],
    twins: suite::WIDTHS,
};

/// Whether loom is right to leave out what it leaves out. Not about the library: no mutant of it fails these, and a mistake of loom's is among them.
pub(crate) const LITMUS: Checker = Checker {
    name: "litmus",
    flags: steps::LOOM,
    target: "loom",
    build: &["-p", "loom-tests", "--test", "litmus"],
    prefixes: &["litmus"],
    whole: true,
    left_out: &[],
    twins: &[],
};

/// The scenarios again, with the words as they are: `src/sync/loom.rs` has short forms for some accesses, and this is to show that
/// they hide nothing.
pub(crate) const EXACT: Checker = Checker {
    name: "exact",
    flags: steps::EXACT,
    target: "exact",
    build: LOOM.build,
    prefixes: LOOM.prefixes,
    whole: true,
    left_out: &[
        "contended_a_beside_a1",
        "rename_a_to_b_rename_b_to_a",
        "try_a_shrink_try_a",
        "try_a_try_a_try_b",
        "try_a_try_b_try_ba",
    ],
    twins: &[],
};

pub(crate) const CHECKERS: &[&Checker] = &[&WIDTHS, &THREADS, &SHUTTLE, &LOOM];

/// What has been counted so far.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<String>,
}

impl Tally {
    pub(crate) fn good(&mut self) {
        self.passed += 1;
    }

    /// Says so at once, and, by its first line, at the end, too: a log of this length is read from there.
    pub(crate) fn fault(&mut self, what: &str) {
        println!("FAILED: {what}");
        self.failed
            .push(what.lines().next().unwrap_or_default().to_owned());
    }

    /// Prints what there was. Has nothing failed?
    pub(crate) fn end(&self) -> bool {
        println!("\n{} passed, {} failed", self.passed, self.failed.len());
        for what in &self.failed {
            println!("FAILED: {what}");
        }
        self.failed.is_empty()
    }
}

/// Counts, from several threads; says what failed.
pub(crate) struct Shared<'t>(Mutex<&'t mut Tally>);

impl<'t> Shared<'t> {
    pub(crate) fn new(tally: &'t mut Tally) -> Self {
        Self(Mutex::new(tally))
    }

    pub(crate) fn good(&self) {
        self.0.lock().expect("no panic while counting").good();
    }

    pub(crate) fn fault(&self, what: &str) {
        self.0.lock().expect("no panic while counting").fault(what);
    }
}

/// The test that a twin has to fail.
pub(crate) fn test_of<'t>(twin: &Twin, tests: &'t [Test]) -> Option<&'t Test> {
    tests
        .iter()
        .find(|t| t.file == twin.file && t.name == twin.test)
}

/// The variables that switch a twin on.
pub(crate) fn switch(twin: &Twin) -> Option<Vec<(&'static str, String)>> {
    let mut env = match twin.weaker() {
        None => vec![("PERKEY_MUTANT", twin.mutant.to_owned())],
        Some(site) => {
            let sites = sites::sites();
            let site = sites.values().flatten().find(|s| s.id == site)?;
            vec![(
                "PERKEY_WEAKEN",
                sites::weakening(site, site.weaker().first()?),
            )]
        }
    };
    if let Some(bound) = twin.bound {
        env.push(("PERKEY_BOUND", bound.to_string()));
    }
    Some(env)
}

/// What does not fit together: mutants that nobody kills, twins of tests that are not there, scenarios that have not been seen to fail.
fn fitting(checker: &Checker, tests: &[Test], tally: &Shared<'_>) {
    if tests.is_empty() {
        tally.fault(&format!("there are no {} tests", checker.name));
    }
    for twin in checker.twins {
        let (mutant, file, test) = (twin.mutant, twin.file, twin.test);
        if test_of(twin, tests).is_none() {
            tally.fault(&format!(
                "{mutant} is to be killed by {file}::{test}, which is not there"
            ));
        }
        if switch(twin).is_none() {
            tally.fault(&format!("there is no {mutant} to be weakened"));
        }
    }
    if checker.name == "loom" {
        for test in tests {
            let twins = checker.twins.iter();
            if !twins
                .clone()
                .any(|t| t.file == test.file && t.test == test.name)
            {
                tally.fault(&format!("{}::{} has no failing twin", test.file, test.name));
            }
            if cite::invariants(&test.file, &test.name).is_empty() {
                tally.fault(&format!("{}::{} cites no invariant", test.file, test.name));
            }
        }
    }
}

/// Mutants in the source that are not in the suite, and the other way round.
pub(crate) fn known(tally: &Shared<'_>) {
    let there = mutants();
    for name in &there {
        let listed = suite::MUTANTS.iter().any(|m| m.name == name);
        let killed = CHECKERS
            .iter()
            .any(|c| c.twins.iter().any(|t| t.mutant == name));
        if !listed {
            tally.fault(&format!("the suite does not say what {name} breaks"));
        }
        if !killed {
            tally.fault(&format!("no test is known to kill the mutant {name}"));
        }
    }
    for mutant in suite::MUTANTS {
        if !there.contains(mutant.name) {
            tally.fault(&format!("there is no mutant {}", mutant.name));
        }
    }
}

/// Scenarios, then mutants.
pub(crate) fn check(checker: &Checker, full: bool, tally: &mut Tally) {
    println!("\n== {}", checker.name);
    let Some(tests) = tests(checker) else {
        tally.fault(&format!("the {} tests do not build", checker.name));
        return;
    };
    let tally = Shared::new(tally);
    fitting(checker, &tests, &tally);
    let whole: Vec<&Test> = tests
        .iter()
        .filter(|t| checker.whole && !checker.left_out.contains(&&*t.name))
        .collect();
    let how = if checker.name == "exact" {
        vec![("PERKEY_MOST", "1".to_owned())]
    } else if full {
        vec![("PERKEY_FULL", "1".to_owned())]
    } else {
        Vec::new()
    };
    each(&whole, |test| {
        let (file, name) = (&test.file, &test.name);
        match run(test, &how, if full { LONG } else { LIMIT }) {
            End::Passed(text) => {
                println!("ok      {file:16} {name:44} {}", said(test, &text));
                tally.good();
            }
            End::Failed(text) => tally.fault(&format!("{file}::{name}\n{text}")),
            End::Stopped(why) => tally.fault(&format!("{file}::{name} {why}")),
        }
    });
    each(checker.twins, |twin| {
        let (mutant, file, test) = (twin.mutant, twin.file, twin.test);
        let (Some(test_), Some(env)) = (test_of(twin, &tests), switch(twin)) else {
            return; // said above
        };
        let began = Instant::now();
        match run(test_, &env, LIMIT) {
            End::Failed(_) => {
                let took = began.elapsed().as_secs_f64();
                println!("killed  {mutant:32} by {file}::{test} in {took:.1} s");
                tally.good();
            }
            End::Passed(_) => tally.fault(&format!("{mutant} survived {file}::{test}")),
            End::Stopped(why) => tally.fault(&format!("{mutant}: {file}::{test} {why}")),
        }
    });
}

/// The names of all mutants in the library's source.
fn mutants() -> BTreeSet<String> {
    let mut files = Vec::new();
    sites::walk(&root().join("src"), &mut files);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = BTreeSet::new();
    for file in files {
        let text = read(&file);
        let names = text
            .split("mutant(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }
    found
}
