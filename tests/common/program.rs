//! Helpers of the tests that run examples as programs.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::missing_panics_doc)]

use serde_json::Value;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An example, built from what is there now: `cargo test --test NAME` alone would leave an old one in place.
pub fn program(name: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|e| panic!("{e}"));
    let built = built.get_or_insert_default();
    built
        .entry(name.to_owned())
        .or_insert_with(|| build(name))
        .clone()
}

fn build(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let profile = exe.parent().unwrap().parent().unwrap(); // <target>/<profile>/deps/<this>
    let profile_name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", name])
        .args(["--profile", profile_name, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .status();
    assert!(status.unwrap().success(), "the example does not build");
    let program = profile
        .join("examples")
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing", program.display());
    program
}

pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// What a run that went well has written.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert!(self.status.success(), "{}: {}", self.status, self.stderr);
        self.any_json()
    }

    /// What any run has written.
    #[track_caller]
    pub fn any_json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| {
            let Self {
                status,
                stdout,
                stderr,
            } = self;
            panic!("{e}: not one JSON object and nothing else: {stdout}\n{status}: {stderr}")
        })
    }
}

/// A program that runs.
pub struct Running {
    pub child: Child,
    stdout: File,
    stderr: File,
    /// Where its temporary files go, and are removed in the end.
    _temporary: Option<TempDir>,
}

pub fn start(mut command: Command) -> Running {
    let temporary = if command.get_envs().any(|(name, _)| name == "TMPDIR") {
        None
    } else {
        let dir = TempDir::new().unwrap();
        command.env("TMPDIR", dir.path());
        Some(dir)
    };
    let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    Running {
        child,
        stdout,
        stderr,
        _temporary: temporary,
    }
}

impl Running {
    /// Waits for its end, but not for ever.
    #[track_caller]
    pub fn finish(mut self) -> Output {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > Duration::from_secs(120) {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                panic!("it hangs");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let text = |file: &mut File| {
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            text
        };
        Output {
            status,
            stdout: text(&mut self.stdout),
            stderr: text(&mut self.stderr),
        }
    }
}

/// Runs it to its end.
#[track_caller]
pub fn finish(command: Command) -> Output {
    start(command).finish()
}

/// A directory with these files.
pub fn tree(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (path, contents) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    dir
}

#[track_caller]
pub fn assert_counts(
    v: &Value,
    [files, bytes, distinct, duplicates, wasted, unreadable]: [u64; 6],
) {
    let got = [
        "files",
        "bytes",
        "distinct",
        "duplicates",
        "wasted_bytes",
        "unreadable",
    ]
    .map(|key| v[key].as_u64().unwrap_or_else(|| panic!("no {key} in {v}")));
    assert_eq!(
        got,
        [files, bytes, distinct, duplicates, wasted, unreadable],
        "{v}"
    );
}
