//! The small examples run, and say what they are there to show.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]
#![forbid(unsafe_code)]

use std::process::Command;

#[path = "common/program.rs"]
mod program;

#[track_caller]
fn lines(example: &str) -> Vec<String> {
    let out = program::finish(Command::new(program::program(example)));
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}",
        out.stderr
    );
    out.stdout.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_layer_of_ones_own_sees_every_operation_and_what_was_taken_back() {
    let lines = lines("own_layer");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(
        lines[0].ends_with(": 20"),
        "no update is lost: {}",
        lines[0]
    );
    assert!(lines[1].contains("not today"), "{}", lines[1]);
    for (line, place) in lines[2..].iter().zip(["outside", "inside"]) {
        // Twenty updates, one that fails, one load.
        let seen = "22 operations, 1 taken back, ";
        assert!(line.starts_with(place) && line.contains(seen), "{line}");
    }
}

#[test]
fn a_memoised_function_is_computed_once_by_sixteen_threads_after_a_failure() {
    let lines = lines("memoise");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(
        lines[0].ends_with("16 threads asked, the function ran 2 times"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].ends_with("the first try fails, as they do"),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "the others: 15 answers, all equal: true");
    assert_eq!(lines[3], "asked again: 17984, after 0 more runs");
}
