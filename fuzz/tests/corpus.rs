//! Every file of the corpus through its target, and some thousand inputs more, the same every time; on any toolchain.
#![allow(missing_docs)]

use perkey_fuzz::replay::{drawn, files};
use std::path::PathBuf;

/// All files of a target's corpus, then `count` drawn inputs.
fn all(target: &str, run: fn(&[u8]), count: usize, longest: usize) {
    let corpus: PathBuf = [env!("CARGO_MANIFEST_DIR"), "corpus", target]
        .iter()
        .collect();
    let files = files([corpus]).expect("a corpus");
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in &files {
        let name = file.display().to_string();
        println!("{name}"); // shown if it fails
        run(&std::fs::read(file).expect("a file that can be read"));
    }
    for input in drawn(0x7065_726b_6579, count, longest) {
        println!("{input:?}");
        run(&input);
    }
}

#[test]
fn keys() {
    all("keys", perkey_fuzz::keys::run, 5_000, 60);
}

/// I2, I3, I5, I8, I9
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
#[test]
fn ops_vs_model() {
    all("ops_vs_model", perkey_fuzz::ops::run, 5_000, 120);
}

/// I1, I2, I3, I5, I6, I7
#[cfg(perkey_shuttle)]
#[test]
fn schedules() {
    all("schedules", perkey_fuzz::schedules::run, 20_000, 60);
}

/// S2, S5, S7, S12, S13, S14
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
#[test]
fn layers_vs_model() {
    all("layers_vs_model", perkey_fuzz::layers::run, 2_000, 120);
}
