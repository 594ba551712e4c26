//! `cargo prove orderings`: weakens every ordering of the library by one step, and looks for a model that notices.
//!
//! The library is built once. In that build every atomic access knows its place in the source (`src/sync/sites.rs`), so that a run can
//! be told which one to weaken. What was found is in `loom-tests/ORDERINGS.md`; a run that was stopped goes on where it was.

use crate::check::{Shared, Tally, LIMIT, LOOM};
use crate::run::{each, number, root, run, said, tests, End, Test};
use crate::sites::{self, Site};
use crate::suite::SURVIVORS;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const TABLE: &str = "loom-tests/ORDERINGS.md";
/// In the place of who noticed.
const UNNOTICED: &str = "**nobody**";

/// One ordering, one step weaker.
struct Job {
    site: Site,
    to: &'static str,
}

/// What became of it.
#[derive(Clone)]
enum Outcome {
    /// By this test, in so many executions; how it showed.
    Killed(String, u64, String),
    /// How many scenarios reached it and noticed nothing.
    Survived(usize),
}

/// With `changed`, only in the files that are not as the table has them; what it says of the others stays.
pub(crate) fn prove(changed: bool, tally: &mut Tally) {
    println!("\n== orderings");
    let began = Instant::now();
    let tally = Shared::new(tally);
    let all = sites::sites();
    complete(&all, &tally);
    let mut proven = if changed { sections() } else { HashMap::new() };
    // What nobody missed the last time is tried again: a table with such a row is no proof.
    proven.retain(|file, (fingerprint, section)| {
        *fingerprint == sites::fingerprint(file) && !section.contains(UNNOTICED)
    });
    let files: Vec<&String> = all.keys().filter(|f| !proven.contains_key(*f)).collect();
    let jobs: Vec<Job> = files
        .iter()
        .flat_map(|file| &all[*file])
        .flat_map(|site| {
            let weaker = site.weaker().iter();
            weaker.map(|to| Job {
                site: site.clone(),
                to,
            })
        })
        .collect();
    if jobs.is_empty() {
        println!("no file with orderings to weaken has changed since {TABLE} was written");
        tally.good();
        return;
    }
    let Some(tests) = tests(&LOOM) else {
        return tally.fault("the loom tests do not build");
    };
    let reach = reach(&tests, &jobs, &tally);
    let known = Progress::open(&tests);
    let outcomes = Mutex::new(BTreeMap::new());
    each(&jobs, |job| {
        let key = format!("{} {}", job.site.id, job.to);
        let outcome = known.get(&key).unwrap_or_else(|| {
            let none = Vec::new();
            let reaching = reach.get(&job.site.place()).unwrap_or(&none);
            let outcome = weaken(job, reaching);
            known.put(&key, &outcome);
            outcome
        });
        report(job, &outcome, &tally);
        outcomes
            .lock()
            .expect("no panic in here")
            .insert(key, outcome);
    });
    let outcomes = outcomes.into_inner().expect("no panic in here");
    let text = table(&all, &proven, &outcomes, &tally);
    fs::write(root().join(TABLE), text).expect("the table can be written");
    println!(
        "{TABLE} is written, after {:.0} s",
        began.elapsed().as_secs_f64()
    );
}

fn report(job: &Job, outcome: &Outcome, tally: &Shared<'_>) {
    let what = format!("{} {} → {}", job.site.id, job.site.ordering, job.to);
    match outcome {
        Outcome::Killed(test, executions, how) => {
            println!("killed  {what:60} by {test} in {executions}: {how}");
            tally.good();
        }
        Outcome::Survived(scenarios) => match reason(job) {
            Some(why) => {
                println!("stays   {what:60} ({scenarios} scenarios): {why}");
                tally.good();
            }
            None => tally.fault(&format!("{what} survived {scenarios} scenarios")),
        },
    }
}

/// Why an ordering stays although no model notices that it is weaker.
fn reason(job: &Job) -> Option<&'static str> {
    let known = SURVIVORS
        .iter()
        .find(|(site, to, _)| *site == job.site.id && *to == job.to);
    known.map(|(_, _, why)| *why)
}

/// Every ordering that stands in the source has been found by reading it.
fn complete(all: &BTreeMap<String, Vec<Site>>, tally: &Shared<'_>) {
    for (file, sites) in all {
        let text = fs::read_to_string(root().join("src").join(file)).unwrap_or_default();
        let code = text
            .lines()
            .take_while(|l| !l.contains("mod tests"))
            .map(|l| l.split("//").next().unwrap_or(l))
            .filter(|l| !l.trim_start().starts_with("use "));
        let there: usize = code
            .map(|l| {
                sites::NAMES
                    .iter()
                    .map(|n| l.matches(&format!("Ordering::{n}")).count())
                    .sum::<usize>()
            })
            .sum();
        if there > sites.len() {
            let found = sites.len();
            tally.fault(&format!(
                "{file}: {there} orderings are written, {found} of them as an argument of an access"
            ));
        }
        if let Some(fence) = sites.iter().find(|s| s.op == "fence") {
            tally.fault(&format!("{}: fences cannot be weakened yet", fence.id));
        }
    }
}

/// Which tests reach a place, and how long they take at the lowest bound.
fn reach(
    tests: &[Test],
    jobs: &[Job],
    tally: &Shared<'_>,
) -> HashMap<String, Vec<(Duration, Test)>> {
    let wanted: BTreeSet<String> = jobs.iter().map(|j| j.site.place()).collect();
    let found: Mutex<HashMap<String, Vec<(Duration, Test)>>> = Mutex::default();
    let dir = tempfile::tempdir().expect("a directory for what the tests reach");
    // A preemption more reaches what takes a lost exchange.
    for most in ["1", "2"] {
        if wanted.iter().all(|w| found.lock().unwrap().contains_key(w)) {
            break;
        }
        each(tests, |test| {
            let path = dir
                .path()
                .join(format!("{}-{}-{most}", test.file, test.name));
            let env = [
                ("PERKEY_SITES", path.to_string_lossy().into_owned()),
                ("PERKEY_MOST", most.to_owned()),
            ];
            let began = Instant::now();
            match run(test, &env, LIMIT) {
                End::Passed(_) => {}
                _ => tally.fault(&format!("{}::{} fails as it is", test.file, test.name)),
            }
            let took = began.elapsed();
            let places = fs::read_to_string(&path).unwrap_or_default();
            let mut found = found.lock().expect("no panic in here");
            for place in places.lines().filter(|p| wanted.contains(*p)) {
                let reaching = found.entry(place.to_owned()).or_default();
                if !reaching.iter().any(|(_, t)| t.name == test.name) {
                    reaching.push((took, test.clone()));
                }
            }
        });
    }
    found.into_inner().expect("no panic in here")
}

/// Runs the tests that reach the site, at rising bounds, until one notices: what is likely to take least time first.
fn weaken(job: &Job, reaching: &[(Duration, Test)]) -> Outcome {
    // What the bounds cost, roughly, in terms of the first.
    let bounds = [("1", 1), ("2", 10), ("3", 100), ("none", 1000)];
    let mut attempts: Vec<(Duration, &str, &Test)> = reaching
        .iter()
        .flat_map(|(took, test)| bounds.map(|(most, cost)| (*took * cost, most, test)))
        .collect();
    attempts.sort_by_key(|(cost, ..)| *cost);
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for (_, most, test) in attempts {
        if done.contains(&*test.name) {
            continue;
        }
        let mut env = vec![("PERKEY_WEAKEN", sites::weakening(&job.site, job.to))];
        if most != "none" {
            env.push(("PERKEY_MOST", most.to_owned()));
        }
        match run(test, &env, LIMIT) {
            End::Failed(text) => {
                let executions = number(&text, &format!("failed {}: in ", test.name), "executions");
                return Outcome::Killed(
                    format!("{}::{}", test.file, test.name),
                    executions.unwrap_or(0),
                    how(&text),
                );
            }
            End::Passed(text) => {
                // Its own bound may be lower than what was allowed: then there is nothing more to see.
                if !said(test, &text).contains(&format!("bound {most},")) {
                    done.insert(&test.name);
                }
            }
            End::Stopped(_) => {
                done.insert(&test.name);
            }
        }
    }
    Outcome::Survived(reaching.len())
}

/// How a failure showed: the first line of the first panic's message.
fn how(text: &str) -> String {
    let mut lines = text.lines().skip_while(|l| !l.contains("panicked at"));
    let message = lines.nth(1).unwrap_or("no message").trim();
    let message = message.split(['.', ';', '`']).next().unwrap_or(message);
    message
        .chars()
        .take(60)
        .collect::<String>()
        .replace('|', "/")
}

/// What has been found before, as long as nothing has changed.
struct Progress {
    known: HashMap<String, Outcome>,
    file: Mutex<fs::File>,
}

impl Progress {
    fn open(tests: &[Test]) -> Self {
        let dir = root().join("target/prove");
        fs::create_dir_all(&dir).expect("a place for what was found");
        let path = dir.join(format!("orderings-{}", Self::state(tests)));
        let text = fs::read_to_string(&path).unwrap_or_default();
        let known = text.lines().filter_map(|line| {
            let mut parts = line.split('\t');
            let key = parts.next()?.to_owned();
            let outcome = match (parts.next()?, parts.next(), parts.next()) {
                ("survived", Some(n), _) => Outcome::Survived(n.parse().ok()?),
                (test, Some(n), Some(how)) => {
                    Outcome::Killed(test.to_owned(), n.parse().ok()?, how.to_owned())
                }
                _ => return None,
            };
            Some((key, outcome))
        });
        let file = fs::File::options().append(true).create(true).open(&path);
        Self {
            known: known.collect(),
            file: Mutex::new(file.expect("what is found can be written")),
        }
    }

    /// Of the library and of its scenarios.
    fn state(tests: &[Test]) -> String {
        let mut files: Vec<PathBuf> = Vec::new();
        for dir in ["src", "loom-tests/tests"] {
            sites::walk(&root().join(dir), &mut files);
        }
        files.push(root().join("loom-tests/src/scenario.rs"));
        let mut hasher = blake3::Hasher::new();
        for file in files {
            hasher.update(&fs::read(file).unwrap_or_default());
        }
        hasher.update(&tests.len().to_le_bytes());
        hasher.finalize().to_hex()[..16].to_owned()
    }

    fn get(&self, key: &str) -> Option<Outcome> {
        self.known.get(key).cloned()
    }

    fn put(&self, key: &str, outcome: &Outcome) {
        let line = match outcome {
            Outcome::Killed(test, executions, how) => format!("{key}\t{test}\t{executions}\t{how}"),
            Outcome::Survived(n) => format!("{key}\tsurvived\t{n}"),
        };
        let mut file = self.file.lock().expect("no panic in here");
        writeln!(file, "{line}").expect("what is found can be written");
    }
}

/// What the table says of each file: its fingerprint, and the section.
fn sections() -> HashMap<String, (String, String)> {
    let text = fs::read_to_string(root().join(TABLE)).unwrap_or_default();
    let sections = text.split("\n## `").skip(1);
    sections
        .filter_map(|section| {
            let (file, rest) = section.split_once("` (")?;
            let (fingerprint, _) = rest.split_once(')')?;
            let section = format!("\n## `{section}");
            let section = section.trim_end().to_owned() + "\n";
            Some((file.to_owned(), (fingerprint.to_owned(), section)))
        })
        .collect()
}

fn table(
    all: &BTreeMap<String, Vec<Site>>,
    proven: &HashMap<String, (String, String)>,
    outcomes: &BTreeMap<String, Outcome>,
    tally: &Shared<'_>,
) -> String {
    let (mut killed, mut stay, mut relaxed) = (0, 0, 0);
    let mut body = String::new();
    for (file, sites) in all {
        if let Some((_, section)) = proven.get(file) {
            let rows = section.lines().filter(|l| l.starts_with("| `"));
            let stays = rows.clone().filter(|l| l.contains("| nobody, of")).count();
            killed += rows.count() - stays;
            stay += stays;
            relaxed += sites.iter().filter(|s| s.weaker().is_empty()).count();
            body += section;
            continue;
        }
        let _ = writeln!(body, "\n## `{file}` ({})\n", sites::fingerprint(file));
        let strong: Vec<&Site> = sites.iter().filter(|s| !s.weaker().is_empty()).collect();
        let weak = sites.len() - strong.len();
        relaxed += weak;
        if !strong.is_empty() {
            body += "| access | line | operation | ordering | weakened to | killed by | executions | how it showed |\n";
            body += "|---|---|---|---|---|---|---|---|\n";
        }
        for site in strong {
            for to in site.weaker() {
                let outcome = outcomes.get(&format!("{} {to}", site.id));
                let job = Job {
                    site: site.clone(),
                    to,
                };
                let end = match (outcome, reason(&job)) {
                    (Some(Outcome::Killed(test, n, how)), _) => {
                        killed += 1;
                        format!("`{test}` | {n} | {how}")
                    }
                    (Some(Outcome::Survived(n)), Some(why)) => {
                        stay += 1;
                        format!("nobody, of {n} scenarios | | {why}")
                    }
                    _ => format!("{UNNOTICED} | | "),
                };
                let name = site.id.split_once(' ').map_or(&*site.id, |(_, name)| name);
                let (line, op, ordering) = (site.line, &site.op, &site.ordering);
                let _ = writeln!(
                    body,
                    "| `{name}` | {line} | {op} | {ordering} | {to} | {end} |"
                );
            }
        }
        if weak > 0 {
            let _ = writeln!(body, "\nRelaxed as they are: {weak}.");
        }
    }
    for (site, to, _) in SURVIVORS {
        let file = site.split(' ').next().unwrap_or(site);
        let still = proven.contains_key(file)
            || matches!(
                outcomes.get(&format!("{site} {to}")),
                Some(Outcome::Survived(_))
            );
        if !still {
            tally.fault(&format!(
                "{site} → {to} needs no reason to stay: it is killed, or not there"
            ));
        }
    }
    if stay * 20 > killed + stay {
        tally.fault(&format!("{stay} of {} stay without a test", killed + stay));
    }
    format!(
        "# Orderings: each as weak as it can be\n\n\
         Written by `cargo prove orderings`. Every atomic access of the library whose ordering is stronger than `Relaxed` was weakened by one step, and every \
         scenario that reaches it was run, at rising bounds up to that of CI, until one failed. An access is named by its function and its number in it; of an \
         exchange, success and failure each on its own. The number in brackets says which state of the file this is about.\n\n\
         {killed} killed, {stay} stay with a reason; {relaxed} accesses are `Relaxed` and cannot be weaker. No fences, no `SeqCst`.\n{body}"
    )
}
