//! Runs the checks: `verify` (all of them), `loom`, `shuttle`; `--full` explores the loom scenarios at their highest bounds.
//!
//! Scenarios run one process each. Then every mutant of the library is switched on in turn, and the scenario that guards it
//! has to fail; a mutant without a scenario, or a scenario without a mutant, is a fault.

mod steps;
mod suite;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use steps::Step;
use suite::Twin;

/// A model that takes longer is a fault, not a pass.
const LIMIT: Duration = Duration::from_mins(15);

/// One of the model checkers.
struct Checker {
    name: &'static str,
    flags: &'static str,
    /// Which tests to build, and which of these to take.
    build: &'static [&'static str],
    prefixes: &'static [&'static str],
    /// Whether to run the tests as they are, too.
    whole: bool,
    twins: &'static [Twin],
}

const LOOM: Checker = Checker {
    name: "loom",
    flags: steps::LOOM,
    build: &["-p", "loom-tests", "--tests"],
    prefixes: &["loom_"],
    whole: true,
    twins: suite::LOOM,
};

const SHUTTLE: Checker = Checker {
    name: "shuttle",
    flags: steps::SHUTTLE,
    build: &["-p", "loom-tests", "--tests"],
    prefixes: &["shuttle_", "stop_anywhere"],
    whole: true,
    twins: suite::SHUTTLE,
};

/// Only the twins: the tests themselves are run without the mutants, by `verify`.
const THREADS: Checker = Checker {
    name: "threads",
    flags: "--cfg perkey_mutant",
    build: &[
        "-p",
        "perkey",
        "--test",
        "memory",
        "--test",
        "foreign",
        "--test",
        "many",
        "--test",
        "conformance",
    ],
    prefixes: &["memory", "foreign", "many", "conformance"],
    whole: false,
    twins: suite::THREADS,
};

/// What has been counted so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, ok: bool) {
        if ok {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let full = args.iter().any(|a| a == "--full");
    let mut tally = Tally::default();
    match args.iter().map(String::as_str).find(|a| *a != "--full") {
        Some("loom") => check(&LOOM, full, &mut tally),
        Some("shuttle") => check(&SHUTTLE, full, &mut tally),
        Some("verify") => verify(full, &mut tally),
        _ => {
            eprintln!(
                "usage: cargo verify | cargo loom | cargo shuttle, each with -- --full if wanted"
            );
            return ExitCode::from(2);
        }
    }
    println!("\n{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The workspace.
fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package is in the workspace")
        .to_owned()
}

/// Cargo, in the workspace, with these flags for the compiler.
fn cargo(flags: &str, target: &str, args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(args)
        .current_dir(root())
        .stdin(Stdio::null())
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    if flags.is_empty() {
        cargo.env_remove("RUSTFLAGS");
    } else {
        cargo.env("RUSTFLAGS", flags);
        cargo.env("CARGO_TARGET_DIR", root().join("target").join(target));
    }
    cargo
}

/// Everything, in the order in which it fails fastest.
fn verify(full: bool, tally: &mut Tally) {
    for Step(name, flags, target, args) in steps::STEPS {
        println!("\n== {name}");
        let mut command = cargo(flags, target, args);
        if args[0] == "doc" {
            command.env("RUSTDOCFLAGS", "-D warnings");
        }
        let ok = command.status().is_ok_and(|s| s.success());
        if !ok {
            println!("FAILED: {name}");
        }
        tally.count(ok);
    }
    check(&THREADS, full, tally);
    check(&SHUTTLE, full, tally);
    check(&LOOM, full, tally);
}

/// A test in a binary.
struct Test {
    binary: PathBuf,
    file: String,
    name: String,
}

/// Builds the checker's tests and lists them.
fn tests(checker: &Checker) -> Option<Vec<Test>> {
    let mut args = vec!["test", "--release", "--no-run"];
    args.push("--message-format=json-render-diagnostics");
    args.extend(checker.build);
    let out = cargo(checker.flags, checker.name, &args)
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    if !out.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&out.stdout);
    let mut tests = Vec::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("\"executable\":\"") else {
            continue;
        };
        let binary = PathBuf::from(rest.split('"').next()?);
        let stem = binary.file_stem()?.to_string_lossy().into_owned();
        let file = stem
            .rsplit_once('-')
            .map_or(&*stem, |(file, _)| file)
            .to_owned();
        if !checker.prefixes.iter().any(|p| file.starts_with(p)) {
            continue;
        }
        let list = Command::new(&binary)
            .args(["--list", "--format=terse"])
            .output()
            .ok()?;
        for test in String::from_utf8_lossy(&list.stdout).lines() {
            if let Some(name) = test.strip_suffix(": test") {
                tests.push(Test {
                    binary: binary.clone(),
                    file: file.clone(),
                    name: name.to_owned(),
                });
            }
        }
    }
    Some(tests)
}

/// What became of a test.
enum End {
    Passed(String),
    Failed(String),
    TooLong,
}

/// Runs one test in a process of its own.
fn run(test: &Test, mutant: Option<&Twin>, full: bool) -> End {
    let mut command = Command::new(&test.binary);
    command
        .args(["--exact", &test.name, "--nocapture"])
        .current_dir(root().join("loom-tests"))
        .env_remove("PERKEY_MUTANT")
        .env_remove("PERKEY_BOUND")
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if full {
        command.env("PERKEY_FULL", "1");
    }
    if let Some(twin) = mutant {
        command.env("PERKEY_MUTANT", twin.mutant);
        if let Some(bound) = twin.bound {
            command.env("PERKEY_BOUND", bound.to_string());
        }
    }
    let Ok(mut child) = command.spawn() else {
        return End::Failed("could not be started".to_owned());
    };
    // The output is small but for a failing model's trace: read it on the side, so that the pipe never fills.
    let readers = [
        child
            .stdout
            .take()
            .map(|o| Box::new(o) as Box<dyn std::io::Read + Send>),
        child
            .stderr
            .take()
            .map(|e| Box::new(e) as Box<dyn std::io::Read + Send>),
    ]
    .map(|pipe| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            bytes
        })
    });
    let began = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if began.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    let [stdout, stderr] = readers.map(|r| r.join().unwrap_or_default());
    match status {
        None => End::TooLong,
        Some(status) => {
            let output = Output {
                status,
                stdout,
                stderr,
            };
            let text = [
                &*String::from_utf8_lossy(&output.stdout),
                &*String::from_utf8_lossy(&output.stderr),
            ]
            .concat();
            if status.success() {
                // What a test says of itself starts with its name.
                let said = text.lines().filter_map(|l| {
                    let rest = l.strip_prefix("explored ").unwrap_or(l);
                    Some(
                        rest.strip_prefix(&*test.name)?
                            .strip_prefix(": ")?
                            .to_owned(),
                    )
                });
                End::Passed(said.collect::<Vec<_>>().join("; "))
            } else {
                End::Failed(text)
            }
        }
    }
}

/// Runs `f` for each item, on all cores, in order of the list.
fn each<T: Sync>(items: &[T], f: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|s| {
        for _ in 0..workers {
            s.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    f(item);
                }
            });
        }
    });
}

/// Scenarios, then mutants.
fn check(checker: &Checker, full: bool, tally: &mut Tally) {
    println!("\n== {}", checker.name);
    let Some(tests) = tests(checker) else {
        println!("FAILED: the {} tests do not build", checker.name);
        tally.count(false);
        return;
    };
    let tally = Mutex::new(tally);
    let count = |ok: bool| tally.lock().expect("no panic while counting").count(ok);
    let fault = |what: String| {
        println!("FAILED: {what}");
        count(false);
    };
    if tests.is_empty() {
        fault(format!("there are no {} tests", checker.name));
    }
    for twin in checker.twins {
        if !tests
            .iter()
            .any(|t| t.file == twin.file && t.name == twin.test)
        {
            fault(format!(
                "{} is to be killed by {}::{}, which is not there",
                twin.mutant, twin.file, twin.test
            ));
        }
    }
    for name in mutants() {
        if !suite::LOOM
            .iter()
            .chain(suite::SHUTTLE)
            .chain(suite::THREADS)
            .any(|t| t.mutant == name)
        {
            fault(format!("no test is known to kill the mutant {name}"));
        }
    }
    let whole = if checker.whole { &*tests } else { &[] };
    each(whole, |test| {
        if checker.name == "loom"
            && !checker
                .twins
                .iter()
                .any(|t| t.file == test.file && t.test == test.name)
        {
            fault(format!("{}::{} has no failing twin", test.file, test.name));
        }
        match run(test, None, full) {
            End::Passed(said) => {
                println!("ok      {:16} {:44} {said}", test.file, test.name);
                count(true);
            }
            End::Failed(text) => fault(format!("{}::{}\n{text}", test.file, test.name)),
            End::TooLong => fault(format!(
                "{}::{} took longer than {LIMIT:?}",
                test.file, test.name
            )),
        }
    });
    each(checker.twins, |twin| {
        let Some(test) = tests
            .iter()
            .find(|t| t.file == twin.file && t.name == twin.test)
        else {
            return; // said above
        };
        let began = Instant::now();
        match run(test, Some(twin), false) {
            End::Failed(_) => {
                println!(
                    "killed  {:24} by {}::{} in {:.1} s",
                    twin.mutant,
                    twin.file,
                    twin.test,
                    began.elapsed().as_secs_f64()
                );
                count(true);
            }
            End::Passed(_) => fault(format!(
                "the mutant {} survived {}::{}",
                twin.mutant, twin.file, twin.test
            )),
            End::TooLong => fault(format!(
                "the mutant {} did not fail {}::{} in time",
                twin.mutant, twin.file, twin.test
            )),
        }
    });
}

/// The names of all mutants in the library's source.
fn mutants() -> BTreeSet<String> {
    fn walk(dir: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let names = text
                    .split("mutant(\"")
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&root().join("src"), &mut found);
    found
}
