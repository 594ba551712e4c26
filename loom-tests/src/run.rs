//! Cargo, and one test in a process of its own.

use crate::check::Checker;
use crate::patched;
use loom_tests::INCOMPLETE;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The workspace.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package
        .parent()
        .expect("the package is in the workspace")
        .to_owned()
}

/// Cargo, in the workspace, with these flags for the compiler.
pub(crate) fn cargo(flags: &str, target: &str, args: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if flags.contains("perkey_loom") {
        cargo.args(["--config", patched::setting()]);
    }
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

/// A test in a binary.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    binary: PathBuf,
    pub(crate) file: String,
    pub(crate) name: String,
}

/// Builds the checker's tests and lists them.
pub(crate) fn tests(checker: &Checker) -> Option<Vec<Test>> {
    let mut args = vec!["test", "--release", "--no-run"];
    args.push("--message-format=json-render-diagnostics");
    args.extend(checker.build);
    let out = cargo(checker.flags, checker.target, &args)
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
        if line.contains("\"kind\":[\"bin\"]") {
            continue; // the runner's own tests
        }
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

/// What became of a test, and what it printed.
pub(crate) enum End {
    Passed(String),
    Failed(String),
    /// It took too long, or somebody else put an end to it. Says nothing of what was tested.
    Stopped(String),
}

/// The variables that steer a test; set by the runner, or the test itself, only.
const STEERING: &[&str] = &[
    "PERKEY_MUTANT",
    "PERKEY_BOUND",
    "PERKEY_MOST",
    "PERKEY_FULL",
    "PERKEY_WEAKEN",
    "PERKEY_SITES",
    "LOOM_REDUCTION",
];

/// Runs one test in a process of its own, with these variables set, for so long at most.
pub(crate) fn run(test: &Test, env: &[(&str, String)], limit: Duration) -> End {
    let mut command = Command::new(&test.binary);
    command
        .args(["--exact", &test.name, "--nocapture"])
        .current_dir(root().join("loom-tests"))
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in STEERING {
        command.env_remove(name);
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let Ok(mut child) = command.spawn() else {
        return End::Failed("could not be started".to_owned());
    };
    // Read on the side, so that the pipes never fill.
    let readers = [reader(child.stdout.take()), reader(child.stderr.take())];
    let status = wait(&mut child, limit);
    let text: String = readers
        .into_iter()
        .map(|r| String::from_utf8_lossy(&r.join().unwrap_or_default()).into_owned())
        .collect();
    match status {
        None => End::Stopped(format!("took longer than {limit:?}")),
        Some(status) if status.success() && text.contains(INCOMPLETE) => {
            End::Failed(format!("explored {INCOMPLETE}"))
        }
        Some(status) if status.success() => End::Passed(text),
        Some(status) => match killed(status) {
            Some(signal) => End::Stopped(format!("was killed from outside, by signal {signal}")),
            None => End::Failed(text),
        },
    }
}

fn reader(pipe: Option<impl std::io::Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// How it ended. `None`: it took too long.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if began.elapsed() < limit => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// The signal, if it is one that a process does not get by its own fault: from a user, a limit, or a machine that is out of memory.
fn killed(status: ExitStatus) -> Option<i32> {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status)
        .filter(|signal| [1, 2, 9, 15, 24].contains(signal)); // HUP, INT, KILL, TERM, XCPU
    #[cfg(not(unix))]
    return None;
}

/// What a test said of itself: the lines that begin with its name.
pub(crate) fn said(test: &Test, text: &str) -> String {
    let lines = text.lines().filter_map(|l| {
        let rest = l.strip_prefix("explored ").unwrap_or(l);
        Some(
            rest.strip_prefix(&*test.name)?
                .strip_prefix(": ")?
                .to_owned(),
        )
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// The number before `word` in the line that begins with `start`.
pub(crate) fn number(text: &str, start: &str, word: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.split_once(start).map(|(_, rest)| rest))?;
    let mut words = line.split([' ', ',']);
    let mut last = words.next()?;
    for next in words {
        if next == word {
            return last.parse().ok();
        }
        if !next.is_empty() {
            last = next;
        }
    }
    None
}

/// Runs `f` for each item, on all cores, in order of the list.
pub(crate) fn each<T: Sync>(items: &[T], f: impl Fn(&T) + Sync) {
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_somebody_kills_has_not_failed_by_itself() {
        let ended = |script| {
            let mut shell = Command::new("sh");
            killed(
                shell
                    .args(["-c", script])
                    .status()
                    .expect("there is a shell"),
            )
        };
        assert_eq!(ended("kill -TERM $$"), Some(15));
        assert_eq!(ended("kill -KILL $$"), Some(9));
        assert_eq!(ended("kill -ABRT $$"), None); // as a failed assertion or a broken heap does
        assert_eq!(ended("exit 101"), None);
    }
}
