//! The fuzz targets of perkey: each is a function of bytes that panics if something is wrong.
//!
//! | target | build | what the bytes are |
//! |---|---|---|
//! | [`keys`] | any | text, near the digits of keys |
//! | `ops_vs_model` | ordinary | a history of one thread on one table |
//! | `layers_vs_model` | ordinary | a stack of layers, a history of one thread on it, faults |
//! | `schedules` | `--cfg perkey_shuttle` | programs for two to four threads, and their schedule |
//!
//! `fuzz_targets` has the entry points for libFuzzer; without it they replay files. `tests/corpus.rs` runs the same functions over the
//! corpus in the repository.
#![forbid(unsafe_code)]

pub mod keys;
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
pub mod layers;
#[cfg(not(any(perkey_loom, perkey_shuttle)))]
pub mod ops;
pub mod replay;
#[cfg(perkey_shuttle)]
pub mod schedules;

/// The entry point of a target, in the builds that it is for: libFuzzer's, or one that replays files.
#[macro_export]
macro_rules! entry {
    ($target:ident, $builds:meta, $where:literal) => {
        #[cfg(all(fuzzing, $builds))]
        libfuzzer_sys::fuzz_target!(|data: &[u8]| perkey_fuzz::$target::run(data));

        /// Replays files.
        #[cfg(all(not(fuzzing), $builds))]
        fn main() {
            perkey_fuzz::replay::main(perkey_fuzz::$target::run);
        }

        /// Not there in this build.
        #[cfg(not($builds))]
        fn main() {
            eprintln!("{} runs in {}", stringify!($target), $where);
        }
    };
}
