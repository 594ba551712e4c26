//! The small examples run, and say what they are there to show.
#![allow(clippy::pedantic)]
#![cfg(not(any(perkey_loom, perkey_shuttle)))]
#![forbid(unsafe_code)]

use std::process::Command;

#[path = "common/program.rs"]
mod program;

use tempfile::TempDir;

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
fn a_memoised_function_is_computed_once_by_sixteen_threads() {
    let lines = lines("memoise");
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let [asked, answers, again, "", _, asked_broken, failed, answers_broken] = lines[..] else {
        panic!("{lines:#?}");
    };
    assert_eq!(asked, "16 threads asked, the function ran 1 time");
    assert_eq!(answers, "16 answers, all equal: true");
    assert_eq!(again, "asked again: 17984, after 0 more runs");
    assert_eq!(asked_broken, "16 threads asked, the function ran 2 times");
    assert!(
        failed.ends_with("the first try fails, as they do"),
        "{failed}"
    );
    assert_eq!(answers_broken, "15 answers, all equal: true");
}

/// `soak` for so many minutes, in rounds of a quarter of a second.
fn soak(minutes: &str, more: &[&str]) -> (program::Output, String) {
    let dir = TempDir::new().unwrap();
    let svg = dir.path().join("soak.svg");
    let mut command = Command::new(program::program("soak"));
    command
        .args(["--minutes", minutes, "--round", "0.25", "--seed", "7"])
        .arg("--svg")
        .arg(&svg)
        .args(more);
    let out = program::finish(command);
    (out, std::fs::read_to_string(svg).unwrap_or_default())
}

/// I1, I3, I5, I8, I9, and that it looks at what it says.
#[test]
fn a_short_soak_finds_nothing_and_says_what_it_did() {
    let (out, svg) = soak("0.05", &[]);
    assert!(
        out.status.success() && out.stderr.is_empty(),
        "{}{}",
        out.stdout,
        out.stderr
    );
    let lines: Vec<_> = out.stdout.lines().collect();
    let seconds = lines.iter().filter(|l| l.contains("operations"));
    let sound = |l: &&&str| {
        ["threads", "waits", "0 overlaps", "heap", "resident"]
            .iter()
            .all(|w| l.contains(w))
    };
    assert!(seconds.clone().count() > 1, "{}", out.stdout);
    assert_eq!(seconds.clone().filter(sound).count(), seconds.count());
    assert!(out.stdout.contains(" 0 violations"), "{}", out.stdout);
    // What every run has some of.
    let happened = lines.iter().find(|l| l.contains("panics of keys")).unwrap();
    for what in [
        "panics while holding",
        "panics of keys",
        "upgrades",
        "upgrades of the dead",
        "handles from others",
        "threads",
    ] {
        let n = happened
            .split(", ")
            .find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok());
        assert!(n > Some(0), "{what}: {happened}");
    }
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for word in ["operations", "waits", "live heap", "resident", "threads"] {
        assert!(svg.contains(word), "{word} is not drawn");
    }
}

/// The broken twins: each is found, and said by its invariant.
#[test]
fn a_soak_that_does_something_wrong_finds_it() {
    for (broken, minutes, found) in [
        (
            "overlap",
            "1",
            "I1, two threads inside of key 0 of `one key`",
        ),
        (
            "forget",
            "1",
            "I5, `four keys`: 1 keys are alive and nobody uses them",
        ),
        ("memory", "0.15", "I8, live heap: at most"),
        ("hang", "1", "I6, "),
    ] {
        let (out, svg) = soak(minutes, &["--patience", "2", "--broken", broken]);
        assert_eq!(out.status.code(), Some(1), "{broken}: {}", out.stdout);
        assert!(
            out.stderr.contains(&format!("VIOLATION: {found}")),
            "{broken}: {}",
            out.stderr
        );
        assert!(!out.stdout.contains(" 0 violations") && svg.starts_with("<svg"));
    }
}
