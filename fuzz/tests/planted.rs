//! The targets bite: planted bugs are found by inputs that a fuzzer has found them with (`planted/<target>/<mutant>`), each of which passes
//! without the bug.
//!
//! Every input runs in a process of its own, as a mutant is chosen by the environment of the process, and what is broken may abort.
#![cfg(perkey_mutant)]
#![allow(missing_docs)]

use perkey_fuzz::replay::files;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Its name, and what it does.
type Target = (&'static str, fn(&[u8]));

const INPUT: &str = "PERKEY_FUZZ_INPUT";

#[cfg(not(any(perkey_loom, perkey_shuttle)))]
const TARGETS: &[Target] = &[
    ("layers_vs_model", perkey_fuzz::layers::run),
    ("ops_vs_model", perkey_fuzz::ops::run),
];

#[cfg(perkey_shuttle)]
const TARGETS: &[Target] = &[("schedules", perkey_fuzz::schedules::run)];

#[cfg(perkey_loom)]
const TARGETS: &[Target] = &[];

/// What such a process does; nothing in the one that all tests begin in.
#[test]
fn one_input() {
    let Some(file) = std::env::var_os(INPUT).map(PathBuf::from) else {
        return;
    };
    let folder = file.parent().and_then(Path::file_name).expect("a folder");
    let (_, run) = TARGETS
        .iter()
        .find(|(name, _)| *name == folder)
        .expect("a target");
    run(&std::fs::read(&file).expect("a file that can be read"));
}

/// Does the input pass?
fn passes(file: &Path, mutant: Option<&str>) -> bool {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "one_input"]).env(INPUT, file);
    match mutant {
        Some(name) => command.env("PERKEY_MUTANT", name),
        None => command.env_remove("PERKEY_MUTANT"),
    };
    command.output().expect("a process").status.success()
}

#[test]
fn planted_bugs_are_found_and_nothing_else() {
    for (target, _) in TARGETS {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "planted", target]
            .iter()
            .collect();
        let files = files([folder]).expect("inputs");
        assert!(files.len() >= 3, "{target}: {files:?}");
        for file in files {
            let mutant = file
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a name");
            assert!(passes(&file, None), "{target}: a false alarm for {mutant}");
            assert!(
                !passes(&file, Some(mutant)),
                "{target}: {mutant} is not found"
            );
        }
    }
}
